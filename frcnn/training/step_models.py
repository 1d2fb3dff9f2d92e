"""Builds the Keras models that training and validation steps run.

Each combines parts of a ``FasterRCNN``, so that a step computes nothing twice. They have the same layers
as the ``FasterRCNN``, so training them trains its sub-models. Inputs, outputs and targets have names.

B: images, S: sampled cells per image, P: proposals, R: RoIs per image, E: numbers per box.
"""

from __future__ import annotations

import re

import keras

from frcnn.layers.proposals import PostprocessLayer, ProposalLayer
from frcnn.layers.sparse_rpn import SparseRpnHead
from frcnn.models.faster_rcnn import FasterRCNN
from frcnn.training.step_model import StepModel


def rpn_step_model(model: FasterRCNN) -> StepModel:
    """Return the model of a step of the RPN. It also samples RoIs from the RPN's proposals.

    Inputs: those of ``FasterRCNN.proposal_targets``, and ``cells`` (B, S).
    Outputs: the RPN's predictions at ``cells``; all outputs of ``FasterRCNN.proposal_targets``; and, if
    a part of the backbone is frozen, ``frozen_features``, its output.
    """
    inputs, outputs = _rpn_graph(model)
    if model.frozen_backbone:
        outputs |= _frozen_features(model)
    return StepModel(inputs, outputs, name="rpn_step")


def classifier_step_model(model: FasterRCNN) -> StepModel:
    """Return the model of a step of the classifier.

    Inputs: ``rois`` (B, R, E), and ``frozen_features``, or ``images`` if nothing is frozen. A cascade
    also has ``image_sizes``, ``gt_boxes`` and ``gt_labels``, for the targets of its later stages.
    Outputs: the classifier's predictions, and those of ``Cascade.train``.
    """
    images, rois = model.classifier.inputs
    outputs = dict(zip(model.classifier.output_names, model.classifier.outputs))
    start = _frozen_features(model) if model.frozen_backbone else {"images": images}
    inputs = {**start, "rois": rois}
    if len(model.cascade.stages) > 1:
        known = {tensor.name: tensor for tensor in model.proposal_targets.inputs}
        inputs |= {name: known[name] for name in ("image_sizes", "gt_boxes", "gt_labels")}
        outputs |= _later_stages(model, rois, outputs, inputs)
    return StepModel(inputs, outputs, name="classifier_step")


def joint_step_model(model: FasterRCNN) -> StepModel:
    """Return the model of a step of both sub-models, in one forward pass.

    Inputs: those of ``FasterRCNN.proposal_targets``, and ``cells`` (B, S).
    Outputs: those of ``rpn_step_model``, the classifier's predictions for the sampled RoIs, and those of
    ``Cascade.train``.
    """
    inputs, outputs = _rpn_graph(model)
    outputs |= _classifier_outputs(model, outputs["rois"], inputs)
    return StepModel(inputs, outputs, name="joint_step")


def validation_step_model(model: FasterRCNN, proposer: FasterRCNN | None = None) -> StepModel:
    """Return the model of a validation step: all losses and the detections, in one forward pass.

    Inputs: those of ``FasterRCNN.proposal_targets``, and ``cells`` (B, S).
    Outputs: those of ``joint_step_model``; ``boxes``, ``scores`` and ``labels``, the outputs of
    ``FasterRCNN.detector``; and ``proposals`` (B, P, E), from which the detections are made.

    Args:
        model: network whose classifier is used.
        proposer: network whose RPN is used; None: ``model``.
    """
    inputs, outputs = _rpn_graph(model)
    proposals = _layer_of_class(model.detector, ProposalLayer).output
    if proposer:
        own_inputs, outputs = _rpn_graph(proposer)
        outputs["proposals"] = _layer_of_class(proposer.detector, ProposalLayer).output
        outputs = keras.Model(own_inputs, outputs, name="proposer")(inputs)
        proposals = outputs.pop("proposals")
    sizes = inputs["image_sizes"]
    postprocess = _layer_of_class(model.detector, PostprocessLayer)
    detected = postprocess(*model.cascade.detect(_pooled_levels(model), proposals, sizes), sizes)
    outputs |= _classifier_outputs(model, outputs["rois"], inputs)
    outputs |= dict(zip(("boxes", "scores", "labels"), detected)) | {"proposals": proposals}
    return StepModel(inputs, outputs, name="validation_step")


def _rpn_graph(model):
    """Return {name: Keras tensor} of the inputs and of the outputs of ``rpn_step_model``."""
    cells = keras.Input((None,), dtype="int32", name="cells")
    names = [layer.name for layer in model.rpn.layers if re.fullmatch(r"rpn_conv\d*", layer.name)]
    convolutions = [model.rpn.get_layer(name) for name in sorted(names)]
    last = [model.rpn.get_layer(name) for name in ("rpn_class_logits", "rpn_deltas")]
    policy = convolutions[0].dtype_policy
    sparse_head = SparseRpnHead(convolutions, *last, dtype=policy, name="sparse_rpn_head")
    inputs = {tensor.name: tensor for tensor in [*model.proposal_targets.inputs, cells]}
    outputs = dict(zip(model.rpn.output_names, sparse_head(model.features, cells)))
    return inputs, outputs | model.proposal_targets.output


def _classifier_outputs(model, rois, inputs):
    """Return {name: Keras tensor} of all stages' outputs, computed from ``model.features``."""
    outputs = model.region_classifier([_pooled_levels(model), rois])
    first = dict(zip(model.classifier.output_names, outputs))
    return first | _later_stages(model, rois, first, inputs)


def _later_stages(model, rois, first, inputs):
    """Return {name: Keras tensor} of ``Cascade.train``; ``first`` has the first stage's outputs."""
    sizes, gt_boxes, gt_labels = (inputs[name] for name in ("image_sizes", "gt_boxes", "gt_labels"))
    _, deltas = first.values()
    return model.cascade.train(_pooled_levels(model), rois, deltas, sizes, gt_boxes, gt_labels)


def _pooled_levels(model):
    """Return the feature levels that RoIs are pooled from."""
    return model.features[: len(model.region_classifier.inputs) - 1]


def _layer_of_class(model, layer_class):
    """Return the only layer of a class in a model."""
    (layer,) = (layer for layer in model.layers if isinstance(layer, layer_class))
    return layer


def _frozen_features(model):
    """Return {"frozen_features": the output of the frozen part of the backbone}, a Keras tensor."""
    features = model.frozen_backbone.output
    features.name = "frozen_features"  # as an input, Keras needs the name of the dict's key
    return {features.name: features}
