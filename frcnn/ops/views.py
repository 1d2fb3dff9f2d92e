"""Test-time augmentation: detect in several views of an image, and merge their detections.

A view is the image mirrored, or at another size. Each view's boxes are mapped back to the image exactly.

B: images, H x W: pixels, M: detections of a view, K: detections of the image.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from frcnn.ops import box_kinds
from frcnn.ops.nms import BLOCK

Detections = dict[str, np.ndarray]


def mirror_images(images: np.ndarray, image_sizes: np.ndarray) -> np.ndarray:
    """Return mirrored copies of the images of a batch; the padding stays at the right.

    Args:
        images: (B, H, W, 3).
        image_sizes: (B, 2) height and width without padding, pixels.
    """
    mirrored = images.copy()
    for image, own, width in zip(images, mirrored, np.asarray(image_sizes)[:, 1].astype(int)):
        own[:, :width] = image[:, width - 1 :: -1] if width else image[:, :0]
    return mirrored


def mirror_boxes(found: Detections, width: int) -> Detections:
    """Return the detections of a mirrored image with their boxes in the image itself.

    Args:
        found: ``boxes`` (M, 4) in pixels of the image, for oriented boxes ``oriented`` (M, 5), and other
            arrays.
        width: of the image, pixels.
    """
    boxes = found["boxes"].copy()
    boxes[:, [0, 2]] = width - found["boxes"][:, [2, 0]]
    if "oriented" not in found:
        return found | {"boxes": boxes}
    turned = found["oriented"].copy()
    turned[:, 0], turned[:, 4] = width - turned[:, 0], -turned[:, 4]
    return found | {"boxes": boxes, "oriented": turned}


def box_key(found: Detections) -> str:
    """Return the key of the detector's own boxes: "oriented" (M, 5), or "boxes" (M, 4)."""
    return "oriented" if "oriented" in found else "boxes"


def merge(views: Sequence[Detections], nms_iou: float, max_detections: int) -> Detections:
    """Merge the detections of all views of one image by NMS.

    Args:
        views: for each view ``boxes`` (M, 4) in pixels of the image, ``scores`` (M,), ``labels`` (M,);
            for oriented boxes also ``oriented`` (M, 5), whose IoU is then compared.
        nms_iou: NMS drops a box if its IoU with a better one of its class is above this.
        max_detections: the most detections to return.

    Returns:
        ``boxes`` (K, 4) float32, ``scores`` (K,) in falling order, ``labels`` (K,) int32, and
        ``oriented`` (K, 5) if the views have it.

    Example:
        >>> merge([detect(image), mirror_boxes(detect(image[:, ::-1]), image.shape[1])], 0.5, 100)
    """
    dtypes = {"boxes": "float32", "scores": "float32", "labels": "int32", "oriented": "float32"}
    every = {
        name: np.concatenate([one[name] for one in views]).astype(dtype)
        for name, dtype in dtypes.items()
        if name in views[0]
    }
    own, scores = every[box_key(every)], every["scores"]
    kind = box_kinds.ORIENTED if "oriented" in every else box_kinds.AXIS_ALIGNED
    # Padded to a multiple of BLOCK with empty boxes of score 0, so that JAX compiles few shapes.
    padding = -len(scores) % BLOCK or BLOCK
    best = kind.nms_by_class(
        np.pad(own, [(0, padding), (0, 0)]),
        np.pad(scores, (0, padding)),
        np.pad(every["labels"], (0, padding)),
        nms_iou,
        max_detections,
    )
    best = np.asarray(best)
    best = best[(best >= 0) & (best < len(scores))]
    return {name: values[best] for name, values in every.items()}
