"""Measures how time and memory of a training step grow with the image, batch, boxes, classes and RoIs.

Each is varied alone, starting from a base case. All points of an axis are processes that run in turn, so
that a busy machine slows all of them, and each has its own peak memory.

The growth of a cost c with a size n is the slope of log(c - c1) over log(n - n1), where c1 and n1 belong
to a small size. The difference removes the constant part of the cost, so a cost that is proportional to
the size, plus a constant, has slope 1.
"""

import dataclasses

import numpy as np

from benchmark import compare, line_chart

LIMIT = 1.15  # a slope above this is more than proportion and noise
NOISE = 0.03  # a rise below this share of the smallest cost is none


@dataclasses.dataclass(frozen=True)
class Axis:
    """A quantity that is varied.

    Attributes:
        title: title for tables and charts.
        points: ((size, name, {key of the specification: value}), ...), in rising order.
        with_targets: whether the time to make the anchors' targets depends on it.
    """

    title: str
    points: tuple
    with_targets: bool


def axes(height, width):
    """Return {name: ``Axis``} about a base case of some height and width."""

    def image(factor):
        rows, columns = round(height * factor), round(width * factor)
        return rows * columns, f"{rows}x{columns}", {"height": rows, "width": columns}

    def counts(key, values):
        return tuple((value, str(value), {key: value}) for value in values)

    return {
        "area": Axis("image area, pixels", tuple(map(image, (0.5, 1.0, 1.5, 2.0, 3.0))), True),
        "batch": Axis("images a batch", counts("batch", (1, 2, 4, 8, 16)), True),
        "boxes": Axis("boxes an image", counts("boxes", (1, 8, 32, 125, 250, 500)), True),
        "classes": Axis("classes", counts("classes", (2, 20, 80, 200, 365)), False),
        "rois": Axis("RoIs an image", counts("rois", (32, 128, 512, 1024, 2000)), False),
    }


def measure(axis, spec, start, rounds, times):
    """Return the figures of one axis.

    Args:
        axis: the axis.
        spec: specification of the base case, as for ``benchmark.worker``.
        start: function from a specification to its ``compare.Worker``.
        rounds, times: number of turns of each point, and of runs per turn.

    Returns:
        A dict with ``title``, ``points`` and ``growth``, for JSON.
    """
    points = [
        {"size": size, "name": name, "workers": _workers(axis, spec | changes, start)}
        for size, name, changes in axis.points
    ]
    workers = [point.pop("workers") for point in points]
    compare.alternate([worker for of_point in workers for worker in of_point.values()], rounds, times)
    for point, of_point in zip(points, workers):
        for what, worker in of_point.items():
            point[what] = worker.result().as_json()
            worker.close()
    return {"title": axis.title, "points": points, "growth": growths(points)}


def _workers(axis, spec, start):
    """Start a point's processes, {what: worker}."""
    whats = ("step", "targets") if axis.with_targets else ("step",)
    return {what: start(spec | {"what": what}) for what in whats}


def growths(points):
    """Return {"time", "memory", "targets": exponent or None} of an axis' points."""
    sizes = [point["size"] for point in points]
    found = {
        "time": _exponent_of_time(sizes, [point["step"] for point in points]),
        "memory": exponent(sizes, [point["step"]["peak_mb"] for point in points]),
    }
    if "targets" in points[0]:
        found["targets"] = _exponent_of_time(sizes, [point["targets"] for point in points])
    return found


def _exponent_of_time(sizes, results):
    spreads = [high - low for low, high in (result["spread_s"] for result in results)]
    return exponent(sizes, [result["median_s"] for result in results], spreads)


def exponent(sizes, costs, spreads=None):
    """Return the slope of log(cost - first cost) over log(size - first size).

    The first size is the largest one whose cost is equal to that of the smallest, within noise. Below it
    something else decides the cost, such as the start of the program its peak memory. A larger rise has
    a larger weight.

    Args:
        sizes: sizes in rising order.
        costs: cost of each size.
        spreads: uncertainty of each cost; a smaller rise counts as none.

    Returns:
        A number, 1 for growth in proportion; None where fewer than two sizes cost more than the first.
    """
    sizes, costs = np.asarray(sizes, "float64"), np.asarray(costs, "float64")
    spreads = np.zeros_like(costs) if spreads is None else np.asarray(spreads)
    real = costs - costs[0] > np.maximum(NOISE * costs[0], np.maximum(spreads, spreads[0]))
    first = int(np.argmax(real)) - 1 if real.any() else 0
    rise, real = costs - costs[first], real & (costs > costs[first])
    if np.count_nonzero(real) < 2:
        return None
    logarithms = np.log(sizes[real] - sizes[first]), np.log(rise[real])
    slope, _ = np.polyfit(*logarithms, 1, w=rise[real] / rise.max())
    return float(slope)


def grows_too_fast(figures):
    """Return whether a cost of an axis, as returned by ``measure``, grew faster than the size."""
    return any(value is not None and value > LIMIT for value in figures["growth"].values())


def judge(value):
    """Return an exponent in words."""
    if value is None:
        return "too little above noise to tell"
    return f"size^{value:.2f}" + (", FASTER than its size" if value > LIMIT else "")


def table(figures):
    """Return one axis' figures as lines of text."""
    lines = [f"{figures['title']:>18}   step, s        (quartiles) peak, MiB targets, ms"]
    for point in figures["points"]:
        step, targets = point["step"], point.get("targets")
        low, high = step["spread_s"]
        lines.append(
            f"{point['name']:>18}  {step['median_s']:8.4f} ({low:.4f} to {high:.4f}) "
            f"{step['peak_mb']:9.0f}" + (f" {targets['median_s'] * 1e3:11.1f}" if targets else "")
        )
    lines += [f"  growth of {what}: {judge(value)}" for what, value in figures["growth"].items()]
    return "\n".join(lines)


def charts(figures):
    """Return two charts for each axis, of time and of memory.

    Args:
        figures: {name of the axis: what ``measure`` returned}.
    """
    found = []
    for name, axis in figures.items():

        def line(what, key, axis=axis):
            return tuple((point["size"], point[what][key]) for point in axis["points"])

        times = {"step": line("step", "median_s")}
        if "targets" in axis["points"][0]:
            times["targets"] = line("targets", "median_s")
        found.append(line_chart.Lines(name, axis["title"], "seconds", times, logarithmic=True))
        memory = {"peak memory": line("step", "peak_mb")}
        found.append(line_chart.Lines(name, axis["title"], "peak MiB", memory))
    return found
