"""Colour, blur and JPEG compression of an image. They leave the boxes as they are."""

from __future__ import annotations

import cv2
import numpy as np

GREY = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601 luma of red, green and blue
# From RGB to YIQ (NTSC): luma, and two axes of colour. A rotation of these two changes only the hue.
TO_YIQ = np.array([GREY, [0.599, -0.2773, -0.3217], [0.213, -0.5251, 0.3121]])
HUE_SHARE = 0.1  # change of the hue, in turns, for a strength of 1


def colour_matrix(
    brightness: float, contrast: float, saturation: float, hue: float, mean_grey: float
) -> np.ndarray:
    """Return the (3, 4) matrix that changes the colours of pixels (red, green, blue, 1).

    One matrix does all four changes, so that the pixels are rounded and clipped to 0 to 255 only once.

    Args:
        brightness: factor of all levels.
        contrast: factor of the distance from the image's mean grey.
        saturation: factor of the distance from each pixel's grey.
        hue: rotation of the colour about the grey axis of YIQ, in turns.
        mean_grey: mean luma of the image.
    """
    turn = 2 * np.pi * hue
    rotation = np.eye(3)
    rotation[1:, 1:] = [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]
    rotation[1:, 1:] *= saturation
    linear = brightness * contrast * (np.linalg.inv(TO_YIQ) @ rotation @ TO_YIQ)
    offset = np.full(3, brightness * (1.0 - contrast) * mean_grey)
    return np.column_stack([linear, offset])


def jitter_colour(image: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Change an (H, W, 3) image's brightness, contrast, saturation and hue at random.

    The first three are multiplied by factors that are uniform in [1 - strength, 1 + strength]. The
    rotation of the hue is uniform in +/- strength / 10 turns. A strength of 0.5 is similar to SSD's
    changes (Liu et al. 2016).
    """
    brightness, contrast, saturation = rng.uniform(1.0 - strength, 1.0 + strength, 3)
    hue = rng.uniform(-strength, strength) * HUE_SHARE
    mean = float(GREY @ cv2.mean(image)[:3])
    changed = cv2.transform(image, colour_matrix(brightness, contrast, saturation, hue, mean))
    return changed if image.dtype == np.uint8 else np.clip(changed, 0, 255)


def blur(image: np.ndarray, max_sigma: float, rng: np.random.Generator) -> np.ndarray:
    """Blur an (H, W, 3) image by a Gaussian with a sigma between 0 and ``max_sigma`` pixels."""
    # In OpenCV a sigma of 0 means "not given". A sigma of 0.001 changes nothing.
    return cv2.GaussianBlur(image, (0, 0), max(rng.uniform(0.0, max_sigma), 1e-3))


def compress(image: np.ndarray, min_quality: int, rng: np.random.Generator) -> np.ndarray:
    """Compress an (H, W, 3) image as JPEG of a quality from ``min_quality`` to 100, and decode it."""
    levels = image if image.dtype == np.uint8 else np.rint(image).astype("uint8")
    quality = int(rng.integers(min_quality, 101))
    _, content = cv2.imencode(".jpg", levels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    decoded = np.asarray(cv2.imdecode(content, cv2.IMREAD_COLOR))
    return decoded[..., ::-1].astype(image.dtype)
