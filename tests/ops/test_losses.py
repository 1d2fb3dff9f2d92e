"""The four losses: against their formulas in numpy, by finite differences, and at the edges.

The formulas below are loops over numbers, so that one can read them beside equation 1 of Ren et al.
2015. Letters: B images, L feature cells, A anchors a cell, R RoIs, C classes with background last, D
numbers a box regression has.
"""

import math

import keras
import numpy as np
import pytest
from keras import ops
from support import at_once

from frcnn.ops import losses

BETA = 1 / 9
A, C = 3, 5


# --- the formulas ----------------------------------------------------------------------------


def binary_cross_entropy(y_true, scores):
    """The sum of -log(p of the right answer) over valid anchors, divided by their number."""
    half = scores.shape[-1]
    total, count = 0.0, 0
    for row, scores_of_row in zip(y_true.reshape(-1, 2 * half), scores.reshape(-1, half)):
        for valid, label, score in zip(row[:half], row[half:], scores_of_row):
            if valid:
                total -= math.log(score if label else 1 - score)
                count += 1
    return total / max(count, 1)


def categorical_cross_entropy(y_true, scores):
    """The sum of -log(score of the right class) over RoIs, divided by those that are not padding."""
    total, count = 0.0, 0
    classes = scores.shape[-1]
    for one_hot, scores_of_roi in zip(y_true.reshape(-1, classes), scores.reshape(-1, classes)):
        if one_hot.any():
            total -= math.log(scores_of_roi[one_hot.argmax()])
            count += 1
    return total / max(count, 1)


def smooth_l1(y_true, deltas):
    """The sum of mask times 0.5 e² / beta where e < beta, e - 0.5 beta beyond."""
    half = deltas.shape[-1]
    total = 0.0
    for row, deltas_of_row in zip(y_true.reshape(-1, 2 * half), deltas.reshape(-1, half)):
        for mask, target, delta in zip(row[:half], row[half:], deltas_of_row):
            mask, error = float(mask), abs(float(delta) - float(target))
            total += mask * (0.5 * error**2 / BETA if error < BETA else error - 0.5 * BETA)
    return total


# --- random targets --------------------------------------------------------------------------

LEADING_SHAPES = [(2, 4), (1, 7), (6,), (2, 3, 2), ()]


def cls_case(shape, seed=0):
    rng = np.random.default_rng(seed)
    valid = rng.random((*shape, A)) < 0.6
    label = (rng.random((*shape, A)) < 0.5) & valid
    y_true = np.concatenate([valid, label], axis=-1).astype("float32")
    return losses.rpn_loss_cls(A), y_true, rng.uniform(0.02, 0.98, (*shape, A)).astype("float32")


def class_case(shape, seed=0):
    rng = np.random.default_rng(seed)
    y_true = np.eye(C + 1)[rng.integers(0, C + 1, shape)][..., :C]  # the last index is padding
    scores = rng.uniform(0.1, 1, (*shape, C))
    scores /= scores.sum(axis=-1, keepdims=True)
    return losses.class_loss_cls, y_true.astype("float32"), scores.astype("float32")


def box_case(loss, width, shape, seed=0):
    rng = np.random.default_rng(seed)
    mask = (rng.random((*shape, width)) < 0.4) / 7
    target = rng.normal(size=(*shape, width))
    # Half of the errors lie within beta, none on the bend itself.
    error = rng.choice([0.05, 0.08, 0.3, 1.7], target.shape) * rng.choice([-1, 1], target.shape)
    y_true = np.concatenate([mask, target], axis=-1).astype("float32")
    return loss, y_true, (target + error).astype("float32")


CASES = {
    "rpn_loss_cls": (cls_case, binary_cross_entropy),
    "class_loss_cls": (class_case, categorical_cross_entropy),
    "rpn_loss_regr": (
        lambda shape, seed=0: box_case(losses.rpn_loss_regr(A), A * 4, shape, seed),
        smooth_l1,
    ),
    "rpn_loss_regr, box_dim 6": (
        lambda shape, seed=0: box_case(losses.rpn_loss_regr(A, 6), A * 6, shape, seed),
        smooth_l1,
    ),
    "class_loss_regr": (
        lambda shape, seed=0: box_case(losses.class_loss_regr(C - 1), (C - 1) * 4, shape, seed),
        smooth_l1,
    ),
    "class_loss_regr, box_dim 6": (
        lambda shape, seed=0: box_case(losses.class_loss_regr(C - 1, 6), (C - 1) * 6, shape, seed),
        smooth_l1,
    ),
}
every_loss = pytest.mark.parametrize("name", CASES)


