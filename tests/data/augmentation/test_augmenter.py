"""Boxes stay on their objects: each box is compared with a mask that goes through the same steps."""

import dataclasses
import itertools

import numpy as np
import pytest

from frcnn.config.augment_section import AugmentConfig
from frcnn.config.schema import DataConfig
from frcnn.data.augmentation.augmenter import Augmenter
from frcnn.data.augmentation.example import MIN_VISIBLE
from frcnn.data.loader import DataLoader
from frcnn.data.sample import Dataset, Sample

DATA = DataConfig(short_side=150, long_side=400)
ALONE = {
    "short_sides": {"short_sides": (100, 150, 220)},
    "scale_jitter": {"scale_jitter": (0.3, 2.0)},
    "crop": {"crop": 1.0},
    "vertical_flip": {"vertical_flip": 0.5},
    "rotation": {"rotation": 20.0},
    "shear": {"shear": 15.0},
    "mosaic": {"mosaic": 1.0},
    "colour": {"colour": 0.5},
    "blur": {"blur": 3.0},
    "jpeg_quality": {"jpeg_quality": 30},
}
TOGETHER = {key: value for one in ALONE.values() for key, value in one.items()}


def dataset(count=5, pixels=None):
    """Return images of several sizes with three boxes each, the last of them difficult."""
    rng = np.random.default_rng(7)
    samples = []
    for index in range(count):
        width, height = (int(side) for side in rng.integers(120, 300, 2))
        corners = rng.uniform(0, 0.6, (3, 2))
        ends = corners + rng.uniform(0.15, 0.4, (3, 2))
        boxes = np.round(np.concatenate([corners, ends], axis=1) * ([width, height] * 2))
        image = pixels[index] if pixels else rng.integers(0, 256, (height, width, 3), dtype="uint8")
        flags = np.array([False, False, True])
        labels = np.arange(3, dtype="int32") + 3 * index
        given = (f"{index}", "", width, height, boxes.astype("float32"), labels, flags)
        samples.append(Sample(*given, pixels=image))
    return Dataset("some", tuple(f"c{k}" for k in range(3 * count)), tuple(samples))


def augmented(images, settings, index, epoch, data=DATA, flip=True):
    made = Augmenter(images, data, AugmentConfig(**settings), seed=4, load=lambda sample: sample.pixels)
    return made(made.plan(index, epoch), flip)


def holds_an_image_twice(images, settings, index, epoch):
    plan = Augmenter(images, DATA, AugmentConfig(**settings), 4, None).plan(index, epoch)
    samples = [plan.sample, *(other.sample for other in plan.others)]
    return len(set(samples)) < len(samples)


def mask_hull(images, settings, index, epoch, label):
    """Return the hull of the mask of one box, which goes through the steps as an image, and its area."""
    pixels = []
    for sample in images.samples:
        image = np.zeros((sample.height, sample.width, 3), "uint8")
        for x1, y1, x2, y2 in sample.boxes[sample.labels == label].astype(int):
            image[y1:y2, x1:x2] = 255
        pixels.append(image)
    geometry = {key: value for key, value in settings.items() if key not in PHOTOMETRIC}
    samples = [dataclasses.replace(one, pixels=own) for one, own in zip(images.samples, pixels)]
    masked = dataclasses.replace(images, samples=tuple(samples))
    mask = augmented(masked, geometry, index, epoch).image
    y, x = np.nonzero((mask > 127).all(axis=2) & (mask[..., 0] == mask[..., 2]))
    if not len(x):
        return None, 0
    return np.array([x.min(), y.min(), x.max() + 1, y.max() + 1]), len(x)


CUTTING = ("scale_jitter", "crop", "mosaic", "together", "upright")
PHOTOMETRIC = ("colour", "blur", "jpeg_quality")


# A mosaic that cuts a rotated box keeps the hull of more than is left.
EXACT = ALONE | {
    "together": TOGETHER | {"mosaic": 0.0},
    "upright": TOGETHER | {"rotation": 0.0, "shear": 0.0},
}


@pytest.mark.parametrize("name", EXACT)
def test_each_box_is_the_hull_of_its_mask(name):
    settings = EXACT[name]
    images, compared, dropped = dataset(40 if settings.get("mosaic") else 5), 0, 0
    for index, epoch in itertools.product(range(5), range(4)):
        example = augmented(images, settings, index, epoch)
        height, width = example.image.shape[:2]
        assert (example.boxes >= 0).all() and (example.boxes[:, 2:] <= [width, height]).all()
        if holds_an_image_twice(images, settings, index, epoch):
            continue
        for box, label in zip(example.boxes, example.labels):
            hull, _ = mask_hull(images, settings, index, epoch, label)
            # A corner that is thinner than half a pixel is not in the mask.
            np.testing.assert_allclose(box, hull, atol=2.5 if "rotation" in settings else 1.1)
            compared += 1
        dropped += (
            len(images.samples[index].labels)
            - np.isin(images.samples[index].labels, example.labels).sum()
        )
    assert compared > 20 and (dropped > 0) == (name in CUTTING)


