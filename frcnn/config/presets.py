"""Presets: settings that belong to a data set, a backbone, an optimizer, a recipe or a weight
file.

Each preset is a TOML file in ``preset_files/``. It begins with its command and the expected result.
"""

from __future__ import annotations

import pathlib
import tomllib
from typing import Any

from frcnn.config.schema import SECTIONS, Config
from frcnn.config.text_format import parse_json
from frcnn.errors import ConfigError


def _load(folder: str) -> dict[str, dict[str, Any]]:
    """Return {file's name: {dotted key: value}} of the presets of one kind."""
    presets = {}
    for path in sorted((pathlib.Path(__file__).parent / "preset_files" / folder).glob("*.toml")):
        sections = tomllib.loads(path.read_text(encoding="utf-8"))
        presets[path.stem] = {
            f"{section}.{name}": value
            for section, fields in sections.items()
            for name, value in fields.items()
        }
    return presets


PRESETS = _load("datasets")  # voc: as in the paper
BACKBONE_PRESETS = _load("backbones")  # as published; other backbones have the defaults
OPTIMIZER_PRESETS = _load("optimizers")
RECIPE_PRESETS = _load("recipes")

# Settings of how an image becomes the network's input. Trained weights need the same ones.
INPUT_SETTINGS = (
    "data.short_side",
    "data.long_side",
    "data.interpolation",
    "data.size_rounding",
    "data.uint8_images",
    "roi.delta_weights",
    "detection.min_size",
)


def preset(dataset: str) -> Config:
    """Return the default settings for a data set.

    Raises:
        ConfigError: there is no such data set.

    Example:
        >>> preset("shapes").model.backbone
        'tiny'
    """
    if dataset not in PRESETS:
        raise ConfigError(f"there is no data set {dataset!r}; there are {', '.join(PRESETS)}")
    return Config().replace(PRESETS[dataset])


def backbone_preset(name: str) -> dict[str, Any]:
    """Return {key: value} of a backbone's preset, its name included."""
    return BACKBONE_PRESETS.get(name, {"model.backbone": name})


def network_settings(text: str, source: str = "JSON") -> dict[str, Any]:
    """Return {key: value} of the settings that trained weights need: of network, anchors and input.

    Fine-tuning on other data uses them.

    Args:
        text: a config as JSON.
        source: name of the text, for messages.

    Raises:
        ConfigError: the text is not a config.
    """
    return {
        key: value
        for key, value in parse_json(text, SECTIONS, source).items()
        if key != "model.weights"
        and (key.split(".")[0] in ("model", "anchors", "rpn") or key in INPUT_SETTINGS)
    }
