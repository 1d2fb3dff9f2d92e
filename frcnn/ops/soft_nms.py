"""Soft-NMS: lower the scores of boxes that overlap a better box, in place of dropping them.

Bodla et al. 2017 ("Soft-NMS: improving object detection with one line of code"), section 3, with the
Gaussian: after a box is taken, the score of each other box of its class is multiplied by
exp(-IoU² / sigma). So two objects that overlap much are both found.

N: boxes, M: boxes at most, E: numbers per box.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from keras import ops

from frcnn.ops import boxes as box_ops

Tensor = Any


def soft_nms_by_class(
    boxes: Tensor,
    scores: Tensor,
    labels: Tensor,
    sigma: float,
    score_threshold: float,
    max_output: int,
    iou: Callable[[Tensor, Tensor], Tensor] = box_ops.iou,
) -> tuple[Tensor, Tensor]:
    """Apply soft-NMS to each class of one image by itself.

    A box has its final score when it is taken, and no later box of its class has a higher one. So taking
    the best box of all classes each time gives the M best boxes.

    Args:
        boxes: (N, E).
        scores: (N,); of boxes with equal scores, the one with the lower index comes first.
        labels: (N,) int; only boxes with equal labels are compared.
        sigma: of the Gaussian, above 0; 0.5 in the paper.
        score_threshold: boxes whose final score is not above this are dropped.
        max_output: M.
        iou: from (1, E) and (N, E) boxes to (1, N).

    Returns:
        indices: (M,) int32 into ``boxes``; -1 after the last box.
        scores: (M,) final scores in falling order; 0 after the last box.

    Example:
        >>> boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 5]], "float32")  # IoU 0.5
        >>> soft_nms_by_class(boxes, [0.9, 0.8], [0, 0], 0.5, 0.05, 3)
        [0, 1, -1], [0.9, 0.485, 0.0]  # 0.8 * exp(-0.25 / 0.5)
    """
    places = ops.cast(ops.arange(ops.shape(scores)[0]), "int32")
    turns = ops.cast(ops.arange(max_output), "int32")

    def take(turn, state):
        left, taken, final = state
        best = ops.cast(ops.argmax(left), "int32")
        score = ops.take(left, best)
        exists = score > score_threshold
        taken = ops.where((turns == turn) & exists, best, taken)
        final = ops.where((turns == turn) & exists, score, final)
        overlap = iou(ops.take(boxes, ops.reshape(best, (1,)), axis=0), boxes)[0]
        decay = ops.where(labels == ops.take(labels, best), ops.exp(-ops.square(overlap) / sigma), 1.0)
        return ops.where(places == best, 0.0, left * decay), taken, final

    nothing = ops.full((max_output,), -1, dtype="int32"), ops.zeros((max_output,), "float32")
    _, taken, final = ops.fori_loop(0, max_output, take, (ops.cast(scores, "float32"), *nothing))
    return taken, final
