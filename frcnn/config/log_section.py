"""The section ``log``: what a run logs besides scalars. None of these settings changes the weights."""

from __future__ import annotations

from typing import Literal

from frcnn.config.fields import UNBOUNDED, Section, setting
from frcnn.config.values import List, Whole


class LogConfig(Section):
    """Pictures, curves and histograms in TensorBoard, other trackers, the profiler."""

    every: Whole = setting(
        1,
        "log pictures, curves and histograms in every n-th validation, and in the last one",
        ge=1,
        le=UNBOUNDED,
    )
    pictures: Whole = setting(
        4, "number of validation images to draw, the same in every validation; 0: none", ge=0, le=64
    )
    train_pictures: Whole = setting(
        2, "number of images of the last training step to draw, as the network gets them", ge=0, le=64
    )
    picture_side: Whole = setting(400, "long side of each part of a picture, pixels", ge=64, le=2000)
    trackers: List[Literal["mlflow", "trackio", "wandb"]] = setting(
        (), "trackers that also get the scalars and pictures; each needs its package", max_length=3
    )
    profile_steps: Whole = setting(
        0, "number of steps that the profiler records, after the first ten steps; 0: none", ge=0, le=1000
    )
