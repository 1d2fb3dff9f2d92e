"""The bounds of settings: what can work at all, and how much memory a stranger's config may ask for.

A config also comes inside a detector's file. So every setting that sizes memory has an upper bound, far
above what anybody trains with, and it is checked before anything is built.
"""

from frcnn.config.text_format import shown
from frcnn.errors import ConfigError

LARGEST = 1e6  # pixels and factors: beyond it float32 has no fractions to speak of

# Setting -> (lowest, highest) of its value, or of each of its values.
BOUNDS = {
    "data.short_side": (1, 2**14),
    "data.long_side": (1, 2**20),  # keras-frcnn has no limit of it
    "data.batch_size": (1, 2**12),
    "data.pad_multiple": (0, 2**12),
    "data.loader_threads": (1, 2**10),
    "data.prefetch": (1, 2**12),
    "data.cache_mib": (0, 2**24),
    "data.flip": (0, 1),
    "model.trainable_stages": (0, 100),
    "model.batch_norm_epsilon": (0, 1e3),
    "model.rpn_channels": (1, 2**12),
    "model.head_width": (1, 2**14),
    "model.head_dropout": (0, 1),
    "model.pool_size": (1, 64),
    "model.pool_samples": (1, 16),
    "anchors.sizes": (0, LARGEST),
    "anchors.ratios": (0, 1e4),
    "anchors.offset": (0, 1),
    "rpn.positive_iou": (0, 1),
    "rpn.negative_iou": (0, 1),
    "rpn.samples": (1, 2**16),
    "rpn.positive_fraction": (0, 1),
    "rpn.nms_iou": (0, 1),
    "rpn.min_size": (0, LARGEST),
    "rpn.score_threshold": (0, 1),
    "rpn.pre_nms_train": (1, 2**20),
    "rpn.post_nms_train": (1, 2**16),
    "rpn.pre_nms_test": (1, 2**20),
    "rpn.post_nms_test": (1, 2**16),
    "roi.samples": (1, 2**16),
    "roi.positive_fraction": (0, 1),
    "roi.positive_iou": (0, 1),
    "roi.negative_iou_low": (0, 1),
    "roi.delta_weights": (0, LARGEST),
    "detection.score_threshold": (0, 1),
    "detection.min_size": (0, LARGEST),
    "detection.nms_iou": (0, 1),
    "detection.max_detections": (1, 2**16),
    "detection.ap_iou": (0, 1),
    "optimizer.learning_rate": (0, 1e4),
    "optimizer.momentum": (0, 1),
    "optimizer.bias_lr_factor": (0, 1e4),
    "optimizer.weight_decay": (0, 1e4),
    "optimizer.clip_norm": (0, 1e12),
    "optimizer.warmup_steps": (0, 2**53),
    "optimizer.lr_scaling_warmup": (0, 1),
    "optimizer.decay_at": (0, 1),
    "optimizer.decay_factor": (0, 1e4),
    "loss.rpn": (0, LARGEST),
    "loss.classifier": (0, LARGEST),
    "train.epochs": (1, 2**53),
    "train.steps_per_epoch": (0, 2**53),
    "train.seed": (0, 2**32 - 1),
    "train.max_nonfinite_steps": (1, 2**53),
    "train.log_every": (1, 2**53),
    "train.validate_every": (1, 2**53),
    "checkpoint.every_steps": (0, 2**53),
    "checkpoint.every_minutes": (0, 1e9),
    "checkpoint.keep": (1, 2**20),
}

# Settings whose values must be above their lower bound, or below their upper one.
ABOVE = ("anchors.sizes", "anchors.ratios", "roi.delta_weights", "detection.ap_iou")
BELOW = ("optimizer.momentum",)

# Setting -> how many values it may have.
LENGTHS = {
    "data.classes": (0, 2**14),
    "anchors.sizes": (1, 64),
    "anchors.ratios": (1, 64),
    "roi.delta_weights": (4, 4),
    "optimizer.decay_at": (0, 1000),
    "loss.rpn": (2, 2),
    "loss.classifier": (2, 2),
    "loss.class_weights": (0, 2**14),
}


def check(get):
    """Check all settings.

    Args:
        get: function from a setting's key to its value.

    Raises:
        ConfigError: a value is out of bounds; it names the setting, its value and the bound.
    """
    for key, (fewest, most) in LENGTHS.items():
        if not fewest <= len(get(key)) <= most:
            number = str(most) if fewest == most else f"{fewest} to {most}"
            raise ConfigError(f"{key} needs {number} values, not {len(get(key))}")
    for key, (lowest, highest) in BOUNDS.items():
        value = get(key)
        values = value if isinstance(value, tuple) else (value,)
        if any(one < lowest or (key in ABOVE and one == lowest) for one in values):
            wanted = f"{'above' if key in ABOVE else 'at least'} {lowest:g}"
        elif any(one > highest or (key in BELOW and one == highest) for one in values):
            wanted = f"{'below' if key in BELOW else 'at most'} {highest:g}"
        else:
            continue
        if (lowest, highest) == (0, 1) and key not in ABOVE + BELOW:
            wanted = "between 0 and 1"
        raise ConfigError(f"{key} must be {wanted}, not {shown(value)}")
