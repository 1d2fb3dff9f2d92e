"""Drawn boxes: where they are, in which colour, and that their text can be seen."""

import numpy as np
import pytest
from PIL import Image

from frcnn.inspection import fonts
from frcnn.inspection.colours import class_colour
from frcnn.inspection.draw import MIN_LONG_SIDE, draw

GREY = np.full((600, 800, 3), 128, np.uint8)


def where(image, wanted):
    """Return the hull of the pixels of one colour, or None."""
    y, x = np.nonzero(np.all(np.asarray(image) == wanted, axis=-1))
    return (x.min(), y.min(), x.max() + 1, y.max() + 1) if len(x) else None


def test_a_box_is_drawn_on_its_own_pixels():
    drawn = np.array(draw(GREY, [[100, 200, 300, 400]], [0], [0.9], ["cat"]))
    drawn[:200] = 0  # the plate with the text
    assert where(drawn, class_colour(0)) == (100, 200, 300, 400)
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
    plate = where(drawn, class_colour(0))
    assert plate[0] >= 0 and plate[1] >= 0 and plate[2] <= drawn.width
    assert plate[2] - plate[0] > 0.15 * drawn.width
    assert max(drawn.size) >= MIN_LONG_SIDE


def test_a_small_image_is_enlarged_by_a_whole_factor_with_its_boxes():
    drawn = draw(np.zeros((30, 40, 3)), [[10, 15, 20, 30]], [0], None, ["cat"])
    assert drawn.size == (600, 450)
    lower = np.array(drawn)
    lower[:240] = 0
    assert where(lower, class_colour(0)) == (150, 240, 300, 450)


def test_score_and_class_change_the_text():
    pictures = [
        draw(GREY, [[100, 200, 300, 400]], [0], [score], [name]).tobytes()
        for score, name in ((0.91, "cat"), (0.92, "cat"), (0.91, "dog"))
    ]
    assert len(set(pictures)) == 3


def covered(size, boxes, names, fill=(255, 255, 255)):
    """Return a drawn picture, and its mask of pixels that are no longer those of the ground."""
    drawn = np.asarray(draw(Image.new("RGB", size, fill), boxes, range(len(boxes)), None, names))
    return drawn, (drawn != fill).any(axis=2)


