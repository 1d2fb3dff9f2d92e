"""From the RPN's outputs to region proposals.

Ren et al. 2015, section 3.3: the best anchors by score, moved by their deltas, clipped to the image,
thinned by non-maximum suppression at IoU 0.7. With several feature levels (Lin et al. 2017, section
4.1) each level contributes its best anchors and is thinned by itself; then the best of all are kept.
Letters: B images, N anchors, P proposals, E numbers
per box, D per regression.
"""

from keras import ops

from frcnn.backend import map_images
from frcnn.ops.box_kinds import AXIS_ALIGNED


def propose(
    anchors,
    logits,
    deltas,
    image_sizes,
    level_counts,
    pre_nms,
    post_nms,
    nms_iou=0.7,
    min_size=1.0,
    score_threshold=0.0,
    kind=AXIS_ALIGNED,
):
    """Return the region proposals of each image, best first.

    Args:
        anchors: (N, 4), level by level.
        logits: (B, N) objectness before the sigmoid, which would make equals of the surest anchors.
        deltas: (B, N, D) for each anchor.
        image_sizes: (B, 2) height and width without padding, pixels.
        level_counts: anchors on each level.
        pre_nms: how many of a level's best anchors go into suppression (all, if there are fewer).
        post_nms: P, how many proposals come out.
        nms_iou: proposals that overlap a better one of their level by more than this are dropped.
        min_size: so are those narrower or lower than this, pixels,
        score_threshold: and those whose score, after the sigmoid, is below this.

        kind: of the boxes.

    Returns:
        (B, P, E) proposals and (B, P) their scores. Padding: empty boxes (all 0) with score 0.
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
    # What does not fit becomes an empty box, which suppresses nothing and comes last.
    boxes = ops.where(fit[..., None], boxes, 0.0)
    ranked = ops.where(fit, logits, -float("inf"))

    def thin(image):
        image_boxes, image_ranked, image_scores = image
        kept = _thinned(kind, image_boxes, image_ranked, taken, nms_iou, post_nms)
        place = ops.maximum(kept, 0)
        kept_boxes = ops.take(image_boxes, place, axis=0)
        exists = (kept >= 0) & (kind.area(kept_boxes) > 0.0)
        kept_scores = ops.where(exists, ops.take(image_scores, place), 0.0)
        return ops.where(exists[:, None], kept_boxes, 0.0), kept_scores

    return map_images(thin, (boxes, ranked, scores))


def _best_of_level(anchors, logits, deltas, start, count, pre_nms):
    """Return (B, K, 4) anchors, (B, K) logits and (B, K, D) deltas, best first."""
    # While a graph is traced count may be unknown, and a tensor then.
    keep = min(pre_nms, count) if isinstance(count, int) else ops.minimum(pre_nms, count)
    logits, index = ops.top_k(logits[:, start : start + count], keep)
    index = index + start
    deltas = ops.take_along_axis(deltas, index[..., None], axis=1)
    return ops.take(anchors, index, axis=0), logits, deltas


def _thinned(kind, boxes, ranked, counts, nms_iou, post_nms):
    """Return (P,) int32, which boxes of one image stay, best first; -1 where fewer do.

    Each level by itself: all at once, boxes of one level would be held against those of the others.
    """
    kept, start = [], 0
    for count in counts:
        of_level = slice(start, start + count)
        found = kind.thin(boxes[of_level], ranked[of_level], nms_iou, post_nms)
        kept.append(ops.where(found >= 0, found + start, -1))
        start = start + count
    if len(kept) == 1:
        return kept[0]
    kept = ops.concatenate(kept)
    rank = ops.where(kept >= 0, ops.take(ranked, ops.maximum(kept, 0)), -float("inf"))
    # Of equals top_k takes the first, which is the one of the finer level.
    _, best = ops.top_k(rank, post_nms)
    return ops.take(kept, best)
