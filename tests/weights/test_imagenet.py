"""ImageNet's networks in our backbones: the features that ``keras.applications`` has, from its file.

The files are written here, with random numbers: kernels, biases, and statistics that are not 0 and 1.
"""

import importlib
from types import SimpleNamespace

import h5py
import keras
import numpy as np
import pytest
from keras import layers

from frcnn.config.schema import Config
from frcnn.errors import WeightsError
from frcnn.models import heads
from frcnn.models.backbones import BACKBONES
from frcnn.weights import imagenet_layers, initial


def randomize(model, seed=0):
    """Give all weights of a model numbers that keep its features near 1."""
    rng = np.random.default_rng(seed)
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            size = layer.gamma.shape[0]
            values = [rng.uniform(0.5, 1.5, size), *rng.normal(0, 0.3, (2, size))]
            layer.set_weights([*values, rng.uniform(0.5, 2.0, size)])
        elif layer.weights:
            kernel, *bias = [tuple(weight.shape) for weight in layer.weights]
            fan_in = np.prod(kernel[:2] if "depthwise" in layer.name else kernel[:-1])
            values = [rng.standard_normal(kernel, "float32") * (2.0 / fan_in) ** 0.5]
            layer.set_weights([*values, *(rng.normal(0, 0.3, shape) for shape in bias)])
    return model


def write_keras2(path, model, name_of=lambda name: name):
    """Write a model's weights as Keras 2 did, and as those of ``keras.applications`` lie."""
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [name_of(layer.name).encode() for layer in model.layers]
        for layer in model.layers:
            name = name_of(layer.name)
            group = file.create_group(name)
            paths = [f"{name}/{weight.name}:0" for weight in layer.weights]
            group.attrs["weight_names"] = [p.encode() for p in paths] or np.zeros(0, "S1")
            for inner, weight in zip(paths, layer.weights):
                group[inner] = np.asarray(weight)
    return path


def features_of(backbone, path, images):
    """Return the levels that go into the pyramid, of a backbone filled from a file."""
    pixels = keras.Input((None, None, 3))
    config = initial.resolve_auto_settings(Config().replace({"model.backbone": backbone}), path)
    built = BACKBONES[backbone].build(pixels, config.model)
    network = keras.Model(pixels, list(built.features))
    filled = initial.load_weights(network, path)
    assert [name for name in filled.missing if not name.startswith("fpn_")] == []
    assert not filled.mismatched
    laterals = [layer for layer in network.layers if layer.name.startswith("fpn_lateral")]
    ends = [layer.input for layer in sorted(laterals, key=lambda layer: layer.name)]
    return [np.asarray(level) for level in keras.Model(pixels, ends)(images)], filled


def images_of(seed=1):
    return np.random.default_rng(seed).uniform(-1, 1, (1, 32, 64, 3)).astype("float32")


def compare(found, expected):
    assert len(found) == len(expected)
    for ours, theirs in zip(found, expected):
        theirs = np.asarray(theirs)
        assert theirs.std() > 0.1
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=2e-4 * np.abs(theirs).max())


# --- keras.applications ----------------------------------------------------------------------


@pytest.mark.slow
def test_resnet_from_keras(tmp_path):
    """Its strides and its biases give its features at all four levels."""
    pixels = keras.Input((None, None, 3))
    theirs = keras.applications.ResNet50(include_top=False, weights=None, input_tensor=pixels)
    path = write_keras2(tmp_path / "resnet.h5", randomize(theirs))
    ends = ("conv2_block3_out", "conv3_block4_out", "conv4_block6_out", "conv5_block3_out")
    images = images_of()
    expected = keras.Model(pixels, [theirs.get_layer(name).output for name in ends])(images)
    found, filled = features_of("resnet50_fpn", path, images)
    compare(found, expected)
    assert not filled.unused and "ResNet50 of keras.applications" in filled.summary()
    assert initial.preprocessing_for(path, "resnet50_fpn") == "caffe"
    with pytest.raises(WeightsError, match="ResNet50 of keras.applications, which has other layers"):
        initial.preprocessing_for(path, "vgg16")


def test_mobilenet_v2_pyramid_from_keras(tmp_path):
    pixels = keras.Input((None, None, 3))
    theirs = randomize(
        keras.applications.MobileNetV2(include_top=False, weights=None, input_tensor=pixels)
    )
    path = write_keras2(tmp_path / "mobilenet.h5", theirs)
    ends = ("block_2_add", "block_5_add", "block_12_add", "out_relu")
    images = images_of()
    expected = keras.Model(pixels, [theirs.get_layer(name).output for name in ends])(images)
    compare(features_of("mobilenet_v2_fpn", path, images)[0], expected)
    assert initial.preprocessing_for(path, "mobilenet_v2_fpn") == "tf"


