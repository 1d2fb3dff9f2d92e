"""One optimizer for each sub-model, and how its learning rate runs.

Ren et al. 2015, section 3.2: SGD with momentum 0.9 and weight decay 5e-4, the rate cut to a tenth after
three quarters of the run; twice the rate for biases, as the authors' code has it. A warm-up, which the
paper did without, lets a run start at full rate.
"""

import functools

import keras
from keras import ops

from frcnn.backend import (
    IS_TENSORFLOW,
    has_native_momentum,
    native_momentum,
    sum_of_squares,
)
from frcnn.collectives import all_reduce_sum, num_processes


@keras.saving.register_keras_serializable(package="frcnn")
class WarmupMultiStepLR(keras.optimizers.schedules.LearningRateSchedule):
    """A rate that rises from 0, stays, and is multiplied by a factor at given steps.

    Args:
        peak: the rate after warm-up.
        warmup_steps: steps over which it rises linearly.
        boundaries: steps from which it is multiplied by ``factor`` once more.
        factor: usually 0.1.
        scale: how many times as high it is with several workers.
        scale_steps: steps over which it rises to so many times.
    """

    def __init__(self, peak, warmup_steps, boundaries, factor, scale=1.0, scale_steps=0):
        self.peak, self.warmup_steps = peak, warmup_steps
        self.boundaries, self.factor = tuple(boundaries), factor
        self.scale, self.scale_steps = scale, scale_steps

    def __call__(self, step):
        step = ops.cast(step, "float32")
        rate = self.peak * ops.minimum((step + 1.0) / max(self.warmup_steps, 1), 1.0)
        for boundary in self.boundaries:
            rate = rate * ops.where(step >= boundary, self.factor, 1.0)
        if self.scale != 1.0:
            grown = ops.minimum((step + 1.0) / max(self.scale_steps, 1), 1.0)
            rate = rate * (1.0 + (self.scale - 1.0) * grown)
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


class SkipNonFinite:
    """Makes a Keras optimizer clip, and leave out a step that would spoil the weights.

    The norm is that of all gradients together. Where it is not finite, neither weights nor anything of
    the optimizer change: a step skipped can be told by ``iterations``. Clipping and guard share the one
    norm, as each pass over the gradients of a VGG16 takes a tenth of a second.

    Args:
        clip_norm: to which longer gradients are shortened; 0: never.

    Attributes:
        over_workers: whether to add up gradients over the workers first. So all of them have the same
            norm, and keep the same state.
    """

    over_workers = True

    def __init__(self, *args, clip_norm=0.0, **kwargs):
        super().__init__(*args, **kwargs)
        self.clip_norm = clip_norm

    def apply(self, grads, trainable_variables=None):
        if self.over_workers:
            grads = all_reduce_sum(grads)
        norm = global_norm(grads)
        # A factor that update_step puts in, so that clipping is no pass of its own.
        self.shrink = ops.minimum(1.0, self.clip_norm / norm) if self.clip_norm else 1.0
        update = functools.partial(super().apply, grads, trainable_variables)
        if not IS_TENSORFLOW:
            return update()  # within stateless_apply, which undoes it
        return ops.cond(ops.isfinite(norm), update, lambda: None)

    def stateless_apply(self, optimizer_variables, grads, trainable_variables):
        """``apply`` for JAX, whose conditions cannot have effects: what is skipped is undone."""
        # Keras' LossScaleOptimizer hands on variables, where others hand on their arrays.
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
    """Keras' Adam with the guard and its clipping."""

    def update_step(self, gradient, variable, learning_rate):
        super().update_step(gradient * self.shrink, variable, learning_rate)


class MomentumSgd(SkipNonFinite, keras.optimizers.SGD):
    """Keras' SGD with weight decay, in fewer passes over the weights.

    A VGG16 with its head has half a gigabyte of them. Kernels decay before they move; biases and the
    factors of normalization, which have one axis, do not.

    Args:
        learning_rate, momentum: as of Keras' SGD.
        kernel_decay: share of a kernel, times the rate, that it loses in a step.
        bias_rate: what the rate is multiplied by for biases.
        undecayed: kernels that do not decay.
    """

    def __init__(self, learning_rate, momentum, kernel_decay=0.0, bias_rate=1.0, undecayed=(), **kwargs):
        super().__init__(learning_rate, momentum, **kwargs)
        self.kernel_decay, self.bias_rate = kernel_decay, bias_rate
        self.undecayed = {id(variable) for variable in undecayed}

    def update_step(self, gradient, variable, learning_rate):
        index = self._get_variable_index(variable)
        own = self._trainable_variables[index]  # Keras may hand over TensorFlow's, of another name
        if self.kernel_decay and len(variable.shape) > 1 and id(own) not in self.undecayed:
            self.assign(variable, variable * (1.0 - self.kernel_decay * learning_rate))
        rate = learning_rate * self.shrink  # the gradient is nowhere else
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
    """Keras' scaling of losses; over several workers it adds up gradients in the place of its inner one.

    That one is called only where all gradients are finite. So the sum must come before: all workers
    take the same way then.
    """

    def __init__(self, inner_optimizer, **kwargs):
        super().__init__(inner_optimizer, **kwargs)
        inner_optimizer.over_workers = False

    def apply(self, grads, trainable_variables=None):
        super().apply(all_reduce_sum(grads), trainable_variables)


def global_norm(gradients):
    """Return the Euclidean norm of all gradients together, a scalar; None stands for no gradient."""
    return ops.sqrt(sum(sum_of_squares(gradient) for gradient in gradients if gradient is not None))


def learning_rate(config, total_steps):
    """Return the ``WarmupMultiStepLR`` of a run.

    Args:
        config, total_steps: as for ``make``.
    """
    boundaries = [round(share * total_steps) for share in config.decay_at]
    return WarmupMultiStepLR(
        config.learning_rate,
        config.warmup_steps,
        boundaries,
        config.decay_factor,
        num_processes() if config.lr_scaling == "linear" else 1.0,
        round(config.lr_scaling_warmup * total_steps),
    )


def make(config, total_steps, variables, precision="float32", undecayed=()):
    """Return an optimizer built for some variables.

    Each sub-model needs one of its own, built for just the variables that it trains: Keras refuses one
    that was built for others.

    Args:
        config: ``OptimizerConfig``.
        total_steps: of the run; ``decay_at`` are shares of it.
        variables: the sub-model's trainable variables.
        precision: of the layers; with ``mixed_float16``, whose smallest number is 6e-8, losses are
            scaled, as smaller gradients would be 0.
        undecayed: those of the variables that do not decay, as another optimizer has them decay.
    """
    rate = learning_rate(config, total_steps)
    clip = {"clip_norm": config.clip_norm}
    if config.name == "sgd":
        # Kernels shrink apart from the gradient, past the momentum. The paper's decay went through it,
        # which in the long run multiplies it by 1 / (1 - momentum).
        decay = config.weight_decay / (1.0 - config.momentum)
        optimizer = MomentumSgd(rate, config.momentum, decay, config.bias_lr_factor, undecayed, **clip)
    else:
        optimizer = SkipNonFiniteAdam(rate, weight_decay=config.weight_decay or None, **clip)
        if config.weight_decay:
            optimizer.exclude_from_weight_decay(undecayed, var_names=["bias", "gamma", "beta"])
    if precision == "mixed_float16":
        optimizer = LossScale(optimizer)
    # At once: a checkpoint may be read into its variables before the first step.
    optimizer.build(variables)
    return optimizer
