"""Weight files: all three kinds fill what they should, say so, and fail aloud when they do not."""

from pathlib import Path

import h5py
import keras
import numpy as np
import pytest

from frcnn import models, saved_config, weight_files, weights
from frcnn.errors import ConfigError, WeightsError
from frcnn.presets import preset

REAL = Path(__file__).resolve().parents[2] / "shared" / "weights"
HEADS = {"rpn_conv", "rpn_class_logits", "rpn_deltas", "class_logits", "box_deltas"}
TINY = [f"tiny_conv{number}" for number in range(1, 6)]


@pytest.fixture
def build(small_config):
    """Return a function that builds ``Models`` of small heads."""
    return lambda object_classes=3, **model: models.build(
        small_config.replace({f"model.{name}": value for name, value in model.items()}), object_classes
    )


def arrays(model):
    """Return {layer name: its weights}."""
    return {layer.name: layer.get_weights() for layer in weights.weighted_layers(model)}


def keras2_file(path, layers, under=None):
    """Write {layer: {weight: array}} as Keras 2 did."""
    with h5py.File(path, "w") as file:
        root = file.create_group(under) if under else file
        root.attrs["layer_names"] = [name.encode() for name in layers]
        for layer, values in layers.items():
            group = root.create_group(layer)
            group.attrs["weight_names"] = [f"{layer}/{name}:0".encode() for name in values]
            for name, value in values.items():
                group[f"{layer}/{name}:0"] = value


def real(name):
    if not (REAL / name).is_file():
        pytest.skip(f"{name} is not in ../shared/weights")
    return REAL / name


# The three kinds of file.


def test_keras_3_file_fills_everything(build, tmp_path):
    source, target = build().detector, build().detector
    source.save_weights(tmp_path / "a.weights.h5")
    filled = weights.fill(target, tmp_path / "a.weights.h5")
    assert set(filled.layers) == set(arrays(target)) and not filled.missing and not filled.misfits
    assert not filled.unused
    assert filled.weights == sum(value.size for values in arrays(target).values() for value in values)
    images = np.random.default_rng(0).integers(0, 256, (1, 64, 96, 3)).astype("uint8")
    size = np.array([[64.0, 96.0]], "float32")
    for expected, found in zip(
        source.predict_on_batch([images, size]), target.predict_on_batch([images, size])
    ):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("under", [None, "model_weights"])
def test_keras_2_file_fills_the_layers_of_its_names(build, tmp_path, under):
    random = np.random.default_rng(0)
    kernel, bias = random.normal(size=(3, 3, 3, 24)), random.normal(size=24)
    layers = {
        "tiny_conv1": {"kernel": kernel, "bias": bias},
        "pool": {},
        "predictions": {"kernel": np.zeros((4, 10))},
    }
    keras2_file(tmp_path / "a.h5", layers, under)
    built = build()
    before = arrays(built.detector)
    filled = weights.fill(built.detector, tmp_path / "a.h5")
    assert filled.layers == ("tiny_conv1",) and filled.weights == 3 * 3 * 3 * 24 + 24
    assert filled.unused == ("predictions",)
    assert set(filled.missing) == set(before) - {"tiny_conv1"}
    after = arrays(built.detector)
    # The RPN and the classifier share the layer that was filled.
    for model in (built.rpn, built.classifier):
        np.testing.assert_array_equal(model.get_layer("tiny_conv1").kernel, kernel.astype("float32"))
    np.testing.assert_array_equal(after["tiny_conv1"][1], bias.astype("float32"))
    for name in filled.missing:
        for old, new in zip(before[name], after[name]):
            np.testing.assert_array_equal(new, old)


def test_npz_fills_the_backbones_convolutions_in_order(build, tmp_path):
    detector, values = build().detector, {}
    for number, name in enumerate(TINY):
        kernel, bias = arrays(detector)[name]
        values[f"Conv_{number}/kernel"] = np.full(kernel.shape, number + 1, "float16")
        values[f"Conv_{number}/bias"] = np.full(bias.shape, -number, "float16")
    np.savez(tmp_path / "a.npz", **values)
    filled = weights.fill(detector, tmp_path / "a.npz")
    assert filled.layers == tuple(TINY)
    for number, name in enumerate(TINY):
        kernel, bias = arrays(detector)[name]
        assert (kernel == number + 1).all() and (bias == -number).all() and kernel.dtype == "float32"


def test_npz_with_more_convolutions_than_the_model_says_so(build, tmp_path):
    detector, values = build().detector, {}
    shapes = [arrays(detector)[name][0].shape for name in TINY] + [(1, 1, 2, 2)]
    for number, shape in enumerate(shapes):
        values |= {f"Conv_{number}/kernel": np.ones(shape), f"Conv_{number}/bias": np.ones(shape[-1])}
    np.savez(tmp_path / "a.npz", **values)
    assert weights.fill(detector, tmp_path / "a.npz").unused == ("Conv_5",)


