"""Weights of the old keras-frcnn trainers: the same numbers as their network gives.

The files are written here, in the layout of Keras 2, and the network is built a second time, by their
names and their formulas: anchors size by size with pairs of ratios, deltas over 4, regions cut out at
whole cells. Head and RPN are narrow; their widths are read from the file.
"""

import h5py
import keras
import numpy as np
import pytest
from keras import layers

from frcnn.convert import keras_frcnn
from frcnn.detector import Detector
from frcnn.errors import ConfigError, WeightsError
from frcnn.ops import boxes as box_ops

SIZES, STRIDE = (32, 64), 16
RATIOS = ((1, 1), (1, 2), (2, 1))
WIDTH, CHANNELS, CLASSES = 6, 5, ("cat", "dog")
ANCHORS, C = len(SIZES) * len(RATIOS), len(CLASSES) + 1

CONVOLUTIONS = [(1, 64, 2), (2, 128, 2), (3, 256, 3), (4, 512, 3), (5, 512, 3)]


def make_weights():
    """Return {layer name: [kernel, bias]} with the layers' own names."""
    rng = np.random.default_rng(0)

    def layer(*shape, scale=1.0):
        kernel = rng.standard_normal(shape, "float32") * scale * (2.0 / np.prod(shape[:-1])) ** 0.5
        return [kernel.astype("float32"), rng.normal(0, 0.1, shape[-1]).astype("float32")]

    made, channels = {}, 3
    for block, filters, depth in CONVOLUTIONS:
        for number in range(1, depth + 1):
            made[f"block{block}_conv{number}"] = layer(3, 3, channels, filters)
            channels = filters
    made["rpn_conv1"] = layer(3, 3, 512, CHANNELS, scale=0.1)
    made["rpn_out_class"] = layer(1, 1, CHANNELS, ANCHORS)
    made["rpn_out_regress"] = layer(1, 1, CHANNELS, ANCHORS * 4, scale=0.1)
    made["fc1"] = layer(7 * 7 * 512, WIDTH, scale=0.1)
    made["fc2"] = layer(WIDTH, WIDTH)
    made[f"dense_class_{C}"] = layer(WIDTH, C)
    made[f"dense_regress_{C}"] = layer(WIDTH, (C - 1) * 4)
    return made


def write(path, arrays, names=None, root=""):
    """Write layers as Keras 2 does; ``names`` are those in the file where they differ."""
    with h5py.File(path, "w") as file:
        group = file.create_group(root) if root else file
        in_file = [(names or {}).get(name, name) for name in arrays]
        # Layers without weights are listed as well.
        group.attrs["layer_names"] = [name.encode() for name in ["input_1", *in_file, "block1_pool"]]
        for name in ("input_1", "block1_pool"):
            group.create_group(name).attrs["weight_names"] = np.zeros(0, "S1")
        for name, values in zip(in_file, arrays.values()):
            weight_names = [f"{name}/{part}:0" for part in ("kernel", "bias")][: len(values)]
            layer = group.create_group(name)
            layer.attrs["weight_names"] = [weight_name.encode() for weight_name in weight_names]
            for weight_name, value in zip(weight_names, values):
                layer[weight_name] = value
    return path


@pytest.fixture(scope="module")
def arrays():
    return make_weights()


@pytest.fixture(scope="module")
def imported(arrays, tmp_path_factory):
    # As they are saved: the dense layers of the head under their wrappers' names. A second model in
    # the same session has gone on counting, over 9 to 10.
    names = {"fc1": "time_distributed_8", "fc2": "time_distributed_10"}
    path = write(tmp_path_factory.mktemp("old") / "model_frcnn.hdf5", arrays, names)
    return keras_frcnn.import_keras_frcnn(path, CLASSES, 64, SIZES, RATIOS)


@pytest.fixture(scope="module")
def image():
    return np.random.default_rng(1).uniform(0, 255, (112, 144, 3)).astype("float32")


@pytest.fixture(scope="module")
def theirs(arrays, image):
    """Return their features, RPN scores (h, w, A) and RPN deltas (h, w, A·4) of the image."""
    x = pixels = keras.Input((None, None, 3))
    for block, filters, depth in CONVOLUTIONS:
        for number in range(1, depth + 1):
            name = f"block{block}_conv{number}"
            x = layers.Conv2D(filters, 3, padding="same", activation="relu", name=name)(x)
        if block < 5:
            x = layers.MaxPooling2D()(x)
    rpn = layers.Conv2D(CHANNELS, 3, padding="same", activation="relu", name="rpn_conv1")(x)
    scores = layers.Conv2D(ANCHORS, 1, activation="sigmoid", name="rpn_out_class")(rpn)
    deltas = layers.Conv2D(ANCHORS * 4, 1, name="rpn_out_regress")(rpn)
    model = keras.Model(pixels, [x, scores, deltas])
    for layer in model.layers:
        if layer.weights:
            layer.set_weights(arrays[layer.name])
    # OpenCV's BGR turned to RGB, then the mean of BGR subtracted.
    mean = np.array([103.939, 116.779, 123.68], "float32")
    return [np.asarray(output)[0] for output in model(image[None] - mean)]


