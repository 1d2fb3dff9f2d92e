"""The detections of a batch in pixels of the original images.

B: images, M: detections, E: numbers per box.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from frcnn.data import oriented


def to_image_pixels(
    boxes: np.ndarray,
    scores: np.ndarray,
    labels: np.ndarray,
    image_sizes: np.ndarray,
    original_sizes: Sequence[tuple[int, int]],
) -> list[dict[str, np.ndarray]]:
    """Scale the detections of a batch to the original images, and drop the rows of padding.

    Args:
        boxes, scores, labels: (B, M, E), (B, M), (B, M) arrays from ``FasterRCNN.detector``.
        image_sizes: (B, 2) height and width without padding, pixels of the network input.
        original_sizes: (height, width) of each image before it was resized, pixels. It may be shorter
            than the batch: images at its end that only fill it up are left out.

    Returns:
        One dict per image: ``boxes`` (M, 4) float32 in pixels of the original image, ``scores`` (M,) in
        falling order, ``labels`` (M,) int32. For oriented boxes also ``oriented`` (M, 5); then ``boxes``
        are the axis-aligned boxes around them.
    """
    results = []
    for row, (height, width) in enumerate(original_sizes):
        found = scores[row] > 0.0
        factors = np.array([width / image_sizes[row, 1], height / image_sizes[row, 0]], "float32")
        own = oriented.stretch(boxes[row][found], factors)
        result = {
            "boxes": oriented.outer(own),
            "scores": scores[row][found],
            "labels": labels[row][found],
        }
        results.append(result if own.shape[-1] == 4 else result | {"oriented": own})
    return results
