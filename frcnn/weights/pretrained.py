"""Build the sub-models of a config and load the weights that it names."""

import keras

from frcnn.errors import ConfigError, WeightsError
from frcnn.models.faster_rcnn import FasterRCNN
from frcnn.models.freezing import weighted_layers
from frcnn.text import listed
from frcnn.weights import initial


def build(config, weight_file=None):
    """Return the ``FasterRCNN`` of a config with its weights loaded, and what they were filled with.

    Example::

        config = preset("voc").replace({"data.classes": ("cat", "dog")})
        models, account = frcnn.build_pretrained(config)
        print(account)

    Args:
        config: ``schema.Config`` with ``data.classes``. What is "auto" in ``model`` is what the
            weights want.
        weight_file: the file that ``model.weights`` names, where the caller has it already; None: it is
            looked for, and ImageNet's weights are downloaded.

    Returns:
        ``FasterRCNN``, and the account as text: how many layers and weights of backbone, pyramid,
        RPN and head came from the file. It is empty where ``model.weights`` is "none".

    Raises:
        ConfigError: no class is named, or settings are not those of the weights.
        WeightsError: the weights are missing or damaged, or do not fill the layers that are frozen, or
            fill nothing of the backbone.
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
    filled = initial.load_weights(built.detector, weight_file, classes)
    parts = _parts(built)
    _refuse_fraction(filled, built, parts, weight_file, config.model.backbone)
    return built, f"{weight_file}: {filled.summary(parts)}"


def _parts(built):
    """Return {part: its layers with weights} of ``FasterRCNN``."""
    backbone = weighted_layers(keras.Model(built.rpn.inputs, built.features))
    below = {layer.name for layer in backbone}
    parts = {
        "backbone": [layer for layer in backbone if not layer.name.startswith("fpn_")],
        "pyramid": [layer for layer in backbone if layer.name.startswith("fpn_")],
        "RPN": [layer for layer in weighted_layers(built.rpn) if layer.name not in below],
        "head": [layer for layer in weighted_layers(built.classifier) if layer.name not in below],
    }
    return {part: layers for part, layers in parts.items() if layers}


def _refuse_fraction(filled, built, parts, weight_file, backbone):
    """Refuse a file that leaves frozen layers at random values, or brings nothing for the backbone."""
    own = weighted_layers(built.detector)
    frozen = [layer.name for layer in own if not layer.trainable and layer.name not in filled.layers]
    names = [layer.name for layer in parts["backbone"]]
    unfilled = [name for name in names if name not in filled.layers]
    if frozen or unfilled == names:
        of_shape = [name for name, _, _ in filled.mismatched if name in (frozen or unfilled)]
        shapes = f" ({listed(of_shape)}: of other shapes)" if of_shape else ""
        why = f"{listed(frozen)} would be frozen at random values" if frozen else "none of it is there"
        raise WeightsError(
            f"{weight_file} fills {len(names) - len(unfilled)} of {len(names)} layers of the backbone "
            f"{backbone}: {why}{shapes}. Give weights of this network, or --weights none"
        )
