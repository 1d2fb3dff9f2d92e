"""Measure once per machine which 3x3 convolutions are faster by tiles (``frcnn.layers.conv_ways``).

The result is kept in a cache file (``frcnn.files.cache_folder``), so that all runs on one machine have
the same table and give the same numbers. If the file cannot be written, the default table is used,
because a new measurement could give another table in each run.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np

from frcnn import backend
from frcnn.config.conv_tiles import Tiles
from frcnn.files import file_lock, safe_write
from frcnn.files.cache_folder import cache_folder
from frcnn.layers import conv_ways, processor, winograd

# {channels: sizes of the feature maps that are timed, (rows, columns) of tiles, the smallest first}
GRID: dict[int, tuple[tuple[int, int], ...]] = {
    64: ((8, 8), (16, 16), (32, 32)),
    128: ((8, 8), (16, 16)),
    256: ((4, 4), (6, 6), (8, 8)),
}
ROUNDS = 3
MARGIN = 0.9  # tiles are used where they take at most this share of the time of the library's kernel
VERSION = 1  # of the method; if it changes, old cache files are not used


def choose(dtype: str) -> tuple[Tiles, str]:
    """Return the table for this machine, and a sentence that says where it comes from.

    Args:
        dtype: dtype in which the network computes.
    """
    if not backend.computes_on_cpu() or dtype not in conv_ways.DEFAULTS:
        return conv_ways.NEVER, "3x3 convolutions use the library's kernel"
    path = cache_file(dtype)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with file_lock.FileLock(path.with_suffix(".lock"), wait=60.0):
            if (kept := _read(path)) is not None:
                return kept, f"3x3 convolutions use tiles as measured before, {path}: {_text(kept)}"
            started = time.perf_counter()
            measured = measure(dtype)
            safe_write.replace(path, json.dumps(measured).encode())
    except (OSError, file_lock.Held) as error:
        chosen = conv_ways.default(dtype)
        return chosen, f"3x3 convolutions use tiles by the default table: {_text(chosen)} ({error})"
    seconds = time.perf_counter() - started
    return measured, f"3x3 convolutions use tiles as measured in {seconds:.1f} s: {_text(measured)}"


def cache_file(dtype: str) -> Path:
    """Return the cache file for this processor, its cores, the libraries' versions and a dtype."""
    parts = (
        processor.name(),
        f"{os.cpu_count()}cores",
        f"keras{keras.__version__}",
        f"tensorflow{importlib.metadata.version('tensorflow')}",
        f"onednn{os.environ.get('TF_ENABLE_ONEDNN_OPTS', '')}",
        os.environ.get("ONEDNN_MAX_CPU_ISA", ""),
        platform.system(),
        dtype,
        f"v{VERSION}",
    )
    name = "-".join(part for part in parts if part)
    return cache_folder() / f"conv-{''.join(c if c.isalnum() or c in '.-' else '_' for c in name)}.json"


def measure(dtype: str, grid: dict[int, tuple[tuple[int, int], ...]] | None = None) -> Tiles:
    """Time both ways, forward and backward, and return the table.

    Args:
        dtype: of maps and kernels.
        grid: as ``GRID``.
    """
    found = []
    for channels, sides in (grid or GRID).items():
        for rows, columns in sides:
            by_tiles, sliding = times(rows, columns, channels, dtype)
            if by_tiles <= MARGIN * sliding:
                found.append((channels, rows * columns))
                break
    return tuple(found)


def times(rows: int, columns: int, channels: int, dtype: str) -> tuple[float, float]:
    """Return the seconds of a convolution with both gradients, by tiles and by the library's kernel.

    Args:
        rows, columns: number of tiles in the feature map.
        channels: number of channels, the same in and out.
        dtype: dtype of feature map and kernel.
    """
    rng = np.random.default_rng(0)
    shape = (1, winograd.TILE * rows, winograd.TILE * columns, channels)
    x, kernel = (
        keras.ops.cast(rng.normal(0, 0.05, size), dtype) for size in (shape, (3, 3, channels, channels))
    )
    ways = [backend.with_gradients(way) for way in (winograd.by_tiles, winograd.sliding)]
    seconds = np.array([[_timed(way, x, kernel) for way in ways] for _ in range(ROUNDS + 1)])
    by_tiles, sliding = seconds[1:].min(axis=0)  # the first call traces
    return float(by_tiles), float(sliding)


def _timed(function: Callable, *arguments) -> float:
    started = time.perf_counter()
    function(*arguments)  # TensorFlow on a CPU returns when it is done
    return time.perf_counter() - started


def _read(path: Path) -> Tiles | None:
    """Return the table in a cache file; None if the file is missing or damaged."""
    try:
        rows = json.loads(path.read_bytes()[:10_000])
        if not isinstance(rows, list):
            raise TypeError
        return tuple((int(channels), int(tiles)) for channels, tiles in rows)
    except (OSError, ValueError, TypeError):
        return None


def _text(tiles: Tiles) -> str:
    rows = [f"{channels} channels or more from {count} tiles on" for channels, count in tiles]
    return ", ".join(rows) or "none"
