"""Settings that go together: with a data set, a backbone, an optimizer or a weight file."""

from frcnn.config.schema import SECTIONS, Config
from frcnn.config.text_format import parse_json
from frcnn.errors import ConfigError

# What each data set is trained with unless told otherwise. ``voc`` is the paper's own setting.
PRESETS = {
    "voc": {},
    "python": {"data.dataset": "python"},  # data sets given to ``frcnn.train``
    # Small drawings that a small network learns from nothing in minutes on two CPU cores.
    "shapes": {
        "data.dataset": "shapes",
        "data.train_split": "train",
        "data.val_split": "val",
        "data.short_side": 160,
        "data.long_side": 224,
        "data.batch_size": 2,
        "model.backbone": "tiny",
        "model.weights": "none",
        "model.rpn_channels": 64,
        "model.head_width": 192,
        "model.head_dropout": 0.0,
        "anchors.sizes": (24.0, 48.0, 80.0),
        "rpn.samples": 64,
        "rpn.pre_nms_train": 600,
        "rpn.post_nms_train": 200,
        "rpn.pre_nms_test": 300,
        "rpn.post_nms_test": 50,
        "roi.samples": 64,
        "detection.nms_iou": 0.5,
        "optimizer.name": "adam",
        "optimizer.learning_rate": 1e-3,
        "optimizer.clip_norm": 10.0,
        "train.epochs": 8,
    },
}

# What a backbone's network is built with by those who published it: torchvision's settings.
_PYRAMID = {
    "anchors.sizes": (32.0, 64.0, 128.0, 256.0, 512.0),
    "anchors.size_per_level": True,
    "model.rpn_channels": 256,
    "model.head_width": 1024,
    "model.head_dropout": 0.0,
    "rpn.pre_nms_train": 2000,
    "rpn.post_nms_train": 2000,
    "rpn.pre_nms_test": 1000,
    "rpn.post_nms_test": 1000,
    "detection.nms_iou": 0.5,
}
BACKBONE_PRESETS = {
    "resnet50_fpn": _PYRAMID,
    "resnet101_fpn": _PYRAMID,
    "resnet50_fpn_v2": _PYRAMID,
    "mobilenet_v2_fpn": _PYRAMID,
    "mobilenet_v3_large_fpn": _PYRAMID | {"anchors.size_per_level": False, "rpn.score_threshold": 0.05},
}

# What the optimizers start from: SGD as in the paper, Adam as in the old Keras trainers.
OPTIMIZER_PRESETS = {
    "sgd": {"optimizer.name": "sgd", "optimizer.learning_rate": 1e-3},
    "adam": {
        "optimizer.name": "adam",
        "optimizer.learning_rate": 1e-5,
        "optimizer.weight_decay": 0.0,
    },
}


def preset(dataset):
    """Return the ``Config`` that a data set is trained with by default."""
    if dataset not in PRESETS:
        raise ConfigError(f"there is no data set {dataset!r}; there are {', '.join(PRESETS)}")
    return Config().replace(PRESETS[dataset])


def network_settings(text, source="JSON"):
    """Return {key: value} of a config's JSON, only what weights need to go on as they were trained.

    That is the network, its anchors, and how images become its input: fine-tuning on other data with
    another schedule starts from these.
    """
    values = parse_json(text, SECTIONS, source)
    kept = {
        key: value for key, value in values.items() if key.split(".")[0] in ("model", "anchors", "rpn")
    }
    kept |= {key: values[key] for key in INPUT_SETTINGS if key in values}
    kept.pop("model.weights", None)
    return kept


INPUT_SETTINGS = (
    "data.short_side",
    "data.long_side",
    "data.interpolation",
    "data.size_rounding",
    "data.uint8_images",
    "roi.delta_weights",
    "detection.min_size",
)


def backbone_preset(name):
    """Return the settings that a backbone starts from, {key: value}, its name among them."""
    return {"model.backbone": name} | BACKBONE_PRESETS.get(name, {})


def optimizer_preset(name):
    """Return the settings that an optimizer starts from, {key: value}."""
    if name not in OPTIMIZER_PRESETS:
        raise ConfigError(f"optimizer.name is {name!r}, not one of {', '.join(OPTIMIZER_PRESETS)}")
    return OPTIMIZER_PRESETS[name]
