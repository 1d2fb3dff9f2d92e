"""Where a process stands among the workers, by what its environment says."""

import json

import pytest

from frcnn.distributed import discovery, failures, joining, process_group, versions
from frcnn.errors import ConfigError, WorkerError


def tf_config(cluster, kind, index):
    return {"TF_CONFIG": json.dumps({"cluster": cluster, "task": {"type": kind, "index": index}})}


def test_without_a_word_it_is_alone():
    place = discovery.find({})
    assert (place.rank, place.world_size, place.local_rank) == (0, 1, None)
    assert discovery.find({"TF_CONFIG": "{}"}).world_size == 1


def test_tf_config():
    addresses = ["a:2222", "a:2223", "b:2222", "b:2223"]
    places = [discovery.find(tf_config({"worker": addresses}, "worker", rank)) for rank in range(4)]
    assert [place.rank for place in places] == [0, 1, 2, 3]
    assert [place.local_rank for place in places] == [0, 1, 0, 1]
    assert all(place.addresses == tuple(addresses) for place in places)


def test_a_chief_is_the_first_of_the_workers():
    cluster = {"chief": ["a:1"], "worker": ["b:1", "c:1"]}
    assert discovery.find(tf_config(cluster, "chief", 0)).rank == 0
    place = discovery.find(tf_config(cluster, "worker", 1))
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
        {"TF_CONFIG": '{"cluster": {"worker": "a:1"}, "task": {"type": "worker", "index": 0}}'},
        {"TF_CONFIG": '{"cluster": {"worker": [["a"]]}, "task": {"type": "worker", "index": 0}}'},
        {"TF_CONFIG": '{"cluster": {"worker": ["a"]}, "task": {"type": "worker", "index": 0}}'},
        {"TF_CONFIG": '{"cluster": {"worker": ["a:1"]}, "task": {"type": ["worker"], "index": 0}}'},
        {"TF_CONFIG": '{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": "x"}}'},
        {"TF_CONFIG": "[" * 100000},
    ],
)
def test_a_tf_config_that_does_not_fit(environment):
    with pytest.raises(ConfigError, match="TF_CONFIG") as raised:
        discovery.find(environment)
    assert "\n" not in str(raised.value) and len(str(raised.value)) < 600


SLURM = {
    "SLURM_JOB_ID": "1234",
    "SLURM_STEP_ID": "0",
    "SLURM_PROCID": "3",
    "SLURM_LOCALID": "1",
    "SLURM_STEP_NUM_TASKS": "4",
    "SLURM_STEP_NODELIST": "gpu[07-08]",
    "SLURM_STEP_TASKS_PER_NODE": "2(x2)",
}


def test_slurm():
    variables = SLURM
    place = discovery.find(variables)
    assert (place.rank, place.local_rank) == (3, 1)
    assert [address.split(":")[0] for address in place.addresses] == ["gpu07", "gpu07", "gpu08", "gpu08"]
    assert len(set(place.addresses)) == 4
    # Another job on the same machines has other ports.
    other = discovery.find(variables | {"SLURM_JOB_ID": "1235"})
    assert not set(other.addresses) & set(place.addresses)


@pytest.mark.parametrize(
    "name, text",
    [
        ("SLURM_STEP_NUM_TASKS", "four"),
        ("SLURM_JOB_ID", "12x"),
        ("SLURM_JOB_ID", None),
        ("SLURM_PROCID", "-1"),
        ("SLURM_PROCID", "4"),
        ("SLURM_LOCALID", ""),
        ("SLURM_STEP_NODELIST", "gpu[a-b]"),
        ("SLURM_STEP_NODELIST", "gpu[0-999999999]"),
        ("SLURM_STEP_NODELIST", "gpu07"),
        ("SLURM_STEP_NODELIST", None),
        ("SLURM_STEP_TASKS_PER_NODE", "2(x2"),
        ("SLURM_STEP_TASKS_PER_NODE", None),
    ],
)
def test_slurm_variables_that_do_not_fit(name, text):
    variables = {key: value for key, value in (SLURM | {name: text}).items() if value is not None}
    with pytest.raises(ConfigError, match=name) as raised:
        discovery.find(variables)
    assert "\n" not in str(raised.value)


def test_on_one_machine_of_slurm_nothing_has_to_leave_it():
    one = SLURM | {"SLURM_STEP_NODELIST": "vm", "SLURM_STEP_TASKS_PER_NODE": "4"}
    place = discovery.find(one)
    assert place.is_local and place.world_size == 4 and len(set(place.addresses)) == 4
    assert place.port == int(place.addresses[3].split(":")[1])
    assert not discovery.find(SLURM).is_local


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
    assert discovery.hosts_of(nodes) == hosts


def test_one_task_of_slurm_is_alone():
    assert discovery.find({"SLURM_NTASKS": "8", "SLURM_PROCID": "0"}).world_size == 1
    assert discovery.find({"SLURM_STEP_NUM_TASKS": "1", "SLURM_PROCID": "0"}).world_size == 1


