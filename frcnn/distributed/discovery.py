"""Finds this process's rank and all addresses in the environment (``TF_CONFIG`` or Slurm).

This module does not import Keras or TensorFlow, because the launcher uses it as well.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
from collections.abc import Mapping

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
    """One of the processes that train together.

    Attributes:
        rank: rank of the process, from 0; the process of rank 0 is the main process.
        addresses: ``host:port`` of each process, by rank.
        local_rank: rank among the processes of this machine; None for a single process.
    """

    rank: int = 0
    addresses: tuple[str, ...] = ("localhost",)
    local_rank: int | None = None

    @property
    def world_size(self) -> int:
        """Number of processes that train together."""
        return len(self.addresses)

    @property
    def is_local(self) -> bool:
        """Whether all processes are on this machine and use its loopback interface."""
        return all(address.rpartition(":")[0] in LOOPBACK for address in self.addresses)

    @property
    def port(self) -> int:
        """The port that this process listens on."""
        return int(self.addresses[self.rank].rpartition(":")[2])


def find(environment: Mapping[str, str] = os.environ) -> ProcessInfo:
    """Read this process's ``ProcessInfo`` from the environment; without variables, a single process.

    Raises:
        ConfigError: the variables are wrong or contradict each other.
    """
    if environment.get("TF_CONFIG"):
        return _from_tf_config(environment["TF_CONFIG"])
    if in_slurm_step(environment):
        return _from_slurm(environment)
    return ProcessInfo()


def in_slurm_step(environment: Mapping[str, str] = os.environ) -> bool:
    """Return whether ``srun`` has started this process as one of several.

    Raises:
        ConfigError: Slurm's variable is not a number.
    """
    # Only srun sets this variable. SLURM_NTASKS is also set in batch scripts and in shells under salloc.
    return _number(environment, "SLURM_STEP_NUM_TASKS", 1) > 1


def _number(environment, name, default=None):
    """Return the whole number in a variable."""
    text = environment.get(name, default)
    if text is None:
        raise ConfigError(f"the variable {name}, which srun sets, is missing in an srun step")
    if isinstance(text, str) and not re.fullmatch("[0-9]{1,18}", text):
        raise ConfigError(f"{name} must be a whole number, not {shown_value(text)}")
    return int(text)


def _from_tf_config(text):
    """Parse ``TF_CONFIG``: {"cluster": {kind: [address, ...]}, "task": {"type": kind, "index": i}}."""
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
            f"TF_CONFIG does not have the form that TensorFlow documents ({type(error).__name__}: "
            f"{shown(error)}): {shown_value(text)}"
        ) from error
    if not fits:
        raise ConfigError(
            "TF_CONFIG must list workers, with or without a chief, and this task must be one of them, "
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
    """Read the variables of an srun step; ranks fill machine after machine.

    TensorFlow's ``SlurmClusterResolver`` does not work without GPUs, and sorts n10 before n9.
    """
    # 20 ports per job, chosen by Slurm's job and step numbers, so that jobs on one machine have
    # different ports. They are below the ports that systems use for outgoing connections.
    number = _number(environment, "SLURM_JOB_ID") + 7 * _number(environment, "SLURM_STEP_ID", 0)
    port = 12000 + number % 1000 * 20
    tasks = environment.get("SLURM_STEP_TASKS_PER_NODE", "")
    if not re.fullmatch(TASKS_PER_NODE, tasks):
        raise ConfigError(f"SLURM_STEP_TASKS_PER_NODE must look like 8(x2),4, not {shown_value(tasks)}")
    counts = []
    for part in tasks.split(","):
        count, _, times = part.rstrip(")").partition("(x")
        counts += [int(count)] * int(times or 1)
    hosts = hosts_of(environment.get("SLURM_STEP_NODELIST", ""))
    if len(hosts) == 1:
        hosts = ["localhost"]  # no traffic leaves the machine
    addresses = [
        f"{host}:{port + local}" for host, count in zip(hosts, counts) for local in range(count)
    ]
    rank = _number(environment, "SLURM_PROCID")
    if rank >= len(addresses) or len(hosts) != len(counts):
        raise ConfigError(
            f"Slurm's variables disagree: SLURM_PROCID is {rank}, SLURM_STEP_TASKS_PER_NODE "
            f"{tasks}, and SLURM_STEP_NODELIST has {len(hosts)} machines"
        )
    return ProcessInfo(rank, tuple(addresses), _number(environment, "SLURM_LOCALID", 0))


def hosts_of(nodes: str) -> list[str]:
    """Expand a list of machines in Slurm's notation.

    Raises:
        ConfigError: it is not such a list.

    Example:
        >>> hosts_of("gpu[07-08,12],login1")
        ['gpu07', 'gpu08', 'gpu12', 'login1']
    """
    if not re.fullmatch(NODE_LIST, nodes):
        raise ConfigError(
            f"SLURM_STEP_NODELIST must look like gpu[07-09,12],login1, not {shown_value(nodes)}"
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
