"""Starts several workers on this machine and waits for them: ``scripts/train.py --workers-per-node N``.

Each gets a ``TF_CONFIG``, and one of the machine's GPUs or, where it has none, an equal share of the
cores this process may use. Nothing here imports TensorFlow: it would take memory for nothing, and on a
GPU of a worker.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time

from frcnn.errors import ConfigError
from frcnn.watch import EXIT_STATUS

# How long workers have to end by themselves after one has failed, before they are killed: their watch
# ends them, if they have come that far.
GRACE_SECONDS = 20
MARK = "FRCNN_IS_WORKER"
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)


def environments(count, environment=os.environ):
    """Return what to change in each worker's environment.

    Where there is a ``TF_CONFIG`` already, of one process a machine, each of its addresses becomes
    ``count``, on ports that follow one another.

    Args:
        count: of the workers of this machine.
        environment: this process' own.

    Raises:
        ConfigError: fewer GPUs than workers, or Slurm has started several processes already.
    """
    if int(environment.get("SLURM_STEP_NUM_TASKS", 1)) > 1:
        raise ConfigError("--workers-per-node goes without srun: give srun --ntasks-per-node instead")
    gpus = visible_gpus(environment)
    if gpus and len(gpus) < count:
        raise ConfigError(f"{count} workers need a GPU each, and there are {len(gpus)}")
    given = json.loads(environment.get("TF_CONFIG") or "{}")
    hosts = given.get("cluster", {}).get("worker")
    if hosts:
        addresses = []
        for host, _, port in (address.rpartition(":") for address in hosts):
            addresses += [f"{host}:{int(port) + local}" for local in range(count)]
    else:
        addresses = [f"localhost:{port}" for port in free_ports(count)]
    first = int(given.get("task", {}).get("index", 0)) * count
    threads = max(1, len(os.sched_getaffinity(0)) // count)
    changes = []
    for local in range(count):
        task = {"type": "worker", "index": first + local}
        config = {"cluster": {"worker": addresses}, "task": task}
        change = {"TF_CONFIG": json.dumps(config)}
        change |= (
            {"CUDA_VISIBLE_DEVICES": gpus[local]} if gpus else {"TF_NUM_INTRAOP_THREADS": str(threads)}
        )
        changes.append(change)
    return changes


def is_worker():
    """Return whether ``run`` has started this process."""
    return MARK in os.environ


def visible_gpus(environment=os.environ):
    """Return the names of the GPUs that this process may use, as ``CUDA_VISIBLE_DEVICES`` takes them."""
    if "CUDA_VISIBLE_DEVICES" in environment:
        names = environment["CUDA_VISIBLE_DEVICES"].split(",")
        return [name for name in names if name not in ("", "-1")]
    try:
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return []
    return [str(number) for number, line in enumerate(listed.splitlines()) if line.startswith("GPU ")]


def free_ports(count):
    """Return ports that nobody listens on at the moment."""
    servers = [socket.create_server(("localhost", 0)) for _ in range(count)]
    ports = [server.getsockname()[1] for server in servers]
    for server in servers:
        server.close()
    return ports


def run(command, count):
    """Run a command ``count`` times at once, as the workers of this machine.

    A signal to this process goes on to all of them. When one fails, so do the others.

    Args:
        command: list of program and arguments.
        count: how often.

    Returns:
        The exit status: 0 if all ended with that, else that of the first that did not; 1 if a signal
        ended it.
    """
    changes = environments(count)
    ranks = [json.loads(change["TF_CONFIG"])["task"]["index"] for change in changes]
    workers = {}
    handlers = {number: signal.signal(number, lambda *_: None) for number in SIGNALS}
    try:
        for rank, change in zip(ranks, changes):
            # In a session of its own, else Ctrl-C would reach it twice.
            environment = os.environ | change | {MARK: "1"}
            workers[rank] = subprocess.Popen(command, env=environment, start_new_session=True)
        for number in SIGNALS:
            signal.signal(number, lambda number, _: _signal(workers, number))
        return _wait(workers)
    finally:
        _signal(workers, signal.SIGKILL)
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _wait(workers):
    """Return the exit status of {rank: process}, once all have ended."""
    status, deadline, running = 0, None, dict(workers)
    while running:
        ended = {rank: worker.poll() for rank, worker in running.items() if worker.poll() is not None}
        # Those that ended because another one did are not the first, even if they are found together.
        for rank, code in sorted(ended.items(), key=lambda item: item[1] == EXIT_STATUS):
            del running[rank]
            if code and not status:
                status = max(code, 1)
                # Rank 0's own words are on the console.
                if rank or code < 0:
                    print(f"error: {_ending(rank, code)}; the others are stopped", file=sys.stderr)
                deadline = time.monotonic() + GRACE_SECONDS
        if deadline and time.monotonic() > deadline:
            _signal(running, signal.SIGKILL)
        time.sleep(0.2)
    return status


def _ending(rank, code):
    name = f"worker {rank}"
    if code < 0:
        return f"{name} was ended by {signal.Signals(-code).name}"
    return f"{name} ended with status {code}: see workers/{rank}.log in the run folder"


def _signal(workers, number):
    for worker in workers.values():
        if worker.poll() is None:
            worker.send_signal(number)
