"""Checks of one labelled box: four numbers, in pixels, within its image, and thick enough."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from frcnn.errors import DataError
from frcnn.text import shown

TOLERANCE = 1.0  # pixels that a box may reach out of the image; exporters round
MIN_SIDE = 1.0  # pixels
MAX_CLIPPED = 0.25  # share of its area that a box may lose by --on-bad-data clip


def check_box(
    box: Sequence[float],
    width: float,
    height: float,
    shares: bool = False,
    min_side: float = MIN_SIDE,
    clip: bool = False,
) -> tuple[list[float], str]:
    """Return a box in pixels, clipped to the image, and what was clipped, as text.

    Args:
        box: x1, y1, x2, y2, half-open.
        width, height: of the image, pixels; infinite if unknown.
        shares: whether the corners are fractions of the image, 0 to 1.
        min_side: smallest length of a side, pixels.
        clip: clip a box that loses at most ``MAX_CLIPPED`` of its area.

    Raises:
        DataError: the corners are no numbers; the box is inverted or too thin; it is in shares where
            pixels are expected, or the other way round; it reaches out of the image.

    Example:
        >>> check_box([-0.5, 2, 10, 12], 40, 30)
        ([0.0, 2.0, 10.0, 12.0], '')
    """
    try:
        x1, y1, x2, y2 = corners = [float(value) for value in box]
    except (TypeError, ValueError, OverflowError) as error:
        raise DataError(f"has the corners {shown(list(box))}; expected four numbers") from error
    if not all(map(math.isfinite, corners)):
        raise DataError(f"has the corners {corners}; expected four numbers")

    def text() -> str:
        return ", ".join(f"{name} {value:g}" for name, value in zip(("x1", "y1", "x2", "y2"), corners))

    check_units(corners, shares, text)
    if shares:
        if math.isfinite(width):
            # Six digits of a share, as tools write, mean no more than a thousandth of a pixel.
            x1, y1 = round(x1 * width, 3), round(y1 * height, 3)
            x2, y2 = round(x2 * width, 3), round(y2 * height, 3)
        else:
            min_side = 0
    if x2 - x1 < max(min_side, 1e-6) or y2 - y1 < max(min_side, 1e-6):
        thin = f", or less than {min_side:g} pixel thin" if min_side else ""
        raise DataError(f"is inverted or empty{thin}: {text()}")
    if 0 <= x1 and 0 <= y1 and x2 <= width and y2 <= height:
        return [x1, y1, x2, y2], ""
    inside, what = fit(x1, y1, x2, y2, width, height, clip)
    if inside is None or min(inside[2] - inside[0], inside[3] - inside[1]) < min_side:
        raise DataError(f"reaches out of the {width}x{height} image: {text()}")
    return inside, f"clipped to the {width}x{height} image: {text()}" if what else ""


def check_units(values: Sequence[float], shares: bool, text: Callable[[], str]) -> None:
    """Raise DataError if the corners of an object are in pixels where shares are expected, or in shares.

    Args:
        values: x and y of the corners.
        shares: whether they are fractions of the image, 0 to 1.
        text: function that returns the corners for the message.
    """
    if shares and (max(values) > 2 or min(values) < -1):
        raise DataError(f"is not in shares of the image, 0 to 1: {text()}")
    if not shares and 0 <= min(values) and max(values) <= 1:
        # In pixels, such an object would have at most one, at the image's upper left.
        raise DataError(f"has corners that look like shares of the image; expected pixels: {text()}")


def fit(
    x1: float, y1: float, x2: float, y2: float, width: float, height: float, clip: bool
) -> tuple[list[float] | None, bool]:
    """Return a box clipped to the image, and whether it lost more than ``TOLERANCE`` pixels.

    Returns None for a box that reaches out too far: by more than the tolerance without ``clip``, by
    more than ``MAX_CLIPPED`` of its area with it.
    """
    inside = [max(x1, 0.0), max(y1, 0.0), min(x2, float(width)), min(y2, float(height))]
    if max(-x1, -y1, x2 - width, y2 - height) <= TOLERANCE:
        return inside, False
    kept = max(inside[2] - inside[0], 0.0) * max(inside[3] - inside[1], 0.0)
    if clip and kept >= (1 - MAX_CLIPPED) * (x2 - x1) * (y2 - y1):
        return inside, True
    return None, False


def polygon_box(points: Sequence[Sequence[float]]) -> tuple[float, float, float, float]:
    """Return the smallest box around points; NaN where a point is none.

    Example:
        >>> polygon_box([(1, 5), (4, 2), (3, 9)])
        (1, 2, 4, 9)
    """
    xs, ys = [point[0] for point in points], [point[1] for point in points]
    if any(value != value for value in (*xs, *ys)):  # min() would skip it
        return (math.nan,) * 4
    return min(xs), min(ys), max(xs), max(ys)
