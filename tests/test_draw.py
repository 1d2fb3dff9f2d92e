"""Drawn boxes: where they are, in which colour, and that their text can be seen."""

import numpy as np
import pytest
from PIL import Image

from frcnn.draw import MIN_LONG_SIDE, colour, draw

GREY = np.full((600, 800, 3), 128, np.uint8)


def where(image, wanted):
    """Return the hull of the pixels of one colour, or None."""
    y, x = np.nonzero(np.all(np.asarray(image) == wanted, axis=-1))
    return (x.min(), y.min(), x.max() + 1, y.max() + 1) if len(x) else None


def test_a_box_is_drawn_on_its_own_pixels():
    drawn = np.array(draw(GREY, [[100, 200, 300, 400]], [0], [0.9], ["cat"]))
    drawn[:200] = 0  # the plate with the text
    assert where(drawn, colour(0)) == (100, 200, 300, 400)
    np.testing.assert_array_equal(drawn[300, 200], GREY[300, 200])  # not filled


def test_the_image_that_is_handed_in_stays_as_it_is():
    image = Image.fromarray(GREY)
    draw(image, [[100, 200, 300, 400]], [0], [0.9], ["cat"])
    np.testing.assert_array_equal(image, GREY)


@pytest.mark.parametrize("size", [(40, 30), (600, 800), (3000, 2000)])
def test_text_is_within_the_image_and_grows_with_it(size):
    width, height = size
    image = Image.new("RGB", size)
    corner = [[0.9 * width, 0, width, 0.1 * height]]
    drawn = draw(image, corner, [0], None, ["a class of a long name"])
    plate = where(drawn, colour(0))
    assert plate[0] >= 0 and plate[1] >= 0 and plate[2] <= drawn.width
    assert plate[2] - plate[0] > 0.15 * drawn.width
    assert max(drawn.size) >= MIN_LONG_SIDE


def test_a_small_image_is_enlarged_by_a_whole_factor_with_its_boxes():
    drawn = draw(np.zeros((30, 40, 3)), [[10, 15, 20, 30]], [0], None, ["cat"])
    assert drawn.size == (600, 450)
    lower = np.array(drawn)
    lower[:240] = 0
    assert where(lower, colour(0)) == (150, 240, 300, 450)


def test_score_and_class_change_the_text():
    pictures = [
        draw(GREY, [[100, 200, 300, 400]], [0], [score], [name]).tobytes()
        for score, name in ((0.91, "cat"), (0.92, "cat"), (0.91, "dog"))
    ]
    assert len(set(pictures)) == 3


def test_the_highest_score_is_on_top():
    box = [100, 200, 300, 400]
    drawn = draw(GREY, [box, box], [0, 1], [0.9, 0.2], ["cat", "dog"])
    assert drawn.getpixel((100, 300)) == colour(0)


def test_a_class_keeps_its_colour_and_no_two_of_eighty_share_one():
    colours = [colour(label) for label in range(80)]
    assert colours == [colour(label) for label in range(80)] and len(set(colours)) == 80


@pytest.mark.parametrize("boxes", [np.zeros((0, 4)), [[5, 5, 5, 5]], [[-50, -50, 9000, 9000]]])
def test_no_boxes_empty_boxes_and_boxes_out_of_the_image_are_no_trouble(boxes):
    count = len(boxes)
    drawn = draw(GREY, boxes, np.zeros(count, int), np.ones(count), ["cat"])
    assert drawn.size == (800, 600)


def test_a_grey_pillow_image_becomes_colour():
    assert draw(Image.new("L", (800, 600)), [], [], [], []).mode == "RGB"
