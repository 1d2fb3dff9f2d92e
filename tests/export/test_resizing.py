"""Resizing inside an exported file against resizing outside."""

import numpy as np
import pytest
import tensorflow as tf
from export.export_files import FILES, skip_without

from frcnn.config.schema import DataConfig
from frcnn.data import transforms
from frcnn.data.transforms import load
from frcnn.detector import Detector
from frcnn.export import exporter, reference, resizing
from frcnn.export.formats import FORMATS

NO_BOXES = np.zeros((0, 4), "float32")


def smooth_image(height, width, seed=0):
    """Return a (height, width, 3) uint8 image without noise, as photographs are."""
    rng = np.random.default_rng(seed)
    coarse = tf.image.resize(rng.uniform(0, 255, (7, 9, 3)), (height, width), "bicubic")
    return np.clip(np.rint(coarse), 0, 255).astype("uint8")


@pytest.mark.parametrize("rounding", ["nearest", "down"])
@pytest.mark.parametrize("interpolation", ["area", "bilinear"])
@pytest.mark.parametrize("uint8", [True, False])
@pytest.mark.parametrize("height, width", [(50, 37), (80, 120), (333, 251), (200, 500), (640, 480)])
def test_it_resizes_and_pads_as_training_does(height, width, uint8, interpolation, rounding):
    config = DataConfig(
        short_side=80,
        long_side=120,
        uint8_images=uint8,
        interpolation=interpolation,
        size_rounding=rounding,
    )
    image = smooth_image(height, width)
    resized, _ = transforms.resize(image, NO_BOXES, config)
    expected = transforms.pad([resized], 32)
    given = tf.function(lambda x: resizing.resize(x, config, 32, None))
    found, size = given(image[None])
    assert size.numpy().tolist() == list(resized.shape[:2])
    # OpenCV's bilinear weights of whole numbers have 11 bits.
    np.testing.assert_allclose(found, expected, atol=1.0 if uint8 else 0.01)
    is_linear = interpolation == "bilinear" or height < 80 or width < 80
    assert not uint8 or np.mean(found != expected) < (0.2 if is_linear else 0.01)


@pytest.mark.parametrize("height, width", [(100, 50), (50, 100), (90, 300), (20, 30)])
def test_an_image_is_shrunk_into_the_room(height, width):
    config, room = DataConfig(short_side=80, long_side=120), (96, 128)
    size, shrinks = resizing.fitted_size(width, height, config, room)
    image = smooth_image(height, width)
    resized, _ = transforms.resize_to(image, NO_BOXES, size, config, shrinks)
    found, new = resizing.resize(image[None], config, 32, room)
    assert new.numpy().tolist() == [size[1], size[0]] and size[1] <= 96 and size[0] <= 128
    np.testing.assert_allclose(found, transforms.pad([resized], 32, [room]), atol=1.0)


def test_halves_are_rounded_up_whatever_the_order_of_the_sum():
    config = DataConfig(short_side=10, long_side=40)
    image = np.zeros((100, 400, 3), "uint8")
    image[::10, ::2] = 50 * np.arange(1, 4)  # each mean of 10x10 pixels is 2.5, 5 or 7.5
    found, _ = resizing.resize(image[None], config, 2, None)
    assert (found.numpy() == [3, 5, 8]).all()


def test_pixels_and_sizes_of_two_ways_to_resize_are_compared():
    images = [smooth_image(30, 40), smooth_image(40, 30)]

    def whole(images):
        return images, images.shape[2:0:-1]

    def brighter(images):
        return images + np.float32(0.5) * (images.shape[1] == 40), images.shape[2:0:-1]

    assert reference.pixel_error(whole, whole, images) == 0.0
    assert reference.pixel_error(whole, brighter, images) == 0.5
    assert reference.pixel_error(whole, lambda images: (images, (40, 30)), images) == float("inf")


def test_a_file_that_resizes_otherwise_is_refused(detector, photos, tmp_path, monkeypatch):
    monkeypatch.setattr(resizing, "HALF_UP", 2.0)
    report, path = exporter.export(detector, "saved_model", tmp_path / "d", photos, resizes=True)
    assert "resizes images otherwise than frcnn does: pixels differ by" in "".join(report.faults())
    assert path.name == "d.disagrees"


@pytest.mark.parametrize("name", list(FORMATS))
def test_a_file_that_resizes_finds_the_same(detector, photos, tmp_path, name):
    skip_without(name)
    report, path = exporter.export(detector, name, tmp_path / FILES[name], photos, resizes=True)
    assert not report.faults() and report.agreement.detections > 40 and report.pixel_error <= 1.0
    assert report.description.inputs == ("images",)
    # An image that fits into the room is resized as by the detector itself.
    image = smooth_image(160, 240)
    (own,), (found,) = detector.predict(image), Detector.load(path).predict(image)
    assert len(found["scores"]) == pytest.approx(len(own["scores"]), abs=1)
    np.testing.assert_allclose(found["scores"][:5], own["scores"][:5], atol=1e-3)
    np.testing.assert_allclose(found["boxes"][:5], own["boxes"][:5], atol=0.5)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["onnx", "saved_model"])
def test_a_file_that_resizes_may_have_an_open_size(detector, photos, tmp_path, name):
    skip_without(name)
    options = {"dynamic": True, "resizes": True}
    report, path = exporter.export(detector, name, tmp_path / FILES[name], photos, **options)
    assert not report.faults()
    image = load(photos[0])
    (tall,) = Detector.load(path).predict(np.concatenate([image] * 3))
    assert tall["boxes"][:, 3].max() > image.shape[0]
