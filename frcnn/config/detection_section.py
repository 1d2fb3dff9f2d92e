"""The section ``detection``."""

from __future__ import annotations

from typing import Literal

from frcnn.config.fields import LARGEST, ClassNames, Section, Side, setting
from frcnn.config.values import List, Number, Switch, Whole


class DetectionConfig(Section):
    """Making detections from the classifier's outputs, and the AP of detections."""

    score_threshold: Number = setting(
        0.05, "detections whose score is not above this are dropped", ge=0, le=1
    )
    min_size: Number = setting(
        0.0, "least width and height of a detection, pixels of the network input", ge=0, le=LARGEST
    )
    nms_iou: Number = setting(0.3, "IoU above which NMS removes a box of the same class", ge=0, le=1)
    soft_nms_sigma: Number = setting(
        0.0,
        "soft-NMS (Bodla et al. 2017) in place of nms_iou: a box of the same class has its score "
        "multiplied by exp(-IoU² / this), such as 0.5; 0: off",
        ge=0,
        le=100,
    )
    flip: Switch = setting(
        False, "evaluate and predict: detect in the mirrored image as well, and merge both by NMS"
    )
    short_sides: List[Side] = setting(
        (),
        "evaluate and predict: detect at each of these short sides, pixels, and merge by NMS; "
        "data.long_side scales along; empty: data.short_side only",
        max_length=16,
    )
    max_detections: Whole = setting(100, "detections per image, at most", ge=1, le=2**16)
    classes: ClassNames = setting((), "names of the classes to detect; empty: all", max_length=2**14)
    ap_iou: Number = setting(0.5, "IoU from which a detection is a hit in AP", gt=0, le=1)
    ap_interpolation: Literal["auto", "11-point", "all-point"] = setting(
        "auto", "how AP is computed; auto: 11-point for VOC 2007, otherwise all-point, as VOC since 2010"
    )
