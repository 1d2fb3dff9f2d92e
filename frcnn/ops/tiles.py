"""Tiles of a large image: where they lie, and one set of detections out of those of all tiles.

The network sees an image resized to its own input size, in which small objects of a large image vanish.
Tiles keep their size. An object at the border of a tile is cut there, so tiles overlap, and the cut
part is dropped where another tile, or the image as a whole, has the object itself.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from frcnn.errors import ConfigError
from frcnn.ops.nms import BLOCK, nms_by_class

Window = tuple[int, int, int, int]
MARGIN = 2.0  # pixels from a tile's border within which a box counts as cut
COVERED = 0.7  # share of a cut box that another box of its class covers, if they are one object


def windows(width: int, height: int, tile: int, overlap: float) -> list[Window]:
    """Return the tiles of an image, after the whole image, which shows what is larger than a tile.

    Args:
        width, height: of the image, pixels.
        tile: side of a tile, pixels; less where the image is smaller.
        overlap: least share of a tile that its neighbour repeats, from 0 to below 1. Objects that are
            not wider than ``overlap * tile`` pixels lie whole in one tile.

    Returns:
        [(x1, y1, x2, y2)], half-open, all of one size but the first. An image that is no larger than
        a tile is its own only one.

    Raises:
        ConfigError: ``tile`` or ``overlap`` is impossible.

    Example:
        >>> windows(150, 100, 100, 0.2)
        [(0, 0, 150, 100), (0, 0, 100, 100), (50, 0, 150, 100)]
    """
    if tile < 32:
        raise ConfigError(f"tile must be 32 pixels or more, not {tile}")
    if not 0 <= overlap <= 0.9:
        raise ConfigError(f"overlap must be from 0 to 0.9, a share of the tile, not {overlap:g}")
    whole = [(0, 0, width, height)]
    if max(width, height) <= tile:
        return whole
    return whole + [
        (x, y, min(x + tile, width), min(y + tile, height))
        for y in _starts(height, tile, overlap)
        for x in _starts(width, tile, overlap)
    ]


def _starts(length: int, tile: int, overlap: float) -> list[int]:
    """Return where tiles begin along one side: evenly spread, the last one ends with the image."""
    if length <= tile:
        return [0]
    count = 1 + math.ceil((length - tile) / (tile * (1 - overlap)))
    return [round(place) for place in np.linspace(0, length - tile, count)]


def merge(
    found: Sequence[dict[str, np.ndarray]],
    tiles: Sequence[Window],
    nms_iou: float,
    max_detections: int,
) -> dict[str, np.ndarray]:
    """Return the detections of an image out of those of its tiles.

    Args:
        found: per tile ``boxes`` (M, 4) in pixels of the tile, ``scores`` (M,) and ``labels`` (M,).
        tiles: the windows, the first of them the whole image.
        nms_iou: IoU above which NMS drops a box of the same class.
        max_detections: most to return.

    Returns:
        ``boxes`` (K, 4) float32 in pixels of the image, ``scores`` (K,) falling, ``labels`` (K,).
    """
    width, height = tiles[0][2:]
    boxes = np.concatenate(
        [one["boxes"] + np.array([x, y, x, y], "float32") for one, (x, y, *_) in zip(found, tiles)]
    )
    scores = np.concatenate([one["scores"] for one in found]).astype("float32")
    labels = np.concatenate([one["labels"] for one in found]).astype("int32")
    windows_of = np.repeat(np.array(tiles, "float32"), [len(one["scores"]) for one in found], axis=0)
    low = (boxes[:, :2] < windows_of[:, :2] + MARGIN) & (windows_of[:, :2] > 0)
    high = (boxes[:, 2:] > windows_of[:, 2:] - MARGIN) & (windows_of[:, 2:] < [width, height])
    cut = np.asarray((low | high).any(axis=1))
    kept = ~_covered(boxes, labels, cut)
    boxes, scores, labels = boxes[kept], scores[kept], labels[kept]
    # Empty boxes of no score overlap nothing; with them, few shapes are compiled where shapes matter.
    padding = -len(scores) % BLOCK or BLOCK
    best = nms_by_class(
        np.pad(boxes, [(0, padding), (0, 0)]),
        np.pad(scores, (0, padding)),
        np.pad(labels, (0, padding)),
        nms_iou,
        max_detections,
    )
    best = np.asarray(best)
    best = best[(best >= 0) & (best < len(scores))]
    return {"boxes": boxes[best], "scores": scores[best], "labels": labels[best]}


def _covered(boxes: np.ndarray, labels: np.ndarray, cut: np.ndarray) -> np.ndarray:
    """Return (N,) bool: which cut boxes lie in a box of their class that is not cut."""
    covered = np.zeros(len(boxes), bool)
    for label in np.unique(labels[cut]):
        parts = np.flatnonzero(cut & (labels == label))
        whole = boxes[~cut & (labels == label)]
        low = np.maximum(boxes[parts, None, :2], whole[None, :, :2])
        high = np.minimum(boxes[parts, None, 2:], whole[None, :, 2:])
        shared = np.prod(np.maximum(high - low, 0), axis=2)
        area = np.prod(boxes[parts, 2:] - boxes[parts, :2], axis=1)
        covered[parts] = (shared >= COVERED * area[:, None]).any(axis=1)
    return covered
