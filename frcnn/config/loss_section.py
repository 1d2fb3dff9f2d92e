"""The section ``loss``: weights of the losses and of the classes."""

from __future__ import annotations

from typing import Literal

from frcnn.config.fields import Factor, Section, setting
from frcnn.config.values import List, Text, Whole


class LossConfig(Section):
    """Weights of the losses and of the classes."""

    rpn: List[Factor] = setting(
        (1.0, 1.0), "weights of the RPN's class loss and box loss", min_length=2, max_length=2
    )
    classifier: List[Factor] = setting(
        (1.0, 1.0), "weights of the classifier's class and box loss", min_length=2, max_length=2
    )
    box: Literal["smooth_l1", "giou"] = setting(
        "smooth_l1",
        "the classifier's box loss; giou: 1 - GIoU (Rezatofighi et al. 2019), whose values are smaller",
    )
    hard_examples: Whole = setting(
        0,
        "only this number of the roi.samples RoIs of an image, those with the greatest loss, count in "
        "the classifier's training losses (OHEM, Shrivastava et al. 2016); 0: all",
        ge=0,
        le=2**16,
    )
    class_weights: List[Text] = setting(
        (),
        "weights of classes in the classifier's class loss, each as NAME=WEIGHT; the name may be "
        "background; all others have weight 1",
        max_length=2**14,
    )
