"""Weight files that try to be more than numbers, given to each way in that a person has.

A trap that is sprung makes a file. Files that name others are refused, and what those hold does not come
out, not even in the error.
"""

import json
import zipfile

import h5py
import keras
import numpy as np
import pytest

from frcnn.config import in_weights
from frcnn.convert.keras_frcnn import import_keras_frcnn
from frcnn.detector import Detector
from frcnn.errors import ConfigError, FrcnnError, WeightsError
from frcnn.files import safe_arrays
from frcnn.weights import initial

SECRET = b"secret, " * 8


@pytest.fixture
def others(tmp_path):
    """Return a folder with files that a weight file should not be able to read."""
    (tmp_path / "secret").write_bytes(SECRET)
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["numbers"] = np.frombuffer(SECRET, "float32")
        file.create_group("group/layer")["kernel"] = np.frombuffer(SECRET, "float32")
    return tmp_path


def virtual(group, name, others):
    layout = h5py.VirtualLayout((16,), "float32")
    layout[:] = h5py.VirtualSource(others / "other.h5", "numbers", (16,))
    group.create_virtual_dataset(name, layout)


def at_another_file(group, name, others):
    group[name] = h5py.ExternalLink(others / "other.h5", "numbers")


def stored_elsewhere(group, name, others):
    group.create_dataset(name, (16,), "float32", external=[(str(others / "secret"), 0, 64)])


def by_a_soft_link(group, name, others):
    group.file["elsewhere"] = h5py.ExternalLink(others / "other.h5", "numbers")
    group[name] = h5py.SoftLink("/elsewhere")


def text(group, name, others):
    group[name] = "text"


def lists(group, name, others):
    group.create_dataset(name, (2,), h5py.vlen_dtype("float32"))


def a_group(group, name, others):
    group.create_group(name)


ATTACKS = {
    at_another_file: "is a link",
    by_a_soft_link: "is a link",
    stored_elsewhere: "are not in this file",
    virtual: "are not in this file",
    a_group: "are not in this file",
    text: "does not hold numbers",
    lists: "does not hold numbers",
}


def keras_2(path, attack, others):
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = ["layer"]
        layer = file.create_group("layer")
        layer.attrs["weight_names"] = ["layer/kernel:0"]
        attack(layer.create_group("layer"), "kernel:0", others)


def keras_3(path, attack, others):
    with h5py.File(path, "w") as file:
        layer = file.create_group("layers/layer/vars")
        layer.attrs["name"] = "layer"
        attack(layer, "0", others)


@pytest.mark.parametrize("write", [keras_2, keras_3])
@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)
def test_an_hdf5_file_brings_its_own_numbers_only(others, attack, write):
    write(others / "a.weights.h5", attack, others)
    for read in (initial.read, import_keras_frcnn):
        with pytest.raises(WeightsError) as caught:
            read(others / "a.weights.h5")
        message = str(caught.value)
        assert "a.weights.h5" in message and ATTACKS[attack] in message and "secret" not in message


def test_nor_whole_groups_of_another_file(others):
    with h5py.File(others / "a.h5", "w") as file:
        file.attrs["layer_names"] = ["layer"]
        file["layer"] = h5py.ExternalLink(others / "other.h5", "group/layer")
    with pytest.raises(WeightsError, match="layer is a link"):
        initial.read(others / "a.h5")
    with h5py.File(others / "b.h5", "w") as file:
        file["model_weights"] = h5py.ExternalLink(others / "other.h5", "group")
    with pytest.raises(WeightsError, match="model_weights is a link"):
        initial.read(others / "b.h5")
    with h5py.File(others / "c.h5", "w") as file:
        file["layers"] = h5py.ExternalLink(others / "other.h5", "group")
    assert initial.read(others / "c.h5") == {}


# --- models of Keras, which hold code --------------------------------------------------------


def with_a_trap(path):
    """Return a model that, called after Keras loaded it without its safe mode, makes a file."""
    inputs, name = keras.Input((2,)), str(path)
    dense = keras.layers.Dense(2, name="dense")(inputs)
    spring = keras.layers.Lambda(lambda x: (open(name, "w").close(), x)[1], output_shape=(2,))
    model = keras.Model(inputs, spring(dense))
    path.unlink(missing_ok=True)  # made when the model was
    return model


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.filterwarnings("ignore")
def test_the_code_in_a_whole_model_is_not_run(tmp_path, suffix):
    path, sprung = tmp_path / f"model{suffix}", tmp_path / "sprung"
    with_a_trap(sprung).save(path)
    if suffix == ".h5":
        # Its weights are numbers, and are read; its layers are not made.
        assert list(initial.read(path)) == ["dense"]
        in_weights.write(path, "{}")
    else:
        with zipfile.ZipFile(path) as file:
            assert "Lambda" in file.read("config.json").decode()
        with pytest.raises(WeightsError):
            initial.read(path)
    for read in (Detector.load, import_keras_frcnn):
        with pytest.raises(FrcnnError):
            read(path)
    assert not sprung.exists()
    keras.models.load_model(path, safe_mode=False)(np.zeros((1, 2), "float32"))
    assert sprung.exists()  # or the test would show nothing