@every_loss
@pytest.mark.parametrize("shape", LEADING_SHAPES)
def test_value_is_the_formula_for_any_leading_axes(name, shape):
    make, formula = CASES[name]
    loss, y_true, y_pred = make(shape)
    value = ops.convert_to_numpy(loss(y_true, y_pred))
    assert value.shape == () and value.dtype == np.float32
    np.testing.assert_allclose(value, formula(y_true, y_pred), rtol=1e-5)


@every_loss
def test_gradient_is_the_slope(name, gradient):
    """Against central differences of the formula, in float64."""
    make, formula = CASES[name]
    loss, y_true, y_pred = make((2, 3))
    slope = np.zeros(y_pred.shape)
    for place in np.ndindex(*y_pred.shape):
        nudge = np.zeros(y_pred.shape)
        nudge[place] = 1e-5
        slope[place] = (formula(y_true, y_pred + nudge) - formula(y_true, y_pred - nudge)) / 2e-5
    assert np.abs(slope).max() > 0.01
    found = gradient(lambda y: loss(y_true, y), y_pred)
    np.testing.assert_allclose(found, slope, rtol=1e-3, atol=1e-5)


# --- by hand ---------------------------------------------------------------------------------


def test_objectness_by_hand():
    # One cell of three anchors: an object, background, and one that was not sampled.
    y_true = np.array([[[1, 1, 0, 1, 0, 0]]], "float32")
    scores = np.array([[[0.5, 0.25, 0.9]]], "float32")
    expected = -(math.log(0.5) + math.log(0.75)) / 2
    np.testing.assert_allclose(losses.rpn_loss_cls(3)(y_true, scores), expected, rtol=1e-6)


def test_smooth_l1_by_hand():
    # Errors of 0, 1/18 (half of beta), 1/9 (the bend) and 1: 0, 1/72, 1/18 and 17/18.
    target = np.zeros((1, 1, 4))
    y_true = np.concatenate([np.ones((1, 1, 4)), target], axis=-1).astype("float32")
    deltas = np.array([[[0, 1 / 18, -1 / 9, 1]]], "float32")
    expected = 0 + 1 / 72 + 1 / 18 + 17 / 18
    for loss in (losses.rpn_loss_regr(1), losses.class_loss_regr(1)):
        np.testing.assert_allclose(loss(y_true, deltas), expected, rtol=1e-6)


def test_losses_golden(golden):
    """The RPN's of 360 anchors of which 256 are sampled, and the classifier's of 64 RoIs."""
    table = golden("losses")
    labels = table["rpn_labels"]
    valid, positive = labels >= 0, labels == 1
    scores = 1 / (1 + np.exp(-table["rpn_logits"].astype("float64")))
    y_class = np.stack([valid, positive], axis=-1).astype("float32")
    value = losses.rpn_loss_cls(1)(y_class[None], scores[None, :, None].astype("float32"))
    np.testing.assert_allclose(value, table["rpn_loss_cls"], rtol=1e-5)

    mask = np.repeat(positive[:, None] / valid.sum(), 4, axis=1)
    y_regress = np.concatenate([mask, table["rpn_targets"]], axis=1).astype("float32")
    value = losses.rpn_loss_regr(1)(y_regress[None], table["rpn_deltas"][None])
    np.testing.assert_allclose(value, table["rpn_loss_regr"], rtol=1e-5)

    # The reference has background first; here it is last.
    labels = table["roi_labels_background_first"]
    logits = np.roll(table["class_logits"].astype("float64"), -1, axis=1)
    scores = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    y_class = np.eye(6)[labels - 1].astype("float32")  # 0 becomes -1, the last
    value = losses.class_loss_cls(y_class[None], scores[None].astype("float32"))
    np.testing.assert_allclose(value, table["class_loss_cls"], rtol=1e-5)

    of_class = np.repeat(y_class[:, :5], 4, axis=1)
    y_regress = np.concatenate([of_class / len(labels), np.tile(table["roi_targets"], (1, 5))], axis=1)
    value = losses.class_loss_regr(5)(
        y_regress[None].astype("float32"), table["class_deltas"][None, :, 4:]
    )
    np.testing.assert_allclose(value, table["class_loss_regr"], rtol=1e-5)


