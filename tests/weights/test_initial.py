"""Weight files: all three kinds fill what they should, say so, and fail aloud when they do not."""

import importlib
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest

from frcnn.config import in_weights
from frcnn.config.presets import preset
from frcnn.config.schema import Config, ModelConfig
from frcnn.errors import ConfigError, WeightsError
from frcnn.models.backbones import BACKBONES
from frcnn.models.faster_rcnn import FasterRCNN
from frcnn.weights import detector_files, imagenet, initial

REAL = Path(__file__).resolve().parents[3] / "shared" / "weights"
HEADS = {"rpn_conv", "rpn_class_logits", "rpn_deltas", "class_logits", "box_deltas"}
TINY = [f"tiny_conv{number}" for number in range(1, 6)]


@pytest.fixture
def build(small_config):
    """Return a function that builds ``FasterRCNN`` of small heads."""
    return lambda object_classes=3, **model: FasterRCNN.from_config(
        small_config.replace({f"model.{name}": value for name, value in model.items()}),
        object_classes + 1,
        allow_random_frozen=True,
    )


def arrays(model):
    """Return {layer name: its weights}."""
    return {layer.name: layer.get_weights() for layer in initial.weighted_layers(model)}


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
    filled = initial.load_weights(target, tmp_path / "a.weights.h5")
    assert set(filled.layers) == set(arrays(target)) and not filled.missing and not filled.mismatched
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
    filled = initial.load_weights(built.detector, tmp_path / "a.h5")
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
    filled = initial.load_weights(detector, tmp_path / "a.npz")
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
    assert initial.load_weights(detector, tmp_path / "a.npz").unused == ("Conv_5",)


def test_the_real_vgg16_fills_all_13_convolutions(build):
    path = real("vgg16_imagenet_fp16.npz")
    built = build(backbone="vgg16", weights=str(path), preprocessing="torch")
    filled = initial.load_weights(built.detector, path)
    assert len(filled.layers) == 13 and filled.weights == 14_714_688
    assert all(name.startswith("block") for name in filled.layers)
    assert set(filled.missing) == HEADS | {"head_dense1", "head_dense2"} and not filled.mismatched
    with np.load(path) as file:
        for number, name in ((0, "block1_conv1"), (12, "block5_conv3")):
            np.testing.assert_array_equal(
                built.rpn.get_layer(name).kernel, file[f"Conv_{number}/kernel"]
            )


def test_the_real_mobilenet_v2_fills_the_whole_backbone(build):
    path = real("mobilenet_v2_imagenet.h5")
    built = build(backbone="mobilenet_v2", weights=str(path))
    filled = initial.load_weights(built.detector, path)
    assert filled.weights == 2_257_984 and filled.unused == ("Logits",)
    assert set(filled.missing) == HEADS and not filled.mismatched
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
    filled = initial.load_weights(target, tmp_path / "a.weights.h5")
    assert [name for name, _, _ in filled.mismatched] == ["class_logits", "box_deltas"]
    assert not filled.missing and len(filled.layers) == len(before) - 2
    for name in ("class_logits", "box_deltas"):
        np.testing.assert_array_equal(arrays(target)[name][0], before[name][0])
    first, *others = filled.summary().splitlines()
    assert f"loaded {len(filled.layers)} layers, {filled.weights:,} weights" in first
    assert [line.split()[0] for line in others] == ["class_logits", "box_deltas"]
    assert "not loaded" in others[0] and "(16, 6)" in others[0] and "(16, 4)" in others[0]


def test_the_summary_names_what_the_file_lacks(build, tmp_path):
    built = build()
    built.rpn.save_weights(tmp_path / "rpn.weights.h5")
    filled = initial.load_weights(build().detector, tmp_path / "rpn.weights.h5")
    assert set(filled.missing) == {"head_dense1", "head_dense2", "class_logits", "box_deltas"}
    assert all(name in filled.summary() for name in filled.missing)