def test_the_real_vgg16_fills_all_13_convolutions(build):
    path = real("vgg16_imagenet_fp16.npz")
    built = build(backbone="vgg16", weights=str(path), preprocessing="torch")
    filled = weights.fill(built.detector, path)
    assert len(filled.layers) == 13 and filled.weights == 14_714_688
    assert all(name.startswith("block") for name in filled.layers)
    assert set(filled.missing) == HEADS | {"head_dense1", "head_dense2"} and not filled.misfits
    with np.load(path) as file:
        for number, name in ((0, "block1_conv1"), (12, "block5_conv3")):
            np.testing.assert_array_equal(
                built.rpn.get_layer(name).kernel, file[f"Conv_{number}/kernel"]
            )


def test_the_real_mobilenet_v2_fills_the_whole_backbone(build):
    path = real("mobilenet_v2_imagenet.h5")
    built = build(backbone="mobilenet_v2", weights=str(path))
    filled = weights.fill(built.detector, path)
    assert filled.weights == 2_257_984 and filled.unused == ("Logits",)
    assert set(filled.missing) == HEADS and not filled.misfits
    with h5py.File(path) as file:  # whose names are older than Keras'
        old = file["mobl3_conv_3_project/mobl3_conv_3_project/kernel:0"][()]
        old_mean = file["bn16_conv_16_bn_depthwise/bn16_conv_16_bn_depthwise/moving_mean:0"][()]
    np.testing.assert_array_equal(arrays(built.detector)["block_3_project"][0], old)
    np.testing.assert_array_equal(arrays(built.detector)["block_16_depthwise_BN"][2], old_mean)


# The account.


def test_another_number_of_classes_makes_only_the_predictors_anew(build, tmp_path):
    build(3).detector.save_weights(tmp_path / "a.weights.h5")
    target = build(5).detector
    before = arrays(target)
    filled = weights.fill(target, tmp_path / "a.weights.h5")
    assert [name for name, _, _ in filled.misfits] == ["class_logits", "box_deltas"]
    assert not filled.missing and len(filled.layers) == len(before) - 2
    for name in ("class_logits", "box_deltas"):
        np.testing.assert_array_equal(arrays(target)[name][0], before[name][0])
    first, *others = filled.summary().splitlines()
    assert f"filled {len(filled.layers)} layers, {filled.weights:,} weights" in first
    assert [line.split()[0] for line in others] == ["class_logits", "box_deltas"]
    assert "made anew" in others[0] and "(16, 6)" in others[0] and "(16, 4)" in others[0]


def test_the_summary_names_what_the_file_lacks(build, tmp_path):
    built = build()
    built.rpn.save_weights(tmp_path / "rpn.weights.h5")
    filled = weights.fill(build().detector, tmp_path / "rpn.weights.h5")
    assert set(filled.missing) == {"head_dense1", "head_dense2", "class_logits", "box_deltas"}
    assert all(name in filled.summary() for name in filled.missing)


def test_it_is_an_error_if_nothing_fits(build, tmp_path):
    keras2_file(tmp_path / "a.h5", {"conv1": {"kernel": np.zeros((3, 3, 3, 8))}})
    with pytest.raises(
        WeightsError, match=r"no layer of .*a\.h5 fits: it has conv1, the model .*tiny_conv1"
    ):
        weights.fill(build().detector, tmp_path / "a.h5")
    np.savez(tmp_path / "a.npz", **{"Conv_0/kernel": np.zeros((5, 5, 3, 8)), "Conv_0/bias": np.zeros(8)})
    with pytest.raises(WeightsError, match=r"no layer of .*a\.npz fits"):
        weights.fill(build().detector, tmp_path / "a.npz")
    np.savez(tmp_path / "other.npz", kernel=np.zeros(3))
    with pytest.raises(WeightsError, match=r"no layer of .*other\.npz fits: it has none"):
        weights.fill(build().detector, tmp_path / "other.npz")


# Files that are no weight files.