def test_the_rpn_proposes_the_same_boxes_with_the_same_scores(imported, theirs, image):
    _, scores, deltas = theirs
    found = {}
    rows, columns = scores.shape[:2]
    x, y = np.meshgrid(np.arange(columns), np.arange(rows))
    number = 0
    for size in SIZES:
        for ratio in RATIOS:
            width, height = size * ratio[0], size * ratio[1]
            dx, dy, dw, dh = np.moveaxis(deltas[..., 4 * number : 4 * number + 4], -1, 0) / 4
            cx, cy = STRIDE * x + dx * width, STRIDE * y + dy * height
            w, h = width * np.exp(dw), height * np.exp(dh)
            boxes = np.stack([cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2], -1)
            found[size, ratio] = boxes, scores[..., number]
            number += 1

    our_scores, our_deltas = (np.asarray(y) for y in imported.models.rpn.predict_on_batch(image[None]))
    anchors, _ = imported.models.anchor_generator(*image.shape[:2])
    boxes = np.asarray(box_ops.decode(our_deltas.reshape(-1, 4), anchors))
    boxes = boxes.reshape(rows, columns, len(RATIOS), len(SIZES), 4)
    our_scores = our_scores.reshape(rows, columns, len(RATIOS), len(SIZES))
    for row, ratio in enumerate(RATIOS):
        for column, size in enumerate(SIZES):
            their_boxes, their_scores = found[size, ratio]
            assert their_scores.std() > 0.01 and np.abs(deltas).max() > 0.1
            np.testing.assert_allclose(our_scores[:, :, row, column], their_scores, atol=5e-5)
            np.testing.assert_allclose(boxes[:, :, row, column], their_boxes, atol=1e-2)


def test_the_head_gives_the_same_scores_and_boxes(imported, arrays, theirs, image):
    # Regions of 7 x 7 whole cells, which their resize leaves as they are.
    features = theirs[0]
    assert features.shape[:2] == (7, 9)
    rois = np.array([[[0, 0, 112, 112], [16, 0, 128, 112], [32, 0, 144, 112]]], "float32")
    scores, deltas = imported.models.classifier.predict_on_batch([image[None], rois])
    for row, left in enumerate(range(3)):
        x = features[:, left : left + 7].reshape(-1)
        for name in ("fc1", "fc2"):
            x = np.maximum(x @ arrays[name][0] + arrays[name][1], 0)
        logits = x @ arrays[f"dense_class_{C}"][0] + arrays[f"dense_class_{C}"][1]
        expected = np.exp(logits - logits.max())
        np.testing.assert_allclose(scores[0, row], expected / expected.sum(), rtol=1e-3, atol=1e-5)
        expected = x @ arrays[f"dense_regress_{C}"][0] + arrays[f"dense_regress_{C}"][1]
        np.testing.assert_allclose(deltas[0, row], expected, rtol=1e-3, atol=1e-3)


@pytest.mark.slow
def test_the_config_is_theirs_and_a_saved_detector_gives_the_same(imported, image, tmp_path):
    config = imported.config
    assert imported.classes == CLASSES
    assert (config.model.backbone, config.model.preprocessing) == ("vgg16", "caffe_rgb")
    assert (config.anchors.offset, config.anchors.ratios) == (0.0, (1.0, 2.0, 0.5))
    assert (config.data.short_side, config.model.head_width) == (64, WIDTH)
    assert config.roi.delta_weights == (8.0, 8.0, 4.0, 4.0)
    imported.save(tmp_path / "detector.h5")
    (before,), (after,) = imported.predict(image), Detector.load(tmp_path / "detector.h5").predict(image)
    for key in ("boxes", "scores", "labels"):
        np.testing.assert_array_equal(after[key], before[key])


# --- what does not fit -----------------------------------------------------------------------


@pytest.fixture
def refused(arrays, tmp_path):
    """Return a function from changed layers and arguments to the error's text."""

    def refuse(changes=None, error=WeightsError, **arguments):
        changed = {k: v for k, v in (arrays | (changes or {})).items() if v is not None}
        path = write(tmp_path / "old.hdf5", changed)
        arguments = {"classes": CLASSES, "sizes": SIZES, "ratios": RATIOS} | arguments
        with pytest.raises(error) as caught:
            keras_frcnn.import_keras_frcnn(path, **arguments)
        return str(caught.value)

    return refuse


def test_layers_that_do_not_match_are_all_named(refused):
    values = [np.zeros((1, 1, 2, 2), "float32"), np.zeros(2, "float32")]
    text = refused({"block3_conv2": None, "fc2": None, "extra_conv": values, "block1_conv1": values})
    assert "missing: block3_conv2, fc2" in text
    assert "left over: extra_conv" in text
    assert "wrong shape: block1_conv1 is [(1, 1, 2, 2), (2,)] and must be [(3, 3, 3, 64)" in text


def test_what_is_no_vgg16_of_theirs(refused, tmp_path):
    assert "is not a VGG16 of keras-frcnn" in refused({"rpn_conv1": None})
    assert "is not a VGG16 of keras-frcnn" in refused({"dense_class_9": [np.zeros((6, 9)), np.zeros(9)]})
    with pytest.raises(WeightsError, match="there is no weight file"):
        keras_frcnn.import_keras_frcnn(tmp_path / "none.hdf5")
    (tmp_path / "text.hdf5").write_text("no weights")
    with pytest.raises(WeightsError, match="cannot read weights from .*text.hdf5"):
        keras_frcnn.import_keras_frcnn(tmp_path / "text.hdf5")


def test_resnet_is_refused_with_the_reason(refused):
    text = refused({"res2a_branch2a": [np.zeros((1, 1, 64, 64)), np.zeros(64)]})
    assert "Only VGG16 can be imported" in text and "without padding" in text


def test_other_numbers_of_classes_and_anchors(refused):
    assert "has 2 classes without bg, not 3" in refused(error=ConfigError, classes=("a", "b", "c"))
    assert "has 6 anchors per cell, not 3 sizes x 3" in refused(error=ConfigError, sizes=(1, 2, 3))
    assert "ratios must be pairs" in refused(error=ConfigError, ratios=((1, 0),))