def test_it_is_an_error_if_nothing_fits(build, tmp_path):
    keras2_file(tmp_path / "a.h5", {"conv1": {"kernel": np.zeros((3, 3, 3, 8))}})
    with pytest.raises(
        WeightsError, match=r"no layer of .*a\.h5 fits: it has conv1, the model has .*tiny_conv1"
    ):
        initial.load_weights(build().detector, tmp_path / "a.h5")
    np.savez(tmp_path / "a.npz", **{"Conv_0/kernel": np.zeros((5, 5, 3, 8)), "Conv_0/bias": np.zeros(8)})
    with pytest.raises(WeightsError, match=r"no layer of .*a\.npz fits"):
        initial.load_weights(build().detector, tmp_path / "a.npz")
    np.savez(tmp_path / "other.npz", kernel=np.zeros(3))
    with pytest.raises(WeightsError, match=r"no layer of .*other\.npz fits: it has kernel"):
        initial.load_weights(build().detector, tmp_path / "other.npz")


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
            initial.load_weights(detector, path)
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
        initial.load_weights(build().detector, tmp_path / "a.npz")
    assert not (tmp_path / "sprung").exists()


# Which file, and what it was trained on.


def wanting(weights, backbone="vgg16", **model):
    """Return a ``ModelConfig`` that names weights."""
    return ModelConfig(weights=str(weights), backbone=backbone, **model)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(WeightsError, match=f"there is no weight file {tmp_path / 'nothing.h5'}"):
        initial.find_or_download(wanting(tmp_path / "nothing.h5"))
    with pytest.raises(WeightsError, match=f"{tmp_path} is not a training run .*no .*best.weights.h5"):
        initial.find_or_download(wanting(tmp_path))


def test_none_is_no_file_and_a_file_is_itself(tmp_path):
    (tmp_path / "a.h5").touch()
    assert initial.find_or_download(wanting("none")) is None
    assert initial.find_or_download(wanting(tmp_path / "a.h5")) == tmp_path / "a.h5"


def test_a_run_s_folder_means_its_best_weights(build, small_config, tmp_path):
    config = small_config.replace({"model.preprocessing": "torch"})
    detector_files.save(build(), config, tmp_path / "best.weights.h5")
    assert initial.find_or_download(wanting(tmp_path)) == tmp_path / "best.weights.h5"
    assert initial.preprocessing_for(initial.find_or_download(wanting(tmp_path)), "tiny") == "torch"
    # So that fine-tuning starts from its network, too.
    assert in_weights.read(tmp_path) == config.to_json()


@pytest.mark.parametrize("backbone", [name for name in BACKBONES if name != "tiny"])
def test_imagenet_without_a_network_says_where_to_put_which_file(backbone, monkeypatch):
    monkeypatch.setenv("KERAS_HOME", "/home/of/keras")

    def unreachable(**_):
        raise Exception("URL fetch failure")  # as Keras raises it

    monkeypatch.setattr(keras.utils, "get_file", unreachable)
    with pytest.raises(WeightsError) as caught:
        initial.find_or_download(wanting("imagenet", backbone))
    name = imagenet.DOWNLOADS[backbone][0].rsplit("/", 1)[1]
    assert name.removeprefix("weights_").startswith(backbone.split("_")[0])
    assert f"save that file as /home/of/keras/models/{name}" in str(caught.value)
    assert "--weights" in str(caught.value)


def test_imagenet_is_downloaded_with_its_checksum(monkeypatch, tmp_path):
    asked = {}
    monkeypatch.setattr(keras.utils, "get_file", lambda **kwargs: asked.update(kwargs) or str(tmp_path))
    assert initial.find_or_download(wanting("imagenet")) == tmp_path
    official = importlib.import_module("keras.src.applications.vgg16")
    assert (asked["origin"], asked["file_hash"]) == (
        official.WEIGHTS_PATH,
        "64373286793e3c8b2b4e3219cbf3544b",
    )
    # A narrower head cannot take VGG16's dense layers, which are nine tenths of the file.
    initial.find_or_download(wanting("imagenet", head_width=1024))
    assert asked["origin"] == official.WEIGHTS_PATH_NO_TOP
    assert asked["file_hash"] == "6d6bbae143d832006294945121d1f1fc"


def test_the_checksums_are_those_of_keras():
    resnets = importlib.import_module("keras.src.applications.resnet").WEIGHTS_HASHES
    v3 = importlib.import_module("keras.src.applications.mobilenet_v3").WEIGHTS_HASHES
    assert imagenet.DOWNLOADS["resnet50_fpn"][1] == resnets["resnet50"][1]
    assert imagenet.DOWNLOADS["resnet101_fpn"][1] == resnets["resnet101"][1]
    assert imagenet.DOWNLOADS["mobilenet_v3_large_fpn"][1] == v3["large_224_1.0_float"][1]
    assert imagenet.DOWNLOADS["resnet50v2_fpn"][1] == resnets["resnet50v2"][1]
    for backbone, module, name in (
        ("convnext_tiny_fpn", "convnext", "convnext_tiny"),
        ("efficientnetv2_b0_fpn", "efficientnet_v2", "b0"),
    ):
        official = importlib.import_module(f"keras.src.applications.{module}")
        url, checksum = imagenet.DOWNLOADS[backbone]
        assert checksum == official.WEIGHTS_HASHES[name][1]
        assert url.startswith(official.BASE_WEIGHTS_PATH) and url.endswith("_notop.h5")


