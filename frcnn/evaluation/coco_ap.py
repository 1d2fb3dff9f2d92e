"""COCO average precision: the twelve numbers of the COCO benchmark, computed by ``pycocotools``.

Differences from VOC AP (``frcnn.evaluation.voc_ap``): a detection is matched with the best object that
is not matched yet; precision is sampled at 101 recalls; the mean is over ten IoU thresholds, 0.5 to
0.95; and only the 100 detections with the highest scores per image count.

A ``difficult`` object is passed as a COCO crowd: any number of detections of it are ignored. Whether a
detection belongs to a crowd depends on the share of the detection's area inside it, not on the IoU. The
size of an object is the area in its label (``Sample.area``; in COCO's files the area of the mask);
without one, the area of its box.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
from collections.abc import Sequence

import numpy as np

from frcnn.errors import FrcnnError
from frcnn.evaluation.voc_ap import ImageArrays, voc_ap

# The numbers of the benchmark, in its order. s, m and l: objects below 32 x 32 pixels of the image file,
# below 96 x 96, and larger. AR@k: recall with k detections per image. ARs, ARm, ARl: with 100.
NAMES = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR@1", "AR@10", "AR@100", "ARs", "ARm", "ARl")
CLASS_NAMES = NAMES[:6]


@dataclasses.dataclass(frozen=True, eq=False)
class CocoAp:
    """Result of ``coco_ap``. C is the number of object classes, without background.

    Attributes:
        summary: {name: number} for each of ``NAMES``, in [0, 1]; NaN if no object has that size.
        ap: (C, 6) float64, the ``CLASS_NAMES`` of each class; NaN as above.
        objects: (C,) int, number of objects that are not difficult.
        detections: (C,) int, number of all detections.
    """

    summary: dict[str, float]
    ap: np.ndarray
    objects: np.ndarray
    detections: np.ndarray

    @property
    def mean_ap(self) -> float:
        """AP, the benchmark's first number, by which it ranks detectors."""
        return self.summary["AP"]


def import_pycocotools() -> tuple[type, type]:
    """Return the classes ``COCO`` and ``COCOeval``. Call it early to check that they are installed.

    Raises:
        FrcnnError: ``pycocotools`` is not installed.
    """
    try:
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval
    except ImportError as error:
        raise FrcnnError(
            f"COCO AP needs pycocotools: `pip install pycocotools` ({error}); voc07 and voc12 do not"
        ) from error
    return COCO, COCOeval


def coco_ap(
    detections: Sequence[ImageArrays], ground_truths: Sequence[ImageArrays], num_classes: int
) -> CocoAp:
    """Compute the COCO numbers of detections.

    Args:
        detections: as for ``voc_ap``, in pixels of the image files, because object sizes are in these.
        ground_truths: as for ``voc_ap``.
        num_classes: number of object classes, without background.

    Raises:
        FrcnnError: ``pycocotools`` is not installed.
        ValueError: as for ``voc_ap``.
    """
    COCO, COCOeval = import_pycocotools()
    # voc_ap checks the arrays and counts objects and detections.
    counts = voc_ap(detections, ground_truths, num_classes)

    def index(images, extra):
        """Return a ``COCO`` object of boxes. ``extra`` returns more entries of an annotation."""
        coco = COCO()
        annotations = []
        for image, boxes in enumerate(images):
            corners = np.asarray(boxes["boxes"], "float64").reshape(-1, 4)
            areas = boxes.get("area", np.prod(corners[:, 2:] - corners[:, :2], axis=1))
            for row, (x1, y1, x2, y2) in enumerate(corners.tolist()):
                annotations.append(
                    {
                        "id": len(annotations) + 1,  # for pycocotools, 0 means "no match"
                        "image_id": image,
                        "category_id": int(boxes["labels"][row]),
                        "bbox": [x1, y1, x2 - x1, y2 - y1],
                        "area": float(areas[row]),
                        **extra(boxes, row),
                    }
                )
        coco.dataset = {
            "images": [{"id": image} for image in range(len(ground_truths))],
            "categories": [{"id": label} for label in range(num_classes)],
            "annotations": annotations,
        }
        coco.createIndex()
        return coco

    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints its progress
        truth = index(ground_truths, lambda boxes, row: {"iscrowd": int(boxes["difficult"][row])})
        found = index(detections, lambda boxes, row: {"score": float(boxes["scores"][row])})
        evaluation = COCOeval(truth, found, "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    ap = np.array(
        [_class_row(evaluation.eval["precision"][:, :, label, :, -1]) for label in range(num_classes)]
    )
    return CocoAp(
        summary=dict(zip(NAMES, _nan(evaluation.stats).tolist(), strict=True)),
        ap=ap.reshape(num_classes, len(CLASS_NAMES)),
        objects=counts.objects,
        detections=counts.detections,
    )


def _class_row(precision):
    """Return the ``CLASS_NAMES`` of one class.

    Args:
        precision: (10, 101, 4) at each IoU threshold, recall and size (all, s, m, l); -1: no object.
    """
    all_sizes = precision[:, :, 0]
    # The thresholds are 0.5, 0.55, ..., 0.95: the first is 0.5, the sixth 0.75.
    parts = (all_sizes, all_sizes[0], all_sizes[5], *np.moveaxis(precision[:, :, 1:], 2, 0))
    return _nan([part.mean() for part in parts])


def _nan(values):
    """Replace pycocotools' -1, "no object", by NaN."""
    values = np.asarray(values, "float64")
    return np.where(values < 0, np.nan, values)


def format_table(result: CocoAp, class_names: Sequence[str]) -> str:
    """Format the result as two tables: AP per class and size with the mean, and the recalls.

    Args:
        result: result of ``coco_ap``.
        class_names: names in the order of the labels.

    Returns:
        Lines without a newline at the end. ``-`` means that there is no object.
    """
    if len(class_names) != len(result.ap):
        raise ValueError(f"{len(class_names)} class names for {len(result.ap)} classes")
    width = max(len(name) for name in ("class", *class_names))

    def line(name, objects, detections, cells):
        return f"{name:{width}}  {objects:>8}  {detections:>10}  " + "  ".join(
            f"{cell:>6}" for cell in cells
        )

    lines = [line("class", "objects", "detections", CLASS_NAMES)]
    for name, objects, found, ap in zip(class_names, result.objects, result.detections, result.ap):
        lines.append(line(name, objects, found, _cells(ap)))
    mean = _cells(result.summary[name] for name in CLASS_NAMES)
    lines.append(line("mean", result.objects.sum(), result.detections.sum(), mean))
    recalls = NAMES[6:]
    lines.append("")
    lines.append("  ".join(f"{name:>6}" for name in recalls))
    lines.append("  ".join(f"{cell:>6}" for cell in _cells(result.summary[name] for name in recalls)))
    return "\n".join(lines)


def _cells(values):
    return ["-" if np.isnan(value) else f"{value:.4f}" for value in values]
