"""The page of an evaluation: its numbers, its galleries, its pictures and its size."""

import base64
import dataclasses
import io
import json
import re

import numpy as np
import pytest
from PIL import Image
from support import found, truth

from frcnn.data import oriented
from frcnn.data.sample import Sample
from frcnn.evaluation import analysis, evaluator
from frcnn.report import evaluation_page, gallery, pictures

CLASSES = ("<cat>", "dog")


def sample(name, boxes, labels, seed=0, size=(120, 160)):
    """Return a sample of random pixels, of which JPEGs are as large as can be."""
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)
    arrays = truth(boxes, labels)
    return Sample(
        name, "", size[1], size[0], arrays["boxes"], arrays["labels"], arrays["difficult"], pixels=pixels
    )


@pytest.fixture
def evaluation():
    """Return two images: a cat that is called a dog, and a dog that is missed."""
    samples = [
        sample("<b>one</b>", [[10, 10, 60, 60]], [0]),
        sample("two", [[20, 20, 70, 90], [80, 10, 140, 60]], [1, 0], seed=1),
    ]
    detections = [found([[10, 10, 60, 60]], [0.9], [1]), found([[80, 10, 140, 60]], [0.8], [0])]
    truths = [one.truth() for one in samples]
    scores = evaluator.score(detections, truths, CLASSES, "voc12")
    analysed = analysis.analyse(detections, truths, len(CLASSES))
    values = {"detector": "run", "dataset": "pets val"} | scores.values
    values |= {"analysis": analysed.values(), "skipped": [{"image": "bad<", "fault": "is cut off"}]}
    values["speed"] = {"images per second": 2.0}
    settings = {"device": "cpu"}
    return evaluation_page.Evaluation(
        values, scores.table, analysed, CLASSES, samples, detections, settings
    )


def embedded(page, identifier):
    (content,) = re.findall(rf'<script type="application/json" id="{identifier}">(.*?)</script>', page)
    return json.loads(content)


def test_the_numbers_are_those_of_json(evaluation):
    page = evaluation_page.build(evaluation)
    assert embedded(page, "numbers") == json.loads(json.dumps(evaluation.values))
    assert f"{evaluation.values['summary']['mAP']:.4f}" in page


def test_cards_show_each_mistake_and_label_error(evaluation):
    content = embedded(evaluation_page.build(evaluation), "gallery-data")
    mistakes = {card["kind"]: card for card in content["galleries"]["mistakes"]}
    assert set(mistakes) == {"wrong class", "missed"}
    swapped = mistakes["wrong class"]
    assert content["images"][swapped["image"]]["name"] == "<b>one</b>"
    (view,) = swapped["views"]
    assert view["boxes"] == [
        [10.0, 10.0, 60.0, 60.0, "truth", "<cat>"],
        [10.0, 10.0, 60.0, 60.0, "wrong", "dog 0.90"],
    ]
    assert mistakes["missed"]["focus"] == [20.0, 20.0, 70.0, 90.0]
    (label_error,) = content["galleries"]["labels"]
    assert (label_error["kind"], label_error["class"]) == ("swapped class", "<cat>")


def test_oriented_boxes_are_drawn_by_their_corners(evaluation):
    def turned(values):
        own = oriented.from_axis_aligned(values)
        own[:, 4] = np.pi / 6
        return own

    samples = [dataclasses.replace(one, boxes=turned(one.boxes)) for one in evaluation.samples]
    detections = [one | {"boxes": turned(one["boxes"])} for one in evaluation.detections]
    changed = dataclasses.replace(evaluation, samples=samples, detections=detections)
    content = embedded(evaluation_page.build(changed), "gallery-data")
    card = next(one for one in content["galleries"]["mistakes"] if one["kind"] == "wrong class")
    *outer, role, text, points = card["views"][0]["boxes"][1]
    assert (role, text) == ("wrong", "dog 0.90") and len(points) == 8
    expected = oriented.corners(np.array([35, 35, 50, 50, np.pi / 6]))
    np.testing.assert_allclose(np.reshape(points, (4, 2)), expected, atol=0.06)
    np.testing.assert_allclose(outer, [*expected.min(axis=0), *expected.max(axis=0)], atol=0.06)


def test_the_losses_of_the_run_are_shown_if_it_is_known(evaluation):
    assert 'href="#training"' not in evaluation_page.build(evaluation)
    row = {"step": 9.0, "train/total_loss": 2.0, "validation/total_loss": 3.0}
    page = evaluation_page.build(
        dataclasses.replace(evaluation, values=evaluation.values | {"history": [row]})
    )
    assert 'href="#training"' in page and "<figcaption>total_loss</figcaption>" in page


def test_pictures_are_jpegs_inside_the_page(evaluation):
    images = embedded(evaluation_page.build(evaluation), "gallery-data")["images"]
    for image in images:
        with Image.open(io.BytesIO(base64.b64decode(image["jpeg"]))) as picture:
            assert (picture.format, picture.size) == ("JPEG", (160, 120))


def test_what_strangers_wrote_is_text(evaluation):
    page = evaluation_page.build(evaluation)
    outside = re.sub(r"<script.*?</script>", "", page, flags=re.S)
    assert "&lt;cat&gt;" in outside and "bad&lt;" in outside
    assert "<cat>" not in page.replace("\\u003ccat>", "") and "<b>one" not in page


def test_the_costliest_kind_is_named_first(evaluation):
    page = evaluation_page.build(evaluation)
    gains = {kind: row["gain"] for kind, row in evaluation.values["analysis"]["errors"].items()}
    assert f"The costliest kind is “{max(gains, key=gains.get)}”" in page


def test_pictures_stay_within_the_budget():
    samples = [sample(str(seed), [], [], seed, (480, 640)) for seed in range(12)]
    budget = 300_000
    texts = pictures.embed(samples, budget)
    sizes = [len(base64.b64decode(text)) for text in texts if text]
    assert sum(sizes) <= budget and 0 < len(sizes)
    assert texts[0] is not None  # the first are the most important
    assert pictures.long_side(500) < pictures.long_side(20) == pictures.MAX_SIDE
    assert pictures.BUDGET * 4 / 3 < 18e6  # leaves 2 MB of a page of 20 MB for its other data


def test_an_image_that_has_gone_has_no_picture(tmp_path):
    gone = Sample("gone", str(tmp_path / "no.jpg"), 10, 10, *truth([]).values())
    assert pictures.embed([gone]) == [None]


def test_of_each_kind_only_the_costliest_are_shown(evaluation, monkeypatch):
    monkeypatch.setattr(gallery, "MAX_CARDS", 0)
    page = evaluation_page.build(evaluation)
    assert "Of each kind the 0 costliest are here." in page
    assert embedded(page, "gallery-data")["galleries"]["mistakes"] == []


def test_without_mistakes_the_page_says_so():
    samples = [sample("one", [[10, 10, 60, 60]], [0])]
    detections = [found([[10, 10, 60, 60]], [0.9], [0])]
    truths = [samples[0].truth()]
    scores = evaluator.score(detections, truths, CLASSES, "voc12")
    analysed = analysis.analyse(detections, truths, 2)
    values = {"detector": "run", "dataset": "d", "skipped": [], "speed": {}} | scores.values
    values["analysis"] = analysed.values()
    whole = evaluation_page.Evaluation(values, scores.table, analysed, CLASSES, samples, detections, {})
    page = evaluation_page.build(whole)
    assert page.count("There is no mistake.") == 2
    assert page.count("Nothing contradicts a label.") == 2