def test_there_is_no_imagenet_for_tiny():
    for ask in (initial.check_weights, initial.find_or_download):
        with pytest.raises(WeightsError, match="no ImageNet weights for tiny: use --weights none"):
            ask(wanting("imagenet", "tiny"))


# --- what a file is known by -----------------------------------------------------------------

KERAS_FILES = {
    "vgg16": ["block1_conv1", "block5_conv3", "fc1"],
    "vgg19": ["block1_conv1", "block5_conv3", "block5_conv4"],
    "resnet50": ["conv1_conv", "conv4_block6_1_conv"],
    "resnet101": ["conv1_conv", "conv4_block6_1_conv", "conv4_block23_1_conv"],
    "mobilenet_v2": ["Conv1", "mobl0_conv_0_depthwise"],
    "mobilenet_v3": ["Conv", "expanded_conv_14/depthwise"],
    "keras_frcnn": ["block1_conv1", "block5_conv3", "rpn_conv1", "rpn_out_class", "rpn_out_regress"],
    "unknown": ["tiny_conv1"],
}
STATES = {
    "vgg16": ["features.0.weight", "features.28.weight", "classifier.0.weight"],
    "vgg16_bn": ["features.0.weight", "features.28.weight", "features.1.running_mean"],
    "resnet18": ["conv1.weight", "layer1.0.conv1.weight"],
    "resnet50": ["layer1.0.conv3.weight", "layer3.5.conv3.weight"],
    "resnet101": ["layer1.0.conv3.weight", "layer3.5.conv3.weight", "layer3.22.conv3.weight"],
    "mobilenet_v2": ["features.0.0.weight", "features.1.conv.0.0.weight"],
    "mobilenet_v3": ["features.0.0.weight", "features.15.block.0.0.weight"],
    "detector": ["backbone.body.conv1.weight", "roi_heads.box_predictor.cls_score.weight"],
    "numbered": ["Conv_0/kernel", "Conv_0/bias"],
}


@pytest.fixture
def named(tmp_path):
    """Return a function that writes a file of which only the names matter."""

    def write(kind, name):
        if kind == "torchvision":
            path = tmp_path / f"{name}.npz"
            np.savez(path, **{entry: np.zeros(1) for entry in STATES[name]})
        else:
            path = tmp_path / f"{name}.h5"
            keras2_file(path, {layer: {"kernel": np.zeros(1)} for layer in KERAS_FILES[name]})
        return path

    return write


@pytest.mark.parametrize(
    "kind, name, backbone, preprocessing, variant",
    [
        ("keras", "vgg16", "vgg16", "caffe", "auto"),
        ("keras", "resnet50", "resnet50", "caffe", "auto"),
        ("keras", "resnet50", "resnet50_fpn", "caffe", "keras"),
        ("keras", "resnet50", "resnet50_fpn_v2", "caffe", "keras"),
        ("keras", "resnet101", "resnet101_fpn", "caffe", "keras"),
        ("keras", "mobilenet_v2", "mobilenet_v2", "tf", "auto"),
        ("keras", "mobilenet_v2", "mobilenet_v2_fpn", "tf", "auto"),
        ("keras", "mobilenet_v3", "mobilenet_v3_large_fpn", "tf", "keras"),
        ("torchvision", "vgg16", "vgg16", "torch", "auto"),
        ("torchvision", "resnet50", "resnet50_fpn", "torch", "auto"),
        ("torchvision", "resnet101", "resnet101_fpn", "torch", "auto"),
        ("torchvision", "mobilenet_v3", "mobilenet_v3_large_fpn", "torch", "auto"),
        ("torchvision", "numbered", "vgg16", "torch", "auto"),
    ],
)
def test_preprocessing_and_variant_follow_the_file(named, kind, name, backbone, preprocessing, variant):
    path = named(kind, name)
    initial.check_weights(wanting(path, backbone))
    assert initial.preprocessing_for(path, backbone) == preprocessing
    config = Config().replace({"model.backbone": backbone})
    settled = initial.resolve_auto_settings(config, path)
    asked = {"model.preprocessing": preprocessing, "model.variant": variant}
    assert settled == config.replace(asked)
    assert initial.resolve_auto_settings(settled, path) == settled
    if variant != "auto":
        other = {"keras": "torchvision", "torchvision": "keras"}[variant]
        with pytest.raises(
            ConfigError, match=f"variant is {other}, but .*{path.name} are for the variant of {variant}"
        ):
            initial.resolve_auto_settings(config.replace({"model.variant": other}), path)


