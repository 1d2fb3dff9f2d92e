"""The Keras models that training and validation steps run.

Each joins parts of ``FasterRCNN`` so that a step computes nothing twice. They share its layers: what
they learn is in its sub-models as well. Inputs, outputs and targets have names.

B: images, S: sampled cells per image, R: RoIs per image, C: classes with background last.
"""

from __future__ import annotations

import re
import types
from collections.abc import Callable, Sequence
from typing import Any

import keras
from keras import ops

from frcnn.backend import IS_TENSORFLOW, on_batches
from frcnn.collectives import all_reduce_sum, num_processes
from frcnn.layers.proposals import PostprocessLayer, ProposalLayer
from frcnn.layers.sparse_rpn import SparseRpnHead
from frcnn.models.faster_rcnn import FasterRCNN
from frcnn.training.loss_terms import LossNormalizer, LossTerm, correct_rois

Tensor = Any


class StepModel(keras.Model):
    """A functional model, dict to dict, that is trained on a sum of losses.

    With several processes, each works on its share of the batch. All get the logs of the whole batch,
    and the gradients of the shares add up to that of the whole.

    Attributes:
        traces: how often a step was traced for new shapes.
    """

    train_function: Any  # Keras sets both to None before the first step
    test_function: Any

    def compile(self, optimizer: Any, terms: Sequence[LossTerm], **options: Any) -> None:
        """Set what is learnt.

        Args:
            optimizer: Keras optimizer, built for ``trainable_variables``; None: the model only tests.
            terms: the losses.
            options: of ``keras.Model.compile``.
        """
        super().compile(optimizer=optimizer, **options)
        self.terms = tuple(terms)
        self.traces = 0
        self._learns = False
        self._last = types.SimpleNamespace(outputs={})

    def run(
        self,
        inputs: dict[str, Tensor],
        targets: dict[str, Tensor],
        sample_weight: Tensor,
        learn: bool,
    ) -> tuple[dict[str, float], dict[str, Tensor]]:
        """Run one step.

        Args:
            inputs: by the names of the inputs.
            targets: ``y_true`` of each loss that is fed, by the name of the prediction.
            sample_weight: (B,) weights of the images.
            learn: whether to update the weights.

        Returns:
            logs: ``<sub-model>_loss``, ``<prediction>_loss`` and ``<prediction>_accuracy``, and the sum
            over the batch of each output that has one number per image.
            outputs: all other outputs, predictions among them. They stay on the device.
        """
        on_batch = self.train_on_batch if learn else self.test_on_batch
        logs = on_batch(inputs, targets, sample_weight=sample_weight, return_dict=True)
        return logs, self._last.outputs

    def train_step(self, *arguments: Any) -> Any:
        self._learns = True  # while the step is traced: a step that only tests has no gradients
        try:
            return super().train_step(*arguments)
        finally:
            self._learns = False

    def make_train_function(self, force: bool = False) -> None:
        if force or self.train_function is None:
            if IS_TENSORFLOW:
                self.train_function = on_batches(self, self.train_step)
            else:
                super().make_train_function(force)
            self.train_function = self._taking_outputs(self.train_function)

    def make_test_function(self, force: bool = False) -> None:
        if force or self.test_function is None:
            if IS_TENSORFLOW:
                self.test_function = on_batches(self, self.test_step)
            else:
                super().make_test_function(force)
            self.test_function = self._taking_outputs(self.test_function)

    def _taking_outputs(self, function: Callable) -> Callable:
        """Return a compiled step that keeps the outputs for ``run`` and returns the logs only."""

        def on_batch(*arguments):
            result = function(*arguments)
            logs = result if IS_TENSORFLOW else result[0]  # JAX returns the state, too
            self._last.outputs = logs.pop("outputs")
            return result

        return on_batch

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        values, by_sub_model = {}, {}
        for term in self.terms:
            y_true = _y_true(term, y, y_pred)
            values[term.output] = term.loss(y_true, y_pred[term.output], sample_weight)
        if num_processes() > 1:
            values = self._shares_of_whole(values, y, y_pred)
        for term in self.terms:
            weighted = term.weight * values[term.output]
            by_sub_model[term.sub_model] = by_sub_model.get(term.sub_model, 0.0) + weighted
        # Only y_pred goes from here to compute_metrics on both backends.
        y_pred["losses"] = {f"{name}_loss": value for name, value in (values | by_sub_model).items()}
        loss = sum(by_sub_model.values())
        # An infinite loss may have a finite gradient. NaN has not, so the optimizer skips the step.
        return loss * ops.where(ops.isfinite(loss), 1.0, float("nan"))

    def _shares_of_whole(self, values, y, y_pred):
        """Scale the losses of this process so that they add up to those of the whole batch."""
        counts = {}
        for term in self.terms:
            if term.normalizer not in counts:
                y_true = _y_true(term.normalizer, y, y_pred)
                counts[term.normalizer] = term.normalizer.count(y_true)
        totals = dict(zip(counts, all_reduce_sum(counts.values())))
        return {
            term.output: values[term.output]
            * (counts[term.normalizer] / ops.maximum(totals[term.normalizer], 1.0))
            for term in self.terms
        }

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        self.traces += 1  # this line runs in Python, so only while a graph is traced
        logs = dict(y_pred["losses"])
        known = {"losses", *(term.output for term in self.terms)}
        others = {name: value for name, value in y_pred.items() if name not in known}
        logs |= {name: ops.sum(value) for name, value in others.items() if len(value.shape) == 1}
        with_accuracy = [term for term in self.terms if term.has_accuracy]
        for term in with_accuracy:
            correct, exists = correct_rois(_y_true(term, y, y_pred), y_pred[term.output])
            logs |= {"correct": ops.sum(correct * exists), "rois": ops.sum(exists)}
        if num_processes() > 1:
            names = sorted(logs)
            # In one message, as the delay of a message counts more than its length.
            (sums,) = all_reduce_sum([ops.stack([ops.cast(logs[name], "float32") for name in names])])
            logs = dict(zip(names, ops.unstack(sums, len(names))))
        for term in with_accuracy:
            accuracy = logs.pop("correct") / ops.maximum(logs.pop("rois"), 1.0)
            logs[f"{term.output}_accuracy"] = accuracy
        if self._learns and hasattr(self.optimizer, "norm"):
            logs["gradient_norm"] = self.optimizer.norm  # the same in all processes
        outputs = {name: y_pred[name] for name in y_pred if name != "losses"}
        return logs | {"outputs": {name: out for name, out in outputs.items() if len(out.shape) > 1}}


