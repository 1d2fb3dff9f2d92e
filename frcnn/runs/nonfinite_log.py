"""``nonfinite.jsonl``: one line of JSON for each step that was skipped, loss or gradient not finite."""

import json

from frcnn.files import safe_write


def append(path, step, images, scalars):
    """Append a step: its number, its images' names, all its scalars as text."""
    texts = {tag: str(value) for tag, value in scalars.items()}  # JSON has no word for infinity
    row = {"step": step, "images": images, "scalars": texts}
    with safe_write.open_to_append(path) as file:
        file.write(json.dumps(row) + "\n")


def drop_after(path, step):
    """Take out the lines of later steps and the half line of a process that was killed.

    A file with lines that cannot be read is kept beside as ``nonfinite.jsonl.damaged``.

    Args:
        path: ``pathlib.Path``; it may be missing.
        step: the last whose line stays.

    Returns:
        A list of what there is to say: at most one line.
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
