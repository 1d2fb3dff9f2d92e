"""Which of several processes that train together this one is, and how they find each other.

Each process has one replica of the models: on its own GPU, or on its share of the CPU. They are joined
by ``tf.distribute.MultiWorkerMirroredStrategy``, and started by one of

- Slurm (``srun python scripts/train.py ...``), whose variables say it all;
- ``TF_CONFIG``, as Kubeflow's training operator sets it;
- ``scripts/train.py --workers-per-node N`` (``frcnn.launcher``), which sets ``TF_CONFIG`` itself.

The process of rank 0 alone writes to the run folder and to the console; what the others print is in
``RUN/workers/N.log``. docs/cluster.md has recipes.
"""

import contextlib
import dataclasses
import functools
import hashlib
import json
import os
import pathlib
import re
import sys

import numpy as np

from frcnn import backend
from frcnn.errors import ConfigError, Interrupted, WorkerError
from frcnn.watch import Watch

# A worker that TensorFlow hears nothing of for so long counts as dead, unless the watch tells earlier.
# Its own 10 s would end a run for a pause of one machine, such as a virtual one has when it is moved.
SILENCE_SECONDS = 600


@dataclasses.dataclass(frozen=True)
class Place:
    """One process among those that train together.

    Attributes:
        rank: 0 for the first, which writes.
        addresses: ``host:port`` of each process, in the order of their ranks.
        local_rank: of those on its machine; None where it is alone.
    """

    rank: int = 0
    addresses: tuple[str, ...] = ("localhost",)
    local_rank: int | None = None

    @property
    def count(self):
        return len(self.addresses)


def find(environment=os.environ):
    """Return the ``Place`` that the environment says this process has; alone where it says nothing.

    Raises:
        ConfigError: what it says does not fit.
    """
    if environment.get("TF_CONFIG"):
        return _from_tf_config(environment["TF_CONFIG"])
    # Set by srun alone, unlike SLURM_NTASKS, which a batch script and a shell under salloc have, too.
    if int(environment.get("SLURM_STEP_NUM_TASKS", 1)) > 1:
        return _from_slurm(environment)
    return Place()


def _from_tf_config(text):
    try:
        config = json.loads(text)
        cluster, task = config.get("cluster", {}), config.get("task", {})
        if not cluster:
            return Place()
        kind, index = task["type"], int(task["index"])
        others = set(cluster) - {"chief", "worker"}
        addresses = [*cluster.get("chief", ()), *cluster.get("worker", ())]
        if others or kind not in cluster or not 0 <= index < len(cluster[kind]):
            raise ConfigError(
                f"TF_CONFIG must have workers, a chief among them or not, and this task as one of them, "
                f"not {text}"
            )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(f"TF_CONFIG is not what TensorFlow documents ({error!r}): {text}") from error
    rank = index + (len(cluster.get("chief", ())) if kind == "worker" else 0)
    hosts = [address.rpartition(":")[0] for address in addresses]
    return Place(rank, tuple(addresses), hosts[:rank].count(hosts[rank]))


def _from_slurm(environment):
    """Return the ``Place`` by the variables of an srun step, whose ranks fill one machine after another.

    TensorFlow's own ``SlurmClusterResolver`` is of no use without GPUs, and sorts n10 before n9.
    """
    # Jobs that share a machine must not share ports: Slurm's own numbers keep them apart. 20 for each,
    # below those that systems give to connections.
    number = int(environment["SLURM_JOB_ID"]) + 7 * int(environment.get("SLURM_STEP_ID", 0))
    port = 12000 + number % 1000 * 20
    counts = []
    for part in environment["SLURM_STEP_TASKS_PER_NODE"].split(","):  # such as 8(x2),4
        count, _, times = part.rstrip(")").partition("(x")
        counts += [int(count)] * int(times or 1)
    hosts = hosts_of(environment["SLURM_STEP_NODELIST"])
    addresses = [
        f"{host}:{port + local}" for host, count in zip(hosts, counts) for local in range(count)
    ]
    return Place(
        int(environment["SLURM_PROCID"]), tuple(addresses), int(environment.get("SLURM_LOCALID", 0))
    )


def hosts_of(nodes):
    """Return the names in a list as Slurm writes it: ``gpu[07-09,12],login1``."""
    found = []
    for item in re.findall(r"(?:[^,\[]|\[[^\]]*\])+", nodes):
        head, bracket, rest = item.partition("[")
        if not bracket:
            found.append(item)
            continue
        numbers, _, tail = rest.partition("]")
        for first, _, last in (part.partition("-") for part in numbers.split(",")):
            for number in range(int(first), int(last or first) + 1):
                found += hosts_of(f"{head}{number:0{len(first)}d}{tail}")
    return found


def redirect(place, run_dir):
    """Send what a process other than rank 0 prints to ``RUN/workers/N.log``.

    Raises:
        ConfigError: the folder cannot be written to.
    """
    if place.rank == 0:
        return
    path = pathlib.Path(run_dir) / "workers" / f"{place.rank}.log"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        log = path.open("a", buffering=1)
    except OSError as error:
        raise ConfigError(f"cannot write to the run folder {run_dir}: {error}") from error
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
        os.dup2(log.fileno(), stream.fileno())


