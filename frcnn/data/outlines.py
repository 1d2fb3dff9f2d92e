"""Polygons of objects, which readers keep for ``frcnn convert`` only: training needs the boxes alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from frcnn.data import image_io


class Outline(NamedTuple):
    """The polygon, mask or rotated box of an object in a label file.

    Attributes:
        rings: (P, 2) float64 corners of each polygon, P >= 3, pixels of the upright image; several where
            an object is seen in parts. (): the outline is a mask, a circle or a turned box.
        rle: run lengths of COCO's mask, as its file has them; None: there is no such mask.
    """

    rings: tuple[np.ndarray, ...] = ()
    rle: Mapping[str, Any] | None = None

    def box(self, width: float, height: float) -> np.ndarray:
        """Return the (4,) box around the polygons, clipped to an image of a size in pixels."""
        points = np.concatenate(self.rings)
        corners = np.concatenate([points.min(axis=0), points.max(axis=0)])
        return np.clip(corners, 0, [width, height, width, height])

    def scaled(self, width: float, height: float) -> Outline:
        """Return polygons in shares of the image as pixels, to a thousandth of one."""
        return self._replace(rings=tuple(np.round(ring * [width, height], 3) for ring in self.rings))

    def turned(self, header: image_io.Header) -> Outline:
        """Return polygons of the image as stored as those of the upright image; masks are lost."""
        boxes = (image_io.turn_boxes(np.tile(ring, 2), header) for ring in self.rings)
        return Outline(tuple(box[:, :2] for box in boxes))


def of_points(points: Iterable[Sequence[float]]) -> Outline:
    """Return the outline of one polygon; without rings where it has less than three corners.

    Example:
        >>> len(of_points([(0, 0), (4, 0), (4, 3)]).rings)
        1
    """
    ring = np.array(list(points), "float64").reshape(-1, 2)
    return Outline((ring,) if len(ring) >= 3 and np.isfinite(ring).all() else ())