def damaged(tmp_path, detector):
    """Return the damaged files that a download or a full disk leaves, and a few wrong ones."""
    detector.save_weights(tmp_path / "whole.weights.h5")
    h5 = (tmp_path / "whole.weights.h5").read_bytes()
    np.savez(tmp_path / "whole.npz", **{"Conv_0/kernel": np.zeros((3, 3, 3, 24)), "Conv_0/bias": [0.0]})
    npz = (tmp_path / "whole.npz").read_bytes()
    flipped = bytearray(npz)
    flipped[400] ^= 255
    h5_scrambled = bytearray(h5)
    h5_scrambled[96:4096] = bytes(4000)
    contents = {
        "empty.h5": b"",
        "half.h5": h5[: len(h5) // 2],
        "page.h5": b"<html>not found</html>",
        "scrambled.h5": bytes(h5_scrambled),
        "an_npz.h5": npz,
        "empty.npz": b"",
        "half.npz": npz[: len(npz) // 2],
        "page.npz": b"<html>not found</html>",
        "flipped.npz": bytes(flipped),
        "an_h5.npz": h5,
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    with open(tmp_path / "an_npy.npz", "wb") as file:
        np.save(file, np.zeros(3))
    np.savez(tmp_path / "no_bias.npz", **{"Conv_0/kernel": np.zeros((3, 3, 3, 24))})
    return [tmp_path / name for name in (*contents, "an_npy.npz", "no_bias.npz")]


def test_damaged_files_are_errors_that_name_them(build, tmp_path):
    detector = build().detector
    before = arrays(detector)
    for path in damaged(tmp_path, detector):
        with pytest.raises(WeightsError) as caught:
            weights.fill(detector, path)
        assert str(path) in str(caught.value) and "\n" not in str(caught.value)
    for name, values in arrays(detector).items():
        np.testing.assert_array_equal(values[0], before[name][0])


class Trap:
    """Writes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_npz_with_a_pickle_is_refused_and_not_run(build, tmp_path):
    objects = np.array([Trap(tmp_path / "sprung")], object)
    np.savez(tmp_path / "a.npz", **{"Conv_0/kernel": objects, "Conv_0/bias": np.zeros(24)})
    with pytest.raises(WeightsError, match=r"cannot read weights from .*a\.npz"):
        weights.fill(build().detector, tmp_path / "a.npz")
    assert not (tmp_path / "sprung").exists()


# Which file, and what it was trained on.


def test_a_missing_file_is_named(tmp_path):
    for path in (tmp_path / "nothing.h5", tmp_path):
        with pytest.raises(WeightsError, match=f"there is no weight file {path}"):
            weights.locate(str(path), "vgg16")


def test_none_is_no_file_and_a_file_is_itself(tmp_path):
    (tmp_path / "a.h5").touch()
    assert weights.locate("none", "vgg16") is None
    assert weights.locate(str(tmp_path / "a.h5"), "vgg16") == tmp_path / "a.h5"


@pytest.mark.parametrize("backbone", ["vgg16", "resnet50", "mobilenet_v2"])
def test_imagenet_without_a_network_says_where_to_put_which_file(backbone, monkeypatch):
    monkeypatch.setenv("KERAS_HOME", "/home/of/keras")

    def unreachable(**_):
        raise Exception("URL fetch failure")  # as Keras raises it

    monkeypatch.setattr(keras.utils, "get_file", unreachable)
    with pytest.raises(WeightsError) as caught:
        weights.locate("imagenet", backbone)
    name = weights.IMAGENET[backbone][0].rsplit("/", 1)[1]
    assert name.startswith(backbone) and name.endswith("top.h5")
    assert f"put that file at /home/of/keras/models/{name}" in str(caught.value)
    assert "--weights" in str(caught.value)


def test_imagenet_is_downloaded_with_its_checksum(monkeypatch, tmp_path):
    asked = {}
    monkeypatch.setattr(keras.utils, "get_file", lambda **kwargs: asked.update(kwargs) or str(tmp_path))
    assert weights.locate("imagenet", "vgg16") == tmp_path
    assert asked["origin"].startswith(
        "https://storage.googleapis.com/tensorflow/keras-applications/vgg16/"
    )
    assert asked["file_hash"] == "6d6bbae143d832006294945121d1f1fc"


def test_there_is_no_imagenet_for_tiny():
    with pytest.raises(WeightsError, match="no ImageNet weights for tiny: use --weights none"):
        weights.locate("imagenet", "tiny")


def test_preprocessing_follows_the_file(tmp_path):
    assert weights.preprocessing_for(tmp_path / "vgg16.npz", "vgg16") == "torch"
    assert weights.preprocessing_for(tmp_path / "vgg16.h5", "vgg16") == "caffe"
    assert weights.preprocessing_for(tmp_path / "mobilenet.h5", "mobilenet_v2") == "tf"
    assert weights.preprocessing_for(None, "resnet50") == "caffe"


def test_preprocessing_of_a_detectors_weights_is_the_detectors(build, small_config, tmp_path):
    config = small_config.replace({"model.preprocessing": "torch"})
    path = tmp_path / "best.weights.h5"
    weight_files.save(build(), config, path)
    assert weights.preprocessing_for(path, "vgg16") == "torch"
    saved_config.write(path, '{"architectures": ["of another program"]}')
    with pytest.raises(ConfigError, match=f"the config in {path} must hold sections"):
        weights.preprocessing_for(path, "vgg16")


def test_the_config_beside_a_file_is_not_taken_for_its_own(tmp_path):
    (tmp_path / "config.json").write_text(preset("shapes").to_json())
    assert weights.preprocessing_for(tmp_path / "best.weights.h5", "vgg16") == "caffe"
