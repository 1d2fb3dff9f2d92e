"""Charts of a run's values per epoch, from the rows of its ``metrics.csv``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from frcnn.report import svg
from frcnn.report.markup import Markup, tag
from frcnn.report.svg import Point

Rows = Sequence[Mapping[str, float | None]]  # {column: number}, a row per epoch

SHARES = ("mAP", "classifier/accuracy", "rpn/recall")  # from 0 to 1
# Each has a column for training and one for validation.
SCALARS = (
    "total_loss",
    "rpn/loss_cls",
    "rpn/loss_regr",
    "classifier/loss_cls",
    "classifier/loss_regr",
    "classifier/accuracy",
    "rpn/recall",
)


def charts(rows: Rows) -> Markup:
    """Return a chart of mAP, and one for each of ``SCALARS``, with training and validation in it."""
    drawn = [chart("mAP", [("mAP", curve(rows, "mAP"))])]
    for name in SCALARS:
        drawn.append(
            chart(name, [(part, curve(rows, f"{part}/{name}")) for part in ("train", "validation")])
        )
    return tag("div", *filter(None, drawn), class_="charts")


def curve(rows: Rows, column: str) -> list[Point]:
    """Return (step, value) for each epoch that has a value."""
    pairs = ((row.get("step"), row.get(column)) for row in rows)
    return [(step, value) for step, value in pairs if step is not None and value is not None]


def chart(title: str, lines: Sequence[tuple[str, Sequence[Point]]]) -> Markup | None:
    """Return a chart over the steps; None if no line has a point.

    Args:
        title: name of the scalar, with or without ``train/`` or ``validation/`` in front.
        lines: (name, points) of each line.
    """
    points = [point for _, line in lines for point in line]
    if not points:
        return None
    values = [value for _, value in points]
    top = 1.0 if title.endswith(SHARES) else 1.05 * max(values)
    steps = (0.0, max(step for step, _ in points))
    ends = (min(0.0, *values), top)
    return svg.line_chart(title, ("step", title), lines, steps, ends, dots=True)
