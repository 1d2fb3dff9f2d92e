"""The pipeline: the same batches for the same seed, and nothing lost between threads."""

import dataclasses
import itertools
import threading
import time

import cv2
import numpy as np
import pytest

from frcnn.config.schema import DataConfig
from frcnn.data import transforms
from frcnn.data.loader import DataLoader
from frcnn.data.sample import Dataset, Sample
from frcnn.errors import DataError

SIZE = (40, 30)  # width and height of the images


def a_sample(folder, name, boxes, difficult=None, weight=1.0):
    """Write an image that is white where its boxes are, and return its ``Sample``."""
    image = np.zeros((SIZE[1], SIZE[0], 3), "uint8")
    for x1, y1, x2, y2 in boxes:
        image[y1:y2, x1:x2] = 255
    cv2.imwrite(str(folder / f"{name}.png"), image)
    boxes = np.array(boxes, "float32").reshape(-1, 4)
    difficult = np.zeros(len(boxes), bool) if difficult is None else np.array(difficult)
    labels = np.arange(len(boxes), dtype="int32")
    return Sample(name, str(folder / f"{name}.png"), *SIZE, boxes, labels, difficult, weight)


@pytest.fixture
def ten(tmp_path):
    """Return a data set of ten images; image k has a box of k + 2 pixels a side, left of the middle."""
    samples = [a_sample(tmp_path, f"{k}", [(1, 2, k + 3, k + 4)]) for k in range(10)]
    return Dataset("ten", ("thing",), tuple(samples))


def pipeline(dataset, training=True, seed=0, make_targets=None, multiple=8, **config):
    settings = {"short_side": 30, "long_side": 60, "batch_size": 3, "flip": 0.5} | config
    return DataLoader(dataset, DataConfig(**settings), multiple, seed, training, make_targets)


def test_large_jpegs_are_decoded_at_half_their_size_if_asked_to(tmp_path, monkeypatch):
    image = np.full((90, 120, 3), 200, "uint8")
    image[30:60, 30:90] = 20
    cv2.imwrite(str(tmp_path / "a.jpg"), image)
    boxes = np.array([[30, 30, 90, 60]], "float32")
    one = np.zeros(1, "int32")
    dataset = Dataset(
        "one", ("a",), (Sample("a", str(tmp_path / "a.jpg"), 120, 90, boxes, one, one > 0),)
    )
    decoded, load = [], transforms.load

    def noted(path, half=False):
        decoded.append(load(path, half).shape)
        return load(path, half)

    monkeypatch.setattr(transforms, "load", noted)
    whole, half, large = (
        next(pipeline(dataset, training=False, half_jpeg=halves, short_side=side, long_side=200).epoch())
        for halves, side in ((False, 30), (True, 30), (True, 50))
    )
    assert decoded == [(90, 120, 3), (45, 60, 3), (90, 120, 3)]  # the last shrinks by less than two
    np.testing.assert_array_equal(half.gt_boxes, whole.gt_boxes)
    np.testing.assert_array_equal(half.image_sizes, whole.image_sizes)
    assert np.abs(half.images.astype(int) - whole.images).mean() < 2
    np.testing.assert_allclose(large.gt_boxes[0, 0], boxes[0] * 50 / 90, atol=0.5)


def names(batches):
    return [sample.name for batch in batches for sample in batch.samples]


def assert_equal(batches, others):
    assert len(batches) == len(others)
    for one, other in zip(batches, others):
        for field in dataclasses.fields(one):
            if field.name != "samples":
                np.testing.assert_array_equal(getattr(one, field.name), getattr(other, field.name))
        assert names([one]) == names([other])


def noise(batch, generators):
    """Return random targets, after a delay that changes the order in which batches are ready."""
    time.sleep(0.02 * (int(batch.samples[0].name) % 3))
    return np.stack([generator.random(4) for generator in generators])


# Order and random numbers.


