"""The two heads on a feature map: names, shapes, and what they compute."""

import functools

import keras
import numpy as np
import pytest

from frcnn.layers.roi_align import RoIAlign
from frcnn.models import heads

K, STRIDE = 6, 16


@pytest.fixture(scope="module")
def features():
    return np.random.default_rng(0).normal(size=(2, 4, 5, K)).astype("float32")


ROIS = np.array(
    [[[0, 0, 40, 40], [16, 8, 70, 60], [0, 0, 0, 0]], [[5, 5, 30, 60], [1, 1, 9, 9], [32, 0, 64, 32]]],
    "float32",
)


def rpn_model(num_anchors, **options):
    given = keras.Input((None, None, K))
    return keras.Model(given, heads.rpn(given, num_anchors, channels=8, **options))


def classifier_model(num_classes, head=None, **options):
    given, rois = keras.Input((None, None, K)), keras.Input((None, 4))
    head = head or functools.partial(heads.dense_head, widths=(10, 10))
    pool = RoIAlign((STRIDE,), pool_size=3)
    outputs = heads.classifier([given], rois, num_classes, pool, head, **options)
    return keras.Model([given, rois], outputs)


@pytest.mark.parametrize("num_anchors, box_dim", [(9, 4), (3, 4), (9, 6)])
def test_rpn_names_and_shapes(features, num_anchors, box_dim):
    model = rpn_model(num_anchors, box_dim=box_dim)
    assert list(model.output_names) == ["rpn_out_class", "rpn_out_regress"]
    assert [output.shape for output in model.outputs] == [
        (None, None, num_anchors),
        (None, None, num_anchors * box_dim),
    ]
    scores, deltas = model.predict_on_batch(features)
    # L = 4 * 5 cells.
    assert scores.shape == (2, 20, num_anchors) and deltas.shape == (2, 20, num_anchors * box_dim)
    assert (0 < scores).all() and (scores < 1).all()


def test_rpn_deltas_have_so_many_filters():
    """Oriented boxes have six numbers: a box dimension of the heads and the losses, not of the boxes."""
    assert rpn_model(9, box_dim=6).get_layer("rpn_deltas").filters == 9 * 6
    assert rpn_model(9).get_layer("rpn_deltas").filters == 9 * 4


def test_rpn_cells_go_row_by_row(features):
    """As the anchors do: cell (y, x) of the map is row y * w + x of the outputs."""
    model = rpn_model(2)
    for weight in model.weights:
        weight.assign(np.random.default_rng(len(weight.shape)).normal(size=weight.shape))
    logits = keras.Model(model.inputs, model.get_layer("rpn_class_logits").output)
    scores, _ = model.predict_on_batch(features)
    expected = 1 / (1 + np.exp(-logits.predict_on_batch(features)))
    np.testing.assert_allclose(scores[:, 1 * 5 + 3], expected[:, 1, 3], rtol=1e-4)
    np.testing.assert_allclose(scores, expected.reshape(2, 20, 2), rtol=1e-4)


@pytest.mark.parametrize("num_classes, box_dim", [(21, 4), (2, 4), (4, 6)])
def test_classifier_names_and_shapes(features, num_classes, box_dim):
    model = classifier_model(num_classes, box_dim=box_dim)
    assert list(model.output_names) == [f"dense_class_{num_classes}", f"dense_regress_{num_classes}"]
    width = (num_classes - 1) * box_dim
    assert [output.shape for output in model.outputs] == [(None, None, num_classes), (None, None, width)]
    scores, deltas = model.predict_on_batch([features, ROIS])
    assert scores.shape == (2, 3, num_classes) and deltas.shape == (2, 3, width)
    np.testing.assert_allclose(scores.sum(axis=-1), 1, rtol=1e-5)


def test_classifier_starts_undecided():
    """Fast R-CNN's small initial weights: all classes about as likely, deltas about 0."""
    rng = np.random.default_rng(0)
    model = classifier_model(5)
    scores, deltas = model.predict_on_batch([rng.normal(size=(2, 4, 5, K)).astype("float32"), ROIS])
    np.testing.assert_allclose(scores, 1 / 5, atol=0.1)
    assert np.abs(deltas).max() < 0.1


def test_a_roi_is_judged_alone(features):
    """Other RoIs, their order and other images change nothing in what a RoI gets."""
    model = classifier_model(4)
    scores, deltas = model.predict_on_batch([features, ROIS])
    swapped = model.predict_on_batch([features[::-1], ROIS[::-1, ::-1]])
    np.testing.assert_allclose(swapped[0], scores[::-1, ::-1], rtol=1e-4)
    np.testing.assert_allclose(swapped[1], deltas[::-1, ::-1], rtol=1e-3, atol=1e-6)
    assert np.abs(scores[0, 0] - scores[1, 0]).max() > 1e-6


def test_another_head_takes_the_place_of_the_dense_layers(features):
    def head(x):
        return keras.layers.Flatten()(keras.layers.Conv2D(7, 3, name="last_stage")(x))

    model = classifier_model(4, head=head)
    names = [layer.name for layer in model.layers]
    assert "last_stage" in names and not any(name.startswith("head_dense") for name in names)
    assert model.predict_on_batch([features, ROIS])[0].shape == (2, 3, 4)


def test_rois_of_several_levels_reach_the_head():
    rng = np.random.default_rng(0)
    maps = [rng.normal(size=(1, size, size, K)).astype("float32") for size in (16, 8)]
    rois = np.array([[[0, 0, 100, 100], [0, 0, 250, 250]]], "float32")
    given, asked = [keras.Input((None, None, K)) for _ in maps], keras.Input((None, 4))
    pool = RoIAlign((8, 16), pool_size=3)
    outputs = heads.classifier(given, asked, 4, pool, functools.partial(heads.dense_head, widths=(9,)))
    model = keras.Model([given, asked], outputs)
    before = model.predict_on_batch([maps, rois])[0]
    after = model.predict_on_batch([[maps[0], maps[1] + 1], rois])[0]
    np.testing.assert_array_equal(after[0, 0], before[0, 0])  # of the finer level
    assert np.abs(after[0, 1] - before[0, 1]).max() > 1e-6


def test_scores_leave_in_float32_from_a_model_in_halves(features):
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_float16")
    try:
        models = rpn_model(3), classifier_model(4)
    finally:
        keras.config.set_dtype_policy(policy)
    assert models[0].get_layer("rpn_conv").compute_dtype == "float16"
    for outputs in (models[0](features), models[1]([features, ROIS])):
        assert [keras.backend.standardize_dtype(output.dtype) for output in outputs] == ["float32"] * 2


def test_one_box_for_all_classes_is_the_box_of_each(features):
    model = classifier_model(4, class_agnostic=True)
    assert model.get_layer("box_deltas").units == 4
    model.get_layer("box_deltas").set_weights(
        [np.random.default_rng(0).normal(size=(10, 4)), np.arange(4.0)]
    )
    scores, deltas = model.predict_on_batch([features, ROIS])
    assert model.output_names[1] == "dense_regress_4" and deltas.shape == (2, 3, 12)
    of_roi = keras.Model(model.inputs, model.get_layer("box_deltas").output)
    expected = of_roi.predict_on_batch([features, ROIS]).reshape(2, 3, 4)
    np.testing.assert_array_equal(deltas.reshape(2, 3, 3, 4), np.repeat(expected[:, :, None], 3, axis=2))
    assert np.ptp(deltas[..., :4], axis=(0, 1)).min() > 0 and scores.shape == (2, 3, 4)
