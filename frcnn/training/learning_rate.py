"""The learning rate over a run, and how it follows the number of images per step.

Ren et al. 2015, section 3.2: the rate is divided by 10 after three quarters of the run, and there is no
warm-up. Goyal et al. 2017, section 2.1: with k times as many images per step, the rate is k times as
high, whether one device takes them all or several share them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import keras
from keras import ops

from frcnn.backend import num_devices
from frcnn.collectives import num_processes
from frcnn.config.schema import Config

Tensor = Any


@keras.saving.register_keras_serializable(package="frcnn")
class WarmupMultiStepLR(keras.optimizers.schedules.LearningRateSchedule):
    """A learning rate that rises linearly from 0, stays, and is multiplied by a factor at given steps.

    Args:
        peak: rate after warm-up.
        warmup_steps: number of steps of the linear rise.
        boundaries: steps. At each, the rate is multiplied by ``factor``.
        factor: usually 0.1.
        scale: factor of all rates, for a larger number of images per step.
        scale_steps: number of steps in which ``scale`` rises linearly from 1 to its value.

    Example:
        >>> rate = WarmupMultiStepLR(0.02, warmup_steps=500, boundaries=[6000, 8000], factor=0.1)
        >>> float(rate(7000))  # 0.002
    """

    def __init__(
        self,
        peak: float,
        warmup_steps: int,
        boundaries: Iterable[int],
        factor: float,
        scale: float = 1.0,
        scale_steps: int = 0,
    ):
        self.peak, self.warmup_steps = peak, warmup_steps
        self.boundaries, self.factor = tuple(boundaries), factor
        self.scale, self.scale_steps = scale, scale_steps

    def __call__(self, step: Tensor) -> Tensor:
        step = ops.cast(step, "float32")
        rate = self.peak * ops.minimum((step + 1.0) / max(self.warmup_steps, 1), 1.0)
        rate = self._decayed(rate, step)
        if self.scale != 1.0:
            grown = ops.minimum((step + 1.0) / max(self.scale_steps, 1), 1.0)
            rate = rate * (1.0 + (self.scale - 1.0) * grown)
        return rate

    def _decayed(self, rate: Tensor, step: Tensor) -> Tensor:
        for boundary in self.boundaries:
            rate = rate * ops.where(step >= boundary, self.factor, 1.0)
        return rate

    def get_config(self):
        return {
            "peak": self.peak,
            "warmup_steps": self.warmup_steps,
            "boundaries": self.boundaries,
            "factor": self.factor,
            "scale": self.scale,
            "scale_steps": self.scale_steps,
        }


@keras.saving.register_keras_serializable(package="frcnn")
class WarmupCosineLR(WarmupMultiStepLR):
    """A learning rate that rises linearly from 0 and then falls to 0 along half a cosine.

    Loshchilov & Hutter 2017 ("SGDR"), without restarts.

    Args:
        peak, warmup_steps, scale, scale_steps: as for ``WarmupMultiStepLR``.
        total_steps: number of steps of the run.
    """

    def __init__(
        self,
        peak: float,
        warmup_steps: int,
        total_steps: int,
        scale: float = 1.0,
        scale_steps: int = 0,
    ):
        super().__init__(peak, warmup_steps, (), 1.0, scale, scale_steps)
        self.total_steps = total_steps

    def _decayed(self, rate: Tensor, step: Tensor) -> Tensor:
        falling = max(self.total_steps - self.warmup_steps, 1)
        share = ops.clip((step - self.warmup_steps) / falling, 0.0, 1.0)
        return rate * (1.0 + ops.cos(math.pi * share)) / 2.0

    def get_config(self):
        names = ("peak", "warmup_steps", "total_steps", "scale", "scale_steps")
        return {name: getattr(self, name) for name in names}


def of_config(config: Config, total_steps: int) -> WarmupMultiStepLR:
    """Return the learning rate of a run.

    Args:
        config: the sections ``optimizer`` and ``data.batch_size``.
        total_steps: number of steps of the run; ``optimizer.decay_at`` are shares of it.

    Example:
        >>> rate = of_config(Config(data={"batch_size": 4}, optimizer={"decay_at": []}), 9000)
        >>> float(rate(8000))  # 4 images per step, the rate is meant for 1: 4 x optimizer.learning_rate
        0.004
    """
    own = config.optimizer
    scaling = scale_of(config), round(own.lr_scaling_warmup * total_steps)
    start = own.learning_rate, own.warmup_steps
    if own.decay == "cosine":
        return WarmupCosineLR(*start, total_steps, *scaling)
    boundaries = [round(share * total_steps) for share in own.decay_at]
    return WarmupMultiStepLR(*start, boundaries, own.decay_factor, *scaling)


def images_per_step(config: Config) -> int:
    """Return the number of images of a step, in all processes and on all their devices."""
    return config.data.batch_size * num_processes() * num_devices()


def scale_of(config: Config) -> float:
    """Return the factor of ``optimizer.learning_rate`` that the number of images per step asks for."""
    own = config.optimizer
    if own.lr_scaling == "none":
        return 1.0
    return images_per_step(config) / (own.lr_images or config.data.batch_size)


def summary(config: Config) -> str:
    """Return a line that says how the number of images per step changes the rate; "" if not at all."""
    images, scale = images_per_step(config), scale_of(config)
    rate = config.optimizer.learning_rate
    if scale == 1.0 and images == config.data.batch_size:
        return ""
    times = "" if scale == 1.0 else f" x {scale:g} = {rate * scale:g}"
    return f"{images} images per step; learning rate {rate:g}{times} (optimizer.lr_scaling)"
