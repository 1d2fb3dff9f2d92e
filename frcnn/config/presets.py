"""Settings that go together: with a data set, a backbone, an optimizer or a weight file.

Each preset is a TOML file in ``preset_files/``. It opens with its command and the expected result.
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


PRESETS = _load("datasets")  # what each data set is trained with; voc: as in the paper
BACKBONE_PRESETS = _load("backbones")  # as the networks were published; without a preset: the defaults
OPTIMIZER_PRESETS = _load("optimizers")

# What makes an image the input of the network. It belongs to trained weights, like the network itself.
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
    """Return the ``Config`` that a data set is trained with by default.

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
    """Return {key: value} of the settings that a backbone starts from, with its name."""
    return BACKBONE_PRESETS.get(name, {"model.backbone": name})


def network_settings(text: str, source: str = "JSON") -> dict[str, Any]:
    """Return {key: value} of the settings that trained weights need: the network, anchors and input.

    Fine-tuning on other data with another schedule starts from these.

    Args:
        text: a config as JSON.
        source: what error messages call it.

    Raises:
        ConfigError: the text is no config.
    """
    return {
        key: value
        for key, value in parse_json(text, SECTIONS, source).items()
        if key != "model.weights"
        and (key.split(".")[0] in ("model", "anchors", "rpn") or key in INPUT_SETTINGS)
    }
