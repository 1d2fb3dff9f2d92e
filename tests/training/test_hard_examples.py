"""Hard example mining against the same numbers chosen and summed in numpy."""

import numpy as np
import pytest
from test_schedules import SCHEDULES, first_batch, set_up

from frcnn.config.schema import Config
from frcnn.data import build
from frcnn.errors import ConfigError
from frcnn.ops import losses
from frcnn.training import hard_examples
from frcnn.training.compile import compile_sub_models
from frcnn.training.loss_terms import LossNormalizer, LossTerm

K = 3


def drawn():
    """Return y_class, y_regress, scores and deltas of 2 images, 6 RoIs and 2 object classes."""
    rng = np.random.default_rng(0)
    classes = np.array([[0, 1, 2, 2, 2, -1], [2, 1, 2, 0, 2, 2]])  # the last of an image is padding
    y_class = (classes[..., None] == np.arange(3)).astype("float32")
    scores = rng.dirichlet(np.ones(3), (2, 6)).astype("float32")
    mask = np.repeat(y_class[..., :2], 4, axis=-1) / y_class.sum()
    targets, deltas = rng.normal(0, 1, (2, 2, 6, 8)).astype("float32")
    return y_class, np.concatenate([mask, targets * (mask > 0)], -1).astype("float32"), scores, deltas


def of_rois(y_class, y_regress, scores, deltas):
    """Return (B, R) class losses and box losses, not divided by any number."""
    mask, targets = np.split(y_regress, 2, axis=-1)
    error = np.abs(deltas - targets)
    smooth = np.where(error < 1 / 9, 4.5 * error**2, error - 1 / 18) * (mask > 0)
    return -(y_class * np.log(scores)).sum(-1), smooth.sum(-1)


def terms(sampled):
    names = ("y_class", "y_regress") if sampled else (None, None)
    normalizer = LossNormalizer("classes", names[0], np.sum)
    return [
        LossTerm("classifier", "classes", losses.class_loss_cls, 1.0, normalizer, names[0]),
        LossTerm("classifier", "boxes", losses.class_loss_regr(2), 2.0, normalizer, names[1]),
    ]


@pytest.mark.parametrize("sampled", [True, False])
def test_the_losses_are_those_of_the_hardest_rois(sampled):
    y_class, y_regress, scores, deltas = drawn()
    select = hard_examples.of_terms(K, terms(sampled))
    outputs = {"classes": scores, "boxes": deltas}
    names = ("y_class", "y_regress") if sampled else ("classes", "boxes")
    given = dict(zip(names, (y_class, y_regress)))
    y, y_pred = select({}, outputs | given) if sampled else select(given, outputs)
    chosen = [np.asarray((y_pred if sampled else y)[name]) for name in names]

    class_losses, box_losses = of_rois(y_class, y_regress, scores, deltas)
    both = class_losses + 2.0 * box_losses
    hard = np.argsort(-both, axis=1)[:, :K]
    expected = [
        np.take_along_axis(one, hard, axis=1).sum() / (2 * K) for one in (class_losses, box_losses)
    ]
    for term, y_true, value in zip(terms(sampled), chosen, expected):
        np.testing.assert_allclose(float(term.loss(y_true, outputs[term.output])), value, rtol=1e-5)
    assert (chosen[0].sum(-1) > 0).sum(1).tolist() == [K, K]


def test_with_as_many_as_there_are_nothing_changes():
    y_class, y_regress, scores, deltas = drawn()
    select = hard_examples.of_terms(6, terms(False))
    y, _ = select({"classes": y_class, "boxes": y_regress}, {"classes": scores, "boxes": deltas})
    np.testing.assert_array_equal(y["classes"], y_class)
    np.testing.assert_allclose(y["boxes"], y_regress, rtol=1e-6)


@pytest.mark.parametrize("kind", SCHEDULES)
def test_a_training_step_has_it_and_a_validation_step_not(small_config, kind):
    batch = first_batch(build.load(small_config.data)[0], small_config)
    plain, mined = (
        set_up(small_config.replace({"loss.hard_examples": count}), kind)[1] for count in (0, 4)
    )
    rng = np.random.default_rng
    assert plain.validation_step(batch, rng(0))[0] == mined.validation_step(batch, rng(0))[0]
    one, other = dict(plain.train_step(batch)), dict(mined.train_step(batch))
    both = ("classifier/loss_cls", "classifier/loss_regr")
    assert sum(other[tag] for tag in both) > sum(one[tag] for tag in both)
    assert one["rpn/loss"] == other["rpn/loss"] and other["classifier/loss"] > 0


def test_what_cannot_be_is_refused(small_config):
    with pytest.raises(ConfigError, match=r"loss.hard_examples=\d+ must not be above roi.samples=\d+"):
        Config().replace({"roi.samples": 64, "loss.hard_examples": 65})
    config = small_config.replace({"loss.hard_examples": 4})
    with pytest.raises(ConfigError, match="loss.hard_examples needs a schedule of frcnn.train"):
        compile_sub_models(set_up(config)[0], config, total_steps=10)