# --- what has no influence -------------------------------------------------------------------


def test_anchors_that_are_not_sampled_have_no_influence(gradient):
    loss, y_true, scores = cls_case((2, 4))
    ignored = y_true[..., :A] == 0
    assert ignored.any()
    other = np.where(ignored, 0.999, scores).astype("float32")
    np.testing.assert_array_equal(loss(y_true, scores), loss(y_true, other))
    assert not gradient(lambda y: loss(y_true, y), scores)[ignored].any()
    # Nor has the label of one.
    labelled = y_true.copy()
    labelled[..., A:][ignored] = 1
    np.testing.assert_array_equal(loss(y_true, scores), loss(labelled, scores))


def test_padding_rois_have_no_influence(gradient):
    loss, y_true, scores = class_case((2, 8))
    padding = ~y_true.any(axis=-1)
    assert padding.any() and not padding.all()
    assert not gradient(lambda y: loss(y_true, y), scores)[padding].any()
    # As if they were not there: the number that divides does not count them either.
    np.testing.assert_allclose(loss(y_true, scores), loss(y_true[~padding], scores[~padding]), rtol=1e-6)


@pytest.mark.parametrize("name", [name for name in CASES if "regr" in name])
def test_masked_deltas_have_no_influence(name, gradient):
    loss, y_true, deltas = CASES[name][0]((2, 3))
    masked = y_true[..., : deltas.shape[-1]] == 0
    np.testing.assert_array_equal(
        loss(y_true, deltas), loss(y_true, np.where(masked, 1e6, deltas).astype("float32"))
    )
    assert not gradient(lambda y: loss(y_true, y), deltas)[masked].any()


@every_loss
def test_nothing_sampled_is_no_loss(name, gradient):
    loss, y_true, y_pred = CASES[name][0]((2, 3))
    nothing = np.zeros_like(y_true)
    assert float(loss(nothing, y_pred)) == 0.0
    assert not gradient(lambda y: loss(nothing, y), y_pred).any()


# --- saturated scores ------------------------------------------------------------------------

# Nothing at all, the smallest numbers of float32 and float16, just below 1, and 1.
EXTREMES = [0.0, 1e-45, 1e-38, 6e-8, 1e-5, 0.5, 1 - 2.0**-11, 1 - 2.0**-24, 1.0]


@pytest.mark.parametrize("score", EXTREMES)
@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("label", [0, 1])
def test_saturated_objectness_is_finite(score, dtype, label, gradient):
    loss = losses.rpn_loss_cls(1)
    y_true = np.array([[[1, label]]], "float32")
    scores = np.array([[[score]]], dtype)
    value = float(loss(y_true, scores))
    slope = gradient(lambda y: loss(y_true, y), scores)
    assert math.isfinite(value) and np.isfinite(slope).all()
    right = score if label else 1 - score
    if right == 1:
        assert value < 1e-4
    if right == 0:
        assert value > 9  # wrong for sure is expensive


@pytest.mark.parametrize("score", EXTREMES)
@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_saturated_classes_are_finite(score, dtype, gradient):
    y_true = np.array([[[1, 0]]], "float32")
    scores = np.array([[[score, 1 - score]]], dtype)
    value = float(losses.class_loss_cls(y_true, scores))
    slope = gradient(lambda y: losses.class_loss_cls(y_true, y), scores)
    assert math.isfinite(value) and np.isfinite(slope).all()
    if score == 1:
        assert value < 1e-4
    if score == 0:
        assert value > 9


@pytest.mark.parametrize("logit", [-200.0, -88.0, -30.0, 30.0, 88.0, 200.0])
def test_gradients_through_sigmoid_and_softmax_are_those_of_the_logits(logit, gradient):
    """d loss / d logit = score - label. Where float32 cannot tell the score from 0 or 1, it is 0."""
    y_true = np.array([[[1, 1]]], "float32")
    slope = gradient(
        lambda z: losses.rpn_loss_cls(1)(y_true, ops.sigmoid(z)), np.array([[[logit]]], "float32")
    )
    expected = -1 / (1 + math.exp(logit)) if logit > -60 else slope
    np.testing.assert_allclose(slope, np.reshape(expected, (1, 1, 1)), atol=1e-6)

    y_true = np.array([[[1, 0]]], "float32")
    logits = np.array([[[logit, 0]]], "float32")
    slope = gradient(lambda z: losses.class_loss_cls(y_true, ops.softmax(z)), logits)
    expected = [[[expected, -expected]]] if logit > -60 else slope
    np.testing.assert_allclose(slope, expected, atol=1e-6)
    assert np.isfinite(slope).all()


