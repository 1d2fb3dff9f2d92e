"""Run the real command as a user does, on a small data set and a small trained run.

Each row of ``fault_table.py`` has a ``Place``, a folder of its own: the row breaks something in it, the
command runs in it, and afterwards every file that the row names must hold what it held before.
"""

import dataclasses
import hashlib
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import time

from frcnn.data import shapes

ROOT = pathlib.Path(__file__).resolve().parents[2]
LIMIT_SECONDS = 120

# A network that trains two steps in seconds.
SETTINGS = {
    "data": {"train_split": "train", "val_split": "val", "short_side": 64, "long_side": 96},
    "model": {
        "backbone": "tiny",
        "weights": "none",
        "rpn_channels": 8,
        "head_width": 8,
        "head_dropout": 0.0,
        "pool_size": 3,
    },
    "anchors": {"sizes": [16, 32]},
    "rpn": {
        "samples": 16,
        "pre_nms_train": 50,
        "post_nms_train": 20,
        "pre_nms_test": 50,
        "post_nms_test": 10,
    },
    "roi": {"samples": 8},
    "train": {"epochs": 1, "steps_per_epoch": 2, "conv_tiles": []},
}
TRAIN = ("train", "--config", "small.json", "--data-dir", "data", "--out", "run")


@dataclasses.dataclass
class Result:
    """The result of a command.

    Attributes:
        status: exit status; negative: the signal that ended it.
        text: stdout and stderr, in the order of writing.
        changed: names of the watched files that are gone or hold something else.
    """

    status: int
    text: str
    changed: list


class Place:
    """A folder with ``data`` (a VOC folder), ``small.json`` (settings) and maybe a trained ``run``.

    Args:
        folder: empty ``pathlib.Path``.
        original: folder that ``prepare`` filled.
        with_run: whether to copy the trained run as well.
    """

    def __init__(self, folder, original, with_run):
        self.folder = folder
        names = ["data", "small.json", "run"] if with_run else ["data", "small.json"]
        for name in names:
            source = original / name
            (shutil.copytree if source.is_dir() else shutil.copy)(source, folder / name)

    def __truediv__(self, name):
        return self.folder / name

    def run(self, command, watched=(), environment=(), kill_after=None):
        """Run ``scripts/COMMAND.py`` and return its ``Result``.

        Args:
            command: name of a script and its arguments.
            watched: patterns of files, relative to the folder, whose content is compared.
            environment: {name: value} to add.
            kill_after: (text, signal): send the signal once the output holds the text.
        """
        before = self._digests(watched)
        process = start(command, self.folder, environment)
        if kill_after:
            _kill_after(process, self.folder / "output", *kill_after)
        try:
            status = process.wait(LIMIT_SECONDS)
        finally:
            process.kill()
        after = self._digests(watched)
        changed = [name for name in before if after.get(name) != before[name]]
        return Result(status, (self.folder / "output").read_text(errors="replace"), changed)

    def says(self, pattern):
        """Return whether the command's output holds a regular expression."""
        return re.search(pattern, (self.folder / "output").read_text(errors="replace")) is not None

    def _digests(self, patterns):
        paths = {path for pattern in patterns for path in self.folder.glob(pattern) if path.is_file()}
        return {
            str(path.relative_to(self.folder)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in paths
        }


def start(command, folder, environment=()):
    """Start ``scripts/COMMAND.py`` in a folder; its output goes to ``output`` there."""
    name, *arguments = command
    script = [sys.executable, str(ROOT / "scripts" / f"{name}.py"), *arguments]
    variables = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
    with (folder / "output").open("wb") as output:
        return subprocess.Popen(
            script,
            cwd=folder,
            env=variables | dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )


def _kill_after(process, output, text, number):
    end = time.monotonic() + LIMIT_SECONDS
    while process.poll() is None and time.monotonic() < end:
        if text in output.read_text(errors="replace"):
            process.send_signal(number)
            return
        time.sleep(0.02)


def prepare(folder):
    """Fill a folder with what every ``Place`` is copied from: data, settings, a trained run."""
    shapes.make(folder / "data", {"train": 4, "val": 2}, seed=5)
    (folder / "small.json").write_text(json.dumps(SETTINGS))
    process = start(TRAIN, folder)
    status = process.wait(LIMIT_SECONDS)
    if status != 0:
        raise RuntimeError(f"the run to break ended with {status}:\n{(folder / 'output').read_text()}")
