"""Makes the RPN's targets of a batch in the loader's threads: match anchors, sample them, encode boxes.

B: images, L: feature cells, A: anchors per cell, D: numbers per box regression.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import numpy as np
from keras import ops

from frcnn.backend import on_cpu
from frcnn.data import oriented
from frcnn.ops.anchors import AnchorGenerator, match_anchors
from frcnn.ops.box_kinds import AXIS_ALIGNED, BoxKind
from frcnn.ops.sampling import random_order, sample_anchors
from frcnn.ops.targets import RpnTargets, rpn_targets, sampled_rpn_targets

if TYPE_CHECKING:
    from frcnn.config.schema import RpnConfig
    from frcnn.data.loader import Batch


class AnchorTargetCreator:
    """Makes the RPN's targets of a batch.

    Args:
        anchor_generator: the network's generator.
        config: the section ``rpn`` of the settings.
        kind: kind of the boxes. Anchors are matched with the outer boxes of oriented boxes.

    Example:
        >>> creator = AnchorTargetCreator(model.anchor_generator, config.rpn)
        >>> loader = DataLoader(dataset, config.data, model.size_multiple, make_targets=creator)
        >>> next(loader.epoch()).targets.cells  # for the step models
        >>> y_class, y_regress = creator.full_maps(batch, rng)  # for plain rpn.train_on_batch
    """

    def __init__(
        self, anchor_generator: AnchorGenerator, config: RpnConfig, kind: BoxKind = AXIS_ALIGNED
    ):
        self._config, self._kind = config, kind
        self._num_anchors = anchor_generator.num_anchors

        @functools.lru_cache(maxsize=64)
        def anchors(height, width):
            # On the CPU, because the GPU is for the training step. In Fortran order, because
            # match_anchors reads the columns.
            with on_cpu():
                return np.asfortranarray(ops.convert_to_numpy(anchor_generator(height, width)[0]))

        self._anchors = anchors

    def __call__(self, batch: Batch, rng: np.random.Generator | list[np.random.Generator]) -> RpnTargets:
        """Return the targets at the cells of the sampled anchors.

        Args:
            batch: the batch; images, image sizes, boxes and labels are used.
            rng: random generator, or a list with one per image.
        """
        return sampled_rpn_targets(*self._labelled(batch, rng), self._config.samples, self._kind)

    def full_maps(
        self, batch: Batch, rng: np.random.Generator | list[np.random.Generator]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the same targets at all cells: y_class (B, L, 2·A), y_regress (B, L, 2·A·D)."""
        return rpn_targets(*self._labelled(batch, rng), self._kind)

    def _labelled(
        self, batch: Batch, rng: np.random.Generator | list[np.random.Generator]
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, int]:
        """Return the first arguments of ``rpn_targets``."""
        config, anchors = self._config, self._anchors(*batch.images.shape[1:3])
        order = random_order(rng, len(batch.images), len(anchors))
        valid = batch.gt_labels >= 0
        thresholds = config.positive_iou, config.negative_iou
        gt_boxes = oriented.outer(batch.gt_boxes)
        labels, matches = match_anchors(anchors, gt_boxes, valid, batch.image_sizes, *thresholds)
        labels = sample_anchors(labels, order, config.samples, config.positive_fraction)
        return anchors, labels, matches, batch.gt_boxes, self._num_anchors
