"""Greedy non-maximum suppression (NMS): keep the best box, drop the boxes that overlap it, repeat.

With TensorFlow this calls TensorFlow's kernel. On other backends ``blocked_nms`` does the same with
fixed shapes, so that it compiles: it takes the sorted boxes block by block, drops those that overlap a
kept box of an earlier block, and applies NMS to the rest of the block. Both give the same result.

N: boxes, M: kept boxes at most, E: numbers per box.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from keras import ops

from frcnn.backend import IS_TENSORFLOW, has_native_kernels, native_nms, padded_nms
from frcnn.ops import boxes as box_ops

Tensor = Any

BLOCK = 256  # boxes per block


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float, max_output: int) -> Tensor:
    """Return the indices of the boxes of one image that NMS keeps, best first.

    Args:
        boxes: (N, 4); empty boxes overlap nothing.
        scores: (N,); of boxes with equal scores, the one with the lower index comes first.
        iou_threshold: a box is dropped if its IoU with a kept box is above this.
        max_output: M.

    Returns:
        (M,) int32 indices into ``boxes``; -1 after the last kept box.
    """
    if IS_TENSORFLOW and not has_native_kernels():
        return padded_nms(boxes, scores, iou_threshold, max_output)
    if IS_TENSORFLOW:
        kept = native_nms(boxes, scores, iou_threshold, max_output)
        filler = ops.full((max_output,), -1, dtype="int32")
        return ops.concatenate([kept, filler])[:max_output]
    return blocked_nms(boxes, scores, iou_threshold, max_output)


def nms_by_class(
    boxes: Tensor, scores: Tensor, labels: Tensor, iou_threshold: float, max_output: int
) -> Tensor:
    """Apply ``nms`` to each class by itself: only boxes with equal ``labels``, (N,) int, are compared.

    The boxes of each class are shifted by the class's own offset, so that boxes of two classes never
    overlap and one call of ``nms`` is enough.
    """
    extent = ops.max(boxes) - ops.min(boxes) + 1.0
    offset = ops.cast(labels, boxes.dtype)[:, None] * extent
    return nms(boxes + offset, scores, iou_threshold, max_output)


def blocked_nms(
    boxes: Tensor,
    scores: Tensor,
    iou_threshold: float,
    max_output: int,
    iou: Callable[[Tensor, Tensor], Tensor] = box_ops.iou,
) -> Tensor:
    """Apply ``nms`` with ``keras.ops`` only: O(N²) work in N / ``BLOCK`` rounds, all shapes fixed.

    Args:
        boxes: (N, E).
        scores, iou_threshold, max_output: as for ``nms``.
        iou: from (N, E) and (K, E) boxes to (N, K); another function allows boxes of another kind.

    Returns:
        As ``nms``.
    """
    count = boxes.shape[0]
    rounds = -(-max(count, max_output) // BLOCK)
    padding = rounds * BLOCK - count
    # The sort is stable, so boxes with equal scores keep their order.
    order = ops.cast(ops.argsort(-scores), "int32")
    order = ops.pad(order, (0, padding), constant_values=-1)
    ordered = ops.take(boxes, ops.maximum(order, 0), axis=0)
    earlier_in_block = ops.triu(ops.ones((BLOCK, BLOCK), "bool"), k=1)

    def nms_in_block(overlap, candidates):
        """Apply NMS within a block of T boxes.

        Args:
            overlap: (T, T) bool, whether an earlier box (row) overlaps a later one (column).
            candidates: (T,) bool.
        """

        # Each pass decides at least one more box finally. Mostly one pass decides all.
        def body(kept, _):
            return candidates & ~ops.any(overlap & kept[:, None], axis=0), kept

        def changed(kept, previous):
            return ops.any(kept != previous)

        first = candidates & ~ops.any(overlap & candidates[:, None], axis=0)
        return ops.while_loop(changed, body, (first, candidates))[0]

    def round_(number, kept):
        start = number * BLOCK
        block = ops.slice(ordered, (start, 0), (BLOCK, boxes.shape[1]))
        exists = ops.slice(order, (start,), (BLOCK,)) >= 0
        suppressed = (iou(ordered, block) > iou_threshold) & kept[:, None]
        overlap = (iou(block, block) > iou_threshold) & earlier_in_block
        kept_in_block = nms_in_block(overlap, exists & ~ops.any(suppressed, axis=0))
        # Not by slice_update, which ONNX lacks.
        return ops.where(position // BLOCK == number, ops.tile(kept_in_block, (rounds,)), kept)

    position = ops.cast(ops.arange(rounds * BLOCK), "int32")
    kept = ops.fori_loop(0, rounds, round_, ops.zeros((rounds * BLOCK,), "bool"))
    position, index = ops.top_k(ops.where(kept, -position, -rounds * BLOCK), max_output)
    return ops.where(position > -rounds * BLOCK, ops.take(order, index), -1)
