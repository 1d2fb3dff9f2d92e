"""The page that compares runs."""

import json
import re

import numpy as np
from support import found, truth

from frcnn.config.presets import preset
from frcnn.data.sample import Sample
from frcnn.evaluation.differences import differing_images
from frcnn.report import comparison_page
from frcnn.runs.comparison import Run


def run(name, rows, **changes):
    return Run(name, "", preset("shapes").replace({"data.classes": ("cat",)} | changes), rows)


RUNS = [
    run("<a>", [{"step": 5.0, "epoch": 1.0, "mAP": 0.25, "AP/cat": 0.25}]),
    run("b", [{"step": 5.0, "epoch": 1.0, "mAP": 0.75, "AP/cat": 0.75}], **{"train.seed": 7}),
]


def embedded(page, identifier):
    (content,) = re.findall(rf'<script type="application/json" id="{identifier}">(.*?)</script>', page)
    return json.loads(content)


def test_scores_settings_and_curves():
    page = comparison_page.build(RUNS)
    numbers = embedded(page, "numbers")
    assert numbers["scores"]["best mAP"] == [0.25, 0.75]
    assert numbers["settings"] == {"train.seed": ["0", "7"]}
    assert "<figcaption>mAP</figcaption>" in page and "&lt;a&gt;" in page and "<a>" not in page
    assert 'id="part-images"' not in page  # no detector was run


def test_images_show_each_run():
    boxes = truth([[0, 0, 10, 10]])
    pixels = np.zeros((20, 30, 3), np.uint8)
    sample = Sample(
        "one", "", 30, 20, *(boxes[k] for k in ("boxes", "labels", "difficult")), pixels=pixels
    )
    differences = differing_images(
        [[found([[0, 0, 10, 10]])], [found([[15, 0, 25, 10]])]], [sample.truth()]
    )
    page = comparison_page.build(RUNS, [sample], differences)
    ((card,),) = embedded(page, "gallery-data")["galleries"].values()
    assert card["kind"] == "better: <a>"
    assert [view["name"] for view in card["views"]] == [
        "<a>: 1 right, 0 missed, 0 false",
        "b: 0 right, 1 missed, 1 false",
    ]
    assert [[box[4] for box in view["boxes"]] for view in card["views"]] == [
        ["truth", "found"],
        ["missed", "wrong"],
    ]


def test_runs_without_an_epoch_have_a_page():
    assert "No run has finished an epoch." in comparison_page.build([run("a", []), run("b", [])])
