"""The models that a schedule trains: sub-models put together so that one step computes nothing twice.

They are made of the layers of ``frcnn.models``, so that what they learn is there as well. A ``Step`` is
a Keras model like the sub-models themselves, with this more: a target may be another output, as RoIs
and their targets come out of the graph; and what is no loss is handed on in the logs.

Letters as in ``frcnn.models``.
"""

import dataclasses
import re
from collections.abc import Callable

import keras
from keras import ops

from frcnn import losses
from frcnn.backend import IS_TENSORFLOW, on_batches
from frcnn.rpn_at_cells import RpnAtCells


@dataclasses.dataclass(frozen=True)
class Term:
    """A summand of a step's loss.

    Attributes:
        output: name of the prediction.
        loss: of (y_true, y_pred, sample_weight) to one number.
        weight: what the loss is multiplied by in the step's total.
        target: the output that is its ``y_true``; None: it is fed, under the prediction's name.
    """

    output: str
    loss: Callable
    weight: float
    target: str | None = None


class Step(keras.Model):
    """A functional model, dict of outputs, trained on the sum of its terms.

    Call ``compile(optimizer, terms)``. ``train_on_batch(x, y, return_dict=True)`` and
    ``test_on_batch`` then return ``loss``, each term's ``<output>_loss``, the accuracy of a softmax
    prediction with one-hot targets, and every output that is no prediction, as an array. ``traces``
    counts how often the step was traced for new shapes.
    """

    def compile(self, optimizer, terms, accuracy_of=None, **options):
        """Set what is learnt.

        Args:
            optimizer: Keras optimizer, built for ``trainable_variables``.
            terms: the ``Term``s.
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
        """Return {output: loss}, without their weights."""
        return {
            term.output: term.loss(
                y_pred[term.target] if term.target else y[term.output],
                y_pred[term.output],
                sample_weight,
            )
            for term in self.terms
        }

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        values = self.term_losses(y, y_pred, sample_weight)
        loss = sum(term.weight * values[term.output] for term in self.terms)
        # An infinite loss may have a finite gradient. This one's is not, so the optimizer leaves it out.
        return loss * ops.where(ops.isfinite(loss), 1.0, float("nan"))

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        self.traces += 1  # this line runs in Python, so only while a graph is traced
        # Worked out again, which is little: nothing traced in compute_loss may leave it with JAX.
        values = self.term_losses(y, y_pred, sample_weight)
        logs = {"loss": sum(term.weight * values[term.output] for term in self.terms)}
        logs |= {f"{output}_loss": value for output, value in values.items()}
        predictions = {term.output: term.target for term in self.terms}
        if self.accuracy_of:
            target = predictions[self.accuracy_of]
            y_true = y_pred[target] if target else y[self.accuracy_of]
            right, exists = right_rois(y_true, y_pred[self.accuracy_of])
            accuracy = ops.sum(right * exists) / ops.maximum(ops.sum(exists), 1.0)
            logs[f"{self.accuracy_of}_accuracy"] = accuracy
        return logs | {name: value for name, value in y_pred.items() if name not in predictions}


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
    """Return the ``Step`` of the RPN, which hands on the RoIs sampled from its own proposals.

    Inputs: those of ``Models.sampler`` with the stem's features after the images, if there is a stem,
    and at the end the cells of ``rpn_at_cells``.
    """
    images, *others = models.sampler.inputs
    stem = [models.stem.output] if models.stem else []
    cells, outputs = _rpn_at_cells(models)
    return Step([images, *stem, *others, cells], outputs | models.sampler.output, name="rpn_step")


def classifier_step(models):
    """Return the ``Step`` of the classifier: features of the stem (or images), and rois."""
    images, rois = models.classifier.inputs
    outputs = dict(zip(models.classifier.output_names, models.classifier.outputs))
    start = models.stem.output if models.stem else images
    return Step([start, rois], outputs, name="classifier_step")


def joint_step(models):
    """Return the ``Step`` of both: one forward pass, proposals and sampling inside it.

    Inputs: those of ``Models.sampler``, and the cells of ``rpn_at_cells``.
    """
    sampled = models.sampler.output
    levels = models.features[: len(models.region_classifier.inputs) - 1]
    predictions = models.region_classifier([levels, sampled["rois"]])
    cells, rpn_outputs = _rpn_at_cells(models)
    outputs = dict(zip(models.classifier.output_names, predictions))
    inputs = [*models.sampler.inputs, cells]
    return Step(inputs, rpn_outputs | outputs | sampled, name="joint_step")


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
    """Return the RPN's two ``Term``s; ``weights`` of class and box loss."""
    functions = losses.rpn_loss_cls(models.num_anchors), losses.rpn_loss_regr(models.num_anchors)
    return [Term(*row) for row in zip(models.rpn.output_names, functions, weights)]


def classifier_terms(models, weights, sampled=False):
    """Return the classifier's two ``Term``s.

    Args:
        models: ``Models``.
        weights: of class and box loss.
        sampled: whether the targets are outputs of the same step.
    """
    functions = losses.class_loss_cls, losses.class_loss_regr(models.num_classes - 1)
    targets = ("y_class", "y_regress") if sampled else (None, None)
    return [Term(*row) for row in zip(models.classifier.output_names, functions, weights, targets)]
