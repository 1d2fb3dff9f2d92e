"""What a worker of a comparison answers, and how long a device was busy."""

import json
import time

import pytest
from benchmark.protocol import busy_union, serve


@pytest.mark.parametrize(
    "spans, seconds",
    [
        ([], 0.0),
        ([(1.0, 2.0), (4.0, 6.0)], 3.0),
        ([(4.0, 6.0), (1.0, 2.0)], 3.0),
        ([(1.0, 3.0), (2.0, 4.0)], 3.0),
        ([(1.0, 9.0), (2.0, 3.0), (4.0, 5.0), (8.0, 10.0)], 9.0),
        ([(1.0, 2.0), (1.0, 2.0), (2.0, 2.0)], 1.0),
    ],
)
def test_what_overlaps_counts_once(spans, seconds):
    assert busy_union(spans) == seconds


def answers(run, *orders, **options):
    found = []
    serve(run, orders, found.append, **options)
    assert found[0] == "ready"
    return [json.loads(answer) for answer in found[1:]]


def compute():
    """Keep one core busy for 50 ms."""
    end = time.process_time() + 0.05
    while time.process_time() < end:
        pass


def test_a_waiting_process_has_no_processor_time():
    (waited,) = answers(lambda: time.sleep(0.05), "2")
    (computed,) = answers(compute, "2")
    # Other threads of this process may compute as well, and the two clocks differ a little.
    assert min(waited["seconds"]) > 0.045
    assert min(waited["host_seconds"]) < 0.5 * min(computed["host_seconds"])


def test_the_processor_is_busy_when_all_its_cores_are(monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda _: range(4))
    _, ran, told = answers(compute, "1", "2", "profile 3")
    assert (told["device"], told["device_peak_mb"]) == ("CPU", None)
    assert told["device_seconds"] == pytest.approx(sum(ran["host_seconds"]) / 2 / 4)


def test_a_device_is_asked():
    class Device:
        name = "abacus"

        def peak_mb(self):
            return 3.0

        def busy_seconds(self, run, times):
            return sum(run() for _ in range(times)) / times

    (told,) = answers(lambda: 7.0, "profile 2\n", device=Device())
    assert told == {"device": "abacus", "device_peak_mb": 3.0, "device_seconds": 7.0}