class Workers:
    """The processes that train together, as this one sees them.

    Attributes:
        place: its ``Place``.
        is_first: whether it is the one that writes.
        share: (which, of how many) shares of each batch it works on.
    """

    def __init__(self, place=None, watch=None):
        self.place = place or Place()
        self.watch = watch
        self.is_first = self.place.rank == 0
        self.share = (self.place.rank, self.place.count)

    def summary(self, config):
        """Return what there is to say about a run of several workers, in lines; "" about one of one."""
        count, each = self.place.count, config.data.batch_size
        if count == 1:
            return ""
        rate = f"learning rate {config.optimizer.learning_rate:g}"
        if config.optimizer.worker_scaling == "linear":
            rate += f" x {count} = {config.optimizer.learning_rate * count:g} (optimizer.worker_scaling)"
        return (
            f"{count} workers, this is number {self.place.rank}: {', '.join(self.place.addresses)}\n"
            f"batch of {each} a worker, {each * count} in all; {rate}\n"
        )

    def wait(self):
        """Return when all have come here."""
        backend.gather_over_workers(np.zeros(1, "int32"))

    @contextlib.contextmanager
    def in_turn(self):
        """Have the first process of each machine do something before the others there do it.

        Such as a download: there must not be two to one file.
        """
        if self.place.local_rank:
            self.wait()
        yield
        if not self.place.local_rank:
            self.wait()

    def any(self, flag):
        """Return whether any process says so: what all should do together, such as to stop."""
        (count,) = backend.sum_over_workers([np.array(flag, "float32")])  # quicker than to gather
        return bool(count > 0.0)

    def gather_json(self, value):
        """Return the list of what each process gave, by rank: things that JSON can hold."""
        text = np.frombuffer(json.dumps(value).encode("ascii"), "uint8").astype("int32")
        lengths = backend.gather_over_workers(np.array([len(text)], "int32"))
        texts = np.split(backend.gather_over_workers(text), np.cumsum(lengths)[:-1])
        return [json.loads(text.astype("uint8").tobytes()) for text in texts]

    def expect_same(self, **values):
        """Check that all processes have the same under each name: text, or a list of texts or arrays.

        Raises:
            WorkerError: one has another than the first.
        """
        if self.place.count == 1:
            return
        first, *others = self.gather_json({name: _digest(value) for name, value in values.items()})
        for rank, other in enumerate(others, start=1):
            for name, value in first.items():
                if other[name] != value:
                    raise WorkerError(
                        f"worker {rank} on {self.place.addresses[rank]} has other {name} than worker 0 "
                        f"(digest {other[name]}, not {value}): all need the same command and files"
                    )

    def leave(self, error=None):
        """End the work together: wait for the others, or tell them what went wrong here."""
        if self.watch is None:
            return
        if error is None:
            self.wait()
        self.watch.close(error)


@contextlib.contextmanager
def session(run_dir):
    """Be one of the workers, if there are several, that ``join`` within: output, and a common end.

    Raises:
        ConfigError: the environment does not fit, or the run folder cannot be written to.
    """
    redirect(find(), run_dir)
    try:
        yield
    except Interrupted:  # all together
        _workers.leave()
        raise
    except BaseException as error:
        _workers.leave(error)
        raise
    _workers.leave()


def _digest(value):
    """Return a short text that differs for another value."""
    digest = hashlib.sha256()
    for part in [value] if isinstance(value, str) else value:
        digest.update(part.encode("utf-8", "replace") if isinstance(part, str) else part.tobytes())
    return digest.hexdigest()[:12]


_workers = Workers()


def current():
    """Return the ``Workers`` that this process has joined; itself alone if none."""
    return _workers


def join():
    """Find the other processes, if there are any, and be one of them from now on.

    To be called after ``backend.prepare_device`` and before TensorFlow runs anything.

    Raises:
        ConfigError: the environment does not fit.
    """
    global _workers
    place = find()
    if place.count == 1:
        return _workers
    if not backend.IS_TENSORFLOW:
        raise ConfigError("several workers need Keras' TensorFlow backend: set KERAS_BACKEND=tensorflow")
    import tensorflow as tf
    from tensorflow.python.eager import context

    spec = tf.train.ClusterSpec({"worker": list(place.addresses)})
    resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(
        spec,
        task_type="worker",
        task_id=place.rank,
        rpc_layer="grpc",
        num_accelerators={"GPU": len(tf.config.get_visible_devices("GPU"))},
    )
    # The strategy sets this service up and leaves no choice of the time.
    engine = context.context()
    engine.configure_coordination_service = functools.partial(
        engine.configure_coordination_service, heartbeat_timeout_in_ms=SILENCE_SECONDS * 1000
    )
    backend.use_workers(tf.distribute.MultiWorkerMirroredStrategy(cluster_resolver=resolver))
    _workers = Workers(place, Watch(place, lambda port: _from_first(place, port)))
    return _workers


def _from_first(place, number):
    """Return rank 0's number."""
    return int(backend.gather_over_workers(np.array([number], "int32"))[0])
