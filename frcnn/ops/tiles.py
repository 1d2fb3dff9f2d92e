"""Tiles of a large image: their positions, and how the detections of all tiles are merged.

An image is resized to the size of the network input. Then small objects in a large image are too small
to be detected. In tiles they keep their size. The border of a tile may cut an object. So tiles overlap,
and a cut box is dropped if another tile, or the whole image, has a box around the whole object.

M: detections of a tile, K: detections of the image.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from frcnn.errors import ConfigError
from frcnn.ops import oriented_iou, views

Window = tuple[int, int, int, int]
MARGIN = 2.0  # a box this close to a tile's border counts as cut, pixels
COVERED = 0.7  # a cut box is dropped if another box of its class covers this share of it


def windows(width: int, height: int, tile: int, overlap: float) -> list[Window]:
    """Return the whole image, in which large objects are found, and then its tiles.

    Args:
        width, height: of the image, pixels.
        tile: side of a tile, pixels; a side of the tile is shorter where the image's side is.
        overlap: neighbouring tiles overlap by at least this share of a tile, 0 to 0.9. An object that is
            at most ``overlap * tile`` pixels wide and high lies whole in at least one tile.

    Returns:
        [(x1, y1, x2, y2)] in pixels, half-open: the whole image, then tiles of one size. If the image is
        not larger than a tile, only the whole image.

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
    """Return the first pixels of the tiles along one side, evenly spaced up to the image's end."""
    if length <= tile:
        return [0]
    count = 1 + math.ceil((length - tile) / (tile * (1 - overlap)))
    return [round(start) for start in np.linspace(0, length - tile, count)]


def merge(
    found: Sequence[dict[str, np.ndarray]],
    tiles: Sequence[Window],
    nms_iou: float,
    max_detections: int,
) -> dict[str, np.ndarray]:
    """Merge the detections of the tiles of one image.

    Args:
        found: for each tile ``boxes`` (M, 4) in pixels of the tile, ``scores`` (M,) and ``labels`` (M,);
            for oriented boxes also ``oriented`` (M, 5).
        tiles: the result of ``windows``.
        nms_iou: NMS drops a box if its IoU with a better one of its class is above this.
        max_detections: the most detections to return.

    Returns:
        ``boxes`` (K, 4) float32 in pixels of the image, ``scores`` (K,) in falling order, ``labels``
        (K,), and ``oriented`` (K, 5) if the tiles have it.
    """
    width, height = tiles[0][2:]
    every = {
        name: np.concatenate([one[name] for one in found]).astype(dtype)
        for name, dtype in (("scores", "float32"), ("labels", "int32"))
    }
    key = views.box_key(found[0])
    for name in dict.fromkeys(("boxes", key)):
        every[name] = np.concatenate([_moved(one[name], *tile[:2]) for one, tile in zip(found, tiles)])
    boxes = every["boxes"]
    windows_of = np.repeat(np.array(tiles, "float32"), [len(one["scores"]) for one in found], axis=0)
    low = (boxes[:, :2] < windows_of[:, :2] + MARGIN) & (windows_of[:, :2] > 0)
    high = (boxes[:, 2:] > windows_of[:, 2:] - MARGIN) & (windows_of[:, 2:] < [width, height])
    cut = np.asarray((low | high).any(axis=1))
    kept = ~_covered(every[key], every["labels"], cut)
    whole = {name: values[kept] for name, values in every.items()}
    return views.merge([whole], nms_iou, max_detections)


def _moved(boxes: np.ndarray, x: float, y: float) -> np.ndarray:
    """Return boxes (M, 4), or oriented ones (M, 5), moved by (x, y) pixels."""
    return boxes + np.array([x, y, x, y] if boxes.shape[1] == 4 else [x, y, 0, 0, 0], "float32")


def _covered(boxes: np.ndarray, labels: np.ndarray, cut: np.ndarray) -> np.ndarray:
    """Return (N,) bool: whether a cut box lies mostly in an uncut box of its class (``COVERED``).

    Args:
        boxes: (N, 4), or (N, 5) oriented ones.
        labels: (N,).
        cut: (N,) bool.
    """
    covered = np.zeros(len(boxes), bool)
    for label in np.unique(labels[cut]):
        parts = np.flatnonzero(cut & (labels == label))
        whole = boxes[~cut & (labels == label)]
        if boxes.shape[1] == 5:
            area = np.prod(boxes[parts, 2:4], axis=1)
            shared = oriented_iou.intersection_area(boxes[parts, None], whole[None], np)
        else:
            area = np.prod(boxes[parts, 2:] - boxes[parts, :2], axis=1)
            low = np.maximum(boxes[parts, None, :2], whole[None, :, :2])
            high = np.minimum(boxes[parts, None, 2:], whole[None, :, 2:])
            shared = np.prod(np.maximum(high - low, 0), axis=2)
        covered[parts] = (shared >= COVERED * area[:, None]).any(axis=1)
    return covered
