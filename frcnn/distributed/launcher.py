"""Starts several workers on this machine and waits for them: ``--workers-per-node N``.

Each worker gets a ``TF_CONFIG`` and one of the machine's GPUs; without GPUs, an equal share of the
cores. This module does not import TensorFlow, which would use memory on a worker's GPU. (A worker is a
process.)
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence

from frcnn.distributed import discovery, lifeline
from frcnn.errors import ConfigError
from frcnn.runs import signals

# Workers that still run this long after one has failed are killed. Their lifeline ends them within
# seconds, unless a worker is suspended or runs another program.
GRACE_SECONDS = 20
MAX_WORKERS = 256


def worker_environments(count: int, environment: Mapping[str, str] = os.environ) -> list[dict[str, str]]:
    """Return the changes to each worker's environment.

    A ``TF_CONFIG`` with one process per machine may be set already. Then each of its addresses becomes
    ``count`` addresses with consecutive ports.

    Args:
        count: number of workers on this machine.
        environment: environment of this process.

    Raises:
        ConfigError: there are fewer GPUs than workers, or Slurm has started several processes already.
    """
    if os.name != "posix":
        raise ConfigError("--workers-per-node needs Linux or macOS")
    if discovery.in_slurm_step(environment):
        raise ConfigError(
            "--workers-per-node cannot be used under srun: give srun --ntasks-per-node instead"
        )
    gpus = visible_gpus(environment)
    if gpus and len(gpus) < count:
        raise ConfigError(f"{count} workers need {count} GPUs, but there are {len(gpus)}")
    info = discovery.find(environment)
    addresses, first = [], info.rank * count
    if info == discovery.ProcessInfo():
        addresses = [f"localhost:{port}" for port in free_ports(count)]
    else:
        for host, _, port in (address.rpartition(":") for address in info.addresses):
            addresses += [f"{host}:{int(port) + local}" for local in range(count)]
    threads = max(1, number_of_cores() // count)
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


def number_of_cores() -> int:
    """Return the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):  # Linux
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def visible_gpus(environment: Mapping[str, str] = os.environ) -> list[str]:
    """Return the names of the GPUs that this process may use, as in ``CUDA_VISIBLE_DEVICES``."""
    if "CUDA_VISIBLE_DEVICES" in environment:
        names = environment["CUDA_VISIBLE_DEVICES"].split(",")
        return [name for name in names if name not in ("", "-1")]
    try:
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return []
    return [str(number) for number, line in enumerate(listed.splitlines()) if line.startswith("GPU ")]


def free_ports(count: int) -> list[int]:
    """Return ports on which no process listens."""
    servers = [socket.create_server(("localhost", 0)) for _ in range(count)]
    ports = [server.getsockname()[1] for server in servers]
    for server in servers:
        server.close()
    return ports


def launch(command: Sequence[str], count: int) -> int:
    """Run a command in ``count`` processes at once, the workers of this machine.

    Signals to this process are passed on to all workers. When one worker fails, the others are ended.

    Args:
        command: program and arguments.
        count: number of workers.

    Returns:
        The exit status: 0 if all workers ended with 0; otherwise that of the first worker that did not,
        or 1 if a signal ended it.
    """
    changes = worker_environments(count)
    group = _LocalWorkers()
    with signals.handle_with(group.send):
        try:
            for change in changes:
                rank = json.loads(change["TF_CONFIG"])["task"]["index"]
                group.start(rank, command, os.environ | change)
            return group.wait()
        finally:
            group.send(signal.SIGKILL)


class _LocalWorkers:
    """The workers of this machine: {rank: process} and {rank: writing end of its lifeline}."""

    def __init__(self) -> None:
        self.workers: dict[int, subprocess.Popen] = {}
        self.lifelines: dict[int, int] = {}
        self.sent: list[int] = []  # signals, which workers that start later get, too
        self.lock = threading.RLock()  # another thread may handle a signal while workers are started

    def start(self, rank, command, environment):
        reader, writer = os.pipe()
        with self.lock:
            # In its own session: otherwise it would get Ctrl-C twice.
            self.workers[rank] = subprocess.Popen(
                command,
                env=environment | {lifeline.VARIABLE: str(reader)},
                start_new_session=True,
                pass_fds=[reader],
            )
            self.lifelines[rank] = writer
            os.close(reader)
            for number in self.sent:
                self.workers[rank].send_signal(number)

    def send(self, number):
        """Send a signal to all workers."""
        with self.lock:
            self.sent.append(number)
            for worker in self.workers.values():
                worker.send_signal(number)  # does nothing once it has been waited for

    def wait(self):
        """Wait until all workers have ended; return the exit status."""
        status, deadline, running = 0, None, dict(self.workers)
        while running:
            ended = {rank: code for rank, one in running.items() if (code := one.poll()) is not None}
            # If several have ended, those that ended because of another worker come last.
            for rank, code in sorted(ended.items(), key=lambda item: item[1] == lifeline.EXIT_STATUS):
                del running[rank]
                if code and not status:
                    status = max(code, 1)
                    # Rank 0 has printed its error on the console.
                    if rank or code < 0:
                        print(f"error: {_ending(rank, code)}; the others are stopped", file=sys.stderr)
                    self._end_others(running, _ending(rank, code))
                    deadline = time.monotonic() + GRACE_SECONDS
            if deadline and time.monotonic() > deadline:
                self.send(signal.SIGKILL)
            time.sleep(0.2)
        return status

    def _end_others(self, running, reason):
        """End the workers that still run; they print the reason."""
        for rank in running:
            with contextlib.suppress(OSError):  # it has ended meanwhile
                os.write(self.lifelines[rank], reason.encode())
            os.close(self.lifelines.pop(rank))


def _ending(rank, code):
    name = f"worker {rank}"
    if code < 0:
        return f"{name} was ended by {signal.Signals(-code).name}"
    return f"{name} ended with status {code}: see workers/{rank}.log in the run directory"
