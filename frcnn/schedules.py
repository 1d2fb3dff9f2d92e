"""What one training step is: the order in which the sub-models learn from a batch.

A schedule has ``train_step(batch)`` and ``validation_step(batch, generator)``, both returning the same
named scalars, and tells nothing of data, epochs or files.
"""

import time

import keras
import numpy as np

from frcnn import losses, optimizers
from frcnn.backend import IS_TENSORFLOW
from frcnn.logging import named_scalars, with_total_loss
from frcnn.sampling import random_order


class Alternating:
    """The two sub-models in turn, by ``train_on_batch``, as in the old Keras trainers.

    First the RPN learns from the image and its anchor targets. Then it proposes regions, RoIs are
    sampled among them against ground truth, and the classifier learns from those. The proposals
    are constants to the classifier's step, as in Ren et al. 2015, section 3.2.

    Args:
        models: ``frcnn.models.Models``; compiled here.
        config: ``frcnn.config.Config``.
        total_steps: of the run, which the learning rate's course depends on.
        generator: ``numpy.random.Generator`` that RoIs are sampled with.
    """

    def __init__(self, models, config, total_steps, generator):
        self.models = models
        self.post_nms = config.rpn.post_nms_train
        self.generator = generator
        compile_sub_models(models, config, total_steps)

    def train_step(self, batch):
        """Update both sub-models from a ``Batch`` with RPN targets.

        Returns:
            {TensorBoard tag: float}: losses, accuracy, health of the proposals, rates and seconds.
        """
        rates = {
            "learning_rate/rpn": float(self.models.rpn.optimizer.learning_rate),
            "learning_rate/classifier": float(self.models.classifier.optimizer.learning_rate),
        }
        return self._step(batch, self.generator, "train_on_batch") | rates

    def validation_step(self, batch, generator):
        """Return the same scalars of a ``Batch`` without learning from it.

        Args:
            batch: with RPN targets.
            generator: that RoIs are sampled with, apart from training's so that validating changes
                nothing in training.
        """
        return self._step(batch, generator, "test_on_batch")

    def _step(self, batch, generator, method):
        clock = [time.perf_counter()]
        # One dictionary a call: only names, never positions, say which number is which.
        options = {"sample_weight": batch.weights, "return_dict": True}
        rpn_logs = getattr(self.models.rpn, method)(batch.images, list(batch.targets), **options)
        clock.append(time.perf_counter())

        sampled = self.sample(batch, generator)
        clock.append(time.perf_counter())

        inputs = [batch.images, sampled["rois"]]
        targets = [sampled["y_class"], sampled["y_regress"]]
        classifier_logs = getattr(self.models.classifier, method)(inputs, targets, **options)
        clock.append(time.perf_counter())

        scalars = named_scalars("rpn", rpn_logs) | named_scalars("classifier", classifier_logs)
        seconds = dict(zip(("time/rpn", "time/sampling", "time/classifier"), np.diff(clock).tolist()))
        return with_total_loss(scalars) | health(sampled) | seconds

    def sample(self, batch, generator):
        """Return what ``Models.sampler`` gives for a batch: RoIs, their targets, and their health."""
        count = self.post_nms + batch.gt_boxes.shape[1]
        order = random_order(generator, len(batch.images), count)
        inputs = [batch.images, batch.image_sizes, batch.gt_boxes, batch.gt_labels, order]
        return self.models.sampler.predict_on_batch(inputs)


def compile_sub_models(models, config, total_steps):
    """Give each sub-model its losses, its metrics and an optimizer of its own.

    XLA is off under TensorFlow, whose crop_and_resize has no kernel for it, and which would compile anew
    for every image shape. JAX cannot do without: it would run op by op.
    """
    class_name, box_name = models.classifier.output_names
    rpn, classifier = models.rpn, models.classifier
    rpn.compile(
        optimizer=optimizers.make(config.optimizer, total_steps, rpn.trainable_variables),
        loss=[losses.rpn_loss_cls(models.num_anchors), losses.rpn_loss_regr(models.num_anchors)],
        loss_weights=list(config.loss.rpn),
        jit_compile=not IS_TENSORFLOW,
    )
    classifier.compile(
        optimizer=optimizers.make(config.optimizer, total_steps, classifier.trainable_variables),
        loss=[losses.class_loss_cls, losses.class_loss_regr(models.num_classes - 1)],
        loss_weights=list(config.loss.classifier),
        metrics={class_name: RoiAccuracy()},
        jit_compile=not IS_TENSORFLOW,
    )


def health(sampled):
    """Return the scalars that tell whether proposals and sampling work.

    Args:
        sampled: what ``Models.sampler`` returned, numpy.

    Returns:
        ``rpn/recall``: share of the ground-truth boxes that some proposal overlaps by the IoU that makes
        a RoI positive (left out where there are no boxes); ``rpn/mean_overlapping_boxes``: proposals
        an image that overlap some box so; ``classifier/positive_rois``: positive RoIs an image
        among the sampled.
    """
    scalars = {
        "rpn/mean_overlapping_boxes": float(np.mean(sampled["overlapping_boxes"])),
        "classifier/positive_rois": float(np.mean(sampled["positive_rois"])),
    }
    boxes = float(np.sum(sampled["gt_count"]))
    if boxes:
        scalars["rpn/recall"] = float(np.sum(sampled["gt_found"])) / boxes
    return scalars


class RoiAccuracy(keras.metrics.Mean):
    """Share of the RoIs, padding left out, whose most probable class is the right one."""

    def __init__(self, name="accuracy", **kwargs):
        super().__init__(name=name, **kwargs)

    def update_state(self, y_true, y_pred, sample_weight=None):
        right = keras.ops.argmax(y_true, axis=-1) == keras.ops.argmax(y_pred, axis=-1)
        # A one-hot row adds up to 1, a padding row to 0.
        super().update_state(keras.ops.cast(right, "float32"), keras.ops.sum(y_true, axis=-1))