def test_the_config_in_a_weight_file_is_text_and_json(tmp_path):
    path = tmp_path / "a.h5"
    for value in (np.zeros(3), ["{}"], 3):
        with h5py.File(path, "w") as file:
            file.attrs[in_weights.ATTRIBUTE] = value
        assert in_weights.read(path) is None
    for text in ("[" * 50_000, json.dumps({"model": {"backbone": "__import__('os')"}}), "print()", "{}"):
        with h5py.File(path, "w") as file:
            file.attrs[in_weights.ATTRIBUTE] = text
        with pytest.raises(ConfigError, match="a.h5"):
            Detector.load(path)


def test_hdf5_files_of_any_lesser_length_are_refused(tmp_path, monkeypatch):
    """As a full disk and a broken download leave them; also where no child process has read them first.

    No bytes are changed: with some of them, HDF5's own library ends the process, which nothing on this
    side of it can catch.
    """
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file.attrs[in_weights.ATTRIBUTE] = "{}"
        file.attrs["layer_names"] = ["layer"]
        file.create_group("layer").attrs["weight_names"] = ["kernel"]
        file["layer/kernel"] = np.arange(4.0)
    whole = path.read_bytes()
    assert list(initial.read(path)) == ["layer"] and in_weights.read(path) == "{}"
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(WeightsError, match="cannot read weights from .*a.h5"):
        initial.read(path)
    monkeypatch.setattr(safe_arrays, "_check_in_child", lambda *_: None)  # half a second for each
    for length in range(0, len(whole), 97):
        path.write_bytes(whole[:length])
        assert in_weights.read(path) is None
        with pytest.raises(WeightsError, match="cannot read weights from .*a.h5"):
            initial.read(path)


# What a file declares, and what it makes its library do.


def npz_that_declares_gigabytes(path):
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (100000, 100000), }".ljust(117) + b"\n"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("Conv_0/kernel.npy", b"\x93NUMPY\x01\x00v\x00" + header)


def hdf5_that_declares_gigabytes(path):
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = ["a"]
        layer = file.create_group("a")
        layer.attrs["weight_names"] = ["kernel"]
        layer.create_dataset("kernel", (100_000, 100_000), "float32", chunks=(100, 100))


@pytest.mark.parametrize(
    ("name", "make"),
    [("a.npz", npz_that_declares_gigabytes), ("a.h5", hdf5_that_declares_gigabytes)],
)
def test_more_than_a_file_can_hold_is_refused_before_there_is_room_for_it(tmp_path, name, make):
    make(tmp_path / name)
    with pytest.raises(WeightsError, match="declares 40,000,000,000 bytes"):
        initial.read(tmp_path / name)


def test_numbers_that_compress_well_are_read(tmp_path):
    zeros = np.zeros((3, 100_000), "float32")
    np.savez_compressed(tmp_path / "a.npz", zeros=zeros)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("zeros", data=zeros, compression="gzip", chunks=zeros.shape)
    np.testing.assert_array_equal(safe_arrays.from_npz(tmp_path / "a.npz")["zeros"], zeros)
    with safe_arrays.open_hdf5(tmp_path / "a.h5") as file:
        np.testing.assert_array_equal(safe_arrays.from_hdf5(file, "zeros"), zeros)


@pytest.mark.parametrize(("offset", "byte"), [(2072, 254), (857, 254)])
def test_damage_that_makes_hdf5_loop_or_crash_is_one_line(tmp_path, monkeypatch, offset, byte):
    monkeypatch.setattr(safe_arrays, "SECONDS", 3.0)
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = ["a"]
        layer = file.create_group("a")
        layer.attrs["weight_names"] = ["kernel", "bias"]
        layer["kernel"], layer["bias"] = np.ones((2, 2), "float32"), np.ones(2, "float32")
    content = bytearray(path.read_bytes())
    content[offset] = byte
    path.write_bytes(content)
    with pytest.raises(WeightsError, match="a.h5: it is damaged: reading it"):
        initial.read(path)