def _y_true(term: LossTerm | LossNormalizer, y: dict, y_pred: dict) -> Tensor:
    return y_pred[term.target] if term.target else y[term.output]


def rpn_step_model(model: FasterRCNN) -> StepModel:
    """Return the model of the RPN's step. It also samples RoIs from the RPN's proposals.

    Inputs: those of ``FasterRCNN.proposal_targets``, ``cells`` (B, S), and ``frozen_features`` if a
    part of the backbone is frozen.
    """
    inputs, outputs = _rpn_graph(model)
    if model.frozen_backbone:
        inputs |= _frozen_features(model)
    return StepModel(inputs, outputs, name="rpn_step")


def classifier_step_model(model: FasterRCNN) -> StepModel:
    """Return the model of the classifier's step.

    Inputs: ``rois`` (B, R, 4), and ``frozen_features``, or ``images`` if nothing is frozen.
    """
    images, rois = model.classifier.inputs
    outputs = dict(zip(model.classifier.output_names, model.classifier.outputs))
    start = _frozen_features(model) if model.frozen_backbone else {"images": images}
    return StepModel({**start, "rois": rois}, outputs, name="classifier_step")


def joint_step_model(model: FasterRCNN) -> StepModel:
    """Return the model of a step of both: one forward pass, with proposals and sampling inside.

    Inputs: those of ``FasterRCNN.proposal_targets`` and ``cells`` (B, S).
    """
    inputs, outputs = _rpn_graph(model)
    outputs |= _classifier_outputs(model, outputs["rois"])
    return StepModel(inputs, outputs, name="joint_step")


def validation_step_model(model: FasterRCNN, proposer: FasterRCNN | None = None) -> StepModel:
    """Return the model of a validation step: all losses and the detections, in one forward pass.

    Inputs: those of ``FasterRCNN.proposal_targets`` and ``cells`` (B, S). Outputs, besides predictions
    and proposal statistics: ``proposals`` (B, P, 4) that the detections come from, and ``boxes``,
    ``scores`` and ``labels`` as of ``FasterRCNN.detector``.

    Args:
        model: network that classifies.
        proposer: network that proposes; None: the same one.
    """
    inputs, outputs = _rpn_graph(model)
    proposals = _layer(model.detector, ProposalLayer).output
    if proposer:
        own_inputs, outputs = _rpn_graph(proposer)
        outputs["proposals"] = _layer(proposer.detector, ProposalLayer).output
        outputs = keras.Model(own_inputs, outputs, name="proposer")(inputs)
        proposals = outputs.pop("proposals")
    scores, deltas = _classifier_outputs(model, proposals).values()
    postprocess = _layer(model.detector, PostprocessLayer)
    detected = postprocess(proposals, scores, deltas, inputs["image_sizes"])
    outputs |= _classifier_outputs(model, outputs["rois"])
    outputs |= dict(zip(("boxes", "scores", "labels"), detected)) | {"proposals": proposals}
    return StepModel(inputs, outputs, name="validation_step")


def _rpn_graph(model):
    """Return inputs and outputs, by name, of the RPN at sampled cells and of sampling RoIs."""
    cells = keras.Input((None,), dtype="int32", name="cells")
    names = [layer.name for layer in model.rpn.layers if re.fullmatch(r"rpn_conv\d*", layer.name)]
    convolutions = [model.rpn.get_layer(name) for name in sorted(names)]
    last = [model.rpn.get_layer(name) for name in ("rpn_class_logits", "rpn_deltas")]
    policy = convolutions[0].dtype_policy
    sparse_head = SparseRpnHead(convolutions, *last, dtype=policy, name="sparse_rpn_head")
    inputs = {tensor.name: tensor for tensor in [*model.proposal_targets.inputs, cells]}
    outputs = dict(zip(model.rpn.output_names, sparse_head(model.features, cells)))
    return inputs, outputs | model.proposal_targets.output


def _classifier_outputs(model, rois):
    """Return the classifier's outputs by name, from features that are computed already."""
    levels = model.features[: len(model.region_classifier.inputs) - 1]
    return dict(zip(model.classifier.output_names, model.region_classifier([levels, rois])))


def _layer(model, kind):
    """Return the one layer of a class in a model."""
    (layer,) = (layer for layer in model.layers if isinstance(layer, kind))
    return layer


def _frozen_features(model):
    """Return the output of the frozen part of the backbone as an input, by its name."""
    features = model.frozen_backbone.output
    features.name = "frozen_features"  # Keras wants the tensor's own name as the key
    return {features.name: features}
