"""Write YOLO labels: ``class x y width height`` per line, centre and size as shares of the image, or
``class x1 y1 x2 y2 x3 y3 ...`` in images that have polygons. In a data set with oriented boxes each line
has four corners, as in YOLO-OBB.

A data set gets Ultralytics' ``data.yaml``.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Sequence

import numpy as np
import yaml

from frcnn.data.converted import Converted, four_points_of, has_angles, outlines_of, stem
from frcnn.data.outlines import Outline

STORES = frozenset({"empty", "classes", "polygon", "polygon only"}) | {
    "oriented",
    "four points",
    "inside",
}
MIN_SIDE = 1.0
SPLITS: tuple[str, ...] | None = ("train", "val", "test")
DIGITS = 10  # after the point: less than 0.0001 pixels in an image of 100,000


def image_file(split: str, file: str) -> str:
    """Return where an image belongs in the data set."""
    return f"images/{split}/{file}"


def files(data: Converted) -> Iterator[tuple[str, str]]:
    """Yield (path, text) of the label files of a data set.

    A split is a folder, whose images are read in sorted order; in any other order it is a list.
    """
    content: dict[str, object] = {}
    is_oriented = has_angles(data)
    for split, images in data.splits.items():
        content[split] = f"images/{split}"
        paths = [image_file(split, image.file) for image in images]
        if paths != sorted(paths):
            content[split] = f"{split}.txt"
            yield f"{split}.txt", "".join(f"./{path}\n" for path in paths)
        for file, sample in images:
            size, labels = (sample.width, sample.height), sample.labels.tolist()
            if is_oriented:
                text = four_point_lines(*size, four_points_of(sample), labels)
            elif sample.outlines is None:
                text = lines(*size, sample.boxes, labels)
            else:
                text = polygon_lines(*size, sample.boxes, labels, outlines_of(sample))
            yield posixpath.join("labels", split, f"{stem(file)}.txt"), text
    content["names"] = dict(enumerate(data.classes))
    yield "data.yaml", yaml.safe_dump(content, sort_keys=False, allow_unicode=True)


def lines(
    width: int,
    height: int,
    boxes: np.ndarray,
    labels: Sequence[int],
    scores: Sequence[float] | None = None,
) -> str:
    """Return the text of an image's label file; empty without boxes.

    Args:
        width, height: of the upright image, pixels.
        boxes: (G, 4) half-open boxes in pixels of the upright image.
        labels: (G,) class numbers, from 0.
        scores: (G,) a sixth number per line, as Ultralytics writes it for detections. Labels have none,
            and ``frcnn.data.yolo`` refuses it.

    Example:
        >>> lines(40, 30, [[10, 3, 30, 9]], [2])
        '2 0.5 0.2 0.5 0.2\\n'
    """
    boxes = np.asarray(boxes, "float64").reshape(-1, 4) / [width, height, width, height]
    rows = np.concatenate([(boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]], axis=1)
    texts = []
    for index, (row, label) in enumerate(zip(rows.tolist(), labels, strict=True)):
        numbers = _texts(row)
        if scores is not None:
            numbers.append(f"{scores[index]:.6g}")
        texts.append(" ".join([str(int(label)), *numbers]) + "\n")
    return "".join(texts)


def polygon_lines(
    width: int,
    height: int,
    boxes: np.ndarray,
    labels: Sequence[int],
    outlines: Sequence[Outline | None],
) -> str:
    """Return the text of an image's label file with a polygon per line.

    Ultralytics reads either boxes or polygons in a file, and refuses corners outside the image. So a box
    becomes a polygon of four corners, and corners are clipped to the image.

    Args:
        width, height, boxes, labels: as for ``lines``.
        outlines: G polygons, None for a box.

    Example:
        >>> polygon_lines(40, 30, np.array([[10, 3, 30, 9]]), [2], [None])
        '2 0.25 0.1 0.75 0.1 0.75 0.3 0.25 0.3\\n'
    """
    texts = []
    for (x1, y1, x2, y2), label, outline in zip(boxes.tolist(), labels, outlines, strict=True):
        corners = np.array([(x1, y1), (x2, y1), (x2, y2), (x1, y2)], "float64")
        shares = np.clip((corners if outline is None else outline.rings[0]) / [width, height], 0, 1)
        texts.append(" ".join([str(int(label)), *_texts(shares.ravel().tolist())]) + "\n")
    return "".join(texts)


def four_point_lines(
    width: int, height: int, points: Sequence[Sequence[float]] | np.ndarray, labels: Sequence[int]
) -> str:
    """Return the text of an image's label file with four corners per line, which may lie outside.

    Args:
        width, height, labels: as for ``lines``.
        points: G times x1, y1, ..., x4, y4, pixels.

    Example:
        >>> four_point_lines(40, 20, [[10, 0, 20, 5, 10, 10, 0, 5]], [2])
        '2 0.25 0 0.5 0.25 0.25 0.5 0 0.25\\n'
    """
    shares = np.asarray(points, "float64").reshape(-1, 8) / ([width, height] * 4)
    rows = zip(shares.tolist(), labels, strict=True)
    return "".join(" ".join([str(int(label)), *_texts(row)]) + "\n" for row, label in rows)


def _texts(values: Sequence[float]) -> list[str]:
    return [f"{value:.{DIGITS}f}".rstrip("0").rstrip(".") for value in values]
