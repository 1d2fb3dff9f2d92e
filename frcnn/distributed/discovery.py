"""Which of several processes that train together this one is, as its environment says.

Nothing here imports Keras or TensorFlow, so that the launcher can use it, too.
"""

import dataclasses
import json
import os
import re

from frcnn.errors import ConfigError
from frcnn.text import shown, shown_value

MAX_NODES = 10000
LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
_COUNT = r"[0-9]{1,6}(\(x[0-9]{1,6}\))?"
TASKS_PER_NODE = rf"{_COUNT}(,{_COUNT})*"
_NODE = r"([^\s,\[\]]|\[[0-9]{1,9}(-[0-9]{1,9})?(,[0-9]{1,9}(-[0-9]{1,9})?)*\])+"
NODE_LIST = rf"{_NODE}(,{_NODE})*"


@dataclasses.dataclass(frozen=True)
class ProcessInfo:
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
    def world_size(self):
        return len(self.addresses)

    @property
    def is_local(self):
        """Whether all processes find each other on this machine's loopback interface."""
        return all(address.rpartition(":")[0] in LOOPBACK for address in self.addresses)

    @property
    def port(self):
        """The port that this process listens on."""
        return int(self.addresses[self.rank].rpartition(":")[2])


def find(environment=os.environ):
    """Return this process' ``ProcessInfo`` from the environment; alone where that says nothing.

    Raises:
        ConfigError: what it says does not fit.
    """
    if environment.get("TF_CONFIG"):
        return _from_tf_config(environment["TF_CONFIG"])
    if in_slurm_step(environment):
        return _from_slurm(environment)
    return ProcessInfo()


def in_slurm_step(environment=os.environ):
    """Return whether ``srun`` has started this process as one of several.

    Raises:
        ConfigError: the variable that tells is no number.
    """
    # Set by srun alone, unlike SLURM_NTASKS, which a batch script and a shell under salloc have, too.
    return _number(environment, "SLURM_STEP_NUM_TASKS", 1) > 1


def _number(environment, name, default=None):
    """Return a variable's whole number."""
    text = environment.get(name, default)
    if text is None:
        raise ConfigError(f"the variable {name}, which srun sets, is missing in an srun step")
    if isinstance(text, str) and not re.fullmatch("[0-9]{1,18}", text):
        raise ConfigError(f"{name} must be a whole number as Slurm sets it, not {shown_value(text)}")
    return int(text)


def _from_tf_config(text):
    """Return the information in ``TF_CONFIG``: {"cluster": {kind: [address, ...]}, "task": {...}}."""
    try:
        config = json.loads(text)
        cluster, task = config.get("cluster", {}), config.get("task", {})
        if not cluster:
            return ProcessInfo()
        kind, index = task["type"], int(task["index"])
        addresses = [*cluster.get("chief", ()), *cluster.get("worker", ())]
        fits = not set(cluster) - {"chief", "worker"} and 0 <= index < len(cluster[kind])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ConfigError(
            f"TF_CONFIG is not what TensorFlow documents ({type(error).__name__}: "
            f"{shown(error)}): {shown_value(text)}"
        ) from error
    if not fits:
        raise ConfigError(
            "TF_CONFIG must have workers, a chief among them or not, and this task as one of them, "
            f"not {shown_value(text)}"
        )
    for address in addresses:
        if not (isinstance(address, str) and re.fullmatch(r"\S+:[0-9]{1,5}", address)):
            raise ConfigError(
                f"TF_CONFIG must have addresses such as host:2222, not {shown_value(str(address))}"
            )
    rank = index + (len(cluster.get("chief", ())) if kind == "worker" else 0)
    hosts = [address.rpartition(":")[0] for address in addresses]
    return ProcessInfo(rank, tuple(addresses), hosts[:rank].count(hosts[rank]))


def _from_slurm(environment):
    """Return the ``ProcessInfo`` from the variables of an srun step; ranks fill machine after machine.

    TensorFlow's own ``SlurmClusterResolver`` is of no use without GPUs, and sorts n10 before n9.
    """
    # Jobs that share a machine must not share ports: Slurm's own numbers keep them apart. 20 for each,
    # below those that systems give to connections.
    number = _number(environment, "SLURM_JOB_ID") + 7 * _number(environment, "SLURM_STEP_ID", 0)
    port = 12000 + number % 1000 * 20
    tasks = environment.get("SLURM_STEP_TASKS_PER_NODE", "")
    if not re.fullmatch(TASKS_PER_NODE, tasks):
        raise ConfigError(f"SLURM_STEP_TASKS_PER_NODE must be such as 8(x2),4, not {shown_value(tasks)}")
    counts = []
    for part in tasks.split(","):
        count, _, times = part.rstrip(")").partition("(x")
        counts += [int(count)] * int(times or 1)
    hosts = hosts_of(environment.get("SLURM_STEP_NODELIST", ""))
    if len(hosts) == 1:
        hosts = ["localhost"]  # nothing has to leave the machine
    addresses = [
        f"{host}:{port + local}" for host, count in zip(hosts, counts) for local in range(count)
    ]
    rank = _number(environment, "SLURM_PROCID")
    if rank >= len(addresses) or len(hosts) != len(counts):
        raise ConfigError(
            f"Slurm's variables do not agree: SLURM_PROCID is {rank}, SLURM_STEP_TASKS_PER_NODE "
            f"{tasks}, and SLURM_STEP_NODELIST has {len(hosts)} machines"
        )
    return ProcessInfo(rank, tuple(addresses), _number(environment, "SLURM_LOCALID", 0))


def hosts_of(nodes):
    """Return the names in a list as Slurm writes it: ``gpu[07-09,12],login1``.

    Raises:
        ConfigError: it is not such a list.
    """
    if not re.fullmatch(NODE_LIST, nodes):
        raise ConfigError(
            f"SLURM_STEP_NODELIST must be such as gpu[07-09,12],login1, not {shown_value(nodes)}"
        )
    found = []
    for item in re.findall(r"(?:[^,\[]|\[[^\]]*\])+", nodes):
        head, bracket, rest = item.partition("[")
        if not bracket:
            found.append(item)
            continue
        numbers, _, tail = rest.partition("]")
        for first, _, last in (part.partition("-") for part in numbers.split(",")):
            if int(last or first) - int(first) > MAX_NODES:
                raise ConfigError(
                    f"SLURM_STEP_NODELIST has more than {MAX_NODES} machines: {shown_value(nodes)}"
                )
            for number in range(int(first), int(last or first) + 1):
                found += hosts_of(f"{head}{number:0{len(first)}d}{tail}")
    return found
