"""State dicts from files of every kind, and files that try to run code."""

import builtins
import os
import pickle
import sys
import types
import zipfile

import numpy as np
import pytest

from frcnn.errors import FrcnnError, WeightsError
from frcnn.weights.state_dicts import read_state

STATE = {
    "a.weight": np.arange(6, dtype="float32").reshape(2, 3),
    "a.num_batches_tracked": np.array(7, "int64"),
}


class Trap:
    """Unpickled without care, it makes a folder."""

    def __init__(self, folder):
        self.folder = str(folder)

    def __reduce__(self):
        return os.mkdir, (self.folder,)


def assert_is_state(state):
    assert state.keys() == STATE.keys()
    for name, array in STATE.items():
        assert isinstance(state[name], np.ndarray) and state[name].dtype == array.dtype
        np.testing.assert_array_equal(state[name], array)


def test_npz(tmp_path):
    np.savez(tmp_path / "a.npz", **STATE)
    assert_is_state(read_state(str(tmp_path / "a.npz")))


def test_safetensors(tmp_path):
    numpy = pytest.importorskip("safetensors.numpy")
    numpy.save_file(STATE, tmp_path / "a.safetensors")
    assert_is_state(read_state(tmp_path / "a.safetensors"))


@pytest.mark.parametrize("suffix", [".pth", ".pt"])
def test_pth(tmp_path, suffix):
    torch = pytest.importorskip("torch")
    state = {name: torch.from_numpy(array) for name, array in STATE.items()}
    torch.save(state, tmp_path / f"a{suffix}")
    assert_is_state(read_state(tmp_path / f"a{suffix}"))
    torch.save({"model": state, "epoch": 3}, tmp_path / f"b{suffix}")
    assert_is_state(read_state(tmp_path / f"b{suffix}"))
    torch.save({"a": torch.ones(2, dtype=torch.bfloat16)}, tmp_path / f"c{suffix}")
    np.testing.assert_array_equal(read_state(tmp_path / f"c{suffix}")["a"], np.ones(2, "float32"))
    torch.save([1, 2], tmp_path / f"d{suffix}")
    with pytest.raises(WeightsError, match="is not a state dict"):
        read_state(tmp_path / f"d{suffix}")


def test_a_pickle_inside_npz_is_refused(tmp_path):
    trap = np.array([Trap(tmp_path / "sprung")], object)
    np.savez(tmp_path / "a.npz", **STATE, trap=trap)
    with pytest.raises(WeightsError, match="a.npz.*allow_pickle"):
        read_state(tmp_path / "a.npz")
    assert not (tmp_path / "sprung").exists()


def test_a_pickle_named_npz_is_refused(tmp_path):
    (tmp_path / "a.npz").write_bytes(pickle.dumps(Trap(tmp_path / "sprung")))
    with pytest.raises(WeightsError, match="cannot read weights from .*a.npz"):
        read_state(tmp_path / "a.npz")
    assert not (tmp_path / "sprung").exists()


def test_what_is_no_numbers_is_refused(tmp_path):
    np.savez(tmp_path / "a.npz", **STATE, name=np.array(["text"]))
    with pytest.raises(WeightsError, match="name does not hold numbers"):
        read_state(tmp_path / "a.npz")
    # An entry that is no array comes as bytes.
    np.savez(tmp_path / "a.npz", **STATE)
    with zipfile.ZipFile(tmp_path / "a.npz", "a") as file:
        file.writestr("script.py", "raise SystemExit")
    with pytest.raises(WeightsError, match="script.py does not hold numbers"):
        read_state(tmp_path / "a.npz")


@pytest.mark.parametrize("suffix", [".pth", ".pt"])
def test_torch_is_only_ever_asked_for_weights(tmp_path, monkeypatch, suffix):
    """With a stand-in for torch, which is not needed here: the test below is skipped without it."""
    asked = []

    def load(path, **options):
        asked.append(options)
        raise pickle.UnpicklingError("Weights only load failed\nand more")

    monkeypatch.setitem(sys.modules, "torch", types.SimpleNamespace(load=load))
    (tmp_path / f"a{suffix}").write_bytes(pickle.dumps(Trap(tmp_path / "sprung")))
    with pytest.raises(
        WeightsError, match=f"cannot read weights from .*a{suffix}: Weights only load failed$"
    ):
        read_state(tmp_path / f"a{suffix}")
    assert asked == [{"map_location": "cpu", "weights_only": True}]
    assert not (tmp_path / "sprung").exists()


def test_a_torch_that_cannot_restrict_itself_is_not_used(tmp_path, monkeypatch):
    """One from before 1.13 does not know the option: an error, and nothing is read without it."""
    monkeypatch.setitem(sys.modules, "torch", types.SimpleNamespace(load=lambda path, map_location: {}))
    (tmp_path / "a.pth").touch()
    with pytest.raises(WeightsError, match="weights_only"):
        read_state(tmp_path / "a.pth")


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pth_that_would_run_code_is_refused(tmp_path, zipped):
    pytest.importorskip("torch")
    code = pickle.dumps({"a": Trap(tmp_path / "sprung")}, protocol=2)
    if zipped:
        with zipfile.ZipFile(tmp_path / "a.pth", "w") as file:
            file.writestr("a/data.pkl", code)
            file.writestr("a/version", "3\n")
    else:
        (tmp_path / "a.pth").write_bytes(code)
    with pytest.raises(WeightsError) as caught:
        read_state(tmp_path / "a.pth")
    assert "a.pth" in str(caught.value) and "\n" not in str(caught.value)
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("suffix, package", [(".pth", "torch"), (".safetensors", "safetensors")])
def test_without_its_package_the_error_says_what_to_install(tmp_path, monkeypatch, suffix, package):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name.split(".")[0] == package:
            raise ImportError(f"No module named {name!r}")
        return real(name, *args, **kwargs)

    (tmp_path / f"a{suffix}").touch()
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(FrcnnError, match=f"pip install {package}"):
        read_state(tmp_path / f"a{suffix}")


def test_missing_other_and_damaged_files(tmp_path):
    with pytest.raises(WeightsError, match="there is no weight file .*a.npz"):
        read_state(tmp_path / "a.npz")
    (tmp_path / "a.bin").touch()
    with pytest.raises(WeightsError, match=r"must end in .npz, .safetensors, .pth, .pt"):
        read_state(tmp_path / "a.bin")
    np.savez(tmp_path / "b.npz", **STATE)
    (tmp_path / "b.npz").write_bytes((tmp_path / "b.npz").read_bytes()[:100])
    with pytest.raises(WeightsError, match="cannot read weights from .*b.npz"):
        read_state(tmp_path / "b.npz")
