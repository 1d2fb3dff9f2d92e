"""Faults of a data set. Readers collect all faults. Then the policy ``on_bad_data`` is applied once.

A message about many faults shows the first ones, and names a file with all of them. Skipped images are
listed in a CSV file.
"""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import os
import pathlib
import sys
import tempfile
from collections.abc import Iterable, Sequence
from typing import Any

from frcnn.data.sample import Dataset
from frcnn.errors import ConfigError, DataError
from frcnn.text import echo, shown

MOST = 12  # faults in a message, and faults per image in ``Dataset.skipped``, at most
MOST_CHARACTERS = 2000  # characters of one fault in a message, at most


@dataclasses.dataclass(frozen=True)
class Fault:
    """One fault of one image or its annotation.

    Attributes:
        image: the image's name, as in ``Sample.name``.
        where: the file, and the line or box in it.
        what: what is wrong there.
        advice: how to correct it, if that is not obvious. A message has it once for all faults with the
            same advice.
    """

    image: str
    where: str
    what: str
    advice: str = ""

    def __str__(self) -> str:
        return shown(f"{self.where}: {self.what}", MOST_CHARACTERS)


class UnknownClass(Fault):
    """An object of a class that is not one of the chosen classes."""


def apply_policy(
    collected: Sequence[tuple[Dataset, Sequence[Fault]]],
    on_bad_data: str,
    report: pathlib.Path | str | None = None,
) -> list[Dataset]:
    """Raise an error for the faults of all splits, or record the images that are skipped for them.

    Args:
        collected: (``Dataset``, its faults) of each split, as from a reader's ``collect``.
        on_bad_data: ``"error"``: any fault is an error; ``"skip"`` and ``"clip"``: images with a fault
            are skipped. (With ``"clip"`` the readers have clipped boxes that reach out by a little.)
        report: a file that already has all faults. None: if there are more than ``MOST``, such a file is
            written to the folder for temporary files.

    Returns:
        The data sets, with the skipped images in ``Dataset.skipped``.

    Raises:
        DataError: with ``"error"``: there are faults; the message has up to ``MOST``, one per line.
            Otherwise: every image has a fault.
        ConfigError: there is no such policy.
    """
    if on_bad_data not in ("error", "skip", "clip"):
        raise ConfigError(f"on_bad_data is {on_bad_data!r}; expected 'error', 'skip' or 'clip'")
    if on_bad_data == "error":
        _refuse([(dataset.name, fault) for dataset, faults in collected for fault in faults], report)
    datasets = []
    for dataset, faults in collected:
        if faults and not len(dataset):
            raise DataError(f"{dataset.name}: every image has a fault; the first is {faults[0]}")
        reasons: dict[str, list[str]] = {}
        for fault in faults:
            reasons.setdefault(fault.image, []).append(str(fault))
        skipped = tuple((image, _joined(what)) for image, what in reasons.items())
        datasets.append(dataclasses.replace(dataset, skipped=skipped))
    return datasets


def _joined(texts: list[str]) -> str:
    more = [f"and {len(texts) - MOST} more"] if len(texts) > MOST else []
    return "; ".join(texts[:MOST] + more)


def _refuse(found: list[tuple[str, Fault]], report: pathlib.Path | str | None) -> None:
    """Raise one error for all of [(data set's name, fault), ...], if there are any."""
    found = list(dict.fromkeys(found))  # training and validation may use one split
    if not found:
        return
    names = " and ".join(dict.fromkeys(name for name, _ in found))
    faults = [fault for _, fault in found]
    advice = list(dict.fromkeys(fault.advice for fault in faults if fault.advice))
    if len(found) == 1:
        text = "; ".join([str(faults[0]), *advice])
        raise DataError(f"{names}: {text}; mend it, or skip the image with --on-bad-data skip")
    count = len({(name, fault.image) for name, fault in found})
    raise DataError(
        f"{names}: {len(found)} faults in {count} {'image' if count == 1 else 'images'}; mend them, "
        "or skip these images with --on-bad-data skip\n" + "\n".join([*listing(faults, report), *advice])
    )


def listing(faults: Sequence[Fault], report: pathlib.Path | str | None = None) -> list[str]:
    """Return one line per fault. If there are more than ``MOST``: the first ones, and a file with all.

    Args:
        faults: the faults.
        report: a file that has all of them; None: it is written if needed.
    """
    lines = [f"  {fault}" for fault in faults]
    if len(lines) <= MOST:
        return lines
    path = report or _write("".join(f"{fault}\n" for fault in faults))
    where = f"; all are in {path}" if path else ""
    return [*lines[:MOST], f"  ... and {len(lines) - MOST} more{where}"]


def _write(text: str) -> str | None:
    """Write a report to a temporary file, and return its path; None if this fails.

    The name of the file is made from its content. So it replaces no other file, and several processes
    that find the same faults write the same file.
    """
    content = text.encode("utf-8", "backslashreplace")
    name = f"frcnn-faults-{hashlib.sha256(content).hexdigest()[:12]}.txt"
    try:
        path = os.path.join(tempfile.gettempdir(), name)
        if not os.path.exists(path):
            with open(path, "xb") as file:
                file.write(content)
    except OSError:
        return None
    return path


def record(path: pathlib.Path, rows: Iterable[tuple[Any, ...]]) -> None:
    """Append rows to a CSV file of skipped images; the file is made if it does not exist.

    Args:
        path: the file, such as ``RUN/skipped.csv``.
        rows: [(split, image, fault)].
    """
    is_new = not path.exists()
    # A file name may hold bytes that are not UTF-8.
    with path.open("a", encoding="utf-8", errors="backslashreplace", newline="") as file:
        header = [("split", "image", "fault")] if is_new else []
        csv.writer(file, lineterminator="\n").writerows([*header, *rows])


def announce(split: str, image: str, fault: str) -> None:
    """Print to stderr, above any progress bar, that an image is skipped."""
    echo(f"skipped: {split}: {image}: {fault}", sys.stderr)
