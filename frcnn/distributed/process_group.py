"""Which of several processes that train together this one is, and how they find each other.

Each process has one replica of the models: on its own GPU, or on its share of the CPU. They are joined
by ``tf.distribute.MultiWorkerMirroredStrategy``, and started by one of

- Slurm (``srun python scripts/train.py ...``), whose variables say it all;
- ``TF_CONFIG``, as Kubeflow's training operator sets it;
- ``scripts/train.py --workers-per-node N`` (``distributed.launcher``), which sets ``TF_CONFIG`` itself.

The process of rank 0 alone writes to the run directory and to the console; what the others print is in
``RUN/workers/N.log``. docs/cluster.md has recipes.
"""

import contextlib
import functools
import hashlib
import json
import os
import pathlib
import platform
import re
import sys
import time
import traceback

import keras
import numpy as np

from frcnn import backend, collectives
from frcnn.distributed import discovery, lifeline
from frcnn.distributed.discovery import ProcessInfo
from frcnn.distributed.loopback import LoopbackOnly
from frcnn.errors import ConfigError, Interrupted, NothingToSave, WorkerError, message_of
from frcnn.files import safe_write
from frcnn.text import shown

# A worker that TensorFlow hears nothing of for so long counts as dead. Its own 10 s would end a run for
# a pause of one machine, such as a virtual one has when it is moved.
SILENCE_SECONDS = 40
# How long workers wait for each other at the start, unless this variable says otherwise.
JOIN_SECONDS = 120
JOIN_VARIABLE = "FRCNN_JOIN_SECONDS"
# What the others still have to receive of the last sum needs this process a moment longer.
SEND_SECONDS = 1.0


