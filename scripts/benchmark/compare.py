"""Measures two sides in one run. They are processes that run in turn, so that noise affects both.

A worker is a process that prints ``ready``, then answers each line that it reads with one line of JSON:
see ``benchmark.protocol.serve``.
"""

import dataclasses
import json
import os
import subprocess
import tempfile

import numpy as np

from frcnn.errors import FrcnnError


@dataclasses.dataclass(frozen=True)
class Result:
    """The measurements of a worker's runs.

    Attributes:
        median_s, low_s, high_s: quartiles of the seconds of a run.
        host_s: median seconds of processor time of a run, all threads added up.
        peak_mb: peak memory of the process, MiB.
        device: name of the device, if it was profiled.
        device_s: seconds that the device was busy in a run. A GPU is busy while at least one kernel or
            copy runs; for a CPU it is the processor time divided by the number of cores.
        device_peak_mb: peak memory in use on a GPU, MiB.
    """

    median_s: float
    low_s: float
    high_s: float
    host_s: float
    peak_mb: float
    device: str | None = None
    device_s: float | None = None
    device_peak_mb: float | None = None

    @property
    def idle_share(self):
        """Share of a run in which the device was idle.

        The busy time is from runs with the profiler, the length of a run from runs without it, because
        the profiler slows the host but hardly the device.
        """
        return max(1.0 - self.device_s / self.median_s, 0.0)

    def as_json(self):
        figures = {
            "median_s": self.median_s,
            "spread_s": [self.low_s, self.high_s],
            "host_s": self.host_s,
            "peak_mb": self.peak_mb,
        }
        if self.device:
            names = "device", "device_s", "device_peak_mb", "idle_share"
            figures |= {name: getattr(self, name) for name in names}
        return figures

    def describe(self, images):
        """Return the figures of a run on some images as two lines of text."""
        on_device = f"{self.device_peak_mb:.0f} MiB on it, " if self.device_peak_mb else ""
        return (
            f"{self.median_s:8.4f} s  ({self.low_s:.4f} to {self.high_s:.4f})  "
            f"{images / self.median_s:7.2f} images/s  {self.peak_mb:6.0f} MiB\n"
            f"      {self.device} busy {self.device_s:.4f} s, idle {self.idle_share:.0%}, "
            f"{on_device}processor time {self.host_s:.4f} s"
        )


def environment(root):
    """Return the environment variables of workers that find the package in the folder ``root``."""
    # JAX would take most of a GPU's memory at once, and the others need some.
    return {
        "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
        **os.environ,
        "PYTHONPATH": f"{root}{os.pathsep}{root}/scripts",
    }


class Worker:
    """A process that runs its function on request.

    Args:
        command: the command line of the process.
        environment: its environment variables; None: those of this process.
    """

    def __init__(self, command, environment=None):
        self.command = command
        # Not a pipe: nothing reads it, so a progress bar would fill it and the process would block.
        self.errors = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")
        self.process = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
        )
        self.seconds, self.host_seconds, self.peak_mb, self.device = [], [], 0.0, {}
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
        """Run some times. Without ``keep`` the measurements are dropped, as for a warm-up."""
        answer = self.ask(times)
        if keep:
            self.seconds += answer["seconds"]
            self.host_seconds += answer["host_seconds"]
        self.peak_mb = answer["peak_mb"]
        return answer["seconds"]

    def profile(self, times):
        """Measure the busy time of the device, in some more runs."""
        found = self.ask(f"profile {times}")
        self.device = {
            "device": found["device"],
            "device_s": found["device_seconds"],
            "device_peak_mb": found["device_peak_mb"],
        }

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
        host = float(np.median(self.host_seconds))
        return Result(float(median), float(low), float(high), host, self.peak_mb, **self.device)

    def close(self):
        self.process.kill()
        self.process.wait()
        self.errors.close()


def alternate(workers, rounds, times, warm_up=3):
    """Run workers in turn.

    Args:
        workers: the workers.
        rounds: number of turns of each worker.
        times: number of runs per turn.
        warm_up: number of runs before, which compile and are not counted.
    """
    for worker in workers:
        worker.run(warm_up, keep=False)
    for _ in range(rounds):
        for worker in workers:
            worker.run(times)


def fastest(workers, rounds=3, times=2, warm_up=3):
    """Run workers in turn, end all but the fastest, and return that one without its measurements."""
    alternate(workers, rounds, times, warm_up)
    best = min(workers, key=lambda worker: worker.result().median_s)
    best.seconds, best.host_seconds = [], []
    for worker in workers:
        if worker is not best:
            worker.close()
    return best
