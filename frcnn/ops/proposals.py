"""Region proposals from the RPN's outputs.

Ren et al. 2015, section 3.3: take the anchors with the highest scores, apply their deltas, clip the
boxes to the image, and apply NMS with an IoU of 0.7. With several feature levels (Lin et al. 2017,
section 4.1), each level has its own best anchors and its own NMS; then the best boxes of all levels are
kept.

B: images, N: anchors, P: proposals, E: numbers per box, D: numbers per regression.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from keras import ops

from frcnn.backend import map_images
from frcnn.ops.box_kinds import AXIS_ALIGNED, BoxKind

Tensor = Any


def propose(
    anchors: Tensor,
    logits: Tensor,
    deltas: Tensor,
    image_sizes: Tensor,
    level_counts: Sequence[int | Tensor],
    pre_nms: int,
    post_nms: int,
    nms_iou: float = 0.7,
    min_size: float = 1.0,
    score_threshold: float = 0.0,
    kind: BoxKind = AXIS_ALIGNED,
) -> tuple[Tensor, Tensor]:
    """Return the region proposals of each image, best first.

    Args:
        anchors: (N, 4), level by level.
        logits: (B, N) objectness before the sigmoid. High logits that differ may have equal scores in
            float32, so proposals are ranked by logits.
        deltas: (B, N, D).
        image_sizes: (B, 2) height and width without padding, pixels.
        level_counts: number of anchors on each level.
        pre_nms: number of anchors per level before NMS, those with the highest logits.
        post_nms: P, number of proposals per image after NMS.
        nms_iou: a proposal is dropped if its IoU with a better one of the same level is above this.
        min_size: narrower or lower proposals are dropped, pixels.
        score_threshold: proposals with a lower score, after the sigmoid, are dropped.
        kind: kind of the boxes.

    Returns:
        Proposals (B, P, E) and their scores (B, P). Padding: empty boxes (all 0) with score 0.
    """
    best, start = [], 0
    for count in level_counts:
        best.append(_best_of_level(anchors, logits, deltas, start, count, pre_nms))
        start = start + count
    taken = [ops.shape(level_logits)[1] for _, level_logits, _ in best]
    anchors, logits, deltas = (ops.concatenate(parts, axis=1) for parts in zip(*best))

    boxes = kind.clip(kind.decode_anchors(deltas, anchors), image_sizes)
    scores = ops.sigmoid(logits)
    fit = ops.all(kind.sides(boxes) >= min_size, axis=-1) & (scores >= score_threshold)
    # A proposal that is dropped becomes an empty box, which suppresses nothing and comes last.
    boxes = ops.where(fit[..., None], boxes, 0.0)
    ranked = ops.where(fit, logits, -float("inf"))

    def suppress(image):
        image_boxes, image_ranked, image_scores = image
        kept = _nms_by_level(kind, image_boxes, image_ranked, taken, nms_iou, post_nms)
        index = ops.maximum(kept, 0)
        kept_boxes = ops.take(image_boxes, index, axis=0)
        exists = (kept >= 0) & (kind.area(kept_boxes) > 0.0)
        kept_scores = ops.where(exists, ops.take(image_scores, index), 0.0)
        return ops.where(exists[:, None], kept_boxes, 0.0), kept_scores

    return map_images(suppress, (boxes, ranked, scores))


def _best_of_level(anchors, logits, deltas, start, count, pre_nms):
    """Return the K best anchors of a level, best first: (B, K, 4), logits (B, K), deltas (B, K, D)."""
    # While a graph is traced, ``count`` may be a tensor.
    keep = min(pre_nms, count) if isinstance(count, int) else ops.minimum(pre_nms, count)
    logits, index = ops.top_k(logits[:, start : start + count], keep)
    index = index + start
    deltas = ops.take_along_axis(deltas, index[..., None], axis=1)
    return ops.take(anchors, index, axis=0), logits, deltas


def _nms_by_level(kind, boxes, ranked, counts, nms_iou, post_nms):
    """Apply NMS to each level of one image, and keep the best boxes of all levels.

    Args:
        kind: kind of the boxes.
        boxes: (K, E), level by level.
        ranked: (K,) logits; -inf for boxes to drop.
        counts: number of boxes on each level.
        nms_iou, post_nms: as for ``propose``.

    Returns:
        (P,) int32 indices into ``boxes``, best first; -1 after the last one.
    """
    kept, start = [], 0
    for count in counts:
        of_level = slice(start, start + count)
        found = kind.nms(boxes[of_level], ranked[of_level], nms_iou, post_nms)
        kept.append(ops.where(found >= 0, found + start, -1))
        start = start + count
    if len(kept) == 1:
        return kept[0]
    kept = ops.concatenate(kept)
    rank = ops.where(kept >= 0, ops.take(ranked, ops.maximum(kept, 0)), -float("inf"))
    # Of equal logits top_k takes the first, that is the box of the finer level.
    _, best = ops.top_k(rank, post_nms)
    return ops.take(kept, best)
