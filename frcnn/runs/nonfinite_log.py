"""``nonfinite.jsonl``: one line of JSON per step that was skipped because of NaN or infinity."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from frcnn.files import safe_write


def append(path: pathlib.Path, step: int, images: Sequence[str], scalars: Mapping[str, Any]) -> None:
    """Append a step: its number, the names of its images, and its scalars as text."""
    texts = {tag: str(value) for tag, value in scalars.items()}  # JSON cannot express infinity
    row = {"step": step, "images": images, "scalars": texts}
    with safe_write.open_to_append(path) as file:
        file.write(json.dumps(row) + "\n")


def drop_after(path: pathlib.Path, step: int) -> list[str]:
    """Remove the lines of later steps, and the incomplete line of a process that was killed.

    If a line cannot be read, the file is first copied to ``nonfinite.jsonl.damaged``.

    Args:
        path: the file; it may be missing.
        step: last step whose line is kept.

    Returns:
        Messages: at most one line.
    """
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8", errors="surrogateescape").splitlines(keepends=True)
    steps = [_step(line) for line in lines if line.endswith("\n")]
    said = []
    if None in steps:
        aside = safe_write.free_name(path, "damaged")
        safe_write.keep_copy(path, aside)
        said.append(f"{path} has {steps.count(None)} lines that cannot be read: kept as {aside.name}")
    kept = [line for line, done in zip(lines, steps) if done is not None and done <= step]
    safe_write.replace(path, "".join(kept).encode("utf-8", "surrogateescape"))
    return said


def _step(line):
    try:
        step = json.loads(line)["step"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return step if isinstance(step, int) else None
