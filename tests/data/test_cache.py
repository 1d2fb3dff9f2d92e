"""The cache of resized images: it changes nothing but the time, and keeps to its bound."""

import concurrent.futures
import threading

import cv2
import numpy as np
import pytest

from frcnn.config.schema import Config, DataConfig
from frcnn.data import loader, transforms
from frcnn.data.cache import ImageCache
from frcnn.data.sample import Dataset, Sample
from frcnn.errors import ConfigError

CONFIG = DataConfig(short_side=24, long_side=64, batch_size=2, loader_threads=3)
MIB = 2**20


@pytest.fixture
def dataset(tmp_path):
    """Return nine images of noise, three sizes, a box each; the last names the first one's file."""
    rng, samples = np.random.default_rng(0), []
    for number in range(9):
        width, height = ((40, 30), (30, 40), (50, 20))[number % 8 % 3]
        path = tmp_path / f"{number % 8}.png"
        if not path.exists():
            cv2.imwrite(str(path), rng.integers(0, 256, (height, width, 3)).astype("uint8"))
        corner = rng.uniform(0, 10, 2)
        boxes = np.concatenate([corner, corner + 8])[None].astype("float32")
        labels, difficult = np.zeros(1, "int32"), np.zeros(1, bool)
        samples.append(Sample(str(number), str(path), width, height, boxes, labels, difficult))
    return Dataset("nine", ("thing",), tuple(samples))


def epochs(dataset, cache, count=3, config=CONFIG):
    batches = loader.DataLoader(dataset, config, 16, seed=3, cache=cache)
    return [batch for number in range(count) for batch in batches.epoch(number)]


def assert_equal(batches, others):
    assert len(batches) == len(others)
    for one, other in zip(batches, others):
        for name in ("images", "image_sizes", "gt_boxes", "gt_labels"):
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
        assert one.samples == other.samples


@pytest.mark.parametrize("uint8_images", [True, False])
@pytest.mark.parametrize("limit", [0, 5000, MIB])
def test_batches_are_the_same_with_and_without(dataset, limit, uint8_images):
    """Mirrored images among them, none of which is kept mirrored."""
    config = DataConfig(**{**CONFIG.__dict__, "uint8_images": uint8_images})
    cache = ImageCache(1)
    cache.limit = limit
    assert_equal(epochs(dataset, cache, config=config), epochs(dataset, None, config=config))
    assert cache.size <= limit and (len(cache) == 9) == (limit == MIB)


def test_what_is_kept_is_not_decoded_again(dataset, monkeypatch):
    loaded, load = [], transforms.load

    def noted(path, half=False):
        loaded.append(path)
        return load(path, half)

    monkeypatch.setattr(transforms, "load", noted)
    cache = ImageCache(1)
    epochs(dataset, cache, count=4)
    assert len(loaded) == 9 == len(cache)  # the file that is listed twice has two samples
    # Another pipeline, such as validation's, shares it.
    list(loader.DataLoader(dataset, CONFIG, 16, training=False, cache=cache).epoch())
    assert len(loaded) == 9
    epochs(dataset, ImageCache(0))
    assert len(loaded) == 9 + 27


def test_without_room_what_came_first_stays_and_the_rest_is_made_anew():
    cache, made = ImageCache(1), []
    a, b, c = (object() for _ in range(3))

    def make(name, size):
        def maker():
            made.append(name)
            return np.zeros(size, "uint8"), np.zeros((1, 4), "float32")

        return maker

    for _ in range(2):
        for key, name, size in ((a, "a", MIB // 2), (b, "b", MIB), (c, "c", MIB // 4)):
            image, _ = cache.get(key, make(name, size))
            assert len(image) == size
    # The box of each counts as well.
    assert made == ["a", "b", "c", "b"] and cache.size == MIB // 2 + MIB // 4 + 2 * 16
    assert cache.refused and cache.summary() == "cache: 2 images, 0.8 of 1 MiB, full"


def test_nobody_can_write_into_what_is_kept(dataset):
    cache = ImageCache(1)
    epochs(dataset, cache, count=1)
    image, boxes = cache.get(dataset.samples[0], None)
    for array in (image, boxes):
        with pytest.raises(ValueError, match="read-only"):
            array[:] = 0


def test_many_threads_keep_to_the_bound():
    """All ask at once for images of which eight fit, each asked for by several."""
    cache, samples, start = ImageCache(1), [object() for _ in range(40)], threading.Barrier(8)

    def ask(worker):
        start.wait()
        for sample in samples[worker:] + samples[:worker]:
            image, _ = cache.get(sample, lambda: (np.zeros(MIB // 8 - 16, "uint8"), np.zeros(4, "f4")))
            assert image.nbytes == MIB // 8 - 16
        return True

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        assert all(pool.map(ask, range(8)))
    assert len(cache) == 8 and cache.size == MIB


def test_the_setting_must_not_be_below_0():
    with pytest.raises(ConfigError, match="data.cache_mib must be a whole number from 0"):
        Config().replace({"data.cache_mib": -1})
