"""Colours of classes that can be told apart: each has the largest distance from all before it.

Glasbey et al. 2007, "Colour displays for categorical images". Distances are Euclidean in CIELAB.
Palettes with equal steps of hue have many greens that look alike.
"""

from __future__ import annotations

import functools

import cv2
import numpy as np

Colour = tuple[int, int, int]
COUNT = 256  # colours before they repeat
FIRST = (255, 26, 26)
LIGHTNESS = (40.0, 92.0)  # L* from 0 to 100: visible on dark and on light images
CHROMA = 30.0  # least distance from grey


def class_colour(label: int) -> Colour:
    """Return a class's (red, green, blue) in [0, 255], the same in every image and run."""
    return _palette()[label % COUNT]


@functools.cache
def _palette() -> list[Colour]:
    levels = np.linspace(0, 1, 18, dtype="float32")
    grid = np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), axis=-1).reshape(1, -1, 3)
    grid = np.concatenate([np.array([[FIRST]], "float32") / 255, grid], axis=1)
    lab = cv2.cvtColor(grid, cv2.COLOR_RGB2Lab)[0]
    fits = (lab[:, 0] >= LIGHTNESS[0]) & (lab[:, 0] <= LIGHTNESS[1])
    fits &= np.hypot(lab[:, 1], lab[:, 2]) >= CHROMA
    lab, colours = lab[fits], np.rint(grid[0][fits] * 255).astype(int)
    chosen, distance = [0], np.full(len(lab), np.inf)
    while len(chosen) < COUNT:
        distance = np.minimum(distance, np.linalg.norm(lab - lab[chosen[-1]], axis=1))
        chosen.append(int(distance.argmax()))
    return [(int(red), int(green), int(blue)) for red, green, blue in colours[chosen]]