def test_without_a_file_it_is_the_backbone_s_own_and_of_an_unknown_file_nobody_s(named):
    assert initial.preprocessing_for(None, "resnet50") == "caffe"
    path = named("keras", "unknown")
    assert initial.preprocessing_for(path, "resnet50") is None
    assert initial.resolve_auto_settings(Config(), path).model.preprocessing == "caffe"
    said = Config().replace({"model.preprocessing": "torch"})
    assert initial.resolve_auto_settings(said, path) == said


@pytest.mark.parametrize(
    "kind, name, backbone, says",
    [
        ("keras", "vgg19", "vgg16", "VGG19.*vgg16 takes VGG16 of keras.applications or VGG16 of torch"),
        ("keras", "resnet101", "resnet50", "ResNet101.*resnet50 takes ResNet50 of keras.applications; "),
        ("keras", "vgg16", "tiny", "none is for tiny; this one is for vgg16"),
        ("torchvision", "vgg16_bn", "vgg16", "a VGG with batch normalization"),
        ("torchvision", "resnet50", "resnet50", "ResNet50 of torchvision.*takes ResNet50 of keras.appl"),
        ("torchvision", "resnet18", "resnet50_fpn", "another ResNet of torchvision"),
        ("torchvision", "mobilenet_v2", "mobilenet_v2_fpn", "MobileNetV2 of torchvision.*of keras.app"),
        ("torchvision", "detector", "resnet50_fpn", "frcnn import torchvision .*detector.npz NAME"),
        ("keras", "keras_frcnn", "vgg16", "frcnn import keras-frcnn .*frcnn.h5 OUT.h5 --classes"),
    ],
)
def test_a_file_of_another_network_is_refused_before_anything_is_built(
    named, kind, name, backbone, says
):
    """Some share names and shapes with ours: ResNet101 filled all of resnet50, VGG19 all of vgg16."""
    path = named(kind, name)
    for ask in (
        lambda: initial.check_weights(wanting(path, backbone)),
        lambda: initial.preprocessing_for(path, backbone),
    ):
        with pytest.raises(WeightsError, match=says) as caught:
            ask()
        assert str(path) in str(caught.value)


def test_weights_of_keras_frcnn_fill_nothing(named, build):
    """They filled the layers of equal names, with channels the wrong way round."""
    with pytest.raises(WeightsError, match="is a detector of keras-frcnn"):
        initial.load_weights(build(backbone="vgg16").detector, named("keras", "keras_frcnn"))


def test_preprocessing_of_a_detectors_weights_is_the_detectors(build, small_config, tmp_path):
    config = small_config.replace({"model.preprocessing": "torch"})
    path = tmp_path / "best.weights.h5"
    detector_files.save(build(), config, path)
    assert initial.preprocessing_for(path, "vgg16") == "torch"
    in_weights.write(path, '{"architectures": ["of another program"]}')
    with pytest.raises(ConfigError, match=f"the config in {path} must have sections"):
        initial.preprocessing_for(path, "vgg16")


def test_the_config_beside_a_file_is_not_taken_for_its_own(named, tmp_path):
    (tmp_path / "config.json").write_text(preset("shapes").to_json())
    assert initial.preprocessing_for(named("keras", "vgg16"), "vgg16") == "caffe"


# --- a detector of other classes -------------------------------------------------------------


def predictors(built):
    return {name: arrays(built.detector)[name] for name in ("class_logits", "box_deltas")}


@pytest.fixture
def of_cat_dog_bird(build, small_config, tmp_path):
    """Return a detector of three classes and its file."""
    source = build(3)
    for name in ("class_logits", "box_deltas"):
        layer = source.detector.get_layer("region_classifier").get_layer(name)
        layer.bias.assign(np.arange(layer.bias.shape[0]))
    config = small_config.replace({"data.classes": "cat,dog,bird"})
    detector_files.save(source, config, tmp_path / "best.weights.h5")
    return source, tmp_path / "best.weights.h5"


