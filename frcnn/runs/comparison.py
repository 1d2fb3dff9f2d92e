"""Comparison of runs, from their files: settings that differ, scores, curves."""

from __future__ import annotations

import dataclasses
import os
import pathlib
from collections.abc import Sequence

from frcnn.config.schema import KEYS, Config
from frcnn.errors import RunError
from frcnn.runs import metrics_csv, run_directory
from frcnn.text import shown

# Summaries of a run: name in the table -> column of metrics.csv, of its last epoch.
LAST = {
    "last mAP": "mAP",
    "train loss": "train/total_loss",
    "validation loss": "validation/total_loss",
    "train seconds": "train_seconds",
}


@dataclasses.dataclass(frozen=True, eq=False)
class Run:
    """A run that is compared.

    Attributes:
        name: the shortest end of its path that no other run of the comparison has.
        path: the run directory.
        config: all settings of the run.
        rows: the rows of ``metrics.csv``, {column: number or None}.
    """

    name: str
    path: pathlib.Path
    config: Config
    rows: Sequence[dict[str, float | None]]

    def best(self) -> dict[str, float | None]:
        """Return the row with the highest mAP, the last of equal ones; {} without any mAP."""
        scored = [
            (row["mAP"], index) for index, row in enumerate(self.rows) if row.get("mAP") is not None
        ]
        return dict(self.rows[max(scored)[1]]) if scored else {}

    def last(self, column: str) -> float | None:
        """Return the last value of a column; None if the column is empty."""
        values = [row.get(column) for row in self.rows if row.get(column) is not None]
        return values[-1] if values else None


def read_runs(paths: Sequence[str | os.PathLike]) -> list[Run]:
    """Read run directories.

    Raises:
        RunError: a path is not a run directory, or is given twice.
        ConfigError: a config cannot be read.
    """
    folders = [pathlib.Path(path) for path in paths]
    resolved = [folder.resolve() for folder in folders]
    for index, folder in enumerate(resolved):
        if folder in resolved[:index]:
            raise RunError(f"{folders[index]} is given twice: give runs that differ")
    runs = []
    for folder, name in zip(folders, short_names(resolved)):
        config = run_directory.read_config(folder)
        if config is None:
            raise RunError(f"{folder} is not a training run: there is no {run_directory.CONFIG} in it")
        with run_directory.reading(folder):
            rows = metrics_csv.read_numbers(folder / run_directory.METRICS)
        runs.append(Run(name, folder, config, rows))
    return runs


def short_names(paths: Sequence[pathlib.Path]) -> list[str]:
    """Return the shortest ends of absolute paths that are all different.

    Example:
        >>> short_names([pathlib.Path("/runs/a/x"), pathlib.Path("/runs/b/x")])
        ['a/x', 'b/x']
    """
    longest = max(len(path.parts) for path in paths)
    for length in range(1, longest):
        names = ["/".join(path.parts[-length:]) for path in paths]
        if len(set(names)) == len(names):
            return [shown(name) for name in names]
    return [shown(path) for path in paths]


def changed_settings(runs: Sequence[Run]) -> list[tuple[str, list[str]]]:
    """Return (setting, its value in each run) for each setting that differs."""
    rows = []
    for key in KEYS:
        values = [run.config.get(key) for run in runs]
        if any(value != values[0] for value in values):
            rows.append((key, [shown(value) for value in values]))
    return rows


def scores(runs: Sequence[Run]) -> list[tuple[str, list[float | None]]]:
    """Return [(name, its value in each run)]: best mAP, its epoch and AP per class, and last values."""
    best = [run.best() for run in runs]
    classes = dict.fromkeys(name for run in runs for name in run.config.data.classes)
    columns = ["mAP", "epoch", *(f"AP/{name}" for name in classes)]
    names = ["best mAP", "of epoch", *(f"AP/{name}" for name in classes)]
    rows = [(name, [row.get(column) for row in best]) for name, column in zip(names, columns)]
    rows += [(name, [run.last(column) for run in runs]) for name, column in LAST.items()]
    return [row for row in rows if any(value is not None for value in row[1])]


def written(value: float | None) -> str:
    """Return a number of ``scores`` as text: epochs and seconds without decimals, ``-`` for None."""
    if value is None:
        return "-"
    is_count = value > 100 or (value > 1 and value == int(value))
    return f"{value:.0f}" if is_count else f"{value:.4f}"


def format_table(title: str, names: Sequence[str], rows: Sequence[tuple[str, Sequence[str]]]) -> str:
    """Format rows of texts below the runs' names, without a newline at the end."""
    lines = [[title, *names], *([shown(name), *cells] for name, cells in rows)]
    widths = [max(map(len, column)) for column in zip(*lines)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() for line in lines
    )