def old_v3_name(name):
    """Return what the published file of MobileNetV3 calls a layer: slashes, and other capitals."""
    stem = {"conv": "Conv", "conv_bn": "Conv/BatchNorm", "conv_1": "Conv_1"}
    if name in stem or name == "conv_1_bn":
        return stem.get(name, "Conv_1/BatchNorm")
    if not name.startswith("expanded_conv"):
        return name
    number = name.removeprefix("expanded_conv_").split("_")[0]
    block = f"expanded_conv_{number}" if number.isdigit() else "expanded_conv"
    part = name.removeprefix(f"{block}_").replace("squeeze_excite_conv", "squeeze_excite/Conv")
    return f"{block}/{part.replace('_bn', '/BatchNorm')}"


@pytest.mark.slow
def test_mobilenet_v3_from_keras(tmp_path):
    """Its padding and its epsilon give its features at both levels."""
    pixels = keras.Input((None, None, 3))
    theirs = randomize(
        keras.applications.MobileNetV3Large(
            include_top=False, weights=None, input_tensor=pixels, include_preprocessing=False
        )
    )
    # Under the names of the published file, and read back under those that Keras gives now.
    path = write_keras2(tmp_path / "mobilenet.h5", theirs, old_v3_name)
    now = {layer.name for layer in theirs.layers if layer.weights}
    assert {"conv_1" if name == "Conv_1" else name for name in initial.read(path)} == now
    images = images_of()
    first = theirs.get_layer("expanded_conv_12_project_bn").output
    expected = keras.Model(pixels, [first, theirs.output])(images)
    found, filled = features_of("mobilenet_v3_large_fpn", path, images)
    compare(found, expected)
    assert not filled.unused
    assert initial.preprocessing_for(path, "mobilenet_v3_large_fpn") == "tf"


def test_the_names_of_a_deeper_resnet():
    names = {
        "conv1": "conv1_conv",
        "bn1": "conv1_bn",
        "layer1_0_downsample_0": "conv2_block1_0_conv",
        "layer3_22_conv3": "conv4_block23_3_conv",
        "layer4_0_downsample_1": "conv5_block1_0_bn",
        "fpn_lateral1": None,
        "rpn_conv": None,
    }
    assert {name: imagenet_layers._keras_resnet_name(name) for name in names} == names


def test_bias_and_epsilon_are_folded_exactly():
    """Where a variance is as small as the epsilon, half the output hangs on it."""
    rng = np.random.default_rng(0)
    x, bias = rng.normal(size=(50, 4)), rng.normal(size=4)
    gamma, beta, mean, variance = norm = [*rng.normal(size=(3, 4)), np.array([0, 1e-5, 1e-3, 1.0])]
    expected = gamma * (x + bias - mean) / np.sqrt(variance + 1e-3) + beta
    for epsilon in (0.0, 1e-5, 1e-2):
        ours = layers.BatchNormalization(epsilon=epsilon)
        ours.build((None, 4))
        ours.set_weights(imagenet_layers.fold(norm, bias, 1e-3 - epsilon))
        np.testing.assert_allclose(ours(x.astype("float32")), expected, rtol=1e-4, atol=1e-4)


# --- VGG16's dense layers --------------------------------------------------------------------


class Vgg16Head:
    """A head of fc6 and fc7 over 7 x 7 x K features, and those numbers in every layout."""

    def __init__(self, channels=512, width=24):
        rng = np.random.default_rng(0)
        self.pooled = rng.uniform(0, 1, (3, 7, 7, channels)).astype("float32")
        self.fc6 = (rng.standard_normal((7, 7, channels, width), "float32") / 50, rng.normal(size=width))
        self.fc7 = (rng.standard_normal((width, width), "float32") / 5, rng.normal(size=width))

    def keras(self):
        kernel, bias = self.fc6
        return {"fc1": [kernel.reshape(-1, kernel.shape[-1]), bias], "fc2": list(self.fc7)}

    def torchvision(self):
        kernel, bias = self.fc6
        by_channel = kernel.transpose(3, 2, 0, 1).reshape(kernel.shape[-1], -1)
        (kernel7, bias7) = self.fc7
        return {
            "classifier.0.weight": by_channel,
            "classifier.0.bias": bias,
            "classifier.3.weight": kernel7.T,
            "classifier.3.bias": bias7,
        }

    def expected(self):
        kernel, bias = self.fc6
        x = np.maximum(np.einsum("nijc,ijcw->nw", self.pooled, kernel) + bias, 0)
        return np.maximum(x @ self.fc7[0] + self.fc7[1], 0)


def head_of(head):
    pooled = keras.Input(head.pooled.shape[1:])
    width = head.fc7[0].shape[0]
    return keras.Model(pooled, heads.dense_head(pooled, (width, width), dropout=0.5))


