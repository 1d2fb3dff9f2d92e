"""Two sides taking turns: what is counted, what is not, and what happens when one fails."""

import sys

import pytest
from benchmark import compare

from frcnn.errors import FrcnnError

ANSWERING = """
import json, sys
print("greetings")
print("ready", flush=True)
number = 0
for line in sys.stdin:
    if line.startswith("profile"):
        answer = {{"device": "abacus", "device_seconds": 4.4, "device_peak_mb": None}}
        print(json.dumps(answer), flush=True)
        continue
    seconds = []
    for _ in range(int(line)):
        number += 1
        seconds.append({scale} * number)
    host_seconds = [2.0 * second for second in seconds]
    answer = {{"seconds": seconds, "host_seconds": host_seconds, "peak_mb": 7.0 + number}}
    print(json.dumps(answer), flush=True)
"""


def worker(scale):
    return compare.Worker([sys.executable, "-c", ANSWERING.format(scale=scale)])


def test_the_warm_up_is_not_counted():
    side = worker(1.0)
    compare.alternate([side], rounds=2, times=2, warm_up=3)
    assert side.seconds == [4, 5, 6, 7]
    result = side.result()
    assert (result.median_s, result.low_s, result.high_s, result.peak_mb) == (5.5, 4.75, 6.25, 14.0)
    figures = {"median_s": 5.5, "spread_s": [4.75, 6.25], "host_s": 11.0, "peak_mb": 14.0}
    assert result.as_json() == figures
    side.close()


def test_the_idle_share_is_of_a_run_without_the_profile():
    side = worker(1.0)
    compare.alternate([side], rounds=2, times=2, warm_up=3)
    side.profile(2)
    result = side.result()
    side.close()
    figures = result.as_json()
    assert (figures["device"], figures["device_s"], figures["device_peak_mb"]) == ("abacus", 4.4, None)
    assert figures["idle_share"] == pytest.approx(1.0 - 4.4 / 5.5)
    assert "0.36 images/s" in result.describe(2) and "busy 4.4000 s, idle 20%" in result.describe(2)


def test_the_fastest_goes_on_alone_and_starts_anew():
    slow, fast = worker(2.0), worker(1.0)
    assert compare.fastest([slow, fast]) is fast
    assert fast.seconds == fast.host_seconds == [] and fast.process.poll() is None
    assert slow.process.poll() is not None
    fast.close()


def test_a_side_that_fails_says_why():
    with pytest.raises(FrcnnError, match="ValueError: no such network"):
        compare.Worker([sys.executable, "-c", "raise ValueError('no such network')"])
