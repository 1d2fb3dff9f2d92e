"""Colour, blur and JPEG against second implementations: Pillow, colorsys and a sum by hand."""

import colorsys
import io

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from frcnn.data.augmentation import photometric


@pytest.fixture(scope="module")
def image():
    rng = np.random.default_rng(0)
    return rng.integers(60, 190, (24, 31, 3), dtype="uint8")


def changed(image, **factors):
    """Return an image after one of the four changes."""
    mean = float((image @ photometric.GREY).mean())
    given = {"brightness": 1.0, "contrast": 1.0, "saturation": 1.0, "hue": 0.0} | factors
    matrix = photometric.colour_matrix(**given, mean_grey=mean)
    return image @ matrix[:, :3].T + matrix[:, 3]


@pytest.mark.parametrize(
    "name, enhance",
    [
        ("brightness", ImageEnhance.Brightness),
        ("contrast", ImageEnhance.Contrast),
        ("saturation", ImageEnhance.Color),
    ],
)
@pytest.mark.parametrize("factor", [0.6, 1.3])
def test_factors_are_pillows(image, name, enhance, factor):
    expected = np.asarray(enhance(Image.fromarray(image)).enhance(factor))
    np.testing.assert_allclose(changed(image, **{name: factor}), expected, atol=1.5)


def test_the_hue_turns_in_the_plane_of_yiq(image):
    turned = changed(image, hue=0.1)
    for before, after in zip(image.reshape(-1, 3)[:40], turned.reshape(-1, 3)):
        (y, i, q), (y2, i2, q2) = (colorsys.rgb_to_yiq(*(rgb / 255)) for rgb in (before, after))
        angle = 2 * np.pi * 0.1
        expected = (y, i * np.cos(angle) - q * np.sin(angle), i * np.sin(angle) + q * np.cos(angle))
        # colorsys rounds the coefficients to two digits.
        np.testing.assert_allclose((y2, i2, q2), expected, atol=0.015)
    grey = np.full((1, 1, 3), 77)
    np.testing.assert_allclose(changed(grey, hue=0.3), grey, atol=0.1)


def test_colours_are_drawn_within_the_strength(image):
    class Rng:
        def uniform(self, low, high, size=None):
            bounds.append((low, high))
            return np.ones(size) if size else 0.0

    bounds = []
    np.testing.assert_allclose(photometric.jitter_colour(image, 0.4, Rng()), image, atol=1)
    assert bounds == [(0.6, 1.4), (-0.4, 0.4)]


def test_blur_is_a_gaussian():
    point = np.zeros((41, 41, 3), "float32")
    point[20, 20] = 1000.0
    rng = np.random.default_rng(3)
    sigma = np.random.default_rng(3).uniform(0.0, 4.0)
    across = np.exp(-((np.arange(41) - 20.0) ** 2) / (2 * sigma**2))
    expected = 1000.0 * np.outer(across, across) / across.sum() ** 2
    np.testing.assert_allclose(photometric.blur(point, 4.0, rng)[..., 1], expected, atol=0.02)


def test_jpeg_is_what_pillow_decodes(image):
    smooth = np.asarray(Image.fromarray(image).resize((93, 72), Image.Resampling.BICUBIC))
    quality = int(np.random.default_rng(1).integers(40, 101))
    file = io.BytesIO()
    Image.fromarray(smooth).save(file, "JPEG", quality=quality)
    expected = np.asarray(Image.open(file)).astype(int)
    found = photometric.compress(smooth, 40, np.random.default_rng(1)).astype(int)
    assert np.abs(found - expected).mean() < 1 and np.abs(found - smooth).mean() > 0.5
