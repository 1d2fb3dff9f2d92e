"""The models that a schedule trains: sub-models put together so that one step computes nothing twice.

They share the layers of ``FasterRCNN``, so that what they learn is there as well. A ``StepModel`` is
a Keras model like the sub-models themselves, with this more: a target may be another output, as RoIs
and their targets come out of the graph; and what is no loss is handed on in the logs.

Letters as in ``frcnn.models.faster_rcnn``.
"""

import dataclasses
import re
from collections.abc import Callable

import keras
from keras import ops

from frcnn.backend import IS_TENSORFLOW, all_reduce_sum, num_workers, on_batches
from frcnn.config import class_weights
from frcnn.layers.sparse_rpn import RpnAtCells
from frcnn.ops import losses


@dataclasses.dataclass(frozen=True)
class LossNormalizer:
    """How many anchors or RoIs were sampled in a batch, which its losses are divided by.

    Attributes:
        output, target: of the ``LossTerm`` whose ``y_true`` tells.
        of: from that ``y_true`` to the number.
    """

    output: str
    target: str | None
    of: Callable


@dataclasses.dataclass(frozen=True)
class LossTerm:
    """A summand of a step's loss.

    Attributes:
        output: name of the prediction.
        loss: of (y_true, y_pred, sample_weight) to one number.
        weight: what the loss is multiplied by in the step's total.
        target: the output that is its ``y_true``; None: it is fed, under the prediction's name.
        count: the ``LossNormalizer`` of what the loss is divided by.
    """

    output: str
    loss: Callable
    weight: float
    target: str | None
    count: LossNormalizer


class StepModel(keras.Model):
    """A functional model, dict of outputs, trained on the sum of its terms.

    Call ``compile(optimizer, terms)``. ``train_on_batch(x, y, return_dict=True)`` and
    ``test_on_batch`` then return ``loss``, each term's ``<output>_loss``, the accuracy of a softmax
    prediction with one-hot targets, and every output that is no prediction: one with a number an image
    as their sum, others as an array. ``traces`` counts how often the step was traced for new shapes.

    With several workers (``process_group``) each has a share of the batch, and all get the numbers of
    the whole: loss and gradient of a share, times its share of the anchors or RoIs, add up to them.
    """

    def compile(self, optimizer, terms, accuracy_of=None, **options):
        """Set what is learnt.

        Args:
            optimizer: Keras optimizer, built for ``trainable_variables``.
            terms: the ``LossTerm``s.
            accuracy_of: name of the prediction whose ``<output>_accuracy`` to return.
            options: of ``keras.Model.compile``.
        """
        super().compile(optimizer=optimizer, **options)
        self.terms = tuple(terms)
        self.accuracy_of = accuracy_of
        self.traces = 0

    def make_train_function(self, force=False):
        if not IS_TENSORFLOW:
            super().make_train_function(force)
        elif force or self.train_function is None:
            self.train_function = on_batches(self, self.train_step)

    def make_test_function(self, force=False):
        if not IS_TENSORFLOW:
            super().make_test_function(force)
        elif force or self.test_function is None:
            self.test_function = on_batches(self, self.test_step)

    def term_losses(self, y, y_pred, sample_weight=None):
        """Return {output: loss} of this worker's share of the batch, without their weights."""
        return {
            term.output: term.loss(_target(term, y, y_pred), y_pred[term.output], sample_weight)
            for term in self.terms
        }

    def _counts(self, y, y_pred):
        """Return {output: what its loss was divided by in this worker's share of the batch}."""
        counts = {term.count: term.count.of(_target(term.count, y, y_pred)) for term in self.terms}
        return {term.output: counts[term.count] for term in self.terms}

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        values = self.term_losses(y, y_pred, sample_weight)
        if num_workers() > 1:
            counts = self._counts(y, y_pred)
            totals = dict(zip(counts, all_reduce_sum(counts.values())))
            for output, count in counts.items():
                values[output] *= count / ops.maximum(totals[output], 1.0)
        loss = sum(term.weight * values[term.output] for term in self.terms)
        # An infinite loss may have a finite gradient. This one's is not, so the optimizer leaves it out.
        return loss * ops.where(ops.isfinite(loss), 1.0, float("nan"))

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        self.traces += 1  # this line runs in Python, so only while a graph is traced
        # Worked out again, which is little: nothing traced in compute_loss may leave it with JAX.
        values = self.term_losses(y, y_pred, sample_weight)
        predictions = {term.output: term for term in self.terms}
        others = {name: value for name, value in y_pred.items() if name not in predictions}
        sums = {name: ops.sum(value) for name, value in others.items() if len(value.shape) == 1}
        if self.accuracy_of:
            y_true = _target(predictions[self.accuracy_of], y, y_pred)
            right, exists = right_rois(y_true, y_pred[self.accuracy_of])
            sums |= {"right": ops.sum(right * exists), "rois": ops.sum(exists)}
        values, sums = self._over_workers(values, self._counts(y, y_pred), sums)

        logs = {"loss": sum(term.weight * values[term.output] for term in self.terms)}
        logs |= {f"{output}_loss": value for output, value in values.items()}
        if self.accuracy_of:
            accuracy = sums.pop("right") / ops.maximum(sums.pop("rois"), 1.0)
            logs[f"{self.accuracy_of}_accuracy"] = accuracy
        return logs | others | sums

    def _over_workers(self, values, counts, sums):
        """Return the losses, and sums of other numbers, of the whole batch from those of a share."""
        if num_workers() == 1:
            return values, sums
        # All in one message: with little to say, the time is that of the journey.
        weighted = [value * counts[output] for output, value in values.items()]
        parts = [*weighted, *counts.values(), *sums.values()]
        (whole,) = all_reduce_sum([ops.stack([ops.cast(part, "float32") for part in parts])])
        whole = iter(ops.unstack(whole, len(parts)))
        weighted = {output: next(whole) for output in values}
        counts = {output: next(whole) for output in counts}
        values = {output: weighted[output] / ops.maximum(counts[output], 1.0) for output in values}
        return values, {name: next(whole) for name in sums}


