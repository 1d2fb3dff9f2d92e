"""Optimizers of the sub-models.

Ren et al. 2015, section 3.2: SGD with momentum 0.9 and weight decay 5e-4. The learning rate of biases is
twice as high, as in the authors' code.
"""

from __future__ import annotations

import functools
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
from frcnn.collectives import all_reduce_sum
from frcnn.config.schema import OptimizerConfig

Tensor = Any


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
            # Not ``assign``: with TensorFlow the kernel would get new memory in each step, and VGG16's
            # head would leave gaps of up to a gigabyte.
            self.assign_sub(variable, variable * (self.kernel_decay * learning_rate))
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


def make(
    config: OptimizerConfig,
    rate: Any,
    variables: Sequence[keras.Variable],
    precision: str = "float32",
    undecayed: Sequence[keras.Variable] = (),
) -> keras.optimizers.Optimizer:
    """Return an optimizer that is built for the given variables.

    Each sub-model needs its own: Keras refuses an optimizer that was built for other variables.

    Args:
        config: the section ``optimizer`` of the settings.
        rate: the learning rate: a number, or a Keras schedule (``frcnn.training.learning_rate``).
        variables: the sub-model's trainable variables.
        precision: dtype policy of the layers. With ``mixed_float16`` the loss is scaled up, because
            float16 rounds gradients below 6e-8 to 0.
        undecayed: variables without weight decay here, because another optimizer applies it.
    """
    clip = {"clip_norm": config.clip_norm}
    if config.name == "sgd":
        # Here weight decay is not part of the gradient that momentum accumulates. In the paper it is,
        # which multiplies its effect over many steps by 1 / (1 - momentum).
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
