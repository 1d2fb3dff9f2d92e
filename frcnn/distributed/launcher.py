"""Starts several workers on this machine and waits for them: ``scripts/train.py --workers-per-node N``.

Each gets a ``TF_CONFIG``, and one of the machine's GPUs or, where it has none, an equal share of the
cores this process may use. Nothing here imports TensorFlow: it would take memory for nothing, and on a
GPU of a worker.
"""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time

from frcnn.distributed import discovery, lifeline
from frcnn.errors import ConfigError
from frcnn.runs import signals

# How long workers have to end by themselves after one has failed, before they are killed: their lifeline
# ends them within seconds, unless one is stopped or does not run this project's train.py.
GRACE_SECONDS = 20
MAX_WORKERS = 256


def worker_environments(count, environment=os.environ):
    """Return what to change in each worker's environment.

    Where there is a ``TF_CONFIG`` already, of one process a machine, each of its addresses becomes
    ``count``, on ports that follow one another.

    Args:
        count: of the workers of this machine.
        environment: this process' own.

    Raises:
        ConfigError: fewer GPUs than workers, or Slurm has started several processes already.
    """
    if os.name != "posix":
        raise ConfigError("--workers-per-node needs Linux or macOS")
    if discovery.in_slurm_step(environment):
        raise ConfigError("--workers-per-node goes without srun: give srun --ntasks-per-node instead")
    gpus = visible_gpus(environment)
    if gpus and len(gpus) < count:
        raise ConfigError(f"{count} workers need a GPU each, and there are {len(gpus)}")
    place = discovery.find(environment)
    addresses, first = [], place.rank * count
    if place == discovery.ProcessInfo():
        addresses = [f"localhost:{port}" for port in free_ports(count)]
    else:
        for host, _, port in (address.rpartition(":") for address in place.addresses):
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


def number_of_cores():
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):  # Linux
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


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


def launch(command, count):
    """Run a command ``count`` times at once, as the workers of this machine.

    A signal to this process goes on to all of them. When one fails, so do the others.

    Args:
        command: list of program and arguments.
        count: how often.

    Returns:
        The exit status: 0 if all ended with that, else that of the first that did not; 1 if a signal
        ended it.
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

    def __init__(self):
        self.workers, self.lifelines = {}, {}
        self.sent = []  # signals, each to all workers, those included that are started afterwards
        self.lock = threading.RLock()  # a signal may come in another thread, while workers are started

    def start(self, rank, command, environment):
        reader, writer = os.pipe()
        with self.lock:
            # In a session of its own, else Ctrl-C would reach it twice.
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
        """Return the exit status, once all have ended."""
        status, deadline, running = 0, None, dict(self.workers)
        while running:
            ended = {rank: code for rank, one in running.items() if (code := one.poll()) is not None}
            # Those that ended because another one did are not the first, even if found together.
            for rank, code in sorted(ended.items(), key=lambda item: item[1] == lifeline.EXIT_STATUS):
                del running[rank]
                if code and not status:
                    status = max(code, 1)
                    # Rank 0's own words are on the console.
                    if rank or code < 0:
                        print(f"error: {_ending(rank, code)}; the others are stopped", file=sys.stderr)
                    self._let_go(running, _ending(rank, code))
                    deadline = time.monotonic() + GRACE_SECONDS
            if deadline and time.monotonic() > deadline:
                self.send(signal.SIGKILL)
            time.sleep(0.2)
        return status

    def _let_go(self, running, reason):
        """Have the workers end that still run, for a reason that they print."""
        for rank in running:
            with contextlib.suppress(OSError):  # it has ended meanwhile
                os.write(self.lifelines[rank], reason.encode())
            os.close(self.lifelines.pop(rank))


def _ending(rank, code):
    name = f"worker {rank}"
    if code < 0:
        return f"{name} was ended by {signal.Signals(-code).name}"
    return f"{name} ended with status {code}: see workers/{rank}.log in the run directory"
