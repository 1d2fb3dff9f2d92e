"""The sections ``train`` and ``checkpoint``."""

from __future__ import annotations

from typing import Literal, get_args

from frcnn.config.fields import UNBOUNDED, Section, setting
from frcnn.config.values import List, Number, Switch, Text, Whole

Schedule = Literal["alternating", "joint", "four-step"]
Precision = Literal["float32", "mixed_bfloat16", "mixed_float16"]
Recipe = Literal["default", "paper-voc", "small-data", "long", "fast"]
SCHEDULES, PRECISIONS, RECIPES = get_args(Schedule), get_args(Precision), get_args(Recipe)


class TrainConfig(Section):
    """The training loop."""

    recipe: Recipe = setting(
        "default", "settings that belong together, a file in preset_files/recipes; default: none"
    )
    schedule: Schedule = setting("alternating", "how the two sub-models are trained")
    precision: Precision = setting(
        "float32", "precision of the layers' arithmetic; mixed_float16 scales the losses"
    )
    conv_tiles: List[Text] = setting(
        ("auto",),
        "3x3 convolutions that use Winograd tiles on a CPU: those with at least CHANNELS channels and "
        "TILES "
        "tiles, such as 64:256,128:64; auto: those that are faster on this machine, measured once",
        max_length=64,
    )
    # 16 epochs of VOC 2007's 5011 trainval images: the paper's 80,000 steps.
    epochs: Whole = setting(16, "number of epochs", ge=1, le=UNBOUNDED)
    steps_per_epoch: Whole = setting(
        0, "steps per epoch; 0: as many as the training split has batches", ge=0, le=UNBOUNDED
    )
    seed: Whole = setting(0, "seed of all random numbers", ge=0, le=2**32 - 1)
    deterministic: Switch = setting(
        False, "the same seed gives bit-identical results on a GPU as well; this is slower"
    )
    xla: Switch = setting(
        False,
        "TensorFlow: compile each training step with XLA, once per image shape; JAX always does",
    )
    max_nonfinite_steps: Whole = setting(
        10,
        "end the run after this number of skipped steps in a row (loss or gradient not finite)",
        ge=1,
        le=UNBOUNDED,
    )
    log_every: Whole = setting(
        10, "steps between logged scalars; the first step is also logged", ge=1, le=UNBOUNDED
    )
    validate_every: Whole = setting(1, "epochs between validations", ge=1, le=UNBOUNDED)
    patience: Whole = setting(
        0, "end the run if mAP has not risen in this number of validations; 0: never", ge=0, le=UNBOUNDED
    )
    ema: Number = setting(
        0.0,
        "decay of an exponential moving average of the weights, such as 0.998, which is validated and "
        "saved as ema.weights.h5 and best.weights.h5; 0: none",
        ge=0,
        lt=1,
    )
    best_weights: Literal["auto", "mAP", "last"] = setting(
        "auto",
        "best.weights.h5 has the weights with the best mAP or the last ones; auto: the last if "
        "validation is on a test split",
    )


class CheckpointConfig(Section):
    """When checkpoints are saved. Each epoch also ends with a checkpoint."""

    every_steps: Whole = setting(0, "steps between checkpoints; 0: off", ge=0, le=UNBOUNDED)
    every_minutes: Number = setting(10.0, "minutes between checkpoints; 0: off", ge=0, le=1e9)
    keep: Whole = setting(
        2, "number of checkpoints to keep; each is about twice as large as the weights", ge=1, le=2**20
    )
