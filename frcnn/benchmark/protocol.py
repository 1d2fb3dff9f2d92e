"""How a worker of a comparison answers: see ``frcnn.benchmark.compare``, which asks.

Nothing but the standard library, as a peer's Python has neither Keras nor what else we need.
"""

import json
import time


def peak_mb():
    """Return the most memory this process ever had, MiB."""
    return _memory("VmHWM")


def resident_mb():
    """Return the memory this process has now, MiB."""
    return _memory("VmRSS")


def _memory(name):
    with open("/proc/self/status", encoding="ascii") as file:
        return next(int(line.split()[1]) / 1024 for line in file if line.startswith(name))


def say(text):
    """Write a line at once."""
    print(text, flush=True)


def serve(run, orders, write=say):
    """Run as often as each line of ``orders`` says; write seconds and the most memory so far."""

    def run_times(line):
        seconds = []
        for _ in range(int(line)):
            start = time.perf_counter()
            run()
            seconds.append(time.perf_counter() - start)
        return {"seconds": seconds, "peak_mb": peak_mb()}

    answer(run_times, orders, write)


def answer(function, orders, write=say):
    """Write what ``function`` makes of each line of ``orders``, a line of JSON each."""
    write("ready")
    for line in orders:
        write(json.dumps(function(line)))