def redirect_output(place, run_dir):
    """Send what a process other than rank 0 prints to ``RUN/workers/N.log``.

    Raises:
        ConfigError: the folder cannot be written to.
    """
    if place.rank == 0:
        return
    path = pathlib.Path(run_dir) / "workers" / f"{place.rank}.log"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for link in (path.parent, path):
            if link.is_symlink():
                raise ConfigError(f"{link} is a symbolic link: a run writes to no link")
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
    """The processes that train together, as this one sees them.

    Attributes:
        place: its ``ProcessInfo``.
        is_first: whether it is the one that writes.
        share: (which, of how many) shares of each batch it works on.
        is_loopback_only: whether the ports through which they talk are closed to other machines.
    """

    def __init__(self, place=None, is_loopback_only=True):
        self.info = place or ProcessInfo()
        self.is_loopback_only = is_loopback_only
        self.is_main = self.info.rank == 0
        self.share = (self.info.rank, self.info.world_size)

    def summary(self, config):
        """Return what there is to say about a run of several workers, in lines; "" about one of one."""
        count, each = self.info.world_size, config.data.batch_size
        if count == 1:
            return ""
        rate = f"learning rate {config.optimizer.learning_rate:g}"
        if config.optimizer.lr_scaling == "linear":
            rate += f" x {count} = {config.optimizer.learning_rate * count:g} (optimizer.lr_scaling)"
        return (
            f"{count} workers, this is number {self.info.rank}: {', '.join(self.info.addresses)}\n"
            f"batch of {each} a worker, {each * count} in all; {rate}\n"
            + ("" if self.is_loopback_only else f"{OPEN_PORTS}\n")
        )

    def barrier(self):
        """Return when all have come here."""
        collectives.all_gather(np.zeros(1, "int32"))

    @contextlib.contextmanager
    def local_main_first(self):
        """Have the first process of each machine do something before the others there do it.

        Such as a download: there must not be two to one file.
        """
        if self.info.local_rank:
            self.barrier()
        yield
        if not self.info.local_rank:
            self.barrier()

    def any(self, flag):
        """Return whether any process says so: what all should do together, such as to stop."""
        (count,) = collectives.all_reduce_sum([np.array(flag, "float32")])  # quicker than to gather
        return bool(count > 0.0)

    def gather_json(self, value):
        """Return the list of what each process gave, by rank: things that JSON can hold."""
        text = np.frombuffer(json.dumps(value).encode("ascii"), "uint8").astype("int32")
        lengths = collectives.all_gather(np.array([len(text)], "int32"))
        texts = np.split(collectives.all_gather(text), np.cumsum(lengths)[:-1])
        return [json.loads(text.astype("uint8").tobytes()) for text in texts]

    def check_same(self, **values):
        """Check that all processes have the same under each name: text, or a list of texts or arrays.

        Raises:
            WorkerError: one has another than the first.
        """
        if self.info.world_size == 1:
            return
        first, *others = self.gather_json({name: _digest(value) for name, value in values.items()})
        for rank, other in enumerate(others, start=1):
            for name, value in first.items():
                if other.get(name) != value:
                    found = shown(other.get(name))
                    raise WorkerError(
                        f"worker {rank} on {self.info.addresses[rank]} differs from worker 0 in {name} "
                        f"({found}, not {value}): all need the same command, files and versions"
                    )

    def end(self, error=None):
        """End the work together: wait for the others, or tell them what went wrong here and exit.

        A process that an error has stopped does not return from here, as TensorFlow may wait for the
        others when a process exits: it prints the error and exits, with status 2 for an ``FrcnnError``
        and 3 where another worker is the reason.
        """
        if self.info.world_size == 1:
            return
        if error is None:
            self.barrier()
            return
        if isinstance(error, Interrupted):
            status = 0
            if not isinstance(error, NothingToSave):  # all stop after the same step
                try:
                    self.barrier()
                except Exception as failed:  # such as a full disk, there
                    self.end(failed)
                time.sleep(SEND_SECONDS)
        elif other := _said_by_another(str(error), self.info.addresses):
            error, status = WorkerError(other), lifeline.EXIT_STATUS
        else:
            _tell_others(f"{type(error).__name__}: {error}")
            status = 130 if isinstance(error, KeyboardInterrupt) else 1
            if message := message_of(error):
                error, status = message, 2
        with contextlib.suppress(OSError, ValueError):
            if status == 0:
                print(error)
            elif status == 1:
                traceback.print_exception(error)
            elif status != 130:
                print(f"error: {error}", file=sys.stderr)
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)


def _tell_others(line):
    """Have TensorFlow end what the other workers wait for, with a line that says why."""
    import tensorflow as tf
    from tensorflow.python.eager import context

    with contextlib.suppress(Exception):  # there may be nobody left to tell
        context.context().report_error_to_cluster(tf.errors.ABORTED, _line(line))


def _said_by_another(text, addresses):
    """Return what an error of TensorFlow says about another worker that has ended; "" if nothing."""
    if "Collective ops is aborted" not in text and "oordination" not in text:
        return ""
    said = re.search(r"Error reported from /job:worker/(?:replica:0/)?task:(\d+): (.*)", text)
    rank = re.search(r"unhealthy[^/]*/job:worker/replica:0/task:(\d+)|/task:(\d+)", text)
    number = int(next(filter(None, rank.groups()))) if rank else len(addresses)
    if number >= len(addresses):
        return f"another worker has ended or cannot be reached: {_line(text)}"
    name = f"worker {number} on {addresses[number]}"
    if said and "unhealthy" not in said[2]:
        return f"{name} has stopped: {shown(said[2])}"
    log = f"; what it printed is in workers/{number}.log of the run directory" if number else ""
    return f"{name} has died or cannot be reached{log}"


def _line(text):
    """Return the start of what another process or TensorFlow says as one line."""
    return shown(" ".join(str(text).split()))


@contextlib.contextmanager
def exit_together(run_dir):
    """Be one of the workers, if there are several, that ``join`` within: output, and a common end.

    Raises:
        ConfigError: the environment does not fit, or the run directory cannot be written to.
    """
    redirect_output(discovery.find(), run_dir)
    try:
        yield
        _workers.end()
    except BaseException as error:
        _workers.end(error)
        raise