@pytest.mark.parametrize("name", [name for name in CASES if "regr" in name])
@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_large_deltas_are_finite(name, dtype, gradient):
    loss, y_true, deltas = CASES[name][0]((2, 3))
    deltas = np.full_like(deltas, 6e4).astype(dtype)
    assert math.isfinite(float(loss(y_true, deltas)))
    assert np.isfinite(gradient(lambda y: loss(y_true, y), deltas)).all()


@pytest.mark.parametrize("name", CASES)
def test_float16_predictions_give_nearly_the_same_value(name):
    loss, y_true, y_pred = CASES[name][0]((2, 3))
    half = loss(y_true, y_pred.astype("float16"))
    assert keras.backend.standardize_dtype(half.dtype) == "float32"
    np.testing.assert_allclose(half, loss(y_true, y_pred), rtol=3e-3)


# --- sample_weight ---------------------------------------------------------------------------


@every_loss
def test_sample_weight_weighs_images(name):
    """What an image adds to the loss is multiplied; the number that divides stays the batch's."""
    loss, y_true, y_pred = CASES[name][0]((3, 4))
    weights = np.array([0.0, 1.0, 2.5], "float32")
    both = loss(y_true, y_pred, sample_weight=weights)
    each = []
    for image in range(3):
        only = np.zeros(3, "float32")
        only[image] = 1
        each.append(float(loss(y_true, y_pred, sample_weight=only)))
    np.testing.assert_allclose(sum(each), loss(y_true, y_pred), rtol=1e-5)
    np.testing.assert_allclose(both, each[1] + 2.5 * each[2], rtol=1e-5)
    assert len(set(each)) == 3


@every_loss
def test_sample_weight_through_keras(name):
    """The same through ``compile``, ``test_on_batch`` and ``train_on_batch`` of a model.

    What is predicted for an image of weight 0 makes no difference to the weights after a step.
    """
    loss, y_true, y_pred = CASES[name][0]((3, 4))

    def model():
        given = keras.Input(y_pred.shape[1:])
        shift = keras.layers.Conv1D(
            y_pred.shape[-1], 1, groups=y_pred.shape[-1], kernel_initializer="ones", name="shift"
        )
        made = keras.Model(given, shift(given))
        made.compile(optimizer=keras.optimizers.SGD(0.01), loss=loss, jit_compile=False)
        return made

    weights = np.array([0.0, 1.0, 2.5], "float32")
    weighed = model()
    value = weighed.test_on_batch(y_pred, y_true, sample_weight=weights, return_dict=True)["loss"]
    np.testing.assert_allclose(value, loss(y_true, y_pred, sample_weight=weights), rtol=1e-5)

    other = y_pred.copy()
    other[0] = y_pred[0, ::-1]
    again = model()
    weighed.train_on_batch(y_pred, y_true, sample_weight=weights)
    again.train_on_batch(other, y_true, sample_weight=weights)
    before = np.concatenate([w.ravel() for w in model().get_weights()])
    after = [np.concatenate([w.ravel() for w in m.get_weights()]) for m in (weighed, again)]
    np.testing.assert_allclose(after[0], after[1], rtol=1e-6, atol=1e-7)
    assert np.abs(after[0] - before).max() > 1e-5


@every_loss
def test_sample_weight_weighs_cells_and_rois(name):
    """(B, L) and (B, R): a weight of 2 is as good as a cell or RoI that is there twice."""
    loss, y_true, y_pred = CASES[name][0]((2, 4))
    weights = np.array([[0.0, 1.0, 2.0, 0.5], [3.0, 0.0, 1.0, 1.0]], "float32")
    value = at_once(loss)(y_true, y_pred, weights)
    # Without weights, and times the number that a loss divides by, each cell alone has its summand.
    alone = at_once(loss)
    summands = [
        [float(alone(only(y_true, image, cell), y_pred)) for cell in range(4)] for image in range(2)
    ]
    count = y_true[..., :A].sum() if name == "rpn_loss_cls" else y_true.sum()
    if name.endswith("_cls"):
        alone = y_true[..., :A].sum(axis=-1) if name == "rpn_loss_cls" else y_true.sum(axis=-1)
        summands = np.array(summands) * alone / count
    np.testing.assert_allclose(value, (weights * summands).sum(), rtol=1e-5)


