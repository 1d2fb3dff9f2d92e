"""The data set that ``frcnn convert`` passes to the writers, with the images' new names."""

from __future__ import annotations

import dataclasses
import posixpath
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

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
