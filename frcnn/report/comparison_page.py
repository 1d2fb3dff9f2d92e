"""The page of ``frcnn compare --report``: runs compared, and the images on which they differ."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence

from frcnn.data.sample import Sample
from frcnn.evaluation.differences import SCORE_THRESHOLD, Outcome
from frcnn.files import outputs
from frcnn.report import gallery, history
from frcnn.report.markup import Markup, data, join, page, table, tag
from frcnn.runs import comparison
from frcnn.runs.comparison import Run

CURVES = (
    "mAP",
    "train/total_loss",
    "validation/total_loss",
    "train/rpn/loss",
    "validation/rpn/loss",
    "train/classifier/loss",
    "validation/classifier/loss",
    "validation/rpn/recall",
)
Differences = Sequence[tuple[int, tuple[Outcome, ...]]]


def write(
    path: pathlib.Path,
    runs: Sequence[Run],
    samples: Sequence[Sample] = (),
    differences: Differences | None = None,
) -> None:
    """Write the page.

    Args:
        path: the file.
        runs: the runs.
        samples: images on which they were compared.
        differences: of ``differing_images``; None: no images were compared.

    Raises:
        OutputError: it cannot be written.
    """
    content = build(runs, samples, differences)
    with outputs.writing(path):
        path.write_text(content, encoding="utf-8", errors="backslashreplace")


def build(
    runs: Sequence[Run], samples: Sequence[Sample] = (), differences: Differences | None = None
) -> str:
    """Return the page."""
    names = [run.name for run in runs]
    settings = comparison.changed_settings(runs)
    scores = comparison.scores(runs)
    cells = [[name, *map(comparison.written, values)] for name, values in scores]
    parts = [
        table(["score", *names], cells, "Scores: of the best epoch, and of the last"),
        table(
            ["setting", *names],
            [[key, *(tag("td", value, class_="left") for value in values)] for key, values in settings],
            "Settings that differ" if settings else "No setting differs",
        ),
    ]
    tabs = [("summary", "Summary", join(parts)), ("curves", "Curves", _curves(runs))]
    embedded = [data("numbers", {"runs": names, "scores": dict(scores), "settings": dict(settings)})]
    if differences is not None:
        classes = runs[0].config.data.classes
        cards = [
            _card(image, samples[image], names, outcomes, classes) for image, outcomes in differences
        ]
        cards = cards[: gallery.MAX_CARDS]
        text = (
            f"{len(differences)} of {len(samples)} images have other numbers of mistakes, at score "
            f"{SCORE_THRESHOLD:g}; the greatest difference first."
        )
        place = gallery.place("images", cards, "There is no such image.")
        tabs.append(("images", "Images", join([tag("p", text), place])))
        others: list[list[gallery.Box]] = [[] for _ in samples]
        embedded.append(data("gallery-data", gallery.content({"images": cards}, samples, others)))
    return page(", ".join(names), f"frcnn compare: {len(runs)} runs", tabs, join(embedded))


def _curves(runs: Sequence[Run]) -> Markup:
    """Return a chart for each of ``CURVES`` that a run has."""
    charts = []
    for column in CURVES:
        if drawn := history.chart(column, [(run.name, history.curve(run.rows, column)) for run in runs]):
            charts.append(drawn)
    return tag("div", *charts, class_="charts") if charts else tag("p", "No run has finished an epoch.")


def _card(
    image: int, sample: Sample, names: Sequence[str], outcomes: Sequence[Outcome], classes: Sequence[str]
) -> gallery.Card:
    views = []
    for name, one in zip(names, outcomes):
        boxes = [
            gallery.box(corners, "missed" if missed else "truth", classes[label])
            for corners, label, missed in zip(sample.boxes, sample.labels, one.is_missed)
        ]
        rows = zip(one.found["boxes"], one.found["labels"], one.found["scores"], one.is_right)
        boxes += [
            gallery.box(corners, "found" if right else "wrong", f"{classes[label]} {score:.2f}")
            for corners, label, score, right in rows
        ]
        views.append((f"{name}: {one}", boxes))
    fewest = min(one.mistakes for one in outcomes)
    better = [name for name, one in zip(names, outcomes) if one.mistakes == fewest]
    return gallery.Card(image, f"better: {', '.join(better)}", "", [], views)