def _target(term, y, y_pred):
    """Return the ``y_true`` of a ``LossTerm`` or ``LossNormalizer``: an output, or what is fed."""
    return y_pred[term.target] if term.target else y[term.output]


def right_rois(y_true, y_pred):
    """Return whether each RoI's likeliest class is the right one, and whether it is a RoI or padding.

    Args:
        y_true: (B, R, C) one-hot; an all-zero row is padding.
        y_pred: (B, R, C) scores.

    Returns:
        Two (B, R) float32 of 0 and 1.
    """
    right = ops.cast(ops.argmax(y_true, axis=-1) == ops.argmax(y_pred, axis=-1), "float32")
    return right, ops.sum(y_true, axis=-1)  # a one-hot row adds up to 1


def rpn_step(models):
    """Return the ``StepModel`` of the RPN, which hands on the RoIs sampled from its own proposals.

    Inputs: those of ``FasterRCNN.sampler`` with the stem's features after the images where there is a
    stem, and at the end the cells of ``SparseRpn``.
    """
    images, *others = models.sampler.inputs
    stem = [models.stem.output] if models.stem else []
    cells, outputs = _rpn_at_cells(models)
    return StepModel([images, *stem, *others, cells], outputs | models.sampler.output, name="rpn_step")


def classifier_step(models):
    """Return the ``StepModel`` of the classifier: features of the stem (or images), and rois."""
    images, rois = models.classifier.inputs
    outputs = dict(zip(models.classifier.output_names, models.classifier.outputs))
    start = models.stem.output if models.stem else images
    return StepModel([start, rois], outputs, name="classifier_step")


def joint_step(models):
    """Return the ``StepModel`` of both: one forward pass, proposals and sampling inside it.

    Inputs: those of ``FasterRCNN.sampler``, and the cells of ``rpn_at_cells``.
    """
    sampled = models.sampler.output
    levels = models.features[: len(models.region_classifier.inputs) - 1]
    predictions = models.region_classifier([levels, sampled["rois"]])
    cells, rpn_outputs = _rpn_at_cells(models)
    outputs = dict(zip(models.classifier.output_names, predictions))
    inputs = [*models.sampler.inputs, cells]
    return StepModel(inputs, rpn_outputs | outputs | sampled, name="joint_step")


def _rpn_at_cells(models):
    """Return the input of cells, and the RPN's outputs there by their names."""
    cells = keras.Input((None,), dtype="int32", name="cells")
    names = [layer.name for layer in models.rpn.layers if re.fullmatch(r"rpn_conv\d*", layer.name)]
    convolutions = [models.rpn.get_layer(name) for name in sorted(names)]
    last = [models.rpn.get_layer(name) for name in ("rpn_class_logits", "rpn_deltas")]
    policy = convolutions[0].dtype_policy
    at_cells = RpnAtCells(convolutions, *last, dtype=policy, name="rpn_at_cells")
    outputs = at_cells(models.features, cells)
    return cells, dict(zip(models.rpn.output_names, outputs))


def rpn_terms(models, weights):
    """Return the RPN's two ``LossTerm``s; ``weights`` of class and box loss."""
    anchors, names = models.num_anchors, models.rpn.output_names
    functions = losses.rpn_loss_cls(anchors), losses.rpn_loss_regr(anchors)
    count = LossNormalizer(names[0], None, lambda y_class: ops.sum(y_class[..., :anchors]))
    return [LossTerm(*row, None, count) for row in zip(names, functions, weights)]


def classifier_terms(models, config, sampled=False):
    """Return the classifier's two ``LossTerm``s.

    Args:
        models: ``FasterRCNN``.
        config: ``Config``; with ``loss.class_weights`` it must have the names, ``data.classes``.
        sampled: whether the targets are outputs of the same step.

    Raises:
        ConfigError: ``loss.class_weights`` has names that are not those of the classes.
    """
    weights, num_objects = config.loss.classifier, models.num_classes - 1
    of_classes = class_weights.of_classes(config.loss.class_weights, config.data.classes)
    functions = losses.weighted_class_loss_cls(of_classes), losses.class_loss_regr(num_objects)
    targets = ("y_class", "y_regress") if sampled else (None, None)
    names = models.classifier.output_names
    count = LossNormalizer(names[0], targets[0], ops.sum)
    return [LossTerm(*row, count) for row in zip(names, functions, weights, targets)]
