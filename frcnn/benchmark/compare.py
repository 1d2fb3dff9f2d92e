"""Two sides measured in one run: a process each, taking turns, so that noise falls on both alike.

A worker is a process that prints ``ready``, then answers each line that it reads with one line of JSON.
To a number it answers, having run that often, ``{"seconds": [...], "peak_mb": ...}``.
"""

import dataclasses
import json
import subprocess
import tempfile

import numpy as np

from frcnn.errors import FrcnnError


@dataclasses.dataclass(frozen=True)
class Result:
    """Quartiles of a run's seconds, and the most memory of its process, MiB."""

    median_s: float
    low_s: float
    high_s: float
    peak_mb: float

    def as_json(self):
        return {
            "median_s": self.median_s,
            "spread_s": [self.low_s, self.high_s],
            "peak_mb": self.peak_mb,
        }


class Worker:
    """A process that runs when told to.

    Args:
        command: its arguments.
        environment: its environment variables; None: ours.
    """

    def __init__(self, command, environment=None):
        self.command = command
        # Not a pipe, which nobody empties: a progress bar fills it, and the process would wait for ever.
        self.errors = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")
        self.process = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
        )
        self.seconds, self.peak_mb = [], 0.0
        self._expect("ready")

    def ask(self, line):
        """Send a line and return what the process answers."""
        try:
            self.process.stdin.write(f"{line}\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass  # it has ended: its errors say why
        return json.loads(self._expect("{"))

    def run(self, times, keep=True):
        """Run some times; without ``keep`` what was measured is forgotten (a warm-up)."""
        answer = self.ask(times)
        if keep:
            self.seconds += answer["seconds"]
        self.peak_mb = answer["peak_mb"]
        return answer["seconds"]

    def _expect(self, start):
        for line in self.process.stdout:
            if line.startswith(start):
                return line
        self.process.wait()
        self.errors.seek(0)
        errors = self.errors.read().strip().splitlines()
        raise FrcnnError(f"{' '.join(self.command[:3])} failed: {errors[-1] if errors else 'no output'}")

    def result(self):
        low, median, high = np.quantile(self.seconds, [0.25, 0.5, 0.75])
        return Result(float(median), float(low), float(high), self.peak_mb)

    def close(self):
        self.process.kill()
        self.process.wait()
        self.errors.close()


def alternate(workers, rounds, times, warm_up=3):
    """Let workers take turns.

    Args:
        workers: ``Worker``s.
        rounds: turns of each.
        times: runs a turn.
        warm_up: runs before, which compile and are not counted.
    """
    for worker in workers:
        worker.run(warm_up, keep=False)
    for _ in range(rounds):
        for worker in workers:
            worker.run(times)


def fastest(workers, rounds=3, times=2, warm_up=3):
    """Let workers take turns, close all but the one with the least median, and return that one anew."""
    alternate(workers, rounds, times, warm_up)
    best = min(workers, key=lambda worker: worker.result().median_s)
    best.seconds = []
    for worker in workers:
        if worker is not best:
            worker.close()
    return best