@every_loss
def test_a_last_axis_of_one_is_left_out_of_sample_weight(name):
    """As Keras has it: so a column weighs images."""
    loss, y_true, y_pred = CASES[name][0]((2, 4))
    for ones in (np.ones((2, 4)), np.ones((2, 4, 1)), np.ones((2, 1)), np.ones(2), 1.0):
        np.testing.assert_allclose(loss(y_true, y_pred, ones), loss(y_true, y_pred), rtol=1e-6)
    images = np.array([0.25, 3.0], "float32")
    np.testing.assert_allclose(
        loss(y_true, y_pred, images[:, None]), loss(y_true, y_pred, images), rtol=1e-6
    )


def only(y_true, image, cell):
    """Return targets with zeros, which are padding, everywhere but in one cell."""
    alone = np.zeros_like(y_true)
    alone[image, cell] = y_true[image, cell]
    return alone


@pytest.mark.parametrize("name", [name for name in CASES if name.startswith("rpn")])
def test_sample_weight_weighs_anchors(name, gradient):
    """(B, L, A), against the same anchors with what the loss multiplies by in their targets."""
    loss, y_true, y_pred = CASES[name][0]((2, 4))
    weights = np.random.default_rng(1).choice([0.0, 1.0, 2.5], (2, 4, A)).astype("float32")
    value = at_once(loss)(y_true, y_pred, weights)
    width = y_pred.shape[-1]
    in_mask = y_true.copy()
    in_mask[..., :width] *= np.repeat(weights, width // A, axis=-1)
    expected = float(loss(in_mask, y_pred))
    if name == "rpn_loss_cls":  # whose mask is also counted
        expected *= in_mask[..., :A].sum() / y_true[..., :A].sum()
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    slope = gradient(lambda y: loss(y_true, y, weights), y_pred)
    assert not slope[np.repeat(weights, width // A, axis=-1) == 0].any() and slope.any()


@every_loss
@pytest.mark.parametrize("shape", [(4,), (1,), (2, 3), (1, 4), (2, 4, 7)])
def test_a_sample_weight_that_fits_nothing_is_refused(name, shape):
    loss, y_true, y_pred = CASES[name][0]((2, 4))
    with pytest.raises(
        ValueError, match=rf"of {name.split(',')[0]} has the shape \({shape[0]},.*\(2, 4"
    ):
        loss(y_true, y_pred, np.ones(shape, "float32"))


def test_a_sample_weight_for_other_rois_is_refused_where_a_graph_knows_no_sizes():
    """Five weights for one RoI must not count it five times."""
    if keras.backend.backend() != "tensorflow":
        pytest.skip("JAX always knows sizes")
    import tensorflow as tf

    shapes = [
        tf.TensorSpec((None, None, C)),
        tf.TensorSpec((None, None, C)),
        tf.TensorSpec((None, None)),
    ]
    graph = tf.function(losses.class_loss_cls, input_signature=shapes)
    _, y_true, y_pred = class_case((2, 4))
    weights = np.array([[0.0, 1.0, 2.0, 0.5], [3.0, 0.0, 1.0, 1.0]], "float32")
    expected = losses.class_loss_cls(y_true, y_pred, weights)
    np.testing.assert_allclose(graph(y_true, y_pred, weights), expected, rtol=1e-6)
    with pytest.raises(tf.errors.InvalidArgumentError):
        graph(y_true[:, :1], y_pred[:, :1], weights)


def test_class_weights_multiply_what_a_class_adds():
    _, y_true, scores = class_case((2, 8))
    class_weights = [0.0, 1.0, 2.0, 0.5, 3.0]
    loss = losses.weighted_class_loss_cls(class_weights)
    total = 0.0
    for one_hot, of_roi in zip(y_true.reshape(-1, C), scores.reshape(-1, C)):
        if one_hot.any():
            total -= class_weights[one_hot.argmax()] * math.log(of_roi[one_hot.argmax()])
    np.testing.assert_allclose(at_once(loss)(y_true, scores), total / y_true.sum(), rtol=1e-5)
    # The same as weights of the RoIs.
    of_rois = y_true @ np.array(class_weights, "float32")
    np.testing.assert_allclose(
        losses.class_loss_cls(y_true, scores, of_rois), total / y_true.sum(), 1e-5
    )
    with pytest.raises(ValueError, match="4 class weights for 5 classes"):
        losses.weighted_class_loss_cls([1.0] * 4)(y_true, scores)


# --- GIoU --------------------------------------------------------------------------------------


def giou(box, other):
    """Rezatofighi et al. 2019, algorithm 1, line by line."""
    (x1, y1, x2, y2), (u1, v1, u2, v2) = box, other
    areas = (x2 - x1) * (y2 - y1), (u2 - u1) * (v2 - v1)
    wide, high = min(x2, u2) - max(x1, u1), min(y2, v2) - max(y1, v1)
    intersection = wide * high if wide > 0 and high > 0 else 0.0
    union = sum(areas) - intersection
    hull = (max(x2, u2) - min(x1, u1)) * (max(y2, v2) - min(y1, v1))
    return intersection / union - (hull - union) / hull


def giou_case(seed):
    """Return y_true and y_pred of 6 RoIs, four of them positive, and the loss by the formula."""
    rng = np.random.default_rng(seed)
    weights = np.array([10.0, 10.0, 5.0, 5.0])
    y_true, y_pred = (
        np.zeros((1, 6, 2 * (C - 1) * 4), "float32"),
        np.zeros((1, 6, (C - 1) * 4), "float32"),
    )
    y_pred += rng.normal(0, 3, y_pred.shape)
    total = 0.0
    for row, label in enumerate([0, 3, 1, 1]):
        # Boxes about a RoI of any size and place, which must not matter.
        x, y, width, height = rng.uniform(5, 90, 4)
        boxes, deltas = [], []
        for _ in range(2):
            cx, cy = x + width * rng.uniform(0.2, 0.8), y + height * rng.uniform(0.2, 0.8)
            w, h = width * rng.uniform(0.3, 1.5), height * rng.uniform(0.3, 1.5)
            boxes.append((cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2))
            shift = (cx - x - width / 2) / width, (cy - y - height / 2) / height
            deltas.append(weights * (*shift, math.log(w / width), math.log(h / height)))
        columns = slice(4 * label, 4 * label + 4)
        y_true[0, row, : (C - 1) * 4][columns] = 1 / 6
        y_true[0, row, (C - 1) * 4 :][columns] = deltas[0]
        y_pred[0, row, columns] = deltas[1]
        total += (1 - giou(*boxes)) / 6
    return y_true, y_pred, total


@pytest.mark.parametrize("seed", range(5))
def test_the_giou_loss_is_the_formula_of_the_decoded_boxes(seed):
    y_true, y_pred, expected = giou_case(seed)
    loss = losses.class_giou_loss_regr(C - 1, (10.0, 10.0, 5.0, 5.0))
    assert float(loss(y_true, y_pred)) == pytest.approx(expected, rel=1e-4)
    # A weight per RoI; those that are not positive add nothing.
    of_rois = np.array([[2.0, 2.0, 2.0, 2.0, 9.0, 9.0]], "float32")
    assert float(loss(y_true, y_pred, sample_weight=of_rois)) == pytest.approx(2 * expected, rel=1e-4)


def test_the_giou_loss_of_the_right_deltas_is_0_and_its_gradient_finds_them():
    y_true, y_pred, _ = giou_case(1)
    loss = losses.class_giou_loss_regr(C - 1, (10.0, 10.0, 5.0, 5.0))
    right = y_true[..., (C - 1) * 4 :]
    assert float(loss(y_true, right)) == pytest.approx(0.0, abs=1e-6)
    step = 1e-4 * (right - y_pred) * (y_true[..., : (C - 1) * 4] > 0)
    assert float(loss(y_true, y_pred + step)) < float(loss(y_true, y_pred))


def test_the_giou_loss_of_far_and_wild_deltas_is_finite():
    y_true, _, _ = giou_case(0)
    signs = np.where(np.arange((C - 1) * 4) % 2, 1.0, -1.0)
    y_pred = np.broadcast_to(3e3 * signs, (1, 6, (C - 1) * 4)).astype("float32")
    loss = losses.class_giou_loss_regr(C - 1, (10.0, 10.0, 5.0, 5.0))
    assert 0 < float(loss(y_true, y_pred)) <= 2 * 4 / 6 + 1e-5
