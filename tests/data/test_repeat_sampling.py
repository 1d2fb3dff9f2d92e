"""Repeat-factor sampling against the formula, worked by hand, and what the loader makes of it."""

import numpy as np
import pytest

from frcnn.config.augment_section import AugmentConfig
from frcnn.config.schema import DataConfig
from frcnn.data import repeats
from frcnn.data.loader import DataLoader
from frcnn.data.sample import Dataset, Sample

CONFIG = DataConfig(short_side=20, long_side=40, batch_size=3, repeat_threshold=0.5)


@pytest.fixture(scope="module")
def ten():
    """Return ten images: class 0 in all, class 1 in two, class 2 in one, and there marked difficult."""
    labels = [[0]] * 7 + [[0, 1], [0, 1], [0, 2]]
    rng, samples = np.random.default_rng(0), []
    for index, own in enumerate(labels):
        boxes = np.array([[1, 1, 9, 9]] * len(own), "float32")
        difficult = np.array(own) == 2
        pixels = rng.integers(0, 256, (20, 20, 3), dtype="uint8")
        given = (f"{index}", "", 20, 20, boxes, np.array(own, "int32"), difficult)
        samples.append(Sample(*given, pixels=pixels))
    return Dataset("ten", ("a", "b", "c"), tuple(samples))


def test_factors_are_the_formula_s(ten):
    expected = [1] * 7 + [np.sqrt(0.5 / 0.2)] * 2 + [1]
    np.testing.assert_allclose(repeats.repeat_factors(ten, 0.5), expected)
    np.testing.assert_array_equal(repeats.repeat_factors(ten, 0.1), np.ones(10))


def test_images_come_as_often_as_their_factors():
    factors = np.array([1.0, 2.3, 1.0, 1.7, 3.0])
    draws = [repeats.repeated(factors, np.random.default_rng(seed)) for seed in range(2000)]
    counts = np.array([np.bincount(draw, minlength=5) for draw in draws])
    assert set(counts.sum(axis=1)) == {9}
    np.testing.assert_allclose(counts.mean(axis=0), factors, atol=0.05)
    assert (counts >= np.floor(factors)).all() and (counts <= np.ceil(factors)).all()
    # In random order, not image by image.
    assert len({tuple(draw) for draw in draws}) > 1500


def test_the_sum_of_factors_is_rounded_to_whole_images():
    factors = np.array([1.0, 1.45, 1.3])
    assert {len(repeats.repeated(factors, np.random.default_rng(seed))) for seed in range(50)} == {4}


def test_repetitions_are_counted():
    found = repeats.repetitions(np.array([3, 1, 3, 3, 0, 1]))
    assert found.tolist() == [0, 0, 1, 2, 0, 1]


def everything(loader, number, first=0):
    batches = list(loader.epoch(number, first))
    fields = ("images", "gt_boxes", "indices", "position")
    return [np.asarray(getattr(batch, field)) for batch in batches for field in fields]


def same(one, other):
    return len(one) == len(other) and all(np.array_equal(a, b) for a, b in zip(one, other))


def test_the_loader_repeats_images_and_resumes_anywhere(ten):
    loader = DataLoader(ten, CONFIG, 8, seed=2, augment=AugmentConfig(colour=0.5))
    assert len(loader) == 4  # 8 + 2 * 1.58 images are 11
    whole = everything(loader, 3)
    assert same(everything(loader, 3, 2), whole[2 * 4 :])
    indices = np.concatenate(whole[2::4])
    assert len(indices) == 11 and set(range(10)) <= set(indices)
    # An image that comes again is changed anew.
    (again,) = (index for index in range(10) if (indices == index).sum() == 2)
    pairs = [pair for batch in loader.epoch(3) for pair in zip(batch.images, batch.indices)]
    images = [image for image, index in pairs if index == again]
    assert len(images) == 2 and not np.array_equal(*images)


def test_without_rare_classes_and_in_validation_nothing_changes(ten):
    off = CONFIG.replace(repeat_threshold=0)
    rare = CONFIG.replace(repeat_threshold=0.1)
    plain = everything(DataLoader(ten, off, 8, seed=2), 3)
    assert len(np.concatenate(plain[2::4])) == 10
    drawn = everything(DataLoader(ten, rare, 8, seed=2), 3)
    assert sorted(np.concatenate(drawn[2::4])) == list(range(10))
    validation = [everything(DataLoader(ten, config, 8, training=False), 0) for config in (off, CONFIG)]
    assert same(*validation)