@pytest.mark.parametrize("settings", [{"crop": 1.0}, {"scale_jitter": (1.5, 3.0)}])
def test_only_slivers_are_dropped(settings):
    images, kept, dropped = dataset(), [], []
    for index, epoch in itertools.product(range(5), range(20)):
        made = Augmenter(images, DATA, AugmentConfig(**settings), 4, lambda sample: sample.pixels)
        plan = made.plan(index, epoch)
        sample, example = images.samples[index], made(plan, False)
        for label, box in zip(sample.labels, sample.boxes):
            _, area = mask_hull(images, settings, index, epoch, label)
            jitter = 1.0
            if "scale_jitter" in settings:  # its factor is the plan's next draw
                jitter = made.plan(index, epoch).rng.uniform(*settings["scale_jitter"])
            x1, y1, x2, y2 = plan.window
            scale = np.divide(plan.size, (x2 - x1, y2 - y1)).prod() * jitter**2
            share = area / (np.prod(box[2:] - box[:2]) * scale)
            (kept if label in example.labels else dropped).append(share)
    assert min(kept) > MIN_VISIBLE - 0.05 and max(dropped) < MIN_VISIBLE + 0.05
    assert len(kept) > 20 and len(dropped) > 20


def test_difficult_boxes_go_through_the_steps_and_the_loader_leaves_them_out():
    images = dataset()
    example = augmented(images, {"vertical_flip": 1.0}, 0, 0)
    assert example.difficult.tolist() == [False, False, True]
    loader = DataLoader(images, DATA, 8, augment=AugmentConfig(vertical_flip=1.0))
    labels = [batch.gt_labels[batch.gt_labels >= 0].tolist() for batch in loader.epoch()]
    assert sorted(sum(labels, [])) == [0, 1, 3, 4, 6, 7, 9, 10, 12, 13]


def everything(batches):
    """Return all arrays of batches in a list."""
    fields = ("images", "image_sizes", "gt_boxes", "gt_labels", "position")
    return [np.asarray(getattr(batch, field)) for batch in batches for field in fields]


def same(one, other):
    assert len(one) == len(other)
    return all(a.shape == b.shape and (a == b).all() for a, b in zip(one, other))


def test_a_resumed_epoch_gives_the_same_batches_with_any_number_of_threads():
    augment = AugmentConfig(**TOGETHER)
    images = dataset()

    def batches(epoch, first=0, **options):
        data = DATA.replace(batch_size=2, **options)
        return everything(DataLoader(images, data, 8, 5, augment=augment).epoch(epoch, first))

    whole = batches(3)
    assert same(batches(3, 1), whole[5:]) and same(batches(3, loader_threads=4, prefetch=1), whole)
    assert same(batches(3, cache_mib=50), whole)
    assert not same(batches(4), whole)


def test_without_settings_and_in_validation_nothing_changes():
    images = dataset()
    plain, off = (
        everything(DataLoader(images, DATA, 8, 5, **options).epoch(1))
        for options in ({}, {"augment": AugmentConfig()})
    )
    assert same(plain, off)
    augment = AugmentConfig(**TOGETHER)
    plain, validation = (
        everything(DataLoader(images, DATA, 8, 5, False, **options).epoch(1))
        for options in ({}, {"augment": augment})
    )
    assert same(plain, validation)


@pytest.mark.parametrize("name", [*ALONE, "together"])
@pytest.mark.parametrize("uint8", [True, False])
def test_each_setting_changes_images_and_keeps_their_type(name, uint8):
    images, data = dataset(), DATA.replace(uint8_images=uint8)
    settings = TOGETHER if name == "together" else ALONE[name]
    plain = [augmented(images, {}, 0, epoch, data).image for epoch in range(4)]
    changed = [augmented(images, settings, 0, epoch, data).image for epoch in range(4)]
    assert not all(a.shape == b.shape and (a == b).all() for a, b in zip(plain, changed))
    assert {image.dtype for image in changed} == {np.dtype("uint8" if uint8 else "float32")}
    assert all(image.min() >= 0 and image.max() <= 255 for image in changed)


def test_shares_of_a_batch_agree_on_its_shape_and_are_its_parts():
    images, augment = dataset(), AugmentConfig(**TOGETHER)
    (whole, *_), *shares = (
        list(
            DataLoader(
                images,
                DATA.replace(batch_size=size),
                8,
                5,
                share=share,
                augment=augment,
            ).epoch(2)
        )
        for size, share in ((4, (0, 1)), (2, (0, 2)), (2, (1, 2)))
    )
    first, second = (batches[0] for batches in shares)
    assert first.images.shape == second.images.shape and first.gt_boxes.shape == second.gt_boxes.shape
    np.testing.assert_array_equal(np.concatenate([first.images, second.images]), whole.images)
    np.testing.assert_array_equal(np.concatenate([first.gt_boxes, second.gt_boxes]), whole.gt_boxes)


def test_a_mosaic_leaves_a_quarter_empty_whose_image_is_damaged(tmp_path):
    images = dataset(4)
    samples = list(images.samples)
    (tmp_path / "broken.png").write_bytes(b"no image")
    samples[0] = dataclasses.replace(samples[0], pixels=None, path=str(tmp_path / "broken.png"))
    broken = dataclasses.replace(images, samples=tuple(samples))
    skipped = []
    loader = DataLoader(
        broken,
        DATA.replace(on_bad_data="skip"),
        8,
        on_skip=lambda *row: skipped.append(row[1]),
        augment=AugmentConfig(mosaic=1.0),
    )
    batches = [batch for epoch in range(5) for batch in loader.epoch(epoch)]
    assert skipped == ["0"] * 5 and len(batches) == 15
    labels = np.concatenate([batch.gt_labels.ravel() for batch in batches])
    assert not np.isin(labels, [0, 1, 2]).any()