def test_the_same_seed_gives_the_same_batches_with_any_number_of_threads(ten):
    runs = [
        list(pipeline(ten, make_targets=noise, loader_threads=workers, prefetch=prefetch).epoch(2))
        for workers, prefetch in ((1, 1), (4, 8), (3, 1))
    ]
    assert_equal(runs[0], runs[1])
    assert_equal(runs[0], runs[2])


def test_another_seed_or_epoch_gives_another_order(ten):
    first, later = (list(pipeline(ten).epoch(number)) for number in (0, 1))
    other = list(pipeline(ten, seed=1).epoch(0))
    orders = {tuple(names(batches)) for batches in (first, later, other)}
    assert len(orders) == 3
    assert tuple(map(str, range(10))) not in orders
    for batches in (first, later, other):
        assert sorted(names(batches)) == sorted(map(str, range(10)))


def test_an_epoch_can_be_had_again_and_out_of_turn(ten):
    one = pipeline(ten)
    third = list(one.epoch(3))
    list(one.epoch(0))
    assert_equal(list(one.epoch(3)), third)


def test_mirroring_differs_from_epoch_to_epoch(ten):
    ways = [
        {
            sample.name: tuple(box[0])
            for batch in pipeline(ten).epoch(number)
            for sample, box in zip(batch.samples, batch.gt_boxes)
        }
        for number in range(12)
    ]
    assert all(len({way[name] for way in ways}) == 2 for name in map(str, range(10)))


def test_the_last_batch_has_what_is_left(ten):
    one = pipeline(ten)
    assert [len(batch.samples) for batch in one.epoch()] == [3, 3, 3, 1] and len(one) == 4
    assert len(pipeline(ten, batch_size=5)) == 2 and len(pipeline(ten, batch_size=16)) == 1


def test_validation_keeps_the_order_and_mirrors_nothing(ten):
    batches = list(pipeline(ten, training=False, flip=1.0).epoch(5))
    assert names(batches) == [str(k) for k in range(10)]
    np.testing.assert_array_equal(batches[0].gt_boxes[2, 0], [1, 2, 5, 6])


# What a batch holds.


@pytest.mark.parametrize("flip", [0.0, 1.0])
def test_boxes_lie_where_the_pixels_are(ten, flip):
    seen = 0
    for batch in pipeline(ten, flip=flip).epoch():
        for image, boxes, labels, (height, width) in zip(
            batch.images, batch.gt_boxes, batch.gt_labels, batch.image_sizes
        ):
            y, x = np.nonzero(image[: int(height), : int(width), 0] > 127)
            np.testing.assert_array_equal(boxes[0], [x.min(), y.min(), x.max() + 1, y.max() + 1])
            assert (x.min() > SIZE[0] / 2) == (flip == 1.0)
            assert labels[0] == 0 and (labels[1:] == -1).all() and (boxes[1:] == 0).all()
            seen += 1
    assert seen == 10


def test_shapes_types_and_sizes(ten):
    batch = next(pipeline(ten, short_side=45, long_side=90, multiple=16).epoch())
    assert batch.images.shape == (3, 48, 64, 3) and batch.images.dtype == "uint8"
    assert batch.image_sizes.tolist() == [[45, 60]] * 3 and batch.image_sizes.dtype == "float32"
    assert batch.gt_boxes.shape[0] == 3 and batch.gt_boxes.shape[2] == 4
    assert batch.gt_boxes.dtype == "float32" and batch.gt_labels.dtype == "int32"
    assert batch.gt_labels.shape == batch.gt_boxes.shape[:2]
    assert batch.weights.tolist() == [1, 1, 1] and batch.weights.dtype == "float32"
    # Resized by 1.5, so are the boxes.
    place = batch.samples[0]
    x1, x2 = 1.5 * place.boxes[0, 0], 1.5 * place.boxes[0, 2]
    assert batch.gt_boxes[0, 0, 0] in (x1, 60 - x2)


