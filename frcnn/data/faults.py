"""What is wrong with a data set: readers collect every fault, then one rule decides.

Someone who repairs a data set of a thousand images wants the whole list at once, not one fault a
run; and whoever would rather train on the rest wants a record of what was skipped. A report that is
longer than a screen shows its beginning, and says in which file all of it is.
"""

import csv
import dataclasses
import hashlib
import os
import sys
import tempfile

from frcnn.errors import ConfigError, DataError
from frcnn.text import echo

MOST = 12  # faults that a report shows, and that the record of one image holds


@dataclasses.dataclass(frozen=True)
class Fault:
    """One thing that is wrong with one image or its annotation.

    Attributes:
        image: the image's name, as ``Sample.name`` has it.
        place: the file, and the line or box in it.
        what: what is wrong there.
        advice: how to mend it, if that is not plain; a report says it once for all faults that share it.
    """

    image: str
    place: str
    what: str
    advice: str = ""

    def __str__(self):
        return f"{self.place}: {self.what}"


def apply_policy(collected, on_bad_data, report=None):
    """Apply the policy to all faults of all splits that are to be worked with.

    Args:
        collected: list of (``Dataset``, list of ``Fault``), as readers' ``collect`` return them.
        on_bad_data: ``"error"``: any fault raises; ``"skip"``: the images are skipped.
        report: path of a file that holds all faults already; None: where there are more than ``MOST``,
            one is written to the folder for temporary files.

    Returns:
        The data sets, with ``Dataset.skipped`` filled: one entry an image.

    Raises:
        DataError: with ``"error"``: up to ``MOST`` faults, a line each (one alone: all in one line);
            with ``"skip"``: there is no image without a fault.
        ConfigError: the policy is neither of the two.
    """
    if on_bad_data not in ("error", "skip"):
        raise ConfigError(f"on_bad_data is {on_bad_data!r}; expected 'error' or 'skip'")
    if on_bad_data == "error":
        _refuse([(dataset.name, fault) for dataset, faults in collected for fault in faults], report)
    settled = []
    for dataset, faults in collected:
        if faults and not len(dataset):
            raise DataError(f"{dataset.name}: every image has a fault; the first is {faults[0]}")
        reasons = {}
        for fault in faults:
            reasons.setdefault(fault.image, []).append(str(fault))
        skipped = tuple((image, _joined(what)) for image, what in reasons.items())
        settled.append(dataclasses.replace(dataset, skipped=skipped))
    return settled


def _joined(texts):
    more = [f"and {len(texts) - MOST} more"] if len(texts) > MOST else []
    return "; ".join(texts[:MOST] + more)


def _refuse(found, report):
    """Raise one error for all of [(data set's name, fault), ...], if there are any."""
    found = list(dict.fromkeys(found))  # one split may serve twice
    if not found:
        return
    names = " and ".join(dict.fromkeys(name for name, _ in found))
    faults = [fault for _, fault in found]
    advice = list(dict.fromkeys(fault.advice for fault in faults if fault.advice))
    if len(found) == 1:
        text = "; ".join([str(faults[0]), *advice])
        raise DataError(f"{names}: {text}; mend it, or leave the image out with --on-bad-data skip")
    count = len({(name, fault.image) for name, fault in found})
    raise DataError(
        f"{names}: {len(found)} faults in {count} {'image' if count == 1 else 'images'}; mend them, "
        "or leave these images out with --on-bad-data skip\n"
        + "\n".join([*listing(faults, report), *advice])
    )


def listing(faults, report=None):
    """Return a report's lines: each fault in one, the first ``MOST`` and the name of a file with all.

    Args:
        faults: list of ``Fault``.
        report: path of a file that holds them all; None: one is written where it is needed.
    """
    lines = [f"  {fault}" for fault in faults]
    if len(lines) <= MOST:
        return lines
    path = report or _write("".join(f"{fault}\n" for fault in faults))
    where = f"; all are in {path}" if path else ""
    return [*lines[:MOST], f"  ... and {len(lines) - MOST} more{where}"]


def _write(text):
    """Write a report to a temporary file and return its path, None where that cannot be.

    The file is named by its content, so no other file is written over, and runs that find the same
    faults, as several workers do, leave one file.
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


def record(path, rows):
    """Append to a CSV of images that were skipped; its first rows make it.

    Args:
        path: ``pathlib.Path``, such as ``RUN/skipped.csv``.
        rows: list of (split, image, fault).
    """
    is_new = not path.exists()
    # A file's name may hold bytes that are no UTF-8.
    with path.open("a", encoding="utf-8", errors="backslashreplace", newline="") as file:
        header = [("split", "image", "fault")] if is_new else []
        csv.writer(file, lineterminator="\n").writerows([*header, *rows])


def announce(split, image, fault):
    """Say on stderr, beside any progress bar, that an image is skipped."""
    echo(f"skipped: {split}: {image}: {fault}", sys.stderr)
