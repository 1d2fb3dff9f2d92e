"""Settings that had another name, or were not there, in earlier versions.

A run's ``config.json`` and ``resolved.json``, the config inside a weight file and a ``--config`` file
may be of an earlier version, so they are read under the old names, too. A command line is of today:
``--set`` refuses an old name and says the new one.
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

# What a run did before the setting existed. It holds for a run whose config lacks the setting.
FORMER_DEFAULTS = {
    "optimizer.bias_lr_factor": 1.0,
    "train.best_weights": "mAP",
    "train.conv_tiles": ("128:64",),
}


def with_new_names(values: Mapping[str, Any], source: str) -> dict[str, Any]:
    """Return the settings of a file under the names that they have today.

    Args:
        values: {dotted key: value}.
        source: the file's name, for the error message.

    Raises:
        ConfigError: the file has a setting under its old name and under its new one.
    """
    renamed = {}
    for key, value in values.items():
        new = OLD_NAMES.get(key, key)
        if new != key and new in values:
            raise ConfigError(f"{source} has both {new} and its old name {key}: take out {key}")
        renamed[new] = value
    return renamed