def code_versions():
    """Return what the numbers of a step depend on besides settings, data and weights, by name.

    That is the versions of Python and of the packages that compute, and this package's own source.
    """
    found = {"Python": platform.python_version(), "keras": keras.__version__, "numpy": np.__version__}
    if backend.IS_TENSORFLOW:
        import tensorflow as tf

        found["tensorflow"] = tf.__version__
    folder = pathlib.Path(__file__).parents[1]
    texts = []
    for path in sorted(folder.rglob("*.py")):
        texts += [path.relative_to(folder).as_posix(), path.read_text(encoding="utf-8")]
    return found | {"source of frcnn": _digest(texts)}


def _digest(value):
    """Return a short text that differs for another value: a short text itself."""
    if isinstance(value, str) and len(value) <= 20:
        return value
    digest = hashlib.sha256()
    for part in [value] if isinstance(value, str) else value:
        digest.update(part.encode("utf-8", "replace") if isinstance(part, str) else part.tobytes())
    return digest.hexdigest()[:12]


_workers = ProcessGroup()


def current():
    """Return the ``ProcessGroup`` that this process has joined; itself alone if none."""
    return _workers


def join():
    """Find the other processes, if there are any, and be one of them from now on.

    To be called after ``backend.prepare_device`` and before TensorFlow runs anything.

    Raises:
        ConfigError: the environment does not fit.
        WorkerError: a port is taken, not all workers came in time, or their code differs.
    """
    global _workers
    place = discovery.find()
    if place.world_size == 1:
        return _workers
    if not backend.IS_TENSORFLOW:
        raise ConfigError("several workers need Keras' TensorFlow backend: set KERAS_BACKEND=tensorflow")
    import tensorflow as tf
    from tensorflow.python.eager import context

    seconds = _join_seconds()
    spec = tf.train.ClusterSpec({"worker": list(place.addresses)})
    resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(
        spec,
        task_type="worker",
        task_id=place.rank,
        rpc_layer="grpc",
        num_accelerators={"GPU": len(tf.config.get_visible_devices("GPU"))},
    )
    # The strategy sets this service up and leaves no choice of the times.
    engine = context.context()
    engine.configure_coordination_service = functools.partial(
        engine.configure_coordination_service,
        heartbeat_timeout_in_ms=SILENCE_SECONDS * 1000,
        cluster_register_timeout_in_ms=seconds * 1000,
    )
    with LoopbackOnly(place.port) if place.is_local else contextlib.nullcontext() as shield:
        try:
            strategy = tf.distribute.MultiWorkerMirroredStrategy(cluster_resolver=resolver)
        except tf.errors.OpError as error:
            raise WorkerError(_not_joined(place, seconds, error)) from error
    collectives.use_strategy(strategy)
    _workers = ProcessGroup(place, is_loopback_only=place.is_local and shield.is_active)
    _workers.check_same(**code_versions())
    return _workers


def _join_seconds(environment=os.environ):
    text = environment.get(JOIN_VARIABLE, str(JOIN_SECONDS))
    if not re.fullmatch("[1-9][0-9]{0,5}", text):
        raise ConfigError(
            f"{JOIN_VARIABLE} must be a whole number of seconds from 1 on, not {text[:50]!r}"
        )
    return int(text)


def _not_joined(place, seconds, error):
    """Return why this worker has not found the others, in a line."""
    here = f"worker {place.rank} of {place.world_size}"
    if "Could not start gRPC server" in str(error):
        return (
            f"{here} cannot listen on port {place.port}: another process does, or the system forbids it"
        )
    return (
        f"{here} has not found all others within {seconds} s ({JOIN_VARIABLE} changes that); see "
        f"whether all are running and reach {place.addresses[0]}: {_line(error)}"
    )
