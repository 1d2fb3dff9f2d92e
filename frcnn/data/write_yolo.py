"""Write the YOLO labels of one image: ``class x y width height`` per line, centre and size as shares."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

DIGITS = 10  # after the point: less than 0.0001 pixels in an image of 100,000


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
        numbers = [f"{value:.{DIGITS}f}".rstrip("0").rstrip(".") for value in row]
        if scores is not None:
            numbers.append(f"{scores[index]:.6g}")
        texts.append(" ".join([str(int(label)), *numbers]) + "\n")
    return "".join(texts)
