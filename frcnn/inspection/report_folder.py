"""The folder of a data set's report. It is created, checked and emptied without touching other files."""

from __future__ import annotations

import pathlib

from frcnn.errors import OutputError
from frcnn.files import outputs

MADE_BY = "frcnn inspect_data"
REPORT_END = f"report by {MADE_BY}"  # marks a report, so that a later one may replace it
REPORT_FILES = ("report.txt", "charts.png", "skipped.csv")
REPORT_FOLDERS = ("boxes", "augmented")


def check_folder(out: pathlib.Path | str) -> None:
    """Check that a report can be written to a folder without replacing files that are not a report.

    Raises:
        OutputError: the folder has other files with these names, or cannot be written to.
    """
    out = pathlib.Path(out)
    outputs.check_folder(out)
    for name in REPORT_FOLDERS:
        outputs.check_folder(out / name)
    report = out / "report.txt"
    with outputs.writing(report):
        if report.is_file() and report.read_bytes().rstrip().endswith(REPORT_END.encode()):
            return
    for name in REPORT_FILES:
        if (out / name).exists():
            raise OutputError(
                f"{out / name} exists and was not written by {MADE_BY}: move it away, or choose another "
                "folder with --out"
            )


def prepare_folder(out: pathlib.Path | str) -> pathlib.Path:
    """Create a report's folder, or remove an earlier report from it; return its path.

    Raises:
        OutputError: as in ``check_folder``.
    """
    check_folder(out)
    out = outputs.new_folder(out)
    with outputs.writing(out):
        for name in REPORT_FILES:
            (out / name).unlink(missing_ok=True)
    for name in REPORT_FOLDERS:
        if name == "boxes" or (out / name).is_dir():
            outputs.remove_pictures(outputs.new_folder(out / name), MADE_BY)
    return out
