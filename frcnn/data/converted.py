"""The data set that ``frcnn convert`` passes to the writers, with the images' new names."""

from __future__ import annotations

import dataclasses
import posixpath
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from frcnn.data import oriented
from frcnn.data.outlines import Outline
from frcnn.data.sample import Sample


class NewImage(NamedTuple):
    """An image of the new data set: its file name there, and its labels."""

    file: str
    sample: Sample


@dataclasses.dataclass(frozen=True)
class Converted:
    """A data set that is to be written.

    Attributes:
        splits: {name: images, in order}; no two images of the data set have the same stem.
        classes: names in the order of the labels.
    """

    splits: Mapping[str, Sequence[NewImage]]
    classes: tuple[str, ...]


def stem(file: str) -> str:
    """Return a file name without its ending."""
    return posixpath.splitext(file)[0]


def rounded(boxes: np.ndarray) -> list[list[float]]:
    """Return (G, 4) boxes with three digits after the point, which float32 pixels hold.

    Example:
        >>> rounded(np.array([[0.1, 2, 3, 4]], "float32"))
        [[0.1, 2.0, 3.0, 4.0]]
    """
    return np.round(np.asarray(boxes, "float64").reshape(-1, 4), 3).tolist()


def crowd_of(sample: Sample) -> list[bool]:
    """Return for each object of an image whether it is a crowd."""
    return [False] * len(sample.boxes) if sample.crowd is None else sample.crowd.tolist()


def outlines_of(sample: Sample) -> list[Outline | None]:
    """Return for each object of an image its outline, None where it is written as a box."""
    return [None] * len(sample.boxes) if sample.outlines is None else [*sample.outlines]


def angles_of(sample: Sample) -> list[np.ndarray | None]:
    """Return for each object of an image its oriented box (5,) in float64, None if it has no angle."""
    if sample.oriented is None:
        return [None] * len(sample.boxes)
    return [
        own.astype("float64") if oriented.is_turned(own, box) else None
        for own, box in zip(sample.oriented, sample.boxes)
    ]


def has_angles(data: Converted) -> bool:
    """Return whether a data set has oriented boxes: then each object is written as four corners."""
    return any(one.oriented is not None for images in data.splits.values() for _, one in images)


def four_points_of(sample: Sample) -> list[list[float]]:
    """Return for each object of an image x1, y1, ..., x4, y4, to a thousandth of a pixel."""
    boxes = oriented.from_axis_aligned(np.asarray(sample.boxes, "float64"))
    corners = oriented.corners(boxes if sample.oriented is None else sample.oriented.astype("float64"))
    points = [
        own if outline is None else outline.rings[0]
        for own, outline in zip(corners, outlines_of(sample))
    ]
    return [np.round(own, 3).ravel().tolist() for own in points]