def test_alone_everything_is_done_at_once():
    group = process_group.ProcessGroup()
    assert group.is_main and group.share == (0, 1)
    assert group.gather_json({"a": ["ü"]}) == [{"a": ["ü"]}]
    assert group.any(True) and not group.any(False)
    group.check_same(text="a")
    with group.local_main_first():
        group.barrier()
    group.end()


# What TensorFlow 2.21 raises, shortened.
ABORTED = """Graph execution error:

Detected at node CollectiveReduceV2 defined at (most recent call last):
Collective ops is aborted by: {reason}
The error could be from a previous operation. Restart your program to reset.
\t [[{{{{node CollectiveReduceV2}}}}]] [Op:__inference_g_35]"""
SILENT = """Error reported from /job:worker/task:1: The following tasks are unhealthy (stopped ...):
/job:worker/replica:0/task:1
The tasks have crashed."""
RESET = """recvmsg:Connection reset by peer
Additional GRPC error information from remote target /job:worker/replica:0/task:0 while calling ..."""


@pytest.mark.parametrize(
    "reason, said",
    [
        (
            "Error reported from /job:worker/task:1: DataError: a.jpg",
            "worker 1 on b:1 has stopped: DataError: a.jpg",
        ),
        (SILENT, "worker 1 on b:1 has died or cannot be reached; its output is in workers/1.log"),
        (RESET, "worker 0 on a:1 has died or cannot be reached"),
        ("something else", "another worker has ended or cannot be reached"),
        (
            "Error reported from /job:worker/task:1: \x1b[2Jgone",
            r"worker 1 on b:1 has stopped: \x1b[2Jgone",
        ),
    ],
)
def test_what_tensorflow_says_of_another_worker_becomes_a_line(reason, said):
    found = failures.failure_of_another(ABORTED.format(reason=reason), ("a:1", "b:1"))
    assert found.startswith(said) and "\n" not in found


def test_an_error_of_its_own_is_not_taken_for_another_workers():
    assert failures.failure_of_another("no such image /job:worker/task:1", ("a:1", "b:1")) == ""


def two(monkeypatch, change):
    """Return the first of two ``ProcessGroup``; ``change`` makes the second's values of the first's."""
    group = process_group.ProcessGroup(discovery.ProcessInfo(0, ("a:1", "b:1")))
    monkeypatch.setattr(group, "gather_json", lambda values: [values, change(values)])
    return group


def test_other_code_is_named(monkeypatch):
    known = versions.code_versions()
    assert {"Python", "tensorflow", "keras", "source of frcnn"} <= set(known)
    two(monkeypatch, lambda values: dict(values)).check_same(**known)
    group = two(monkeypatch, lambda values: values | {"keras": "3.0.0"})
    with pytest.raises(
        WorkerError, match=r"worker 1 on b:1 differs from worker 0 in keras \(3.0.0, not 3"
    ):
        group.check_same(**known)
    group = two(monkeypatch, lambda values: {name: values[name] for name in values if name[0] != "s"})
    with pytest.raises(WorkerError, match="differs from worker 0 in source of frcnn"):
        group.check_same(**known)


def test_the_source_s_digest_is_that_of_the_files(monkeypatch, tmp_path):
    before = versions.code_versions()["source of frcnn"]
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file.py").write_text("")
    monkeypatch.setattr(versions, "__file__", str(tmp_path / "distributed" / "versions.py"))
    one = versions.code_versions()["source of frcnn"]
    (tmp_path / "other" / "file.py").write_text("a = 1\n")
    two = versions.code_versions()["source of frcnn"]
    assert len({before, one, two}) == 3


def test_the_wait_for_others_is_a_number_of_seconds():
    assert joining.join_seconds({}) == 120
    assert joining.join_seconds({"FRCNN_JOIN_SECONDS": "7"}) == 7
    for text in ("", "0", "-1", "soon", "1e3"):
        with pytest.raises(ConfigError, match="FRCNN_JOIN_SECONDS"):
            joining.join_seconds({"FRCNN_JOIN_SECONDS": text})


def test_ports_that_are_open_to_the_network_are_said_to_be(small_config):
    place = discovery.ProcessInfo(0, ("a:1", "b:1"))
    assert "open to the network" in process_group.ProcessGroup(place, is_loopback_only=False).summary(
        small_config
    )
    assert "open to the network" not in process_group.ProcessGroup(place).summary(small_config)


@pytest.mark.parametrize("name", ["workers", "workers/1.log"])
def test_a_log_that_is_a_link_is_refused(tmp_path, name):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "1.log").write_text("precious")
    run = tmp_path / "run"
    (run / name).parent.mkdir(parents=True)
    (run / name).symlink_to(outside if name == "workers" else outside / "1.log")
    with pytest.raises(ConfigError, match=f"{run / name} is a symbolic link"):
        process_group.redirect_output(discovery.ProcessInfo(1, ("a:1", "b:2")), run)
    assert (outside / "1.log").read_text() == "precious"
