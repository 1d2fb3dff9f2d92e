"""Which layers are trained: freeze the first stages, and find where the frozen part ends."""

import keras
from keras import layers

from frcnn.errors import ConfigError


def freeze(inputs, outputs, stage_of, num_stages, trainable_stages, frozen_batch_norm):
    """Freeze the first stages of a backbone, and its batch normalization if asked to.

    A frozen stage's batch normalization is frozen with it: its statistics too stay as they are.

    Args:
        inputs: Keras tensor that the backbone starts from.
        outputs: Keras tensors that it ends in.
        stage_of: from a layer's name to its stage, 0 for the first.
        num_stages: how many there are.
        trainable_stages: how many of them stay trainable, counted from the last.
        frozen_batch_norm: whether to freeze every batch normalization.

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


def frozen_end(inputs, outputs):
    """Return the last Keras tensor that nothing trainable comes before and everything goes through.

    Args:
        inputs: Keras tensor that the network starts from.
        outputs: Keras tensors that it ends in.

    Returns:
        The tensor; None where the first layer with weights is trainable.
    """
    network = keras.Model(inputs, outputs)
    if any(isinstance(layer, keras.Model) for layer in network.layers):
        return None  # the graph of a model inside is not part of this graph
    consumers = {}
    for layer in network.layers:
        for tensor in keras.tree.flatten(layer.input):
            consumers.setdefault(id(tensor), []).append(layer.name)
    for tensor in outputs:
        consumers.setdefault(id(tensor), []).append("")
    found, weights, open_ends, seen = None, False, {}, set()
    for layer in network.layers:  # each comes after those that it takes from
        if layer.trainable_weights:
            break
        seen.add(layer.name)
        weights = weights or bool(layer.weights)
        open_ends[id(layer.output)] = layer.output
        open_ends = {key: tensor for key, tensor in open_ends.items() if set(consumers[key]) - seen}
        if len(open_ends) == 1 and weights:
            (found,) = open_ends.values()
    return found


def flatten_layers(model):
    """Return the layers of a model, and of the models in it, that are no models themselves."""
    found = set()
    for layer in model.layers:
        found |= flatten_layers(layer) if isinstance(layer, keras.Model) else {layer}
    return found


def weighted_layers(model):
    """Return the layers of a model, and of models inside it, that have weights of their own."""
    found = []
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            found += weighted_layers(layer)
        elif layer.weights:
            found.append(layer)
    return list({id(layer): layer for layer in found}.values())
