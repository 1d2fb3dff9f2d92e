"""Build the network of a config, and load the weights that the config names."""

from __future__ import annotations

import os
import pathlib

import keras

from frcnn.config.schema import Config
from frcnn.errors import ConfigError, WeightsError
from frcnn.models.faster_rcnn import FasterRCNN
from frcnn.models.freezing import weighted_layers
from frcnn.text import listed
from frcnn.weights import initial


def build(config: Config, weight_file: str | os.PathLike | None = None) -> tuple[FasterRCNN, str]:
    """Build the network of a config, and load the weights that ``model.weights`` names.

    Args:
        config: the settings, with ``data.classes``. Settings of the section ``model`` that are "auto"
            get the values that the weights need.
        weight_file: the file that ``model.weights`` names, if the caller has it already; None: find it;
            ImageNet's weights are downloaded.

    Returns:
        The network.
        The load report as text: how many layers and weights of backbone, pyramid, RPN and head were
        loaded. It is empty if ``model.weights`` is "none".

    Raises:
        ConfigError: ``data.classes`` is empty, or the weights need other settings.
        WeightsError: the weight file is missing or damaged; or it does not have the weights of all
            frozen layers, or has none for the backbone.

    Example::

        config = preset("voc").replace({"data.classes": ("cat", "dog")})
        model, report = frcnn.build_pretrained(config)
        print(report)
    """
    classes = config.data.classes
    if not classes:
        raise ConfigError("data.classes names no class: set it to the names of the object classes")
    if weight_file is None:
        initial.check_weights(config.model)
        weight_file = initial.find_or_download(config.model)
    built = FasterRCNN.from_config(
        initial.resolve_auto_settings(config, weight_file), len(classes) + 1, weight_file is not None
    )
    if weight_file is None:
        return built, ""
    report = initial.load_weights(built.detector, pathlib.Path(weight_file), classes)
    parts = _parts(built)
    _check_backbone(report, built, parts, weight_file, config.model.backbone)
    return built, f"{weight_file}: {report.summary(parts)}"


def _parts(built):
    """Return {part of the network: its layers with weights}."""
    backbone = weighted_layers(keras.Model(built.rpn.inputs, built.features))
    below = {layer.name for layer in backbone}
    parts = {
        "backbone": [layer for layer in backbone if not layer.name.startswith("fpn_")],
        "pyramid": [layer for layer in backbone if layer.name.startswith("fpn_")],
        "RPN": [layer for layer in weighted_layers(built.rpn) if layer.name not in below],
        "head": [layer for layer in weighted_layers(built.classifier) if layer.name not in below]
        + [layer for stage in built.cascade.stages[1:] for layer in weighted_layers(stage)],
    }
    return {part: layers for part, layers in parts.items() if layers}


def _check_backbone(report, built, parts, weight_file, backbone):
    """Raise ``WeightsError`` if a frozen layer, or the whole backbone, was not loaded."""
    own = weighted_layers(built.detector)
    frozen = [layer.name for layer in own if not layer.trainable and layer.name not in report.layers]
    names = [layer.name for layer in parts["backbone"]]
    not_loaded = [name for name in names if name not in report.layers]
    if frozen or not_loaded == names:
        of_shape = [name for name, _, _ in report.mismatched if name in (frozen or not_loaded)]
        shapes = f" (other shapes: {listed(of_shape)})" if of_shape else ""
        why = f": {listed(frozen)} would be frozen with random weights" if frozen else ""
        raise WeightsError(
            f"{weight_file} has {len(names) - len(not_loaded)} of {len(names)} layers of the "
            "backbone "
            f"{backbone}{why}{shapes}. Give weights of this network, or --weights none"
        )
