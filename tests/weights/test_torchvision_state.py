"""torchvision's weights in our layers: the same numbers, and every entry used once.

``golden/make_pyramids.py`` tells where the numbers come from. Where the project's larger tables lie
beside the repository (``../shared/golden``), the networks are held against those as well.
"""

import functools
import json
import math
from pathlib import Path

import cv2
import keras
import numpy as np
import pytest
from golden.fill import fill

from frcnn.errors import WeightsError
from frcnn.layers import conv
from frcnn.layers.preprocess import TORCH_DEVIATION, TORCH_MEAN
from frcnn.models import fpn, heads, mobilenet_v3, resnet
from frcnn.weights import torchvision_state as torchvision
from frcnn.weights.initial import weighted_layers

SHARED = Path(__file__).parents[3] / "shared" / "golden"
IMAGES, POOLED = (2, 3, 75, 110), (5, 256, 7, 7)  # as in make_pyramids.py

V1, V2, MOBILE, MOBILE_320 = torchvision.NAMES


@functools.cache
def network(name, num_classes):
    """Return a model of images (B, H, W, 3) and pooled RoIs (N, 7, 7, 256), with all of its outputs.

    They are the pyramid's levels, then RPN logits (B, L, A), RPN deltas (B, L, A·4), class logits (N, C)
    and box deltas (N, (C-1)·4).
    """
    pixels, pooled = keras.Input((None, None, 3)), keras.Input((7, 7, 256))
    if name in (V1, V2):
        levels, _ = fpn.fpn(resnet.resnet(pixels), resnet.STRIDES, batch_norm=name == V2)
        num_anchors = 3
    else:
        features = mobilenet_v3.mobilenet_v3_large(pixels)
        levels, _ = fpn.fpn(features, mobilenet_v3.STRIDES)
        num_anchors = 15
    scores, deltas = heads.rpn(levels, num_anchors, channels=256, conv_depth=2 if name == V2 else 1)
    logits = keras.Model(pixels, scores).get_layer("rpn_class_cells").output
    regions = heads.convolutional_head(pooled) if name == V2 else heads.dense_head(pooled, (1024, 1024))
    predictions = heads.predictor(regions, num_classes)
    return keras.Model([pixels, pooled], [*levels, logits, deltas, *predictions])


def outputs_of(name, state, images, pooled):
    """Return what a network gives with a state, all arrays laid out as torchvision has them."""
    model = network(name, torchvision.num_classes(state))
    put_in(model, torchvision.convert(name, state, weighted_layers(model)))
    *levels, logits, deltas, class_logits, box_deltas = (
        np.asarray(output) for output in model([channels_last(images), channels_last(pooled)])
    )
    outputs, start = {}, 0
    for number, level in enumerate(levels):
        height, width = level.shape[1:3]
        cells = slice(start, start + height * width)
        start = cells.stop
        outputs[f"feature{number}"] = channels_first(level)
        for key, values in (("objectness", logits), ("rpn_deltas", deltas)):
            values = values[:, cells].reshape(len(values), height, width, -1)
            outputs[f"{key}{number}"] = channels_first(values)
    assert start == logits.shape[1]
    outputs["class_logits"] = np.roll(class_logits, 1, axis=-1)
    outputs["box_deltas"] = box_deltas
    return outputs


def put_in(model, arrays):
    for layer in weighted_layers(model):
        layer.set_weights(arrays[layer.name])


def channels_last(array):
    return array.transpose(0, 2, 3, 1)


def channels_first(array):
    return array.transpose(0, 3, 1, 2)


def numbers(name, shape):
    """Return the normally distributed numbers of ``make_pyramids.py``."""
    return next(iter(fill({f"{name}.running_mean": shape}).values())) * 10


def state_of(golden, name):
    table = golden("pyramids")
    lines = (line.split(" ") for line in str(table[f"{name}/entries"]).splitlines())
    shapes = {entry: tuple(map(int, filter(None, shape.split(",")))) for entry, shape in lines}
    return fill(shapes, str(table["salt"]))


def assert_close(ours, theirs, key):
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-4 * theirs.std(), err_msg=key)


# --- the same numbers ------------------------------------------------------------------------


