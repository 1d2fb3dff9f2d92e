"""Galleries of a page: pictures with boxes, which the page's script draws, filters and enlarges.

The data are JSON: ``images`` with their pictures, and a list of cards per gallery. A box is
``[x1, y1, x2, y2, role, text]``, pixels of the image file. An oriented box has x and y of its four
corners at the end; before them are the corners of the box around it. The role names the colour in the
style sheet: ``truth``, ``found``, ``right``, ``wrong`` or ``missed``.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from frcnn.data import oriented
from frcnn.data.sample import Sample
from frcnn.evaluation.analysis import Analysis
from frcnn.evaluation.error_analysis import KINDS, Mistake
from frcnn.evaluation.label_errors import LabelError
from frcnn.report import pictures
from frcnn.report.markup import Markup, tag
from frcnn.text import shown

MAX_CARDS = 400  # of each kind of mistake or label error
MAX_IMAGES = 500
SHOWN_SCORE = 0.3  # the enlarged picture also shows the other detections from this score on

Box = list[Any]


@dataclasses.dataclass(frozen=True)
class Card:
    """One entry of a gallery.

    Attributes:
        image: index of the image among the samples.
        kind, class_name: what the filters choose by.
        facts: lines below the picture.
        views: (name, boxes) of each picture; most cards have one, without a name.
        focus: the boxes to zoom in on; empty for the whole image.
    """

    image: int
    kind: str
    class_name: str
    facts: Sequence[str]
    views: Sequence[tuple[str, Sequence[Box]]]
    focus: Sequence[Box] = ()


def box(values: np.ndarray, role: str, text: str = "") -> Box:
    """Return a box for the page's script, from (4,) corners or an oriented box (5,)."""
    row = np.asarray(values, "float64")
    around = [*oriented.outer(row).round(1).tolist(), role, shown(text, 60)]
    return around if len(row) == 4 else [*around, oriented.corners(row).round(1).ravel().tolist()]


def truth_boxes(sample: Sample, classes: Sequence[str]) -> list[Box]:
    """Return the labelled boxes of a sample."""
    rows = zip(sample.boxes, sample.labels, sample.difficult)
    return [
        box(corners, "truth", classes[label] + (" (difficult)" if hard else ""))
        for corners, label, hard in rows
    ]


def found_boxes(found: dict, classes: Sequence[str], least: float = SHOWN_SCORE) -> list[Box]:
    """Return the detections of an image from a score on."""
    rows = zip(found["boxes"], found["labels"], found["scores"])
    return [
        box(corners, "found", f"{classes[label]} {score:.2f}")
        for corners, label, score in rows
        if score >= least
    ]


def mistake_cards(
    analysis: Analysis, samples: Sequence[Sample], detections: Sequence[dict], classes: Sequence[str]
) -> list[Card]:
    """Return a card for each mistake, those that cost most first, at most ``MAX_CARDS`` of a kind."""
    left = dict.fromkeys(KINDS, MAX_CARDS)
    cards = []
    for one in analysis.errors.mistakes:
        left[one.kind] -= 1
        if left[one.kind] >= 0:
            cards.append(_mistake_card(one, samples[one.image], detections[one.image], classes))
    return cards


def _mistake_card(one: Mistake, sample: Sample, found: dict, classes: Sequence[str]) -> Card:
    boxes, facts = [], []
    if one.object is not None:
        name = classes[sample.labels[one.object]]
        role = "missed" if one.detection is None else "truth"
        boxes.append(box(sample.boxes[one.object], role, name))
    if one.detection is not None:
        said = f"{classes[one.label]} {one.score:.2f}"
        boxes.append(box(found["boxes"][one.detection], "wrong", said))
        facts.append(f"found: {said}")
        if one.object is not None:
            facts.append(f"label: {name}, IoU {one.iou:.2f}")
    else:
        facts.append(f"label: {name}, not found")
    facts.append(f"costs {one.cost:.4f} mAP")
    return Card(one.image, one.kind, classes[one.label], facts, [("", boxes)], boxes)


def label_error_cards(
    errors: Sequence[LabelError],
    samples: Sequence[Sample],
    detections: Sequence[dict],
    classes: Sequence[str],
) -> list[Card]:
    """Return a card for each probable label error, the greatest doubt first."""
    cards = []
    for one in errors[: 3 * MAX_CARDS]:
        sample, found = samples[one.image], detections[one.image]
        said = f"{classes[one.label]} {one.score:.2f}"
        boxes, facts = [], [f"{'classified as' if one.detection is None else 'found'}: {said}"]
        class_name = classes[one.label]
        if one.object is not None:
            class_name = classes[sample.labels[one.object]]
            boxes.append(box(sample.boxes[one.object], "truth", class_name))
            facts.append(f"label: {class_name}")
        if one.detection is not None:
            boxes.append(box(found["boxes"][one.detection], "wrong", said))
        facts.append(f"doubt {one.doubt:.2f}")
        cards.append(Card(one.image, one.kind, class_name, facts, [("", boxes)], boxes))
    return cards


def content(
    galleries: dict[str, Sequence[Card]],
    samples: Sequence[Sample],
    other_boxes: Sequence[Sequence[Box]],
    budget: int = pictures.BUDGET,
) -> dict[str, Any]:
    """Return the JSON of a page's galleries, with a picture of each image that a card shows.

    Args:
        galleries: {identifier: cards, the most important first}.
        samples: all images.
        other_boxes: for each image, what its enlarged picture shows beside a card's own boxes.
        budget: bytes of all JPEGs together. The images of the first cards get theirs first.
    """
    turns = itertools.chain(*itertools.zip_longest(*galleries.values()))
    order = list(dict.fromkeys(card.image for card in turns if card))
    jpegs = pictures.embed([samples[image] for image in order[:MAX_IMAGES]], budget)
    jpegs += [None] * (len(order) - len(jpegs))
    places = {image: place for place, image in enumerate(order)}
    images = [
        {
            "name": shown(samples[image].name),
            "size": [samples[image].width, samples[image].height],
            "jpeg": jpeg,
            "boxes": other_boxes[image],
        }
        for image, jpeg in zip(order, jpegs)
    ]
    cards = {
        name: [
            {
                "image": places[card.image],
                "kind": card.kind,
                "class": shown(card.class_name),
                "facts": [shown(fact) for fact in card.facts],
                "views": [{"name": shown(view), "boxes": boxes} for view, boxes in card.views],
                "focus": _union(card.focus),
            }
            for card in of_gallery
        ]
        for name, of_gallery in galleries.items()
    }
    return {"images": images, "galleries": cards}


def _union(boxes: Sequence[Box]) -> list[float] | None:
    if not boxes:
        return None
    corners = np.array([one[:4] for one in boxes], "float64")
    return [*corners[:, :2].min(axis=0).tolist(), *corners[:, 2:].max(axis=0).tolist()]


def place(name: str, cards: Sequence[Card], empty: str) -> Markup:
    """Return the element that the script fills with a gallery and its filters.

    Args:
        name: the identifier in ``content``.
        cards: of the gallery.
        empty: what to say without any card.
    """
    if not cards:
        return tag("p", empty)
    hint = tag("noscript", tag("p", "The gallery needs JavaScript; nothing is loaded from elsewhere."))
    return tag("div", hint, class_="gallery", data_gallery=name)
