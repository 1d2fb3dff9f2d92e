"""The processes that train together: joining, collective operations, and ending together.

With TensorFlow, each process has a replica of the network on its own GPU, or on its share of the CPU,
and ``tf.distribute.MultiWorkerMirroredStrategy`` connects them. With JAX, a process has one or all GPUs
of its machine, and ``jax.distributed`` connects them. They are started by one of these:

- Slurm: ``srun python scripts/train.py ...``;
- ``TF_CONFIG``, for example from Kubeflow's training operator;
- ``--workers-per-node N`` (``distributed.launcher``), which sets ``TF_CONFIG`` itself.

Only the process of rank 0 writes to the run directory and to the console. The output of rank N goes to
``RUN/workers/N.log``. docs/cluster.md has recipes.
"""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import sys
import time
import traceback
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from frcnn import collectives
from frcnn.config.schema import Config
from frcnn.distributed import discovery, joining, lifeline
from frcnn.distributed.discovery import ProcessInfo
from frcnn.distributed.failures import failure_of_another, report_to_others
from frcnn.distributed.versions import code_versions, digest
from frcnn.errors import ConfigError, Interrupted, NothingToSave, WorkerError, message_of
from frcnn.files import safe_write
from frcnn.text import shown

# Time in which the others can receive the last sum from this process before it exits.
SEND_SECONDS = 1.0


def redirect_output(info: ProcessInfo, run_dir: pathlib.Path | str) -> None:
    """Redirect the output of a process other than rank 0 to ``RUN/workers/N.log``.

    Raises:
        ConfigError: the directory cannot be written to.
    """
    if info.rank == 0:
        return
    path = pathlib.Path(run_dir) / "workers" / f"{info.rank}.log"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for link in (path.parent, path):
            if link.is_symlink():
                raise ConfigError(f"{link} is a symbolic link: a run does not write to links")
        log = safe_write.open_to_append(path)
    except OSError as error:
        raise ConfigError(f"cannot write to the run directory {run_dir}: {error}") from error
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
        os.dup2(log.fileno(), stream.fileno())


OPEN_PORTS = (
    "the workers' TensorFlow ports have no password and are open to the network: use a trusted one "
    "(docs/cluster.md)"
)


class ProcessGroup:
    """The processes that train together.

    Attributes:
        info: rank of this process, and addresses of all.
        is_main: whether this is the main process (rank 0), which writes the files.
        share: (rank, world size): this process's share of each batch.
        is_loopback_only: whether other machines cannot connect to TensorFlow's ports.
    """

    def __init__(self, info: ProcessInfo | None = None, is_loopback_only: bool = True):
        self.info = info or ProcessInfo()
        self.is_loopback_only = is_loopback_only
        self.is_main = self.info.rank == 0
        self.share = (self.info.rank, self.info.world_size)

    def summary(self, config: Config) -> str:
        """Describe a run of several workers in some lines; "" for a single process."""
        if self.info.world_size == 1:
            return ""
        return (
            f"{self.info.world_size} workers, this is number {self.info.rank}: "
            f"{', '.join(self.info.addresses)}\n"
            f"batch of {config.data.batch_size} per worker\n"
            + ("" if self.is_loopback_only else f"{OPEN_PORTS}\n")
        )

    def barrier(self) -> None:
        """Wait until all processes have called this."""
        collectives.all_gather(np.zeros(1, "int32"))

    @contextlib.contextmanager
    def local_main_first(self) -> Iterator[None]:
        """Run this context in the first process of each machine, then in the others.

        It is for downloads: two processes must not write the same file.
        """
        if self.info.local_rank:
            self.barrier()
        yield
        if not self.info.local_rank:
            self.barrier()

    def any(self, flag: bool) -> bool:
        """Return whether the flag is True in any process. Collective operation."""
        return collectives.any_process(flag)

    def gather_json(self, value: Any) -> list[Any]:
        """Return the values of all processes, by rank. Collective operation.

        Args:
            value: value of this process, which JSON can hold.
        """
        text = np.frombuffer(json.dumps(value).encode("ascii"), "uint8").astype("int32")
        lengths = collectives.all_gather(np.array([len(text)], "int32"))
        texts = np.split(collectives.all_gather(text), np.cumsum(lengths)[:-1])
        return [json.loads(text.astype("uint8").tobytes()) for text in texts]

    def check_same(self, **values: str | Iterable[str | np.ndarray]) -> None:
        """Check that all processes have the same values. Collective operation.

        Args:
            **values: {name: text, or list of texts and arrays}.

        Raises:
            WorkerError: a process differs from rank 0.
        """
        if self.info.world_size == 1:
            return
        first, *others = self.gather_json({name: digest(value) for name, value in values.items()})
        for rank, other in enumerate(others, start=1):
            for name, value in first.items():
                if other.get(name) != value:
                    found = shown(other.get(name))
                    raise WorkerError(
                        f"worker {rank} on {self.info.addresses[rank]} differs from worker 0 in {name} "
                        f"({found}, not {value}): all need the same command, files and versions"
                    )

    def end(self, error: BaseException | None = None) -> None:
        """Wait for the other processes; or, after an error, report it to them and exit.

        With an error this function exits the process, because at a normal exit TensorFlow may wait for
        the other processes. The exit status is 2 for an ``FrcnnError``, and 3 if another process has
        failed.
        """
        if self.info.world_size == 1:
            return
        if error is None:
            self.barrier()
            return
        said = str(error)
        if isinstance(error, Interrupted):
            status = 0
            if not isinstance(error, NothingToSave):  # then all stop after the same step
                try:
                    self.barrier()
                except Exception as failed:  # another process failed, for example with a full disk
                    self.end(failed)
                time.sleep(SEND_SECONDS)
        elif other := failure_of_another(str(error), self.info.addresses):
            said, status = other, lifeline.EXIT_STATUS
        else:
            report_to_others(f"{type(error).__name__}: {error}")
            status = 130 if isinstance(error, KeyboardInterrupt) else 1
            if message := message_of(error):
                said, status = message, 2
        with contextlib.suppress(OSError, ValueError):
            if status == 0:
                print(said)
            elif status == 1:
                traceback.print_exception(error)
            elif status != 130:
                print(f"error: {said}", file=sys.stderr)
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)


@contextlib.contextmanager
def exit_together(run_dir: pathlib.Path | str) -> Iterator[None]:
    """Redirect this process's output, and end together with the processes that ``join`` finds.

    Raises:
        ConfigError: the environment variables are wrong, or the run directory cannot be written to.
    """
    redirect_output(discovery.find(), run_dir)
    try:
        yield
        _current.end()
    except BaseException as error:
        _current.end(error)
        raise


_current = ProcessGroup()


def current() -> ProcessGroup:
    """Return the group that this process has joined; without ``join``, a group of this process only."""
    return _current


def join() -> ProcessGroup:
    """Connect to the other processes, if the environment names any and this process has not yet.

    With TensorFlow call it after ``backend.prepare_device``, which chooses the GPU, and before
    TensorFlow runs any operation. With JAX call it before that, because there it finds the devices of
    all processes.

    Raises:
        ConfigError: the environment variables are wrong.
        WorkerError: a port is in use, a process did not join in time, or a process runs other code.
    """
    global _current
    info = discovery.find()
    if info.world_size == 1 or _current.info == info:
        return _current
    _current = ProcessGroup(info, joining.connect(info))
    _current.check_same(**code_versions())
    return _current
