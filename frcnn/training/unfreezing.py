"""Unfreezing: the frozen stages of the backbone learn from an epoch on.

The heads are new and give large gradients at first, which spoil pretrained features. So the first
stages may stay frozen until the heads have learnt (``model.unfreeze_at``; gradual unfreezing: Howard &
Ruder 2018, section 3.3).

With other trainable layers a step is another graph, and its optimizer has more variables. So the
schedule builds both again, and the optimizers carry over what they know.
"""

from __future__ import annotations

import keras

from frcnn.config.schema import Config
from frcnn.errors import ConfigError
from frcnn.models.faster_rcnn import FasterRCNN
from frcnn.models.freezing import weighted_layers


def frozen_layers(models: FasterRCNN, config: Config) -> list[keras.layers.Layer]:
    """Return the frozen layers that learn from ``model.unfreeze_at`` on; none if it is 0.

    With ``model.frozen_batch_norm``, batch normalization stays frozen.

    Raises:
        ConfigError: ``model.unfreeze_at`` is set, but no layer is frozen.
    """
    if not config.model.unfreeze_at:
        return []
    found = [
        layer
        for layer in weighted_layers(models.detector)
        if not layer.trainable
        and not (isinstance(layer, keras.layers.BatchNormalization) and config.model.frozen_batch_norm)
    ]
    if not found:
        raise ConfigError(
            f"model.unfreeze_at is {config.model.unfreeze_at}, but no stage of {config.model.backbone} "
            "is frozen: model.weights=none freezes nothing, model.trainable_stages says how many are not"
        )
    return found


def first_step(config: Config, total_steps: int) -> int:
    """Return the number of steps before the first one in which the layers learn.

    Args:
        config: the settings; ``model.unfreeze_at`` counts epochs from 1.
        total_steps: number of steps of the run, the same in each epoch.
    """
    return (config.model.unfreeze_at - 1) * (total_steps // config.train.epochs)


def carry_over(old: keras.optimizers.Optimizer, new: keras.optimizers.Optimizer) -> None:
    """Copy the state of an optimizer into one that has the same variables and more.

    The number of steps, and with ``mixed_float16`` the scale of the loss, go on. Momentum of the
    variables that the old one had is copied; that of the others is 0.

    Args:
        old: the optimizer so far; its variables may have been deleted from its model's trainable ones.
        new: a new optimizer of the same class, built.
    """
    if hasattr(old, "inner_optimizer"):
        carry_over(old.inner_optimizer, new.inner_optimizer)
        own = [(old.step_counter, new.step_counter), (old.dynamic_scale, new.dynamic_scale)]
    else:
        own = [(old.iterations, new.iterations)]
        places = {id(variable): place for place, variable in enumerate(old._trainable_variables)}
        for name in ("momentums", "_momentums", "_velocities"):  # of SGD; of Adam
            for variable, slot in zip(new._trainable_variables, getattr(new, name, None) or []):
                if (place := places.get(id(variable))) is not None:
                    own.append((getattr(old, name)[place], slot))
    for value, variable in own:
        variable.assign(value)
