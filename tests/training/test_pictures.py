"""What is drawn of validation and training images: which image, and each box in the right group."""

from types import SimpleNamespace

import numpy as np
import pytest
from support import found, truth

from frcnn.data.sample import Sample
from frcnn.inspection import stages
from frcnn.training import pictures


@pytest.mark.parametrize(
    "images, batch_size, count, expected",
    [
        (20, 2, 0, {}),
        (20, 2, 1, {0: 1}),
        (20, 2, 2, {0: 1, 9: 1}),
        (4, 3, 4, {0: 3, 1: 1}),  # the last batch has one image
        (4, 3, 9, {0: 3, 1: 1}),
        (9, 3, 3, {0: 1, 1: 1, 2: 1}),
    ],
)
def test_pictured_images_are_spread_over_the_batches(images, batch_size, count, expected):
    assert pictures.chosen_batches(images, batch_size, count) == expected


@pytest.fixture
def panels(monkeypatch):
    """Return the list of panels that are drawn, {title: {group: number of boxes}}."""
    drawn = []

    def picture(image, panels, *_):
        drawn.append({one.title: {g.name: len(g.boxes) for g in one.groups} for one in panels})

    monkeypatch.setattr(stages, "picture", picture)
    return drawn


def test_hits_misses_and_false_alarms(panels):
    squares = [[100 * i, 0, 100 * i + 10, 10] for i in range(5)]
    # Object 3 is difficult. Found: 0 rightly, 1 as another class, 3, nothing at 4, 2 too weakly.
    objects = truth(squares[:4], [0, 0, 1, 1], difficult=[3])
    scores, labels = [0.9, 0.8, 0.7, 0.6, 0.2], [0, 1, 1, 1, 1]
    detections = found([squares[i] for i in (0, 1, 3, 4, 2)], scores, labels)
    proposals = np.array([squares[0], squares[1], squares[4]], "float32")
    rois, positive = np.array(squares, "float32"), np.array([True, True, False, False, False])
    image = np.zeros((20, 500, 3))
    one = pictures.Stages("image", image, objects, proposals, rois, positive, detections)
    pictures.draw_stages(one, ("cat", "dog"), 0.5, 0.5, 400)
    assert panels == [
        {
            "ground truth": {"difficult": 1, "object": 3},
            "RPN: the best 3 of 3 proposals": {"elsewhere": 1, "on an object": 2},
            "RoIs sampled for the classifier": {"negative": 3, "positive": 2},
            "detections, score 0.50 or more": {
                "missed": 2,
                "on difficult": 1,
                "false alarm": 2,
                "hit": 1,
            },
        }
    ]


def test_an_image_without_anything_is_drawn():
    nothing = np.zeros((0, 4), "float32")
    one = pictures.Stages(
        "empty", np.zeros((30, 40, 3)), truth([]), nothing, nothing, np.zeros(0, bool), found([])
    )
    assert pictures.draw_stages(one, ("cat",), 0.5, 0.5, 100).dtype == np.uint8


def test_stages_are_without_padding_and_in_pixels_of_the_input():
    # The file has 100 x 50 pixels, the input 200 x 100, padded to 224 x 128.
    boxes = np.array([[10, 10, 20, 30]], "float32")
    labels, difficult = np.array([1], "int32"), np.array([False])
    sample = Sample("a", "", 100, 50, boxes, labels, difficult)
    batch = SimpleNamespace(
        images=np.zeros((1, 128, 224, 3)),
        image_sizes=np.array([[100.0, 200.0]], "float32"),
        samples=(sample,),
    )
    outputs = {
        "proposals": np.array([[[0, 0, 9, 9], [0, 0, 0, 0]]], "float32"),
        "rois": np.array([[[0, 0, 9, 9], [1, 1, 9, 9], [0, 0, 0, 0]]], "float32"),
        "y_class": np.array([[[0, 1, 0], [0, 0, 1], [0, 0, 0]]], "float32"),
        "boxes": np.array([[[0, 0, 5, 5], [0, 0, 0, 0]]], "float32"),
        "scores": np.array([[0.5, 0.0]], "float32"),
        "labels": np.array([[1, 0]], "int32"),
    }
    one = pictures.stages_of(batch, outputs, 0)
    assert one.image.shape == (100, 200, 3)
    assert one.truth["boxes"].tolist() == [[20, 20, 40, 60]]
    assert len(one.proposals) == 1 and one.is_positive.tolist() == [True, False]
    assert one.found["labels"].tolist() == [1]


def test_anchors_that_learn_an_object():
    # Two anchors per cell; the sample has cells 1 and 3, and padding.
    anchors = np.arange(8 * 4).reshape(8, 4)

    class Generator:
        num_anchors = 2

        def __call__(self, height, width):
            return anchors, [8]

    y_class = np.array([[[1, 0, 1, 0], [1, 1, 0, 1], [0, 0, 0, 0]]], "float32")  # valid, then label
    targets = SimpleNamespace(cells=np.array([[1, 3, -1]]), y_class=y_class)
    batch = SimpleNamespace(images=np.zeros((1, 32, 32, 3)), targets=targets)
    assert pictures.positive_anchors(batch, 0, Generator()).tolist() == [
        anchors[2].tolist(),
        anchors[7].tolist(),
    ]
