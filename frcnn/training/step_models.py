"""The Keras models that training and validation steps run.

Each joins parts of ``FasterRCNN`` so that a step computes nothing twice. They share its layers: what
they learn is in its sub-models as well. Inputs, outputs and targets have names.

B: images, S: sampled cells per image, R: RoIs per image, C: classes with background last.
"""

from __future__ import annotations

import re

import keras

from frcnn.layers.proposals import PostprocessLayer, ProposalLayer
from frcnn.layers.sparse_rpn import SparseRpnHead
from frcnn.models.faster_rcnn import FasterRCNN
from frcnn.training.step_model import StepModel


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
