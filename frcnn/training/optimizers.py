"""Optimizers of the sub-models, and their learning rate.

Ren et al. 2015, section 3.2: SGD with momentum 0.9 and weight decay 5e-4; the learning rate is divided
by 10 after three quarters of the run. Biases learn at twice the rate, as in the authors' code. The paper
has no warm-up.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Sequence
from typing import Any

import keras
from keras import ops

from frcnn.backend import (
    IS_TENSORFLOW,
    has_native_momentum,
    native_momentum,
    sum_of_squares,
)
from frcnn.collectives import all_reduce_sum, num_processes
from frcnn.config.schema import OptimizerConfig

Tensor = Any


@keras.saving.register_keras_serializable(package="frcnn")
class WarmupMultiStepLR(keras.optimizers.schedules.LearningRateSchedule):
    """A learning rate that rises linearly from 0, stays, and is multiplied by a factor at given steps.

    Args:
        peak: rate after warm-up.
        warmup_steps: number of steps of the linear rise.
        boundaries: steps. At each, the rate is multiplied by ``factor``.
        factor: usually 0.1.
        scale: factor of all rates, for the larger batch of several processes.
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


class SkipNonFinite:
    """Mixin for Keras optimizers that clips gradients and skips steps whose gradients are not finite.

    The norm is the Euclidean norm of all gradients together. If it is not finite, no weight and no
    variable of the optimizer changes, ``iterations`` included. Clipping and the check use the same norm,
    because each pass over the gradients of a VGG16 takes a tenth of a second.

    Args:
        clip_norm: gradients with a larger norm are scaled down to this norm; 0: no clipping.

    Attributes:
        sums_gradients: whether ``apply`` first adds up the gradients of all processes. Then the norm and
            the state are the same in all processes.
        norm: norm of the gradients before clipping, a tensor in the graph of the training step.
    """

    sums_gradients = True

    def __init__(self, *args: Any, clip_norm: float = 0.0, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.clip_norm = clip_norm

    def apply(self, grads, trainable_variables=None):
        if self.sums_gradients:
            grads = all_reduce_sum(grads)
        self.norm = norm = global_norm(grads)
        # update_step multiplies by this factor, so that clipping needs no separate pass.
        self.shrink = ops.minimum(1.0, self.clip_norm / norm) if self.clip_norm else 1.0
        update = functools.partial(super().apply, grads, trainable_variables)
        if not IS_TENSORFLOW:
            return update()  # on JAX stateless_apply decides afterwards whether to skip the step
        return ops.cond(ops.isfinite(norm), update, lambda: None)

    def stateless_apply(self, optimizer_variables, grads, trainable_variables):
        """Do the same as ``apply``, on JAX.

        In JAX a condition cannot have side effects. So the update is always computed, and if the step
        must be skipped, the earlier values are returned.
        """
        # Keras' LossScaleOptimizer passes variables; other callers pass arrays.
        optimizer_variables = [ops.convert_to_tensor(own) for own in optimizer_variables]
        before = trainable_variables, optimizer_variables
        after = super().stateless_apply(optimizer_variables, grads, trainable_variables)
        is_finite = ops.isfinite(global_norm(grads))
        return tuple(
            [ops.where(is_finite, new, old) for new, old in zip(*group)] for group in zip(after, before)
        )

    def get_config(self):
        return {**super().get_config(), "clip_norm": self.clip_norm}


class SkipNonFiniteAdam(SkipNonFinite, keras.optimizers.Adam):
    """Keras' Adam that clips gradients and skips steps that are not finite."""

    def update_step(self, gradient, variable, learning_rate):
        super().update_step(gradient * self.shrink, variable, learning_rate)


class MomentumSgd(SkipNonFinite, keras.optimizers.SGD):
    """Keras' SGD with weight decay, in fewer passes over the weights.

    Fewer passes save time, because VGG16 with its head has half a gigabyte of weights. Weight decay is
    applied to kernels before their update. Variables with one axis (biases, parameters of normalization)
    do not decay.

    Args:
        learning_rate, momentum: as for Keras' SGD.
        kernel_decay: each step multiplies a kernel by ``1 - kernel_decay * learning_rate``.
        bias_rate: factor of the learning rate of biases.
        undecayed: kernels that do not decay.
    """

    def __init__(
        self,
        learning_rate: Any,
        momentum: float,
        kernel_decay: float = 0.0,
        bias_rate: float = 1.0,
        undecayed: Iterable[keras.Variable] = (),
        **kwargs: Any,
    ):
        super().__init__(learning_rate, momentum, **kwargs)
        self.kernel_decay, self.bias_rate = kernel_decay, bias_rate
        self.undecayed = {id(variable) for variable in undecayed}

    def update_step(self, gradient, variable, learning_rate):
        index = self._get_variable_index(variable)
        own = self._trainable_variables[index]  # ``variable`` may be TensorFlow's, with another name
        if self.kernel_decay and len(variable.shape) > 1 and id(own) not in self.undecayed:
            self.assign(variable, variable * (1.0 - self.kernel_decay * learning_rate))
        rate = learning_rate * self.shrink  # the same as multiplying the gradient by ``shrink``
        if own.name == "bias":
            rate = rate * self.bias_rate
        if not self.momentum or not has_native_momentum(gradient):
            return super().update_step(gradient, variable, rate)
        velocity = self.momentums[index].value
        return native_momentum(variable, velocity, gradient, rate, self.momentum)

    def get_config(self):
        own = {"kernel_decay": self.kernel_decay, "bias_rate": self.bias_rate}
        return {**super().get_config(), **own}


class LossScale(keras.optimizers.LossScaleOptimizer):
    """Keras' ``LossScaleOptimizer`` that first adds up the gradients of all processes.

    Keras calls the inner optimizer only if all gradients are finite. The gradients must be added up
    before that check, so that it has the same result in all processes.
    """

    def __init__(self, inner_optimizer: Any, **kwargs: Any):
        super().__init__(inner_optimizer, **kwargs)
        inner_optimizer.sums_gradients = False

    def apply(self, grads, trainable_variables=None):
        super().apply(all_reduce_sum(grads), trainable_variables)


def global_norm(gradients: Iterable[Tensor | None]) -> Tensor:
    """Return the Euclidean norm of all gradients together, a scalar. None entries are ignored."""
    return ops.sqrt(sum(sum_of_squares(gradient) for gradient in gradients if gradient is not None))


def learning_rate(config: OptimizerConfig, total_steps: int) -> WarmupMultiStepLR:
    """Return the learning rate schedule of a run. Arguments: see ``make``."""
    scaling = (
        num_processes() if config.lr_scaling == "linear" else 1.0,
        round(config.lr_scaling_warmup * total_steps),
    )
    start = config.learning_rate, config.warmup_steps
    if config.decay == "cosine":
        return WarmupCosineLR(*start, total_steps, *scaling)
    boundaries = [round(share * total_steps) for share in config.decay_at]
    return WarmupMultiStepLR(*start, boundaries, config.decay_factor, *scaling)


def make(
    config: OptimizerConfig,
    total_steps: int,
    variables: Sequence[keras.Variable],
    precision: str = "float32",
    undecayed: Sequence[keras.Variable] = (),
) -> keras.optimizers.Optimizer:
    """Return an optimizer that is built for the given variables.

    Each sub-model needs its own: Keras refuses an optimizer that was built for other variables.

    Args:
        config: the settings ``optimizer``.
        total_steps: number of steps of the run; ``decay_at`` are shares of it.
        variables: the sub-model's trainable variables.
        precision: dtype policy of the layers. With ``mixed_float16`` losses are scaled up, because
            float16 rounds gradients below 6e-8 to 0.
        undecayed: variables that do not decay here, because another optimizer decays them.
    """
    rate = learning_rate(config, total_steps)
    clip = {"clip_norm": config.clip_norm}
    if config.name == "sgd":
        # Here the decay is not part of the gradient that momentum accumulates. In the paper it is,
        # which in the long run multiplies the decay by 1 / (1 - momentum).
        decay = config.weight_decay / (1.0 - config.momentum)
        optimizer = MomentumSgd(rate, config.momentum, decay, config.bias_lr_factor, undecayed, **clip)
    else:
        optimizer = SkipNonFiniteAdam(rate, weight_decay=config.weight_decay or None, **clip)
        if config.weight_decay:
            optimizer.exclude_from_weight_decay(undecayed, var_names=["bias", "gamma", "beta"])
    if precision == "mixed_float16":
        optimizer = LossScale(optimizer)
    # Built here, because a checkpoint may be restored into its variables before the first step.
    optimizer.build(variables)
    return optimizer
