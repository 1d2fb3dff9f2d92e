"""The arrays of a batch that a step takes, on the device.

The loader's threads copy them there. So the copies of a batch run while the device works on an earlier
one, and do not delay the next step.
"""

from __future__ import annotations

from typing import Any

from frcnn.backend import batch_placement
from frcnn.data.batch import Batch

Tensor = Any


class ToDevice:
    """Function from a batch with RPN targets to its arrays on the device.

    Make it in the context in which the network was built (``backend.data_parallel``). The calls may be
    in other threads.

    Example:
        >>> loader = DataLoader(dataset, config.data, 32, make_targets=creator, to_device=ToDevice())
        >>> next(loader.epoch()).on_device["images"]
    """

    def __init__(self) -> None:
        self._place = batch_placement()

    def __call__(self, batch: Batch) -> dict[str, Tensor]:
        """Return {name: tensor}.

        The names are those of the attributes of ``Batch`` ("images", "image_sizes", "gt_boxes",
        "gt_labels", "weights") and of ``RpnTargets`` ("y_class", "y_regress", "cells").
        """
        own = {
            "images": batch.images,
            "image_sizes": batch.image_sizes,
            "gt_boxes": batch.gt_boxes,
            "gt_labels": batch.gt_labels,
            "weights": batch.weights,
            "y_class": batch.targets.y_class,
            "y_regress": batch.targets.y_regress,
            "cells": batch.targets.cells,
        }
        return {name: self._place(array) for name, array in own.items()}