def test_images_keep_their_fractions_if_asked_to(ten):
    options = {"training": False, "short_side": 45, "long_side": 90}
    whole = next(pipeline(ten, **options).epoch()).images
    kept = next(pipeline(ten, **options, uint8_images=False).epoch()).images
    assert kept.dtype == "float32" and kept.shape == whole.shape
    assert 0.1 < np.abs(kept - whole).max() < 0.501


def test_images_without_objects_and_difficult_ones_are_background(tmp_path):
    samples = (
        a_sample(tmp_path, "empty", []),
        a_sample(tmp_path, "hard", [(1, 1, 9, 9)], difficult=[True]),
        a_sample(tmp_path, "mixed", [(1, 1, 9, 9), (5, 5, 20, 20)], difficult=[True, False], weight=0.5),
    )
    dataset = Dataset("some", ("a", "b"), samples)
    batch = next(pipeline(dataset, training=False).epoch())
    assert (batch.gt_labels[:2] == -1).all() and (batch.gt_boxes[:2] == 0).all()
    assert batch.gt_labels[2].tolist().count(-1) == batch.gt_labels.shape[1] - 1
    np.testing.assert_array_equal(batch.gt_boxes[2, 0], [5, 5, 20, 20])
    assert batch.gt_labels[2, 0] == 1
    assert batch.weights.tolist() == [1.0, 1.0, 0.5]
    # AP needs the difficult ones, in the file's pixels.
    assert len(batch.samples[2].boxes) == 2


def test_more_boxes_than_usual_are_all_there(tmp_path):
    boxes = [(k, 0, k + 3, 5) for k in range(21)]
    dataset = Dataset("crowd", ("a",) * 21, (a_sample(tmp_path, "crowd", boxes),))
    batch = next(pipeline(dataset, training=False).epoch())
    assert (batch.gt_labels >= 0).sum() == 21
    np.testing.assert_array_equal(batch.gt_boxes[0, :21], np.array(boxes, "float32"))


def test_targets_are_made_of_the_batch_and_its_generators(ten):
    def targets(batch, generators):
        return batch.gt_boxes.sum(), generators[0].random()

    one = pipeline(ten, make_targets=targets)
    batches = [*one.epoch(0), *one.epoch(1)]
    assert all(batch.targets[0] == batch.gt_boxes.sum() for batch in batches)
    assert len({batch.targets[1] for batch in batches}) == len(batches)


# Threads.


def test_a_fault_is_raised_with_the_name_of_the_file(ten):
    path = ten.samples[4].path
    with open(path, "wb") as file:
        file.write(b"no longer an image")
    for workers in (1, 3):
        with pytest.raises(DataError, match=path):
            list(pipeline(ten, training=False, loader_threads=workers).epoch())


def test_an_error_in_a_thread_is_raised_at_its_batch(ten):
    def targets(batch, generators):
        if batch.samples[0].name == "6":
            raise ZeroDivisionError("in a thread")
        return ()

    batches = pipeline(ten, training=False, make_targets=targets).epoch()
    assert len(list(itertools.islice(batches, 2))) == 2
    with pytest.raises(ZeroDivisionError, match="in a thread"):
        next(batches)


def test_stopping_early_ends_the_threads(ten):
    before = threading.active_count()
    batches = pipeline(ten, loader_threads=4, make_targets=noise).epoch()
    next(batches)
    assert threading.active_count() > before
    batches.close()
    assert threading.active_count() == before


def test_work_is_done_ahead_but_only_so_far(ten):
    made, enough = [], threading.Semaphore(0)

    def targets(batch, generators):
        made.append(batch)
        enough.release()
        return ()

    batches = pipeline(ten, batch_size=1, loader_threads=2, prefetch=3, make_targets=targets).epoch()
    next(batches)
    for _ in range(4):  # the one we have and three ahead, without being asked
        assert enough.acquire(timeout=10)
    time.sleep(0.1)
    assert len(made) == 4
    batches.close()