def as_numbered(head):
    kernels = {"Dense_0": head.keras()["fc1"], "Dense_1": head.keras()["fc2"]}
    parts = {
        f"{layer}/{part}": value
        for layer, values in kernels.items()
        for part, value in zip(("kernel", "bias"), values)
    }
    return parts | {"Conv_0/kernel": np.zeros((3, 3, 3, 64)), "Conv_0/bias": np.zeros(64)}


@pytest.fixture(scope="module")
def vgg16_head():
    return Vgg16Head()


def write_head(kind, head, folder):
    """Write the head in a file of a kind, with what makes it a VGG16's."""
    path = folder / f"vgg16.{kind}"
    marks = {"features.0.weight": np.zeros(1), "features.28.weight": np.zeros(1)}
    if kind == "h5":
        with h5py.File(path, "w") as file:
            kernel, bias = np.zeros((3, 3, 3, 64)), np.zeros(64)
            names = head.keras() | {"block1_conv1": [kernel, bias], "block5_conv3": [kernel, bias]}
            file.attrs["layer_names"] = [name.encode() for name in names]
            for name, values in names.items():
                group = file.create_group(name)
                group.attrs["weight_names"] = [b"kernel:0", b"bias:0"]
                group["kernel:0"], group["bias:0"] = values
    elif kind == "npz":
        np.savez(path, **as_numbered(head))
    elif kind == "state.npz":
        np.savez(path, **(head.torchvision() | marks))
    elif kind == "safetensors":
        numpy = pytest.importorskip("safetensors.numpy")
        numpy.save_file(
            {k: np.ascontiguousarray(v) for k, v in (head.torchvision() | marks).items()}, path
        )
    else:
        torch = pytest.importorskip("torch")
        state = head.torchvision() | marks
        torch.save({k: torch.from_numpy(np.ascontiguousarray(v)) for k, v in state.items()}, path)
    return path


@pytest.mark.parametrize("kind", ["h5", "npz", "state.npz", "safetensors", "pth"])
def test_the_head_gives_vgg16_s_own_fc7(kind, vgg16_head, tmp_path):
    """On 7 x 7 x 512 features, from every kind of file, flattened either way round."""
    model = head_of(vgg16_head)
    filled = initial.load_weights(model, write_head(kind, vgg16_head, tmp_path))
    assert filled.layers == ("head_dense1", "head_dense2") and not filled.mismatched
    expected = vgg16_head.expected()
    assert (expected > 0).mean() > 0.2
    np.testing.assert_allclose(model(vgg16_head.pooled), expected, rtol=1e-3, atol=1e-4)


def test_the_head_gives_the_fc7_of_keras_applications(tmp_path, monkeypatch):
    """Of its own VGG16 with its top, made narrower but for what goes in: 7 x 7 x 512."""
    vgg16 = importlib.import_module("keras.src.applications.vgg16")
    narrow = SimpleNamespace(**vars(layers))
    narrow.Dense = lambda units, **settings: layers.Dense(min(units, 32), **settings)
    monkeypatch.setattr(vgg16, "layers", narrow)
    theirs = keras.applications.VGG16(weights=None, include_top=True)
    path = write_keras2(tmp_path / "vgg16.h5", theirs)
    pooled = theirs.get_layer("block5_pool").output
    assert pooled.shape == (None, 7, 7, 512)
    features = np.random.default_rng(0).uniform(0, 1, (2, 7, 7, 512)).astype("float32")
    fc7 = keras.Model(pooled, theirs.get_layer("fc2").output)
    inputs = keras.Input((7, 7, 512))
    head = keras.Model(inputs, heads.dense_head(inputs, (32, 32)))
    assert initial.load_weights(head, path).layers == ("head_dense1", "head_dense2")
    expected = np.asarray(fc7(features))
    assert expected.std() > 0.01
    np.testing.assert_allclose(head(features), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["h5", "npz", "state.npz"])
def test_dense_layers_that_do_not_fit_the_head_are_left_out_together(kind, vgg16_head, tmp_path):
    """fc7 would fit a head of 3 x 3 bins, but reads what another fc6 has made of its region."""
    pooled = keras.Input((3, 3, 512))
    features = layers.Conv2D(64, 3, name="block1_conv1")(keras.Input((None, None, 3)))
    width = vgg16_head.fc7[0].shape[0]
    head = keras.Model(pooled, heads.dense_head(pooled, (width, width)))
    model = keras.Model([features._keras_history.operation.input, pooled], [features, head(pooled)])
    filled = (
        initial.load_weights(model, write_head(kind, vgg16_head, tmp_path))
        if kind != "state.npz"
        else None
    )
    if filled is None:
        with pytest.raises(WeightsError, match="no layer of"):
            initial.load_weights(head, write_head(kind, vgg16_head, tmp_path))
        return
    assert filled.layers == ("block1_conv1",) and filled.missing == ("head_dense2",)
    assert [name for name, *_ in filled.mismatched] == ["head_dense1"]
    assert "head_dense1 not loaded" in filled.summary()
