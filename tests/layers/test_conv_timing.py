"""Measuring which convolutions go by tiles, and keeping the result."""

import json

import pytest

from frcnn import backend
from frcnn.layers import conv_timing, conv_ways


@pytest.fixture
def cache(monkeypatch, tmp_path):
    monkeypatch.setattr(backend, "computes_on_cpu", lambda: True)
    monkeypatch.setenv("FRCNN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_tiles_are_chosen_from_the_first_map_on_which_they_are_faster(monkeypatch):
    seconds = {(64, 64): (3, 2), (64, 256): (1, 2), (128, 64): (1.85, 2), (128, 256): (1.7, 2)}
    monkeypatch.setattr(
        conv_timing, "times", lambda rows, columns, channels, _: seconds[channels, rows * columns]
    )
    grid = {64: ((8, 8), (16, 16)), 128: ((8, 8), (16, 16))}
    assert conv_timing.measure("float32", grid) == ((64, 256), (128, 256))
    monkeypatch.setattr(conv_timing, "times", lambda *_: (1, 1))
    assert conv_timing.measure("float32", grid) == conv_ways.NEVER


@pytest.mark.skipif(not backend.IS_TENSORFLOW, reason="JAX has one way")
def test_both_ways_are_timed():
    assert all(0 < seconds < 60 for seconds in conv_timing.times(2, 2, 8, "float32"))


def test_a_machine_is_measured_once(cache, monkeypatch):
    calls = []
    monkeypatch.setattr(conv_timing, "measure", lambda dtype: calls.append(dtype) or ((64, 256),))
    first, second = conv_timing.choose("float32"), conv_timing.choose("float32")
    assert first[0] == second[0] == ((64, 256),) and calls == ["float32"]
    assert "measured in" in first[1] and "measured before" in second[1]
    assert "64 channels or more from 256 tiles on" in second[1]


@pytest.mark.parametrize("content", ["", "{}", "[[1]]", "[[64, null]]", "\0\1"])
def test_a_damaged_file_is_measured_again(cache, monkeypatch, content):
    monkeypatch.setattr(conv_timing, "measure", lambda dtype: ((64, 256),))
    path = conv_timing.cache_file("float32")
    path.parent.mkdir(parents=True)
    path.write_text(content)
    assert conv_timing.choose("float32")[0] == ((64, 256),)
    assert json.loads(path.read_text()) == [[64, 256]]


def test_without_a_cache_folder_the_default_serves(cache, monkeypatch):
    cache.write_text("a file")
    monkeypatch.setattr(conv_timing, "measure", lambda dtype: pytest.fail("measured"))
    chosen, text = conv_timing.choose("float32")
    assert chosen == conv_ways.default("float32") and "by the default table" in text


def test_a_gpu_and_float16_never_take_tiles(cache, monkeypatch):
    assert conv_timing.choose("float16")[0] == conv_ways.NEVER
    monkeypatch.setattr(backend, "computes_on_cpu", lambda: False)
    assert conv_timing.choose("float32")[0] == conv_ways.NEVER


def test_another_way_of_onednn_is_another_file(monkeypatch):
    monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", "0")
    other = conv_timing.cache_file("float32")
    monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", "1")
    assert conv_timing.cache_file("float32") != other
