"""Random changes of images with oriented boxes: each box fits the mask of its object, warped alike."""

import dataclasses
import itertools

import numpy as np
import pytest

from frcnn.config.augment_section import AugmentConfig
from frcnn.config.schema import DataConfig
from frcnn.data import oriented
from frcnn.data.augmentation.augmenter import Augmenter
from frcnn.data.loader import DataLoader
from frcnn.data.sample import Dataset, Sample

DATA = DataConfig(short_side=180, long_side=400)
SETTINGS = {
    "short_sides": {"short_sides": (120, 180, 240)},
    "scale_jitter": {"scale_jitter": (0.4, 2.0)},
    "crop": {"crop": 1.0},
    "vertical_flip": {"vertical_flip": 0.5},
    "rotation": {"rotation": 180.0},
    "mosaic": {"mosaic": 1.0},
}
SETTINGS["together"] = {key: value for one in SETTINGS.values() for key, value in one.items()}
SETTINGS["together"]["mosaic"] = 0.0
CUTTING = ("scale_jitter", "crop", "mosaic", "together")


def dataset(count):
    """Return images with two turned boxes each, all of them inside."""
    rng = np.random.default_rng(3)
    samples = []
    for index in range(count):
        width, height = (int(side) for side in rng.integers(160, 300, 2))
        centres = rng.uniform(0.3, 0.7, (2, 2)) * [width, height]
        boxes = np.column_stack([centres, rng.uniform(14, 60, (2, 2)), rng.uniform(-3, 3, 2)])
        boxes = boxes.astype("float32")
        labels = np.arange(2, dtype="int32") + 2 * index
        image = np.zeros((height, width, 3), "uint8")
        given = (f"{index}", "", width, height, oriented.outer(boxes), labels, np.zeros(2, bool))
        samples.append(Sample(*given, pixels=image, oriented=boxes))
    return Dataset("some", tuple(f"c{k}" for k in range(2 * count)), tuple(samples))


def augmented(images, settings, index, epoch):
    load = lambda sample: sample.pixels  # noqa: E731
    made = Augmenter(images, DATA, AugmentConfig(**settings), 4, load, "oriented")
    plan = made.plan(index, epoch)
    samples = [plan.sample, *(other.sample for other in plan.others)]
    return made(plan, epoch % 2 == 1), len(set(samples)) < len(samples)


def mask_points(images, settings, index, epoch, label):
    """Return the centres (P, 2) of the pixels of one object, drawn as an image and changed alike."""
    samples = []
    for sample in images.samples:
        image = np.zeros_like(sample.pixels)
        for box in sample.oriented[sample.labels == label]:
            centres = np.stack(np.meshgrid(*map(np.arange, image.shape[1::-1])), axis=-1) + 0.5
            image[(np.abs(in_frame(box, centres)) <= box[2:4] / 2).all(axis=-1)] = 255
        samples.append(dataclasses.replace(sample, pixels=image))
    masked = dataclasses.replace(images, samples=tuple(samples))
    mask = augmented(masked, settings, index, epoch)[0].image
    y, x = np.nonzero((mask > 127).all(axis=2) & (mask[..., 0] == mask[..., 2]))
    return np.stack([x, y], axis=1) + 0.5


def in_frame(box, points):
    """Return points (..., 2) along the sides of an oriented box, from its centre."""
    cos, sin = np.cos(box[4]), np.sin(box[4])
    return (points - box[:2]) @ np.array([[cos, -sin], [sin, cos]])


@pytest.mark.parametrize("name", SETTINGS)
def test_each_box_is_the_smallest_of_its_angle_around_its_mask(name):
    settings = SETTINGS[name]
    images, compared, dropped = dataset(30 if name == "mosaic" else 6), 0, 0
    for index, epoch in itertools.product(range(6), range(5)):
        example, has_twins = augmented(images, settings, index, epoch)
        if has_twins:
            continue
        for box, label in zip(example.boxes, example.labels):
            points = in_frame(box, mask_points(images, settings, index, epoch, label))
            extents = [*-points.min(axis=0), *points.max(axis=0)]
            expected = [*(box[2:4] / 2), *(box[2:4] / 2)]
            # A corner or edge that is thinner than half a pixel is not in the mask.
            np.testing.assert_allclose(extents, expected, atol=2.5)
            compared += 1
        dropped += (~np.isin(images.samples[index].labels, example.labels)).sum()
    assert compared > 30 and (dropped > 0) == (name in CUTTING)


def test_a_sheared_box_holds_its_mask():
    images, filled = dataset(6), []
    for index, epoch in itertools.product(range(6), range(4)):
        example, _ = augmented(images, {"shear": 15.0}, index, epoch)
        for box, label in zip(example.boxes, example.labels):
            points = in_frame(box, mask_points(images, {"shear": 15.0}, index, epoch, label))
            assert (np.abs(points) <= box[2:4] / 2 + 1).all()
            filled.append(len(points) / np.prod(box[2:4]))
    assert len(filled) > 40 and 0.7 < np.mean(filled) < 1.0


def test_a_cut_is_that_of_axis_aligned_boxes_without_angle():
    boxes = np.array([[-5, 2, 20, 9], [3, 4, 8, 9], [30, 5, 50, 18], [60, 1, 70, 9]], "float32")
    window = (0, 3, 40, 15)
    turned, shares = oriented.clip(oriented.from_axis_aligned(boxes), window)
    clipped = np.clip(boxes, [0, 3, 0, 3], [40, 15, 40, 15])
    np.testing.assert_allclose(oriented.upright(turned)[:3], clipped[:3], atol=1e-5)
    areas = [np.prod(own[:, 2:] - own[:, :2], axis=1) for own in (clipped, boxes)]
    np.testing.assert_allclose(shares, areas[0] / areas[1], atol=1e-6)


def test_a_second_cut_changes_nothing():
    rng = np.random.default_rng(0)
    boxes = np.column_stack([rng.uniform(-10, 110, (200, 2)), rng.uniform(5, 60, (200, 2))])
    boxes = np.column_stack([boxes, rng.uniform(-3, 3, 200)]).astype("float32")
    once, shares = oriented.clip(boxes, (0, 0, 100, 80))
    inside = shares > 0.05
    twice, again = oriented.clip(once[inside], (0, 0, 100, 80))
    np.testing.assert_allclose(twice, once[inside], atol=1e-3)
    np.testing.assert_allclose(again, 1, atol=1e-3)
    assert inside.sum() > 100 and (shares[inside] < 0.99).sum() > 40


def test_the_loader_gives_oriented_boxes():
    augment = AugmentConfig(**SETTINGS["together"])
    loader = DataLoader(dataset(4), DATA, 8, 5, augment=augment, box_kind="oriented")
    for batch in loader.epoch(1):
        assert batch.gt_boxes.shape[-1] == 5 and np.isfinite(batch.gt_boxes).all()
