"""Import of detectors of torchvision: the same network, settings and weights give the same boxes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from frcnn.config.presets import backbone_preset
from frcnn.config.schema import Config
from frcnn.detector import Detector
from frcnn.errors import ConfigError
from frcnn.models import freezing
from frcnn.models.faster_rcnn import FasterRCNN
from frcnn.weights import by_name, torchvision_state

# {argument of torchvision: setting}
SETTINGS = {
    "min_size": "data.short_side",
    "max_size": "data.long_side",
    "box_score_thresh": "detection.score_threshold",
    "box_nms_thresh": "detection.nms_iou",
    "box_detections_per_img": "detection.max_detections",
    "rpn_pre_nms_top_n_test": "rpn.pre_nms_test",
    "rpn_post_nms_top_n_test": "rpn.post_nms_test",
    "rpn_nms_thresh": "rpn.nms_iou",
    "rpn_score_thresh": "rpn.score_threshold",
}

# Settings of all detectors of torchvision that differ from our defaults.
_COMMON = {
    "data.short_side": 800,
    "data.long_side": 1333,
    "data.interpolation": "bilinear",
    "data.size_rounding": "down",
    "data.uint8_images": False,
    "model.preprocessing": "torch",
    "model.pool_aligned": False,
    "anchors.offset": 0.0,
    "anchors.rounded": True,
    "rpn.min_size": 1e-3,
    "roi.samples": 512,
    "detection.min_size": 1e-2,
}
_OF_NAME = {
    "fasterrcnn_resnet50_fpn": backbone_preset("resnet50_fpn"),
    "fasterrcnn_resnet50_fpn_v2": backbone_preset("resnet50_fpn_v2"),
    "fasterrcnn_mobilenet_v3_large_fpn": backbone_preset("mobilenet_v3_large_fpn"),
    "fasterrcnn_mobilenet_v3_large_320_fpn": backbone_preset("mobilenet_v3_large_fpn")
    | {
        "data.short_side": 320,
        "data.long_side": 640,
        "rpn.pre_nms_test": 150,
        "rpn.post_nms_test": 150,
    },
}


def import_torchvision(
    name: str,
    state: Mapping[str, Any],
    classes: Sequence[str] | None = None,
    batch_norm_epsilon: float | None = None,
    **settings: Any,
) -> Detector:
    """Return a ``Detector`` with the weights of a detector of torchvision.

    Args:
        name: torchvision's function that builds the detector, such as ``"fasterrcnn_resnet50_fpn"``.
        state: {entry name: numpy array}, the whole state dict.
        classes: names of the classes 1 to C-1; None: those of COCO if there are 90, otherwise numbers.
        batch_norm_epsilon: epsilon of batch normalization; None:
            ``torchvision_state.batch_norm_epsilon``.
        **settings: arguments of torchvision's function, those in ``SETTINGS``; and ``num_classes``,
        which
            must be that of the state dict.

    Raises:
        WeightsError: an entry is missing, left over or has the wrong shape, or the name is not known.
        ConfigError: a setting is unknown, or a value is not allowed.

    Example::

        state = {key: value.numpy() for key, value in torch.load("detector.pth").items()}
        detector = frcnn.import_torchvision("fasterrcnn_resnet50_fpn", state)
    """
    torchvision_state.check_name(name)
    num_classes = torchvision_state.num_classes(state)
    wanted = settings.pop("num_classes", num_classes)
    if wanted != num_classes:
        raise ConfigError(f"num_classes is {wanted}, but the state has {num_classes} with background")
    unknown = [key for key in settings if key not in SETTINGS]
    if unknown:
        raise ConfigError(
            f"there is no setting {', '.join(unknown)}; there are num_classes, {', '.join(SETTINGS)}"
        )
    if batch_norm_epsilon is None:
        batch_norm_epsilon = torchvision_state.batch_norm_epsilon(name, state)
    if classes is None:
        known = torchvision_state.COCO_CLASSES
        classes = known if num_classes == len(known) + 1 else [str(k) for k in range(1, num_classes)]
    if len(classes) != num_classes - 1:
        raise ConfigError(
            f"classes has {len(classes)} names, but the state has {num_classes - 1} classes"
        )
    config = Config().replace(
        _COMMON
        | _OF_NAME[name]
        | {
            "model.weights": name,
            "model.batch_norm_epsilon": batch_norm_epsilon,
            "data.classes": classes,
        }
        | {SETTINGS[key]: value for key, value in settings.items()}
    )
    built = FasterRCNN.from_config(config, num_classes, allow_random_frozen=True)
    layers = freezing.weighted_layers(built.detector)
    arrays = torchvision_state.convert(name, state, layers, config.model.pool_size)
    by_name.fill_layers(built.detector, arrays, name)
    return Detector(built, config, config.data.classes)
