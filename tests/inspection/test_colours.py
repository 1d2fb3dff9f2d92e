"""Colours of classes: the same always, and far enough apart to tell 80 of them."""

import cv2
import numpy as np

from frcnn.inspection.colours import COUNT, class_colour


def distances(count):
    """Return the CIELAB distance of each colour to the nearest other one."""
    colours = np.array([[class_colour(label) for label in range(count)]], "float32") / 255
    lab = cv2.cvtColor(colours, cv2.COLOR_RGB2Lab)[0]
    between = np.linalg.norm(lab[:, None] - lab[None], axis=2)
    return (between + 1e3 * np.eye(count)).min(axis=1)


def test_colours_stay_apart():
    # A difference of 2.3 can just be seen side by side; hues in golden-ratio steps come to 1.4 for 80.
    assert distances(80).min() > 15 and distances(20).min() > 35


def test_a_class_keeps_its_colour_and_they_begin_anew_after_all():
    assert class_colour(0) == (255, 26, 26) and class_colour(COUNT + 3) == class_colour(3)
    assert len({class_colour(label) for label in range(COUNT)}) == COUNT
