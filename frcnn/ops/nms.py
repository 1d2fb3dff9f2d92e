"""Greedy non-maximum suppression: keep the best box, drop what overlaps it, repeat.

TensorFlow's own kernel does it where it is the backend. Elsewhere it is done here in blocks of
sorted boxes, in fixed shapes, so that it compiles: a block is first cleared of what earlier blocks
kept, then settled within itself. Both give the greedy result exactly.
"""

from keras import ops

from frcnn.backend import IS_TENSORFLOW, has_native_kernels, native_nms, padded_nms
from frcnn.ops import boxes as box_ops

BLOCK = 256


def nms(boxes, scores, iou_threshold, max_output):
    """Return which boxes of one image to keep, best first.

    Args:
        boxes: (N, 4); empty boxes overlap nothing.
        scores: (N,); boxes of equal score are taken in the order they come.
        iou_threshold: a box is dropped when its IoU with a kept one is above this.
        max_output: M, the most to keep.

    Returns:
        (M,) int32 indices into ``boxes``, -1 where fewer are kept.
    """
    if IS_TENSORFLOW and not has_native_kernels():
        return padded_nms(boxes, scores, iou_threshold, max_output)
    if IS_TENSORFLOW:
        kept = native_nms(boxes, scores, iou_threshold, max_output)
        filler = ops.full((max_output,), -1, dtype="int32")
        return ops.concatenate([kept, filler])[:max_output]
    return blocked_nms(boxes, scores, iou_threshold, max_output)


def nms_by_class(boxes, scores, labels, iou_threshold, max_output):
    """Like ``nms``, but only boxes of equal ``labels``, (N,) int, suppress each other.

    Each class is moved to a place of its own, so that one pass serves all.
    """
    extent = ops.max(boxes) - ops.min(boxes) + 1.0
    offset = ops.cast(labels, boxes.dtype)[:, None] * extent
    return nms(boxes + offset, scores, iou_threshold, max_output)


def blocked_nms(boxes, scores, iou_threshold, max_output, iou=box_ops.iou):
    """``nms`` on ``keras.ops`` alone: O(N²) work in N / ``BLOCK`` rounds, shapes all fixed.

    ``iou``, from (N, E) and (M, E) boxes to (N, M), also allows boxes of another kind.
    """
    count = boxes.shape[0]
    rounds = -(-max(count, max_output) // BLOCK)
    padding = rounds * BLOCK - count
    # A stable sort keeps the order of equals; -scores has it rise.
    order = ops.cast(ops.argsort(-scores), "int32")
    order = ops.pad(order, (0, padding), constant_values=-1)
    ordered = ops.take(boxes, ops.maximum(order, 0), axis=0)
    earlier_in_block = ops.triu(ops.ones((BLOCK, BLOCK), "bool"), k=1)

    def settle(overlap, candidates):
        """Greedy NMS within a block: (T, T) bool overlap of earlier (row) with later (column)."""

        # Each pass settles at least one more box for good, most of them all.
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
        covered = (iou(ordered, block) > iou_threshold) & kept[:, None]
        overlap = (iou(block, block) > iou_threshold) & earlier_in_block
        settled = settle(overlap, exists & ~ops.any(covered, axis=0))
        return ops.slice_update(kept, (start,), settled)

    kept = ops.fori_loop(0, rounds, round_, ops.zeros((rounds * BLOCK,), "bool"))
    position = ops.cast(ops.arange(rounds * BLOCK), "int32")
    position, index = ops.top_k(ops.where(kept, -position, -rounds * BLOCK), max_output)
    return ops.where(position > -rounds * BLOCK, ops.take(order, index), -1)
