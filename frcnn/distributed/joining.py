"""Connects the processes that train together, by TensorFlow or by JAX."""

from __future__ import annotations

import contextlib
import functools
import os
import re
from collections.abc import Mapping

from frcnn import backend, collectives
from frcnn.distributed.discovery import ProcessInfo
from frcnn.distributed.failures import first_line
from frcnn.distributed.loopback import LoopbackOnly
from frcnn.errors import ConfigError, WorkerError

# TensorFlow treats a process as dead after this time without a heartbeat. Its default of 10 s would end
# a run when a virtual machine is paused, for example to move it.
HEARTBEAT_TIMEOUT_SECONDS = 40
# Time that processes wait for each other at the start. The variable sets another time.
JOIN_SECONDS = 120
JOIN_VARIABLE = "FRCNN_JOIN_SECONDS"


def connect(info: ProcessInfo) -> bool:
    """Connect this process to the others, and return whether only this machine can reach its ports.

    Raises:
        ConfigError: ``FRCNN_JOIN_SECONDS`` is wrong.
        WorkerError: a port is in use, or a process did not join in time.
    """
    return (_join_tensorflow if backend.IS_TENSORFLOW else _join_jax)(info, join_seconds())


def _join_tensorflow(info, seconds):
    """Connect the processes. Return whether only this machine can connect to the ports."""
    import tensorflow as tf
    from tensorflow.python.eager import context

    spec = tf.train.ClusterSpec({"worker": list(info.addresses)})
    resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(
        spec,
        task_type="worker",
        task_id=info.rank,
        rpc_layer="grpc",
        num_accelerators={"GPU": len(tf.config.get_visible_devices("GPU"))},
    )
    # The strategy starts this service and has no option for its timeouts.
    engine = context.context()
    engine.configure_coordination_service = functools.partial(
        engine.configure_coordination_service,
        heartbeat_timeout_in_ms=HEARTBEAT_TIMEOUT_SECONDS * 1000,
        cluster_register_timeout_in_ms=seconds * 1000,
    )
    with LoopbackOnly(info.port) if info.is_local else contextlib.nullcontext() as guard:
        try:
            strategy = tf.distribute.MultiWorkerMirroredStrategy(cluster_resolver=resolver)
        except tf.errors.OpError as error:
            raise WorkerError(_join_error(info, seconds, error)) from error
    collectives.use_strategy(strategy)
    return guard is not None and guard.is_active


def _join_jax(info, seconds):
    """Connect the processes. Return whether only this machine can connect to the coordinator's port."""
    import jax

    coordinator = info.addresses[0]
    try:
        jax.distributed.initialize(
            coordinator,
            info.world_size,
            info.rank,
            local_device_ids=_own_gpu(info),
            cluster_detection_method="deactivate",
            initialization_timeout=seconds,
            heartbeat_timeout_seconds=HEARTBEAT_TIMEOUT_SECONDS,
            coordinator_bind_address=coordinator if info.is_local else None,
        )
    except (RuntimeError, ValueError) as error:
        raise WorkerError(_join_error(info, seconds, error)) from error
    return info.is_local


def _own_gpu(info, environment=os.environ):
    """Return the number of this process's GPU; None: all that it sees, as it is alone on its machine."""
    hosts = [address.rpartition(":")[0] for address in info.addresses]
    visible = environment.get("CUDA_VISIBLE_DEVICES")
    is_chosen = visible is not None and "," not in visible  # by the launcher or by Slurm
    return None if hosts.count(hosts[info.rank]) == 1 or is_chosen else info.local_rank


def join_seconds(environment: Mapping[str, str] = os.environ) -> int:
    text = environment.get(JOIN_VARIABLE, str(JOIN_SECONDS))
    if not re.fullmatch("[1-9][0-9]{0,5}", text):
        raise ConfigError(
            f"{JOIN_VARIABLE} must be a whole number of seconds, at least 1, not {text[:50]!r}"
        )
    return int(text)


def _join_error(info, seconds, error):
    """Return in one line why this worker could not connect to the others."""
    here = f"worker {info.rank} of {info.world_size}"
    if "Could not start gRPC server" in str(error):
        return (
            f"{here} cannot listen on port {info.port}: another process does, or the system forbids it"
        )
    return (
        f"{here} has not found all others within {seconds} s ({JOIN_VARIABLE} changes that); check "
        f"that all are running and reach {info.addresses[0]}: {first_line(error)}"
    )
