"""``skipped.csv``: the images that a run skips for their faults. ``clipped.csv``: the boxes it clips."""

from __future__ import annotations

import itertools
import pathlib
from collections.abc import Collection, Iterable
from typing import Any

from frcnn.data import faults
from frcnn.data.sample import Dataset
from frcnn.runs import run_directory
from frcnn.text import echo


class SkippedImages:
    """Collects the images that cannot be decoded, each once, and lists them in ``skipped.csv``.

    Only the main process writes. In ``gather`` it gets the images that the other processes have found.

    Args:
        run_dir: the run directory, which exists.
        group: the ``ProcessGroup``.
    """

    def __init__(self, run_dir: pathlib.Path, group: Any):
        self.path = run_dir / "skipped.csv"
        self.group = group
        self._faults: dict[tuple[str, str], str] = {}  # by split and image
        self._not_gathered: list[tuple[str, str, str]] = []

    def rows(self) -> list[tuple[str, str, str]]:
        """Return (split, image, fault) of the images found so far, for a checkpoint."""
        return [(*image, fault) for image, fault in self._faults.items()]

    def begin(self, datasets: Collection[Dataset], rows: Iterable[tuple[str, str, str]] = ()) -> None:
        """Write both lists from the start.

        Args:
            datasets: the data sets; images that their readers skipped are listed as well, and the
                boxes that they clipped.
            rows: the result of ``rows`` at the checkpoint from which the run resumes.
        """
        self._faults = {(split, image): fault for split, image, fault in rows}
        by_readers = [(one.name, *skipped) for one in datasets for skipped in one.skipped]
        listed = list(dict.fromkeys(by_readers)) + self.rows()
        clipped = list(dict.fromkeys((one.name, *box) for one in datasets for box in one.clipped))
        if self.group.is_main:
            with run_directory.writing(self.path.parent):
                boxes = self.path.with_name("clipped.csv")
                boxes.unlink(missing_ok=True)
                if clipped:
                    echo(f"{len(clipped)} boxes clipped to their images: see {boxes}")
                    faults.record(boxes, clipped)
                self.path.unlink(missing_ok=True)
                if listed:
                    echo(f"{len(listed)} images skipped because of faults: see {self.path}")
                    faults.record(self.path, listed)

    def add(self, split: str, image: str, fault: str) -> None:
        """Add an image, unless it is in the list: it is found again in each epoch."""
        if (split, image) in self._faults:
            return
        self._faults[split, image] = fault
        faults.announce(split, image, fault)
        self._not_gathered.append((split, image, fault))
        if self.group.is_main:
            with run_directory.writing(self.path.parent):
                faults.record(self.path, [(split, image, fault)])

    def gather(self) -> None:
        """Add the images that the other processes have found. All processes must call this."""
        _, *others = self.group.gather_json(self._not_gathered)
        self._not_gathered = []
        if self.group.is_main:
            for row in itertools.chain.from_iterable(others):
                self.add(*row)
            self._not_gathered = []
