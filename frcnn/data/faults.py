"""What is wrong with a data set: readers collect every fault, then one rule decides.

Someone who repairs a data set of a thousand images wants the whole list at once, not one fault a
run; and whoever would rather train on the rest wants a record of what was left out.
"""

import csv
import dataclasses
import sys

from tqdm import tqdm

from frcnn.errors import ConfigError, DataError


@dataclasses.dataclass(frozen=True)
class Fault:
    """One thing that is wrong with one image or its annotation.

    Attributes:
        image: the image's name, as ``Sample.name`` has it.
        place: the file, and the line or box in it.
        what: what is wrong there.
    """

    image: str
    place: str
    what: str

    def __str__(self):
        return f"{self.place}: {self.what}"


def settle(collected, on_bad_data):
    """Apply the policy to all faults of all splits that are to be worked with.

    Args:
        collected: list of (``Dataset``, list of ``Fault``), as readers' ``collect`` return them.
        on_bad_data: ``"error"``: any fault raises; ``"skip"``: the images are left out.

    Returns:
        The data sets, with ``Dataset.skipped`` filled: one entry an image.

    Raises:
        DataError: with ``"error"``: every fault, a line each (one alone: all in one line); with
            ``"skip"``: there is no image without a fault.
        ConfigError: the policy is neither of the two.
    """
    if on_bad_data not in ("error", "skip"):
        raise ConfigError(f"on_bad_data is {on_bad_data!r}; expected 'error' or 'skip'")
    if on_bad_data == "error":
        _refuse([(dataset.name, fault) for dataset, faults in collected for fault in faults])
    settled = []
    for dataset, faults in collected:
        if faults and not len(dataset):
            raise DataError(f"{dataset.name}: every image has a fault; the first is {faults[0]}")
        reasons = {}
        for fault in faults:
            reasons.setdefault(fault.image, []).append(str(fault))
        skipped = tuple((image, "; ".join(what)) for image, what in reasons.items())
        settled.append(dataclasses.replace(dataset, skipped=skipped))
    return settled


def _refuse(found):
    """Raise one error for all of [(data set's name, fault), ...], if there are any."""
    found = list(dict.fromkeys(found))  # one split may serve twice
    if not found:
        return
    names = " and ".join(dict.fromkeys(name for name, _ in found))
    if len(found) == 1:
        raise DataError(
            f"{names}: {found[0][1]}; mend it, or leave the image out with --on-bad-data skip"
        )
    count = len({(name, fault.image) for name, fault in found})
    raise DataError(
        f"{names}: {len(found)} faults in {count} {'image' if count == 1 else 'images'}; mend them, "
        "or leave these images out with --on-bad-data skip\n"
        + "\n".join(f"  {fault}" for _, fault in found)
    )


def record(path, rows):
    """Append to a CSV of images that were left out; its first rows make it.

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
    """Say on stderr, beside any progress bar, that an image is left out."""
    tqdm.write(f"left out: {split}: {image}: {fault}", file=sys.stderr)
