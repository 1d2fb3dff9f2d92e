"""From the RPN's outputs to region proposals.

Ren et al. 2015, section 3.3: the best anchors by score, moved by their deltas, clipped to the image,
thinned by non-maximum suppression at IoU 0.7. Letters: B images, N anchors, P proposals.
"""

from keras import ops

from frcnn import boxes as box_ops
from frcnn.nms import nms


def propose(anchors, scores, deltas, image_sizes, pre_nms, post_nms, nms_iou=0.7, min_size=1.0):
    """Return the region proposals of each image, best first.

    Args:
        anchors: (N, 4).
        scores: (B, N) objectness; any number that rises with it.
        deltas: (B, N, 4) for each anchor.
        image_sizes: (B, 2) height and width without padding, pixels.
        pre_nms: how many of the best anchors go into suppression (all, if there are fewer).
        post_nms: P, how many proposals come out.
        nms_iou: proposals that overlap a better one by more than this are dropped.
        min_size: so are those narrower or lower than this, pixels.

    Returns:
        (B, P, 4) proposals and (B, P) their scores. Padding: empty boxes (all 0) with score 0.
    """
    total = ops.shape(scores)[1]
    # While a graph is traced N may be unknown, and a tensor then.
    count = min(pre_nms, total) if isinstance(total, int) else ops.minimum(pre_nms, total)
    scores, index = ops.top_k(scores, count)
    anchors = ops.take(anchors, index, axis=0)
    deltas = ops.take_along_axis(deltas, index[..., None], axis=1)
    boxes = box_ops.clip(box_ops.decode(deltas, anchors), image_sizes)
    large = ops.all(boxes[..., 2:] - boxes[..., :2] >= min_size, axis=-1)
    # A small box becomes an empty one, which suppresses nothing and comes last.
    boxes = ops.where(large[..., None], boxes, 0.0)
    ranked = ops.where(large, scores, -float("inf"))

    def thin(image):
        image_boxes, image_ranked, image_scores = image
        kept = nms(image_boxes, image_ranked, nms_iou, post_nms)
        place = ops.maximum(kept, 0)
        kept_boxes = ops.take(image_boxes, place, axis=0)
        exists = (kept >= 0) & (box_ops.area(kept_boxes) > 0.0)
        kept_scores = ops.where(exists, ops.take(image_scores, place), 0.0)
        return ops.where(exists[:, None], kept_boxes, 0.0), kept_scores

    return ops.map(thin, (boxes, ranked, scores))
