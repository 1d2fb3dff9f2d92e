"""The page of ``frcnn evaluate --report``: what a detector does well, and each thing it does wrong."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from frcnn.data.sample import Sample
from frcnn.evaluation import curves
from frcnn.evaluation.analysis import CONFUSION_SCORE, IOU_THRESHOLDS, SIZES, Analysis
from frcnn.evaluation.error_analysis import KINDS
from frcnn.files import outputs
from frcnn.report import gallery, history, svg
from frcnn.report.markup import Markup, data, join, page, table, tag

KIND_TEXTS = {
    "missed": "an object that nothing found",
    "background": "a detection where there is no object (IoU at most 0.1)",
    "wrong class": "a detection on an object of another class",
    "loose box": "a detection of the right class whose box fits badly (IoU 0.1 to {iou:g})",
    "class and box": "a wrong class and a box that fits badly",
    "duplicate": "a second detection of an object",
}


@dataclasses.dataclass(frozen=True, eq=False)
class Evaluation:
    """What the page shows.

    Attributes:
        values: what ``frcnn evaluate --json`` writes.
        table: the table of scores that the console shows.
        analysis: of the detections.
        classes: names of the object classes.
        samples: the images.
        detections: one dict per sample.
        settings: {name: value} to state, such as the batch size.
    """

    values: Mapping[str, Any]
    table: str
    analysis: Analysis
    classes: Sequence[str]
    samples: Sequence[Sample]
    detections: Sequence[dict]
    settings: Mapping[str, Any]


def write(path: pathlib.Path, evaluation: Evaluation) -> None:
    """Write the page.

    Raises:
        OutputError: it cannot be written.
    """
    with outputs.writing(path):
        path.write_text(build(evaluation), encoding="utf-8", errors="backslashreplace")


def build(evaluation: Evaluation) -> str:
    """Return the page."""
    analysis, classes = evaluation.analysis, evaluation.classes
    samples, found = evaluation.samples, evaluation.detections
    mistakes = gallery.mistake_cards(analysis, samples, found, classes)
    labels = gallery.label_error_cards(analysis.label_errors, samples, found, classes)
    others = [
        gallery.truth_boxes(sample, classes) + gallery.found_boxes(own, classes)
        for sample, own in zip(samples, found)
    ]
    pictured = gallery.content({"mistakes": mistakes, "labels": labels}, samples, others)
    tabs = [
        ("summary", "Summary", _summary(evaluation)),
        ("curves", "Curves", _curves(evaluation)),
        ("classes", "Classes", _classes(evaluation)),
        ("mistakes", "Mistakes", _mistakes(evaluation, mistakes)),
        ("labels", "Label errors", _labels(labels)),
    ]
    if evaluation.values.get("history"):
        tabs.append(("training", "Training", _training(evaluation.values)))
    tabs.append(("about", "About", _about(evaluation)))
    embedded = join([data("numbers", evaluation.values), data("gallery-data", pictured)])
    title = f"{evaluation.values['detector']} on {evaluation.values['dataset']}"
    subtitle = f"frcnn evaluate: {evaluation.values['images']} images, {len(classes)} classes"
    return page(title, subtitle, tabs, embedded)


def said(value: float | None, form: str = ".4f") -> str:
    """Return a number as text, ``-`` for None and NaN."""
    return "-" if value is None or not np.isfinite(value) else format(value, form)


def _summary(evaluation: Evaluation) -> Markup:
    values, analysis = evaluation.values, evaluation.analysis
    figures = [
        (name, said(value)) for name, value in values["summary"].items() if name != "iou_threshold"
    ]
    figures = figures[:6]
    threshold, f1 = analysis.by_score.best()
    figures.append((f"best mean F1, at score {said(threshold, '.2f')}", said(f1)))
    figures.append(("calibration error", said(analysis.calibration.error)))
    figures += [(name, said(value, ".3g")) for name, value in values["speed"].items()]
    cards = (tag("li", tag("b", number), tag("span", name)) for name, number in figures)
    return join(
        [
            tag("ul", *cards, class_="figures"),
            tag("h3", "What the mistakes cost"),
            _costs(analysis),
            tag("h3", "Probable label errors"),
            _label_counts(values),
            tag("h3", "Scores"),
            tag("div", tag("pre", Markup(_lines(evaluation.table))), class_="scroll", tabindex="0"),
        ]
    )


def _lines(text):
    """Return lines as escaped text that keeps its line ends."""
    return "\n".join(join([line]) for line in text.splitlines())


def _costs(analysis: Analysis) -> Markup:
    """Return the kinds of mistakes, those that cost most first."""
    gains, counts = analysis.errors.gains, analysis.errors.counts
    kinds = sorted(KINDS, key=lambda kind: -np.nan_to_num(gains[kind]))
    rows = [(f"{kind} ({counts[kind]})", gains[kind], said(gains[kind], "+.4f")) for kind in kinds]
    worst = kinds[0]
    sentence = "There is no mistake."
    if counts[worst] and np.isfinite(gains[worst]):
        text = KIND_TEXTS[worst].format(iou=analysis.voc.iou_threshold)
        sentence = f"The costliest kind is “{worst}”: {text}."
    title = f"what mAP@{analysis.voc.iou_threshold:g} would gain without each kind (number of mistakes)"
    note = "The gains do not add up: one mistake often hides another."
    return join([tag("p", sentence), svg.bars(title, rows), tag("p", note)])


def _label_counts(values: Mapping[str, Any]) -> Markup:
    kinds = values["analysis"]["label_errors"]
    if not any(kind["number"] for kind in kinds.values()):
        return tag("p", "Nothing contradicts a label.")
    link = tag("a", "Look at them", href="#labels")
    rows = [
        (f"{name} ({kind['number']})", kind["doubt"], said(kind["doubt"], ".1f"))
        for name, kind in kinds.items()
    ]
    title = "sum of the doubts of each kind (number of candidates)"
    return join([svg.bars(title, rows), tag("p", link, ".")])


def _curves(evaluation: Evaluation) -> Markup:
    analysis, names = evaluation.analysis, evaluation.classes
    result, by_score = analysis.voc, analysis.by_score
    thresholds = by_score.thresholds
    ranges = [("F1", by_score.mean_f1)]
    ranges.append(("precision", curves.mean_of_classes(by_score.precision[result.objects > 0])))
    ranges.append(("recall", curves.mean_of_classes(by_score.recall)))
    bins = analysis.calibration
    fill = [(score, share) for score, share in zip(bins.scores, bins.precision)]
    charts = [
        svg.line_chart(
            "F1, precision and recall, means over the classes",
            ("score threshold", "mean"),
            [(name, list(zip(thresholds, line))) for name, line in ranges],
        ),
        svg.line_chart(
            f"Calibration: how often a score is right (mean gap {said(bins.error)})",
            ("mean score of a bin", "share that is right"),
            [("detections", fill)],
            diagonal=True,
            dots=True,
        ),
        svg.line_chart(
            "mAP over the IoU from which a detection counts",
            ("IoU", "mAP"),
            [("mAP", list(zip(IOU_THRESHOLDS, analysis.by_iou)))],
            x_range=(0.5, 0.95),
            dots=True,
        ),
    ]
    per_class = [
        svg.line_chart(
            f"{name}: AP {said(result.ap[label])}",
            ("recall", "precision"),
            [(name, [(0.0, 1.0), *zip(result.recall[label], result.precision[label])])],
        )
        for label, name in enumerate(names)
        if len(result.recall[label]) and result.objects[label]
    ]
    return join(
        [
            tag("div", *charts, class_="charts"),
            tag("h3", f"Precision over recall at IoU {result.iou_threshold:g}"),
            tag("div", *per_class, class_="charts") if per_class else tag("p", "No detection."),
        ]
    )


def _classes(evaluation: Evaluation) -> Markup:
    analysis, names = evaluation.analysis, evaluation.classes
    result = analysis.voc
    rows = []
    for label, name in enumerate(names):
        threshold, f1 = analysis.by_score.best(label)
        sizes = [said(row[label]) for row in analysis.by_size]
        counts = [str(result.objects[label]), str(result.detections[label])]
        rows.append([name, *counts, said(result.ap[label]), *sizes, said(f1), said(threshold, ".2f")])
    sizes = [said(row[-1]) for row in analysis.by_size]
    totals = [str(result.objects.sum()), str(result.detections.sum()), said(result.mean_ap)]
    threshold, f1 = analysis.by_score.best()
    rows.append(["mean", *totals, *sizes, said(f1), said(threshold, ".2f")])
    head = ["class", "objects", "detections", "AP", *SIZES, "best F1", "at score"]
    caption = (
        f"AP at IoU {result.iou_threshold:g}, {result.interpolation}, and by the size of the objects"
    )
    note = (
        "Small objects are below 32 x 32 pixels of the image file, large ones from 96 x 96, as in COCO. "
        "A dash: there is no such object."
    )
    return join([table(head, rows, caption), tag("p", note), _confusion(analysis, names)])


def _confusion(analysis: Analysis, names: Sequence[str]) -> Markup:
    counts = analysis.confusion
    totals = np.maximum(counts.sum(axis=1, keepdims=True), 1)
    rows = []
    for name, row, share in zip([*names, "background"], counts, counts / totals):
        cells = (
            tag("td", str(count), class_="heat" if count else None, style=f"--share:{part:.2f}")
            for count, part in zip(row, share)
        )
        rows.append([name, *cells])
    rows[-1][-1] = tag("td", "")
    caption = f"Confusion: detections of score {CONFUSION_SCORE:g} or more on the objects of each class"
    note = (
        "Rows: the label. Columns: the detection. Last column: objects that were missed; last row: "
        "detections without an object. The shade is the share of the row."
    )
    return join([table(["label", *names, "background"], rows, caption), tag("p", note)])


def _mistakes(evaluation: Evaluation, cards: Sequence[gallery.Card]) -> Markup:
    iou, total = evaluation.analysis.voc.iou_threshold, len(evaluation.analysis.errors.mistakes)
    items = (tag("li", tag("b", kind), ": ", KIND_TEXTS[kind].format(iou=iou)) for kind in KINDS)
    left_out = f" Of each kind the {gallery.MAX_CARDS} costliest are here." if total > len(cards) else ""
    roles = {"truth": "label", "wrong": "wrong detection", "missed": "missed object"}
    roles["found"] = "other detection"
    legend = [join([tag("span", class_=f"swatch {role}"), f"{name} "]) for role, name in roles.items()]
    return join(
        [
            tag(
                "p",
                f"{total} mistakes, sorted by what each alone costs in mAP.{left_out} Press a picture "
                "to enlarge it; the arrow keys go to the next.",
            ),
            tag("details", tag("summary", "The kinds"), tag("ul", *items)),
            tag("p", *legend),
            gallery.place("mistakes", cards, "There is no mistake."),
        ]
    )


def _labels(cards: Sequence[gallery.Card]) -> Markup:
    text = (
        "Labels that the detector contradicts: the classifier scores another class higher in the "
        "labelled box (swapped class), or a detection of score 0.5 or more lies beside a label of its "
        "class that nothing else covers as surely (shifted box), or where there is no label "
        "(unlabelled). The doubt is this score, minus the score of what agrees with the label. They are "
        "candidates: look at each, the detector may be the one that is wrong."
    )
    return join([tag("p", text), gallery.place("labels", cards, "Nothing contradicts a label.")])


def _training(values: Mapping[str, Any]) -> Markup:
    text = (
        "The means of each epoch, from metrics.csv of the run: losses that fall in training and rise in "
        "validation say that it overfits. mAP is that of the validations of the run."
    )
    return join([tag("p", text), history.charts(values["history"])])


def _about(evaluation: Evaluation) -> Markup:
    rows = [[name, tag("td", value, class_="left")] for name, value in evaluation.settings.items()]
    notes = (
        "The numbers are those of the console and of --json: the element with the id “numbers” "
        "holds them as JSON. Mistakes are classed as by TIDE (Bolya et al. 2020), with the matching of "
        "VOC AP. The page loads nothing: pictures, style and script are inside it."
    )
    skipped = [
        [row["image"], tag("td", row["fault"], class_="left")] for row in evaluation.values["skipped"]
    ]
    parts = [table(["setting", "value"], rows, "How this was measured"), tag("p", notes)]
    if skipped:
        parts.append(table(["image", "fault"], skipped, "Images that were skipped"))
    return join(parts)
