"""Removes from samples what a format cannot store, and counts it, for ``frcnn convert``."""

from __future__ import annotations

import dataclasses

import numpy as np

from frcnn.data import four_points, oriented
from frcnn.data.outlines import Outline
from frcnn.data.sample import Sample

MOST_APART = 1.0  # pixels between a box and the box around its polygon, of which a format stores one
SAME = 0.0011  # pixels: boxes are written with three digits after the point


class Losses:
    """Removes from samples what a format cannot store, and counts it.

    Args:
        format: its name.
        stores: the ``STORES`` of the format.
        min_side: its ``MIN_SIDE``.
        four_points: all objects of the data set are written as four corners.
    """

    def __init__(
        self, format: str, stores: frozenset[str], min_side: float, four_points: bool = False
    ) -> None:
        self.format = format
        self.stores = stores
        self.min_side = min_side
        self.four_points = four_points
        self.difficult = self.crowd = self.area = self.thin = self.empty = 0
        self.polygons = self.parts = self.masks = self.apart = self.moved = self.cornered = 0
        self.angles = self.cornered_angles = self.squared = self.outside = 0
        self.farthest = self.farthest_corner = 0.0

    def keep(self, sample: Sample) -> Sample | None:
        """Return a sample with what the format can store; None if it cannot even store the image."""
        crowd = np.zeros(len(sample.boxes), bool) if sample.crowd is None else sample.crowd
        sides = sample.boxes[:, 2:] - sample.boxes[:, :2]
        kept = (sides >= self.min_side).all(axis=1)
        self.thin += int((~kept).sum())
        if not self.stores & {"crowd", "difficult"}:
            self.crowd += int((kept & crowd).sum())
            kept &= ~crowd
        elif "crowd" not in self.stores:
            self.crowd += int((kept & crowd).sum())
        if "difficult" not in self.stores:
            self.difficult += int((kept & sample.difficult & ~crowd).sum())
        if "area" not in self.stores and sample.area is not None:
            own = np.prod(sides.astype("float64"), axis=1)
            self.area += int((kept & (np.abs(own - sample.area) > 0.01 * own)).sum())
        if not kept.any() and "empty" not in self.stores:
            self.empty += 1
            return None
        outlines = [
            self._outline(sample, row, outline)
            for row, outline in enumerate(sample.outlines or [None] * len(kept))
            if kept[row]
        ]
        if "polygon only" in self.stores and any(outlines) and not self.four_points:
            self.cornered += sum(outline is None for outline in outlines)
        return dataclasses.replace(
            sample,
            boxes=sample.boxes[kept],
            labels=sample.labels[kept],
            difficult=sample.difficult[kept],
            crowd=crowd[kept],
            area=None if sample.area is None else sample.area[kept],
            oriented=None if sample.oriented is None else sample.oriented[kept],
            outlines=tuple(outlines) if any(outlines) else None,
        )

    def _outline(self, sample: Sample, row: int, outline: Outline | None) -> Outline | None:
        """Return the outline of an object that the format can store; None: it is written as a box."""
        has_angle = sample.oriented is not None and oriented.is_turned(
            sample.oriented[row], sample.boxes[row]
        )
        if has_angle and sample.oriented is not None:
            corners = oriented.corners(sample.oriented[row].astype("float64"))
            sides = sample.width, sample.height
            if "inside" in self.stores and not ((-SAME < corners) & (corners < sides)).all():
                self.outside += 1
            if "oriented" not in self.stores:
                if "polygon" not in self.stores:
                    self.angles += 1
                    return None
                self.cornered_angles += 1
                whole = outline is not None and outline.rings
                return outline if whole else Outline((np.round(corners, 3),))
        if outline is None:
            return None
        if self.four_points or (has_angle and "box of polygon" not in self.stores):
            return self._four_points(sample, row, outline)
        return self._polygon(outline, sample.boxes[row], sample)

    def _four_points(self, sample: Sample, row: int, outline: Outline) -> Outline | None:
        """Return the outline of an object whose box has an angle; None: the box is written."""
        is_four = len(outline.rings) == 1 and len(outline.rings[0]) == 4
        if is_four and self.four_points:
            return outline
        if is_four and sample.oriented is not None:
            self.squared += 1
            distance = four_points.apart(outline.rings[0], sample.oriented[row])
            self.farthest_corner = max(self.farthest_corner, distance)
        else:
            self.polygons += 1
        return None

    def _polygon(self, outline: Outline, box: np.ndarray, sample: Sample) -> Outline | None:
        """Return an outline that the format can store; None: the object is written as a box."""
        if not outline.rings:
            if outline.rle is not None and "mask" in self.stores:
                return outline
            self.masks += 1
            return None
        if "polygon" not in self.stores:
            self.polygons += 1
            return None
        if len(outline.rings) > 1 and "parts" not in self.stores:
            self.parts += 1
            return None
        if "box of polygon" in self.stores:
            return outline
        apart = float(np.abs(outline.box(sample.width, sample.height) - box).max())
        if apart > MOST_APART:
            self.apart += 1
            return None
        if apart > SAME:
            self.moved += 1
            self.farthest = max(self.farthest, apart)
        return outline

    def sentences(self) -> list[str]:
        """Return a sentence for each kind of loss, with its count."""
        format = self.format
        as_boxes = "their boxes are written"
        beside = " beside oriented boxes" if self.four_points else ""
        crowd = "written as difficult objects" if "difficult" in self.stores else "left out"
        lost = (
            (self.polygons, f"objects have polygons, which {format} does not store{beside}: {as_boxes}"),
            (self.parts, f"objects have several polygons, of which {format} stores one: {as_boxes}"),
            (self.masks, f"objects are masks or circles, which are not kept: {as_boxes}"),
            (
                self.angles,
                f"objects have an angle, which {format} does not store: the boxes around them are "
                "written",
            ),
            (
                self.cornered_angles,
                f"objects have an angle, which {format} does not store: they are polygons of four "
                "corners now, and are read again as the boxes around them",
            ),
            (
                self.squared,
                f"objects have four corners that are not those of a rectangle, which {format} stores: "
                f"a corner moves by up to {self.farthest_corner:.2g} pixels",
            ),
            (
                self.outside,
                f"objects have corners outside their images, which other readers of {format} may refuse",
            ),
            (
                self.apart,
                f"objects have polygons more than {MOST_APART:g} pixel apart from their boxes, and "
                f"{format} stores one of the two: {as_boxes}",
            ),
            (
                self.moved,
                f"objects get the boxes around their polygons, up to {self.farthest:.2g} pixels apart "
                f"from their own, as {format} stores one of the two",
            ),
            (
                self.cornered,
                f"boxes share an image with polygons: they are polygons of four corners now, as other "
                f"readers of {format} expect one kind in a file",
            ),
            (
                self.area,
                f"objects have the area of a mask, which {format} does not store: it is not written",
            ),
            (
                self.difficult,
                f"objects are difficult, which {format} does not store: they become ordinary objects",
            ),
            (self.crowd, f"objects are crowds, which {format} does not store: they are {crowd}"),
            (
                self.thin,
                f"boxes are too thin to be read again in {format}: they are left out",
            ),
            (self.empty, f"images have no object, which {format} does not store: they are left out"),
        )
        return [f"{count} {what}" for count, what in lost if count]