def test_the_same_classes_keep_the_last_layers(of_cat_dog_bird, build):
    source, path = of_cat_dog_bird
    target = build(3)
    filled = initial.load_weights(target.detector, path, ("cat", "dog", "bird"))
    assert not filled.missing and not filled.notes
    for name, values in predictors(source).items():
        for old, new in zip(values, predictors(target)[name]):
            np.testing.assert_array_equal(new, old)


def test_the_same_classes_in_another_order_bring_their_weights_along(of_cat_dog_bird, build):
    source, path = of_cat_dog_bird
    target = build(3)
    filled = initial.load_weights(target.detector, path, ("bird", "cat", "dog"))
    assert not filled.missing and "put in the order of this run's classes" in filled.summary()
    kernel, bias = predictors(target)["class_logits"]
    assert bias.tolist() == [2, 0, 1, 3]  # background stays last
    np.testing.assert_array_equal(kernel, predictors(source)["class_logits"][0][:, [2, 0, 1, 3]])
    kernel, bias = predictors(target)["box_deltas"]
    assert bias.tolist() == [8, 9, 10, 11, 0, 1, 2, 3, 4, 5, 6, 7]
    np.testing.assert_array_equal(kernel[:, :4], predictors(source)["box_deltas"][0][:, 8:])


def test_oriented_boxes_in_another_order_bring_their_weights_along(small_config, tmp_path):
    config = small_config.replace({"data.classes": "cat,dog,bird", "box.kind": "oriented"})
    source, target = (FasterRCNN.from_config(config, 4, allow_random_frozen=True) for _ in range(2))
    detector_files.save(source, config, tmp_path / "a.weights.h5")
    filled = initial.load_weights(target.detector, tmp_path / "a.weights.h5", ("bird", "cat", "dog"))
    assert not filled.missing
    (old, _), (new, _) = (predictors(one)["box_deltas"] for one in (source, target))
    np.testing.assert_array_equal(new, np.roll(old, 5, axis=1))


def test_one_box_for_all_classes_needs_no_order(build, small_config, tmp_path):
    source, target = (build(3, class_agnostic_boxes=True) for _ in range(2))
    values = {"data.classes": "cat,dog,bird", "model.class_agnostic_boxes": True}
    detector_files.save(source, small_config.replace(values), tmp_path / "a.weights.h5")
    filled = initial.load_weights(target.detector, tmp_path / "a.weights.h5", ("bird", "cat", "dog"))
    assert not filled.missing
    (old, _), (new, _) = (predictors(one)["class_logits"] for one in (source, target))
    np.testing.assert_array_equal(new, old[:, [2, 0, 1, 3]])
    for old, new in zip(predictors(source)["box_deltas"], predictors(target)["box_deltas"]):
        np.testing.assert_array_equal(new, old)


def test_as_many_other_classes_make_the_last_layers_anew(of_cat_dog_bird, build):
    """Their number alone had kept the weights of cats for ships."""
    _, path = of_cat_dog_bird
    target = build(3)
    before = predictors(target)
    filled = initial.load_weights(target.detector, path, ("cat", "dog", "ship"))
    assert filled.missing == ("class_logits", "box_deltas")
    assert "not loaded: the file has cat, dog, bird, this run has cat, dog, ship" in filled.summary()
    for name, values in before.items():
        for old, new in zip(values, predictors(target)[name]):
            np.testing.assert_array_equal(new, old)


def test_a_detector_s_file_that_names_no_class_makes_them_anew(build, tmp_path):
    build(3).detector.save_weights(tmp_path / "a.weights.h5")
    filled = initial.load_weights(build(3).detector, tmp_path / "a.weights.h5", ("cat", "dog", "ship"))
    assert filled.missing == ("class_logits", "box_deltas")
    assert "the file does not name its classes" in filled.summary()


def test_numbers_that_are_not_finite_are_refused(tmp_path, build):
    kernel = np.zeros((3, 3, 3, 24))
    kernel[0, 0, 0, 0] = np.nan
    keras2_file(tmp_path / "a.h5", {"tiny_conv1": {"kernel": kernel, "bias": np.zeros(24)}})
    with pytest.raises(
        WeightsError, match="a.h5 has numbers that are not finite in the layer tiny_conv1"
    ):
        initial.load_weights(build().detector, tmp_path / "a.h5")