@pytest.mark.parametrize(
    "size, box",
    [
        ((6000, 60), (100, 5, 400, 55)),  # a panorama
        ((60, 6000), (5, 100, 55, 400)),
        ((640, 480), (300, 0, 340, 30)),  # small, and no room above
        ((640, 480), (600, 440, 640, 480)),
        ((6000, 4000), (3000, 2000, 3030, 2030)),  # tiny in a large image
    ],
)
def test_neither_label_nor_line_hides_the_object(size, box):
    _, mask = covered(size, [box], ["a long name"])
    x1, y1, x2, y2 = box
    assert mask[y1:y2, x1:x2].mean() < 0.5
    middle = mask[y1 + (y2 - y1) // 4 : y2 - (y2 - y1) // 4, x1 + (x2 - x1) // 4 : x2 - (x2 - x1) // 4]
    assert not middle.any()
    assert mask.sum() > 100  # but both can be seen


def test_a_label_does_not_cover_a_thin_picture():
    drawn, mask = covered((6000, 60), [(100, 5, 400, 55)], ["ship"])
    plate = mask.copy()
    plate[:, 95:405] = False
    rows, columns = np.nonzero(plate)
    assert 10 <= rows.max() + 1 - rows.min() <= 30 and columns.max() + 1 - columns.min() < 120
    assert drawn.shape == (60, 6000, 3)


def test_a_picture_of_a_few_rows_has_the_box_and_no_label():
    _, mask = covered((2000, 20), [(100, 2, 400, 18)], ["ship"])
    assert mask[:, 90:410].any()
    mask[:, 95:405] = False
    assert not mask.any()


def test_labels_cover_neither_each_other_nor_small_boxes():
    """Two boxes side by side, and a small object where the second's label would stand."""
    boxes = [(100, 200, 220, 320), (110, 205, 230, 325), (112, 190, 125, 199)]
    drawn, mask = covered((800, 600), boxes, ["first name", "second name", "third"])
    assert not mask[193:197, 115:122].any()
    assert not (drawn[193:197, 115:122] != 255).any()


def test_a_label_stands_inside_only_of_a_large_box():
    _, mask = covered((800, 600), [(0, 0, 800, 600)], ["all"])
    mask[:10], mask[-10:], mask[:, :10], mask[:, -10:] = False, False, False, False
    assert 0 < mask.mean() < 0.01


def test_a_name_wider_than_the_picture_is_cut():
    drawn, mask = covered((200, 800), [(0, 100, 200, 700)], ["name " * 60])
    mask[98:702] = False
    assert mask.any() and drawn.shape == (800, 200, 3)


def test_names_in_other_scripts_are_drawn_with_their_own_glyphs(monkeypatch):
    box = [[100, 200, 400, 400]]
    names = [
        "\u0441\u043e\u0431\u0430\u043a\u0430",
        "\u043a\u043e\u0448\u043a\u0430!",
        "\u03b3\u03ac\u03c4\u03b1 x",
    ]
    assert len({draw(GREY, box, [0], None, [name]).tobytes() for name in names}) == 3
    monkeypatch.setattr(fonts, "find_font", lambda character: None)
    escaped, written = (draw(GREY, box, [0], None, [name]) for name in ("\u732b", "U+732B"))
    assert escaped.tobytes() == written.tobytes()


def test_the_highest_score_is_on_top():
    box = [100, 200, 300, 400]
    drawn = draw(GREY, [box, box], [0, 1], [0.9, 0.2], ["cat", "dog"])
    assert drawn.getpixel((100, 300)) == class_colour(0)


def test_labels_in_a_crowd_are_smaller_and_leave_each_object_visible():
    x, y = np.meshgrid(np.arange(8) * 95 + 10, np.arange(6) * 95 + 20)
    boxes = np.stack([x, y, x + 60, y + 60], axis=-1).reshape(-1, 4)
    one, mask = covered((800, 600), boxes[:1], ["name"])
    many, crowd = covered((800, 600), boxes, ["name"] * 48)
    assert (one == class_colour(0)).all(axis=2).sum() > (many == class_colour(0)).all(axis=2).sum()
    for x1, y1, x2, y2 in boxes:
        assert crowd[y1 + 6 : y2 - 6, x1 + 6 : x2 - 6].mean() < 0.25


@pytest.mark.parametrize("boxes", [np.zeros((0, 4)), [[5, 5, 5, 5]], [[-50, -50, 9000, 9000]]])
def test_no_boxes_empty_boxes_and_boxes_out_of_the_image_are_no_trouble(boxes):
    count = len(boxes)
    drawn = draw(GREY, boxes, np.zeros(count, int), np.ones(count), ["cat"])
    assert drawn.size == (800, 600)


def test_a_grey_pillow_image_becomes_colour():
    assert draw(Image.new("L", (800, 600)), [], [], [], []).mode == "RGB"


def test_the_reported_case_has_legible_names_and_a_label_no_larger_than_a_thin_picture():
    """The case ``draw-labels``: names in three scripts, and a panorama of 60 rows."""
    names = ["chien \u00e0 poil", "\u732b", "\u0441\u043e\u0431\u0430\u043a\u0430"]
    boxes = [[10 + 200 * i, 60, 150 + 200 * i, 150] for i in range(3)]
    for index, name in enumerate(names):  # a glyph of its own, or its code point: no empty square
        text = fonts.Text(name, 20)
        assert text.width > 20 and all(
            fonts._has(path, one) for run, path in fonts.runs(name) for one in run
        )
        assert (
            where(
                draw(np.full((200, 600, 3), 220, np.uint8), boxes, range(3), None, names),
                class_colour(index),
            )
            is not None
        )
    drawn, mask = covered((6000, 60), [(100, 5, 400, 55)], ["ship"], (0, 0, 0))
    assert not mask[15:45, 110:390].any() and mask[:, 95:600].any() and drawn.shape == (60, 6000, 3)
