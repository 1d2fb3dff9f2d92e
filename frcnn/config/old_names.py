"""Settings that had another name, or did not exist, in earlier versions.

A run's ``config.json`` and ``resolved.json``, the config inside a weight file and a ``--config`` file
may have been written by an earlier version, so old names are accepted there. ``--set`` refuses an old
name and prints the new one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from frcnn.errors import ConfigError

# Old name -> new name.
OLD_NAMES = {
    "data.workers": "data.loader_threads",
    "data.whole_levels": "data.uint8_images",
    "optimizer.bias_rate": "optimizer.bias_lr_factor",
    "optimizer.worker_scaling": "optimizer.lr_scaling",
    "optimizer.worker_warmup": "optimizer.lr_scaling_warmup",
    "train.best": "train.best_weights",
}

# The behaviour before the setting existed: the values for a run whose config does not have the setting.
FORMER_DEFAULTS = {
    "optimizer.bias_lr_factor": 1.0,
    "optimizer.lr_images": 0,
    "train.best_weights": "mAP",
    "train.conv_tiles": ("128:64",),
}


def with_new_names(values: Mapping[str, Any], source: str) -> dict[str, Any]:
    """Return the settings of a file with their current names.

    Args:
        values: {dotted key: value}.
        source: name of the file, for messages.

    Raises:
        ConfigError: the file has a setting under both its old and its new name.
    """
    renamed = {}
    for key, value in values.items():
        new = OLD_NAMES.get(key, key)
        if new != key and new in values:
            raise ConfigError(f"{source} has both {new} and its old name {key}: remove {key}")
        renamed[new] = value
    return renamed
