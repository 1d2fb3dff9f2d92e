"""How a worker of a comparison answers the requests of ``benchmark.compare``.

It uses only the standard library, because a peer's Python may have no Keras and none of our packages.
"""

import json
import os
import time


def peak_mb():
    """Return the peak memory of this process, MiB."""
    return _memory("VmHWM")


def resident_mb():
    """Return the memory this process has now, MiB."""
    return _memory("VmRSS")


def _memory(name):
    with open("/proc/self/status", encoding="ascii") as file:
        return next(int(line.split()[1]) / 1024 for line in file if line.startswith(name))


def say(text):
    """Write a line, and flush it."""
    print(text, flush=True)


def busy_union(spans):
    """Return the length of the union of (start, end) spans, which may overlap."""
    total, covered = 0.0, float("-inf")
    for start, end in sorted(spans):
        total += max(end - max(start, covered), 0.0)
        covered = max(covered, end)
    return total


def serve(run, orders, write=say, device=None):
    """Answer each line of ``orders`` with JSON.

    A line with a number: call ``run`` that often. The answer has the ``seconds`` of each run, its
    ``host_seconds`` (processor time of all threads) and ``peak_mb`` so far. A line with ``profile`` and
    a
    number: the answer has the name of the ``device``, the ``device_seconds`` that it was busy in a run,
    and its peak memory ``device_peak_mb``, null for a CPU.

    Args:
        run: function without arguments.
        orders: lines.
        write: takes each answer.
        device: has ``name``, ``peak_mb()`` and ``busy_seconds(run, times)``; None: the processor, which
            is busy with a run for the last runs' mean ``host_seconds``, divided by its cores.
    """
    host_seconds = []

    def run_times(times):
        seconds = []
        host_seconds.clear()
        for _ in range(times):
            start, host_start = time.perf_counter(), time.process_time()
            run()
            seconds.append(time.perf_counter() - start)
            host_seconds.append(time.process_time() - host_start)
        return {"seconds": seconds, "host_seconds": host_seconds, "peak_mb": peak_mb()}

    def obey(line):
        *profile, times = line.split()
        if not profile:
            return run_times(int(times))
        if not device:
            busy = sum(host_seconds) / len(host_seconds) / len(os.sched_getaffinity(0))
            return {"device": "CPU", "device_peak_mb": None, "device_seconds": busy}
        # The memory first: a profile takes some, too.
        told = {"device": device.name, "device_peak_mb": device.peak_mb()}
        return told | {"device_seconds": device.busy_seconds(run, int(times))}

    answer(obey, orders, write)


def answer(function, orders, write=say):
    """Write what ``function`` makes of each line of ``orders``, a line of JSON each."""
    write("ready")
    for line in orders:
        write(json.dumps(function(line)))
