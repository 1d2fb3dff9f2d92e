"""Match and sample the anchors of a batch and make the RPN's targets, in the loader's threads."""

import functools

import keras
import numpy as np
from keras import ops

from frcnn.ops.anchors import match_anchors
from frcnn.ops.sampling import random_order, sample_anchors
from frcnn.ops.targets import rpn_targets


class AnchorTargetCreator:
    """Assign and sample the anchors of a batch: what the input pipeline's workers run.

    Args:
        pyramid: ``anchors.AnchorGenerator``.
        config: ``RpnConfig``.
    """

    def __init__(self, anchor_generator, config):
        self._config = config
        self._num_anchors = anchor_generator.num_anchors

        @functools.lru_cache(maxsize=64)
        def anchors(height, width):
            # On the CPU, so that the workers leave a GPU to the training step. Column by column in
            # memory, as they are read.
            with keras.device("cpu:0"):
                return np.asfortranarray(ops.convert_to_numpy(anchor_generator(height, width)[0]))

        self._anchors = anchors

    def __call__(self, batch, generator):
        """Return numpy (y_class, y_regress) for a ``Batch``; see ``rpn_targets``.

        Args:
            batch: ``frcnn.data.loader.Batch``.
            generator: ``numpy.random.Generator`` that the sample is drawn from, or one for each image.
        """
        config, anchors = self._config, self._anchors(*batch.images.shape[1:3])
        order = random_order(generator, len(batch.images), len(anchors))
        valid = batch.gt_labels >= 0
        thresholds = config.positive_iou, config.negative_iou
        labels, matches = match_anchors(anchors, batch.gt_boxes, valid, batch.image_sizes, *thresholds)
        labels = sample_anchors(labels, order, config.samples, config.positive_fraction)
        return rpn_targets(anchors, labels, matches, batch.gt_boxes, self._num_anchors)