@pytest.mark.parametrize("name", [V1, pytest.param(V2, marks=pytest.mark.slow), MOBILE])
def test_a_network_gives_torchvision_s_numbers(golden, name):
    ours = outputs_of(name, state_of(golden, name), numbers("images", IMAGES), numbers("pooled", POOLED))
    theirs = {
        key.removeprefix(f"{name}/"): values
        for key, values in golden("pyramids").items()
        if key.startswith(f"{name}/") and not key.endswith("/entries")
    }
    assert ours.keys() == theirs.keys()
    for key, values in theirs.items():
        array = ours[key]
        if key == "box_deltas":  # there with four columns for background, first
            array = np.concatenate([np.full((len(array), 4), np.nan), array], axis=1)
        array = array.ravel()[:: array.size // 100 | 1]
        known = ~np.isnan(array)
        assert known.sum() > 20
        assert_close(array[known], values[known], key)


def test_resnet101_s_pyramid_with_frozen_batch_norm_gives_torchvision_s_numbers(golden):
    pixels = keras.Input((None, None, 3))
    levels, _ = fpn.fpn(resnet.resnet(pixels, 101, frozen_batch_norm=True), resnet.STRIDES)
    model = keras.Model(pixels, levels)
    state = state_of(golden, "resnet101_fpn")
    assert not any(entry.endswith("num_batches_tracked") for entry in state)
    put_in(model, torchvision.convert(V1, state, weighted_layers(model)))
    for number, level in enumerate(model(channels_last(numbers("images", IMAGES)))):
        key = f"feature{number}"
        array = channels_first(np.asarray(level))
        assert_close(
            array.ravel()[:: array.size // 100 | 1], golden("pyramids")[f"resnet101_fpn/{key}"], key
        )


@pytest.mark.slow
@pytest.mark.skipif(not SHARED.is_dir(), reason="the larger tables are not beside the repository")
@pytest.mark.parametrize("name", [V1, V2, MOBILE_320])
def test_a_network_gives_the_numbers_of_the_larger_tables(name):
    table = np.load(SHARED / f"model_{name}.npz")
    state = fill(json.loads((SHARED / f"model_{name}_shapes.json").read_text()))
    image = network_input(table["image"], int(table["min_size"]), int(table["max_size"]))
    assert image.shape == tuple(table["input_shape"])
    ours = outputs_of(name, state, image, table["roi_features_head"])
    count = sum(key.startswith("feature_") for key in table)
    for level in range(count):
        for key in (f"feature{level}", f"objectness{level}", f"rpn_deltas{level}"):
            last = key == f"feature{count - 1}"
            stored = table["feature_pool" if last else f"{key[:-1]}_{level}"]
            assert_close(ours[key][0, : len(stored)], stored, key)  # some hold their first channels
    regions = len(table["roi_features_head"])
    assert_close(ours["class_logits"], table["class_logits"][:regions], "class_logits")
    assert_close(ours["box_deltas"], table["box_deltas"][:regions, 4:], "box_deltas")


def network_input(image, short_side, long_side):
    """Resize, normalize and pad a (3, H, W) image of 0 to 1 as torchvision does; a batch of one."""
    height, width = image.shape[1:]
    scale = min(short_side / min(height, width), long_side / max(height, width))
    size = math.floor(width * scale), math.floor(height * scale)
    resized = cv2.resize(np.ascontiguousarray(image.transpose(1, 2, 0)), size)
    pixels = (255 * resized - np.float32(TORCH_MEAN)) / np.float32(TORCH_DEVIATION)
    padded = np.zeros((1, 3, -(-size[1] // 32) * 32, -(-size[0] // 32) * 32), "float32")
    padded[0, :, : size[1], : size[0]] = pixels.transpose(2, 0, 1)
    return padded


# --- every entry once ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def mobile():
    """Return the layers of a network and a state, of zeros, that fits them."""
    table = np.load(Path(__file__).parents[1] / "golden" / "pyramids.npz")
    state = {}
    for line in str(table[f"{MOBILE}/entries"]).splitlines():
        entry, shape = line.split(" ")
        state[entry] = np.zeros([int(size) for size in shape.split(",") if size], "float32")
    return weighted_layers(network(MOBILE, 7)), state


def convert(mobile, without=(), **changes):
    layers, state = mobile
    return torchvision.convert(
        MOBILE, {k: v for k, v in (state | changes).items() if k not in without}, layers
    )


@pytest.mark.parametrize(
    "entry",
    [
        "backbone.body.0.1.running_var",
        "backbone.body.4.block.2.fc1.bias",
        "backbone.body.16.1.num_batches_tracked",
        "backbone.fpn.layer_blocks.1.0.weight",
        "rpn.head.bbox_pred.bias",
        "roi_heads.box_head.fc7.weight",
        "roi_heads.box_predictor.bbox_pred.weight",
    ],
)
def test_a_missing_entry_is_named(mobile, entry):
    with pytest.raises(WeightsError) as error:
        convert(mobile, without=[entry])
    assert str(error.value) == f"the state does not fit {MOBILE}; missing: {entry}"


def test_an_entry_too_many_is_named(mobile):
    with pytest.raises(WeightsError, match=r"fpn; left over: rpn\.head\.conv\.1\.0\.weight$"):
        convert(mobile, **{"rpn.head.conv.1.0.weight": np.zeros((256, 256, 3, 3))})


@pytest.mark.parametrize(
    ("entry", "shape", "expected"),
    [
        ("backbone.body.1.block.0.0.weight", (16, 16, 3, 3), "(16, 1, 3, 3)"),
        ("backbone.body.0.1.weight", (32,), "(16,)"),
        ("backbone.body.0.1.num_batches_tracked", (1,), "()"),
        ("roi_heads.box_head.fc6.weight", (1024, 256), "(1024, 12544)"),
        ("roi_heads.box_predictor.cls_score.weight", (8, 1024), "(7, 1024)"),
        ("roi_heads.box_predictor.bbox_pred.bias", (24,), "(28,)"),
    ],
)
def test_an_entry_of_a_wrong_shape_is_named(mobile, entry, shape, expected):
    with pytest.raises(WeightsError) as error:
        convert(mobile, **{entry: np.zeros(shape)})
    assert str(error.value).endswith(f"; wrong shape: {entry} is {shape} and must be {expected}")


def test_all_faults_are_named_at_once(mobile):
    with pytest.raises(WeightsError, match="missing: rpn.head.cls_logits.bias; left over: a, b$"):
        convert(mobile, without=["rpn.head.cls_logits.bias"], a=np.zeros(1), b=np.zeros(1))


def test_a_name_that_torchvision_does_not_have(mobile):
    with pytest.raises(
        WeightsError, match="no import for 'retinanet', only for fasterrcnn_resnet50_fpn"
    ):
        torchvision.convert("retinanet", mobile[1], mobile[0])


def test_frozen_batch_norm_has_no_counters(mobile):
    counters = [entry for entry in mobile[1] if entry.endswith("num_batches_tracked")]
    assert len(convert(mobile, without=counters)) == len(mobile[0])


def test_entries_named_as_before_version_0_13(mobile):
    old = {
        f"{module}.{part}": f"{module}{suffix}.{part}"
        for module, suffix in (
            ("rpn.head.conv", ".0.0"),
            ("backbone.fpn.inner_blocks.0", ".0"),
            ("backbone.fpn.layer_blocks.1", ".0"),
        )
        for part in ("weight", "bias")
    }
    layers, state = mobile
    renamed = {entry: state[new] for entry, new in old.items()}
    convert(mobile, without=old.values(), **renamed)
    with pytest.raises(WeightsError, match=r"left over: rpn\.head\.conv\.bias$"):
        convert(mobile, **{"rpn.head.conv.bias": state["rpn.head.conv.0.0.bias"]})


# --- what is turned on the way ---------------------------------------------------------------


def test_background_goes_from_first_to_last(mobile):
    order = np.arange(7, dtype="float32")
    arrays = convert(
        mobile,
        **{
            "roi_heads.box_predictor.cls_score.bias": order,
            "roi_heads.box_predictor.bbox_pred.bias": order.repeat(4),
        },
    )
    np.testing.assert_array_equal(arrays["class_logits"][1], [1, 2, 3, 4, 5, 6, 0])
    np.testing.assert_array_equal(arrays["box_deltas"][1], order[1:].repeat(4))


def test_the_first_dense_layer_reads_cell_by_cell(mobile):
    weight = np.zeros((1024, 256, 7, 7), "float32")
    weight[5, 100, 2, 3] = 1.0
    arrays = convert(mobile, **{"roi_heads.box_head.fc6.weight": weight.reshape(1024, -1)})
    np.testing.assert_array_equal(np.argwhere(arrays["head_dense1"][0]), [[(2 * 7 + 3) * 256 + 100, 5]])


def test_the_number_of_classes_is_the_state_s(mobile):
    assert torchvision.num_classes(mobile[1]) == 7
    with pytest.raises(WeightsError, match=r"no roi_heads\.box_predictor\.cls_score\.weight"):
        torchvision.num_classes({})


@pytest.mark.parametrize(
    ("name", "frozen", "epsilon"), [(V1, True, 0.0), (V1, False, 1e-5), (MOBILE, True, 1e-5)]
)
def test_the_published_resnet50_adds_nothing_to_the_variance(name, frozen, epsilon):
    state = {"backbone.body.bn1.running_var": 1.0}
    if not frozen:
        state["backbone.body.bn1.num_batches_tracked"] = 0
    assert torchvision.batch_norm_epsilon(name, state) == epsilon
    assert conv.EPSILON == 1e-5


def test_coco_s_class_names_have_gaps():
    names = torchvision.COCO_CLASSES
    assert len(set(names)) == 90
    assert [name for name in names if not name.startswith("unused")][-1] == "toothbrush"
    assert sum(name.startswith("unused") for name in names) == 10
    assert (names[0], names[11], names[89]) == ("person", "unused 12", "toothbrush")
