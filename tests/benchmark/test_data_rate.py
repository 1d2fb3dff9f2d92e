"""The rate of the input pipeline, alone and while a network trains."""

import os
import time

import pytest
from benchmark.pipeline import Feed, of_processes
from test_worker import SPEC


@pytest.mark.slow
def test_images_are_written_prepared_counted_and_trained_on(tmp_path):
    feed = Feed(tmp_path, SPEC)
    assert len(list(tmp_path.glob("*.jpg"))) == 32
    assert (feed.config.data.short_side, feed.config.data.long_side) == (64, 96)
    assert feed.models.anchor_generator.strides == (8,)  # of the backbone in the spec
    cores = os.sched_getaffinity(0)
    rates = feed.images_per_second(workers=1, windows=2, seconds=0.05)
    assert len(rates) == 2 and min(rates) > 0
    assert os.sched_getaffinity(0) == cores
    found = feed.while_training(steps=2, warm_up=1)
    assert found["steps"] == 2 and found["images_per_second"] > 0
    assert 0 <= found["share"] < 1 and found["longest_s"] > 0


def test_a_wait_is_told(tmp_path, monkeypatch):
    feed = Feed(tmp_path, SPEC)
    batches = feed._batches(1)
    monkeypatch.setattr(feed, "_batches", lambda workers: slow(batches))
    found = feed.while_training(steps=2, warm_up=1)
    assert found["longest_s"] >= 0.2 and found["share"] > 0.0


def slow(batches):
    for batch in batches:
        time.sleep(0.2)
        yield batch


@pytest.mark.slow
def test_one_process_per_core_prepares_images_at_the_same_time():
    rates = of_processes(SPEC, (64, 96), 2)
    assert len(rates) == 2 and min(rates) > 0
