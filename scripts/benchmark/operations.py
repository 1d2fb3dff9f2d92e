"""The parts of a training step that are neither forward nor backward pass, one by one."""

import itertools
import tempfile

import numpy as np

from benchmark.worker import config_of, random_batch
from frcnn.layers import proposals


def operations(spec):
    """Return {name: (function, calls per step)} of a step's parts besides the passes.

    Args:
        spec: specification of a step, as for ``benchmark.worker``.

    Returns:
        Functions without arguments, at the settings of the backbone. Proposals are made from the
        network's predictions, as in the step. "anchor targets" belong to the input pipeline, which makes
        them during another step.
    """
    import keras
    from keras import ops

    from frcnn.backend import compiled
    from frcnn.data.anchor_targets import AnchorTargetCreator
    from frcnn.logging import RunLogger
    from frcnn.logging.running_mean import RunningMean
    from frcnn.models.faster_rcnn import FasterRCNN
    from frcnn.ops.sampling import random_order, sample_rois
    from frcnn.ops.targets import roi_targets
    from frcnn.runs.writer import EPOCH_TAGS
    from frcnn.training.trainer import SCHEDULES

    config, rng = config_of(spec), np.random.default_rng(0)
    models = FasterRCNN.from_config(config, spec["classes"] + 1, allow_random_frozen=True)
    rpn, roi = config.rpn, config.roi
    batch = random_batch(models, config, spec)
    count, height, width = batch.images.shape[:3]
    targeter = AnchorTargetCreator(models.anchor_generator, rpn)

    corner = rng.uniform(0, 0.6, (count, rpn.post_nms_train, 2))
    size = rng.uniform(0.05, 0.4, corner.shape)
    scale = [width, height, width, height]
    candidates = (np.concatenate([corner, corner + size], axis=-1) * scale).astype("float32")

    @compiled
    def sample(proposals, gt_boxes, gt_labels, order):
        numbers = (roi.samples, roi.positive_fraction, roi.positive_iou, roi.negative_iou_low)
        rois, labels, matches, _ = sample_rois(proposals, gt_boxes, gt_labels, order, *numbers)
        return roi_targets(rois, labels, matches, gt_boxes, models.num_classes, roi.delta_weights)

    def sample_and_target():
        order = random_order(rng, count, candidates.shape[1] + batch.gt_boxes.shape[1])
        made = sample(candidates, batch.gt_boxes, batch.gt_labels, order)
        return [ops.convert_to_numpy(part) for part in made]

    (layer,) = (
        layer for layer in models.proposal_targets.layers if isinstance(layer, proposals.ProposalLayer)
    )
    rpn_maps = keras.Model(models.proposal_targets.inputs[0], layer.input[1:3])
    predicted = [ops.convert_to_tensor(part) for part in rpn_maps.predict_on_batch(batch.images)]

    @compiled
    def propose(images, logits, deltas, image_sizes):
        return layer(images, logits, deltas, image_sizes)

    def to_tensors():
        parts = [ops.convert_to_tensor(part) for part in (batch.images, *batch.targets)]
        ops.convert_to_numpy(parts[0][0, 0])  # waits until it is there

    folder = tempfile.TemporaryDirectory()
    logger, means, steps = RunLogger(folder.name), RunningMean(), itertools.count(1)
    extra = ("learning_rate/rpn", "learning_rate/classifier", "time/step", "time/data", "traces")
    scalars = {tag: 0.5 for tag in (*EPOCH_TAGS, *extra)}

    def log(keep=folder):
        logger.write("train", next(steps), scalars)

    def propose_now():
        return ops.convert_to_numpy(propose(batch.images, *predicted, batch.image_sizes))

    return {
        "anchor targets": (lambda: targeter(batch, rng), 1.0),
        "RoI sampling and targets": (sample_and_target, 1.0),
        "proposals": (propose_now, 1.0),
        "batch to tensors": (to_tensors, 1.0),
        "running means": (lambda: means.add(scalars), 1.0),
        "logging": (log, 1.0 / config.train.log_every),
        "optimizer": (optimizers_of(SCHEDULES[spec["schedule"]](models, config, 10_000)), 1.0),
    }


def optimizers_of(schedule):
    """Return a function that takes a step of all optimizers of a schedule, with gradients at hand."""
    import keras

    from frcnn.backend import IS_TENSORFLOW, compiled

    def one(step):
        variables, optimizer = step.trainable_variables, step.optimizer
        rng = np.random.default_rng(0)
        gradients = [1e-3 * rng.standard_normal(v.shape, "float32") for v in variables]
        gradients = [keras.ops.convert_to_tensor(gradient) for gradient in gradients]
        if IS_TENSORFLOW:
            apply = compiled(lambda: optimizer.apply(gradients, variables))

            def apply_in_place():
                apply()
                keras.ops.convert_to_numpy(variables[-1])  # waits until it is there

            return apply_in_place
        apply = compiled(optimizer.stateless_apply)

        def apply_and_wait():
            state = [variable.value for variable in optimizer.variables]
            done = apply(state, gradients, [variable.value for variable in variables])
            keras.ops.convert_to_numpy(done[0][-1])

        return apply_and_wait

    steps = [one(step) for step in schedule.step_models]
    return lambda: [step() for step in steps]


def shares(seconds, step_seconds):
    """Return {name: share of a step}, with sums.

    "all": of everything; "in the step": without the anchors' targets, which are made meanwhile; "and
    without the optimizer".

    Args:
        seconds: {name: seconds of a step}.
        step_seconds: of the whole step, measured apart.
    """
    found = {name: value / step_seconds for name, value in seconds.items()}
    total = sum(found.values())
    in_step = total - found.get("anchor targets", 0.0)
    without_optimizer = in_step - found.get("optimizer", 0.0)
    return found | {"all": total, "in the step": in_step, "and without the optimizer": without_optimizer}
