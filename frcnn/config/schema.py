"""``Config``: all settings of a run in one frozen object, checked, with JSON in and out.

There is no hidden default: ``RUN/resolved.json`` has all settings of a run, and reading it gives the
same ``Config``. The settings themselves are in ``frcnn.config.sections``, presets in
``frcnn.config.presets``, and the precedence of the sources of settings is in
``frcnn.config.precedence``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Self

from pydantic import ValidationError, model_validator

from frcnn.config import class_names, class_weights, conv_tiles, messages, text_format
from frcnn.config.augment_section import AugmentConfig
from frcnn.config.box_section import BoxConfig
from frcnn.config.detection_section import DetectionConfig
from frcnn.config.fields import Settings
from frcnn.config.log_section import LogConfig
from frcnn.config.loss_section import LossConfig
from frcnn.config.sections import (
    BACKBONES,
    AnchorConfig,
    DataConfig,
    ModelConfig,
    OptimizerConfig,
    RoiConfig,
    RpnConfig,
)
from frcnn.config.train_section import PRECISIONS, RECIPES, SCHEDULES, CheckpointConfig, TrainConfig
from frcnn.errors import ConfigError, FrcnnError

__all__ = [
    "BACKBONES",
    "KEYS",
    "PRECISIONS",
    "RECIPES",
    "SCHEDULES",
    "SECTIONS",
    "AnchorConfig",
    "AugmentConfig",
    "BoxConfig",
    "Config",
    "DataConfig",
    "DetectionConfig",
    "LogConfig",
    "ModelConfig",
    "OptimizerConfig",
    "RpnConfig",
    "typed",
]


class _Sections(Settings):
    """All settings, each checked on its own."""

    data: DataConfig = DataConfig()
    augment: AugmentConfig = AugmentConfig()
    box: BoxConfig = BoxConfig()
    model: ModelConfig = ModelConfig()
    anchors: AnchorConfig = AnchorConfig()
    rpn: RpnConfig = RpnConfig()
    roi: RoiConfig = RoiConfig()
    detection: DetectionConfig = DetectionConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    loss: LossConfig = LossConfig()
    train: TrainConfig = TrainConfig()
    checkpoint: CheckpointConfig = CheckpointConfig()
    log: LogConfig = LogConfig()


SECTIONS = tuple(_Sections.model_fields)
KEYS = messages.keys_of(_Sections)


class Config(_Sections):
    """All settings of a run.

    Args:
        sections: sections by name, each as a dict of settings or as an object of the section's class.

    Raises:
        ConfigError: settings are wrong. The message has one line for each.

    Example:
        >>> config = Config(train={"epochs": 4}).replace({"anchors.sizes": "32,64,128"})
        >>> config.train.epochs, config.anchors.sizes
        (4, (32.0, 64.0, 128.0))
    """

    def __init__(self, **sections: Any) -> None:
        try:
            super().__init__(**sections)
        except ValidationError as error:
            raise ConfigError("\n".join(messages.lines(error, _Sections, sections))) from None

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        """Check the settings that limit each other."""
        problems = []
        if self.rpn.negative_iou > self.rpn.positive_iou:
            problems.append("rpn.negative_iou must not be above rpn.positive_iou")
        if self.data.short_side > self.data.long_side:
            problems.append("data.short_side must not be above data.long_side")
        if any(side > self.data.long_side for side in self.augment.short_sides):
            problems.append("augment.short_sides must not be above data.long_side")
        if self.box.kind == "oriented":
            problems += self._unfit_for_oriented_boxes()
        jitter = self.augment.scale_jitter
        if jitter and not (len(jitter) == 2 and 0 < jitter[0] <= jitter[1] <= 10):
            problems.append("augment.scale_jitter must be LOW,HIGH with 0 < LOW <= HIGH <= 10")
        if self.train.patience and self.train.schedule == "four-step":
            problems.append(
                "train.patience must be 0 with train.schedule=four-step, whose phases start again from "
                "initial weights"
            )
        if self.model.unfreeze_at and self.train.schedule == "four-step":
            problems.append("model.unfreeze_at must be 0 with train.schedule=four-step")
        if self.model.unfreeze_at > self.train.epochs:
            problems.append(
                f"model.unfreeze_at={self.model.unfreeze_at} must not be above "
                f"train.epochs={self.train.epochs}"
            )
        if self.loss.hard_examples > self.roi.samples:
            problems.append(
                f"loss.hard_examples={self.loss.hard_examples} must not be above "
                f"roi.samples={self.roi.samples}"
            )
        if 0 < self.detection.soft_nms_sigma < 0.001:
            sigma = self.detection.soft_nms_sigma
            problems.append(f"detection.soft_nms_sigma={sigma:g} must be 0 or at least 0.001")
        if self.model.cascade_stages > 1:
            problems += self._unfit_for_cascade()
        if self.train.ema and self.train.schedule == "four-step":
            problems.append("train.ema must be 0 with train.schedule=four-step, which has two networks")
        try:
            conv_tiles.parse(self.train.conv_tiles)
            class_weights.parse(self.loss.class_weights)
            if self.data.classes:
                class_weights.of_classes(self.loss.class_weights, self.data.classes)
                class_names.numbers_of(self.detection.classes, self.data.classes, "detection.classes")
        except FrcnnError as error:
            problems.append(str(error))
        if problems:
            raise ConfigError("\n".join(problems))
        return self

    def _unfit_for_oriented_boxes(self) -> list[str]:
        """Return a line for each setting that oriented boxes do not allow."""
        problems = []
        if self.model.pooling != "roi_align" or not self.model.pool_aligned:
            problems.append(
                "box.kind=oriented needs model.pooling=roi_align and model.pool_aligned=true"
            )
        if self.loss.box != "smooth_l1":
            problems.append("box.kind=oriented needs loss.box=smooth_l1")
        if self.detection.soft_nms_sigma:
            problems.append("box.kind=oriented does not work with detection.soft_nms_sigma")
        return problems

    def _unfit_for_cascade(self) -> list[str]:
        """Return a line for each setting that several stages do not allow."""
        problems = []
        if self.train.schedule == "four-step":
            problems.append("model.cascade_stages must be 1 with train.schedule=four-step")
        if self.loss.hard_examples:
            problems.append("loss.hard_examples must be 0 with model.cascade_stages above 1")
        return problems

    def get(self, key: str) -> Any:
        """Return the value of a dotted key, such as ``"rpn.samples"``."""
        section, name = key.split(".")
        return getattr(getattr(self, section), name)

    def replace(self, values: Mapping[str, Any]) -> Config:
        """Return a copy with other values for some settings.

        Args:
            values: {dotted key: value}; a value may be text, as on a command line.

        Raises:
            ConfigError: a key is unknown or a value is not allowed. The message has one line for each.
        """
        sections = {section: dict(getattr(self, section)) for section in SECTIONS}
        for key, value in typed(values).items():
            section, name = key.split(".")
            sections[section][name] = value
        return Config(**sections)

    def to_json(self) -> str:
        """Return all settings as JSON text, {section: {name: value}}."""
        return json.dumps(self.model_dump(), indent=2) + "\n"

    def updated_from_json(self, text: str, source: str = "JSON") -> Config:
        """Return a copy with the values of a JSON text, which may have only some of the settings.

        Args:
            text: text of ``to_json``, of this or an earlier version.
            source: name of the text's file, for messages.

        Raises:
            ConfigError: as ``replace``; each line begins with the source.
        """
        values = text_format.parse_json(text, SECTIONS, source)
        with messages.naming(source):
            return self.replace(values)

    @classmethod
    def json_schema(cls) -> dict[str, Any]:
        """Return the JSON schema of a settings file, for editors that complete and check JSON.

        Save it to a file and name that file in a settings file as ``"$schema"``:
        ``{"$schema": "frcnn.schema.json", "train": {"epochs": 4}}``.
        """
        schema = cls.model_json_schema()
        schema |= {"title": "Settings of frcnn", "description": "See docs/settings.md."}
        schema["properties"][text_format.SCHEMA_KEY] = {"type": "string"}
        return {"$schema": "https://json-schema.org/draft/2020-12/schema"} | schema


def typed(values: Mapping[str, Any]) -> dict[str, Any]:
    """Check each setting by itself, and return its value with the right type.

    Args:
        values: {dotted key: value}; a value may be text, as on a command line.

    Raises:
        ConfigError: a key is unknown or a value is not allowed. The message has one line for each.
    """
    problems = [messages.unknown_key(key, KEYS) for key in values if key not in KEYS]
    sections: dict[str, dict[str, Any]] = {}
    for key, value in values.items():
        if key in KEYS:
            section, name = key.split(".")
            sections.setdefault(section, {})[name] = value
    try:
        checked = _Sections.model_validate(sections)
    except ValidationError as error:
        problems += messages.lines(error, _Sections, sections)
    if problems:
        raise ConfigError("\n".join(problems))
    return {key: getattr(getattr(checked, key.split(".")[0]), key.split(".")[1]) for key in values}
