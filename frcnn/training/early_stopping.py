"""Early stopping: a run ends when its mAP has not risen for some validations.

The rule reads ``metrics.csv``, which a resumed run continues. So an interrupted and resumed run stops
after the same epoch as an uninterrupted one.
"""

from __future__ import annotations

import csv
import pathlib


def is_over(metrics: pathlib.Path, patience: int) -> bool:
    """Return whether none of the last ``patience`` validations had a better mAP than all before them.

    An mAP of nan, of a split without objects, does not count as a validation.

    Args:
        metrics: ``metrics.csv`` of the run; it may be missing.
        patience: number of validations; 0: the run never stops early.
    """
    return bool(patience) and _without_rise(_scores(metrics)) >= patience


def may_end(metrics: pathlib.Path, patience: int) -> bool:
    """Return whether the next validation ends the run if its mAP is not better than all before.

    Args:
        metrics, patience: as of ``is_over``.
    """
    scores = _scores(metrics)
    return bool(patience and scores) and _without_rise(scores) >= patience - 1


def ends(metrics: pathlib.Path, patience: int, mean_ap: float) -> bool:
    """Return whether a validation, whose row ``metrics.csv`` does not have yet, ends the run.

    Args:
        metrics, patience: as of ``is_over``.
        mean_ap: of the validation.
    """
    return may_end(metrics, patience) and mean_ap <= max(_scores(metrics))


def _scores(metrics):
    """Return the mAP of each validation."""
    if not metrics.is_file():
        return []
    with metrics.open(newline="", encoding="utf-8") as file:
        return [float(row["mAP"]) for row in csv.DictReader(file) if row["mAP"] not in ("", "nan")]


def _without_rise(scores):
    """Return how many validations came after the best one."""
    return len(scores) - 1 - scores.index(max(scores)) if scores else 0
