"""Where a process stands among the workers, by what its environment says."""

import json

import pytest

from frcnn import workers
from frcnn.errors import ConfigError


def tf_config(cluster, kind, index):
    return {"TF_CONFIG": json.dumps({"cluster": cluster, "task": {"type": kind, "index": index}})}


def test_without_a_word_it_is_alone():
    place = workers.find({})
    assert (place.rank, place.count, place.local_rank) == (0, 1, None)
    assert workers.find({"TF_CONFIG": "{}"}).count == 1


def test_tf_config():
    addresses = ["a:2222", "a:2223", "b:2222", "b:2223"]
    places = [workers.find(tf_config({"worker": addresses}, "worker", rank)) for rank in range(4)]
    assert [place.rank for place in places] == [0, 1, 2, 3]
    assert [place.local_rank for place in places] == [0, 1, 0, 1]
    assert all(place.addresses == tuple(addresses) for place in places)


def test_a_chief_is_the_first_of_the_workers():
    cluster = {"chief": ["a:1"], "worker": ["b:1", "c:1"]}
    assert workers.find(tf_config(cluster, "chief", 0)).rank == 0
    place = workers.find(tf_config(cluster, "worker", 1))
    assert (place.rank, place.addresses, place.local_rank) == (2, ("a:1", "b:1", "c:1"), 0)


@pytest.mark.parametrize(
    "environment",
    [
        tf_config({"worker": ["a:1"]}, "worker", 1),
        tf_config({"worker": ["a:1"], "ps": ["b:1"]}, "worker", 0),
        tf_config({"worker": ["a:1"], "evaluator": ["b:1"]}, "evaluator", 0),
        {"TF_CONFIG": '{"cluster": {"worker": ["a:1"]}}'},
        {"TF_CONFIG": '{"cluster": ["a:1"]}'},
        {"TF_CONFIG": "no JSON"},
        {"TF_CONFIG": "3"},
    ],
)
def test_a_tf_config_that_does_not_fit(environment):
    with pytest.raises(ConfigError, match="TF_CONFIG"):
        workers.find(environment)


def test_slurm():
    variables = {
        "SLURM_JOB_ID": "1234",
        "SLURM_STEP_ID": "0",
        "SLURM_PROCID": "3",
        "SLURM_LOCALID": "1",
        "SLURM_STEP_NUM_TASKS": "4",
        "SLURM_STEP_NODELIST": "gpu[07-08]",
        "SLURM_STEP_TASKS_PER_NODE": "2(x2)",
    }
    place = workers.find(variables)
    assert (place.rank, place.local_rank) == (3, 1)
    assert [address.split(":")[0] for address in place.addresses] == ["gpu07", "gpu07", "gpu08", "gpu08"]
    assert len(set(place.addresses)) == 4
    # Another job on the same machines has other ports.
    other = workers.find(variables | {"SLURM_JOB_ID": "1235"})
    assert not set(other.addresses) & set(place.addresses)


@pytest.mark.parametrize(
    "nodes, hosts",
    [
        ("vm", ["vm"]),
        ("n[9-11]", ["n9", "n10", "n11"]),
        ("gpu[07-08,12],login1", ["gpu07", "gpu08", "gpu12", "login1"]),
        ("r[1-2]n[3,5]x", ["r1n3x", "r1n5x", "r2n3x", "r2n5x"]),
    ],
)
def test_lists_of_machines(nodes, hosts):
    assert workers.hosts_of(nodes) == hosts


def test_one_task_of_slurm_is_alone():
    assert workers.find({"SLURM_NTASKS": "8", "SLURM_PROCID": "0"}).count == 1
    assert workers.find({"SLURM_STEP_NUM_TASKS": "1", "SLURM_PROCID": "0"}).count == 1


def test_alone_everything_is_done_at_once():
    crew = workers.Workers()
    assert crew.is_first and crew.share == (0, 1)
    assert crew.gather_json({"a": ["ü"]}) == [{"a": ["ü"]}]
    assert crew.any(True) and not crew.any(False)
    crew.expect_same(text="a")
    with crew.in_turn():
        crew.wait()
    crew.leave()
