"""The settings of what a run shows in TensorBoard besides scalars. None of them changes the weights."""

from __future__ import annotations

from typing import Literal

from frcnn.config.fields import UNBOUNDED, Section, setting
from frcnn.config.values import List, Whole


class LogConfig(Section):
    """Pictures, curves and histograms in TensorBoard, other trackers, the profiler."""

    every: Whole = setting(
        1,
        "validations between pictures, curves and histograms; the last has them, too",
        ge=1,
        le=UNBOUNDED,
    )
    pictures: Whole = setting(
        4, "validation images that are drawn, the same every time; 0: none", ge=0, le=64
    )
    train_pictures: Whole = setting(
        2, "images of the last training step that are drawn, as the network gets them", ge=0, le=64
    )
    picture_side: Whole = setting(
        400, "long side of each of the parts of a picture, pixels", ge=64, le=2000
    )
    trackers: List[Literal["mlflow", "trackio", "wandb"]] = setting(
        (), "trackers that get the scalars and pictures, too; each is a package to install", max_length=3
    )
    profile_steps: Whole = setting(
        0, "steps that the profiler records, after the first ten of a start; 0: none", ge=0, le=1000
    )
