"""Sums and gathers over the processes that train together.

``frcnn.distributed.process_group`` joins the processes. Without that, this process trains alone: then
all functions return what they are given.

With TensorFlow each process computes a step of its share of the batch, and sums make it a step of the
whole batch. With JAX all processes compute one step of the whole batch, and XLA does the sums, so only
the gathers outside of steps are needed.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from frcnn.backend import IS_TENSORFLOW

if IS_TENSORFLOW:
    import tensorflow as tf
else:
    import jax
    from jax.experimental import multihost_utils

Tensor = Any

# Gradients are sent in packs of this size. The first packs travel while the last gradients are computed.
PACK_BYTES = 32 * 2**20

_strategy = None


def use_strategy(strategy: Any) -> None:
    """Make ``all_reduce_sum`` and ``all_gather`` reach all processes of a strategy.

    Models and optimizers are created outside the strategy's scope, as in one process. Processes exchange
    numbers only through these two functions.

    Args:
        strategy: ``tf.distribute.MultiWorkerMirroredStrategy`` with one replica per process.
    """
    global _strategy
    _strategy = strategy


def num_processes() -> int:
    """Return the number of processes that train together."""
    if not IS_TENSORFLOW:
        return jax.process_count()
    return _strategy.num_replicas_in_sync if _strategy else 1


def shares_are_apart() -> bool:
    """Return whether each of several processes computes the losses of its share of the batch alone."""
    return IS_TENSORFLOW and num_processes() > 1


def all_reduce_sum(tensors: Iterable[Tensor | None]) -> list[Tensor]:
    """Return the sums of tensors over all processes, if their shares are apart. A None stays None.

    All processes must call this in the same order with the same shapes, so never in a branch that only
    some processes take. It works inside a compiled step and outside.
    """
    tensors = list(tensors)
    if not shares_are_apart():
        return tensors
    present = [tensor for tensor in tensors if tensor is not None]
    if tf.executing_eagerly():
        sums = iter(_compiled_sum([tf.convert_to_tensor(tensor) for tensor in present]))
    else:
        sums = iter(_sum(present))
    return [None if tensor is None else next(sums) for tensor in tensors]


def all_gather(array: np.ndarray) -> np.ndarray:
    """Concatenate the arrays of all processes along the first axis. The other axes must agree.

    Only for float32, int32 and int64, and only outside a compiled step.
    """
    if num_processes() == 1:
        return array
    if not IS_TENSORFLOW:
        return _gather_by_jax(array)
    return _compiled_gather(tf.convert_to_tensor(array)).numpy()


def any_process(flag: bool) -> bool:
    """Return whether the flag is True in any process. Only outside a compiled step."""
    if shares_are_apart():
        (count,) = all_reduce_sum([np.array(flag, "float32")])  # faster than a gather
        return bool(np.asarray(count) > 0.0)
    return bool(all_gather(np.array([flag], "int32")).any())


def _sum(tensors):
    def on_replica():
        # The strategy needs to see the device of each tensor: so identity makes copies.
        parts = [tf.stop_gradient(tf.identity(tensor)) for tensor in tensors]
        options = tf.distribute.experimental.CommunicationOptions(bytes_per_pack=PACK_BYTES)
        context = tf.distribute.get_replica_context()
        return context.all_reduce(tf.distribute.ReduceOp.SUM, parts, options)

    return _strategy.run(on_replica)


def _gather_by_jax(array):
    """Gather arrays of any lengths. They travel as bytes, because JAX may shorten numbers of 64 bits."""
    array = np.ascontiguousarray(array)
    lengths = multihost_utils.process_allgather(np.array([len(array)], "int32")).ravel()
    padded = np.zeros((lengths.max(), *array.shape[1:]), array.dtype)
    padded[: len(array)] = array
    sent = np.frombuffer(padded.tobytes(), "uint8")
    parts = multihost_utils.process_allgather(sent).reshape(len(lengths), -1)
    arrays = [np.frombuffer(part.tobytes(), array.dtype).reshape(padded.shape) for part in parts]
    return np.concatenate([own[:length] for own, length in zip(arrays, lengths)])


def _gather(tensor):
    def on_replica():
        return tf.distribute.get_replica_context().all_gather(tf.identity(tensor), axis=0)

    return _strategy.run(on_replica)


if IS_TENSORFLOW:
    _compiled_sum = tf.function(_sum, reduce_retracing=True)
    _compiled_gather = tf.function(_gather, reduce_retracing=True)
