"""Freezing: freeze the first stages of a backbone, and find where the frozen part ends."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
from keras import layers

from frcnn.errors import ConfigError

Tensor = Any


def freeze(
    inputs: Tensor,
    outputs: Tensor | Sequence[Tensor],
    stage_of: Callable[[str], int],
    num_stages: int,
    trainable_stages: int,
    frozen_batch_norm: bool,
) -> None:
    """Freeze the first stages of a backbone, and all batch normalization if asked to.

    Batch normalization in a frozen stage is frozen as well: its statistics stay fixed.

    Args:
        inputs: input of the backbone, a Keras tensor.
        outputs: its outputs, Keras tensors.
        stage_of: from a layer's name to its stage, 0 for the first.
        num_stages: number of stages.
        trainable_stages: number of stages that stay trainable, counted from the last.
        frozen_batch_norm: whether to freeze batch normalization in all stages.

    Raises:
        ConfigError: ``trainable_stages`` is not from 0 to ``num_stages``.
    """
    if not 0 <= trainable_stages <= num_stages:
        raise ConfigError(
            f"trainable_stages must be from 0 to {num_stages} for this backbone, not {trainable_stages}"
        )
    for layer in keras.Model(inputs, outputs).layers:
        if layer.weights:
            is_norm = isinstance(layer, layers.BatchNormalization)
            in_trained_stage = stage_of(layer.name) >= num_stages - trainable_stages
            layer.trainable = in_trained_stage and not (is_norm and frozen_batch_norm)


def frozen_end(inputs: Tensor, outputs: Sequence[Tensor]) -> Tensor | None:
    """Return the tensor at which the frozen part of a network ends.

    All layers before it are frozen, and all later layers get their input from it alone. It is the last
    such tensor. A training step needs to compute it only once.

    Args:
        inputs: input of the network, a Keras tensor.
        outputs: its outputs, Keras tensors.

    Returns:
        The Keras tensor. None if no layer with weights is frozen at the start, or if the network
        contains another model.
    """
    network = keras.Model(inputs, outputs)
    if any(isinstance(layer, keras.Model) for layer in network.layers):
        return None  # the layers of the inner model are not layers of this graph
    consumers: dict[int, list[str]] = {}
    for layer in network.layers:
        for tensor in keras.tree.flatten(layer.input):
            consumers.setdefault(id(tensor), []).append(layer.name)
    for tensor in outputs:
        consumers.setdefault(id(tensor), []).append("")
    found, weights, open_ends, seen = None, False, {}, set()
    for layer in network.layers:  # each comes after the layers that it gets its input from
        if layer.trainable_weights:
            break
        seen.add(layer.name)
        weights = weights or bool(layer.weights)
        open_ends[id(layer.output)] = layer.output
        open_ends = {key: tensor for key, tensor in open_ends.items() if set(consumers[key]) - seen}
        if len(open_ends) == 1 and weights:
            (found,) = open_ends.values()
    return found


def flatten_layers(model: keras.Model) -> set[keras.layers.Layer]:
    """Return all layers of a model and of the models inside it, without those models themselves."""
    found: set[keras.layers.Layer] = set()
    for layer in model.layers:
        found |= flatten_layers(layer) if isinstance(layer, keras.Model) else {layer}
    return found


def weighted_layers(model: keras.Model) -> list[keras.layers.Layer]:
    """Return all layers with weights of a model and of the models inside it, in order, each once."""
    found = []
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            found += weighted_layers(layer)
        elif layer.weights:
            found.append(layer)
    return list({id(layer): layer for layer in found}.values())
