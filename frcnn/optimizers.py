"""One optimizer for each sub-model, and how its learning rate runs.

Ren et al. 2015, section 3.2: SGD with momentum 0.9 and weight decay 5e-4, the rate cut to a tenth after
three quarters of the run. A warm-up, which the paper did without, lets a run start at full rate.
"""

import keras
from keras import ops

from frcnn.backend import has_native_momentum, native_momentum, num_workers, sum_over_workers


@keras.saving.register_keras_serializable(package="frcnn")
class WarmUpAndSteps(keras.optimizers.schedules.LearningRateSchedule):
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


class OverWorkers:
    """An optimizer that adds up gradients over the workers before it looks at them.

    So that all of them clip by the same norm, find the same numbers finite, and keep the same state.
    """

    over_workers = True

    def apply(self, grads, trainable_variables=None):
        if self.over_workers:
            grads = sum_over_workers(grads)
        super().apply(grads, trainable_variables)


class MomentumSgd(OverWorkers, keras.optimizers.SGD):
    """Keras' SGD with weight decay, in fewer passes over the weights.

    A VGG16 with its head has half a gigabyte of them. Kernels decay before they move; biases and the
    factors of normalization, which have one axis, do not.
    """

    def __init__(self, learning_rate, momentum, kernel_decay=0.0, **kwargs):
        super().__init__(learning_rate, momentum, **kwargs)
        self.kernel_decay = kernel_decay

    def update_step(self, gradient, variable, learning_rate):
        if self.kernel_decay and len(variable.shape) > 1:
            self.assign(variable, variable * (1.0 - self.kernel_decay * learning_rate))
        if not self.momentum or not has_native_momentum(gradient):
            return super().update_step(gradient, variable, learning_rate)
        velocity = self.momentums[self._get_variable_index(variable)]
        return native_momentum(variable, velocity.value, gradient, learning_rate, self.momentum)

    def get_config(self):
        return {**super().get_config(), "kernel_decay": self.kernel_decay}


class Adam(OverWorkers, keras.optimizers.Adam):
    """Keras' Adam."""


class LossScale(OverWorkers, keras.optimizers.LossScaleOptimizer):
    """Keras' scaling of losses, which applies gradients only where all of them are finite."""

    def __init__(self, inner_optimizer, **kwargs):
        super().__init__(inner_optimizer, **kwargs)
        # Done by this one, before the branch that leads there, which all workers must take or none.
        inner_optimizer.over_workers = False


def make(config, total_steps, variables):
    """Return an optimizer built for some variables.

    Each sub-model needs one of its own, built for just the variables that it trains: Keras refuses one
    that was built for others.

    Args:
        config: ``OptimizerConfig``.
        total_steps: of the run; ``decay_at`` are shares of it.
        variables: the sub-model's trainable variables.
    """
    boundaries = [round(share * total_steps) for share in config.decay_at]
    rate = WarmUpAndSteps(
        config.learning_rate,
        config.warmup_steps,
        boundaries,
        config.decay_factor,
        num_workers() if config.worker_scaling == "linear" else 1.0,
        round(config.worker_warmup * total_steps),
    )
    clip = {"global_clipnorm": config.clip_norm or None}
    if config.name == "sgd":
        # Kernels shrink apart from the gradient, past the momentum. The paper's decay went through it,
        # which in the long run multiplies it by 1 / (1 - momentum).
        decay = config.weight_decay / (1.0 - config.momentum)
        optimizer = MomentumSgd(rate, config.momentum, decay, **clip)
    else:
        optimizer = Adam(rate, weight_decay=config.weight_decay or None, **clip)
        if config.weight_decay:
            optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    optimizer.build(variables)
    return optimizer
