"""Pictures of stages: boxes in their group's colour at their place, a legend that counts them."""

import numpy as np

from frcnn.inspection import stages
from frcnn.inspection.stages import BoxGroup, Panel, picture

GREY = np.full((300, 400, 3), 128, np.uint8)


def where(image, colour):
    """Return the hull of the pixels of one colour, or None."""
    y, x = np.nonzero(np.all(image == colour, axis=-1))
    return (x.min(), y.min(), x.max() + 1, y.max() + 1) if len(x) else None


def image_part(pixels, left=0, top=20, height=300):
    return pixels[top : top + height, left : left + 400]


def test_boxes_are_drawn_in_the_colour_of_their_group():
    groups = [
        BoxGroup("hit", np.array([[100, 50, 200, 150]]), stages.RIGHT),
        BoxGroup("missed", np.array([[250, 60, 300, 90]]), stages.MISSED),
    ]
    drawn = image_part(picture(GREY, [Panel("detections", groups)]))
    assert where(drawn, stages.RIGHT) == (100, 50, 200, 150)
    assert where(drawn, stages.MISSED) == (250, 60, 300, 90)
    assert (drawn[100, 150] == 128).all()  # not filled


def test_boxes_shrink_with_the_image():
    large = np.full((600, 800, 3), 128, np.uint8)
    group = BoxGroup("object", np.array([[200, 100, 400, 300]]), stages.TRUTH)
    drawn = image_part(picture(large, [Panel("ground truth", [group])]))
    assert where(drawn, stages.TRUTH) == (100, 50, 200, 150)


def test_panels_stand_in_rows_and_an_empty_group_is_in_the_legend():
    group = BoxGroup("false alarm", np.zeros((0, 4)), stages.WRONG)
    drawn = picture(GREY, [Panel("one", [group])] * 3, "image 7")
    assert drawn.shape == (20 + 2 * 340 + stages.GAP, 2 * 400 + stages.GAP, 3)
    legend = drawn[20 + 320 : 20 + 340, :400]
    assert where(legend, stages.WRONG) is not None
    assert where(image_part(drawn, top=40), stages.WRONG) is None


def test_a_label_hides_no_other_label():
    boxes = np.array([[100, 100, 200, 200], [101, 101, 201, 201]])
    only = BoxGroup("hit", boxes[:1], stages.RIGHT, ["cat 0.90"])
    both = BoxGroup("hit", boxes, stages.RIGHT, ["cat 0.90", "dog 0.80"])
    one, two = (image_part(picture(GREY, [Panel("detections", [g])])) for g in (only, both))
    np.testing.assert_array_equal(one[:100], two[:100])  # the plate lies above the box
    assert (one[90:100, 100:160] != 128).any()


def test_a_narrow_image_and_long_names_fit():
    slim = np.full((400, 20, 3), 128, np.uint8)
    groups = [BoxGroup("a kind of box with a long name", np.array([[0, 0, 20, 30]]), stages.TRUTH)] * 3
    drawn = picture(slim, [Panel("a title that is far too long for such a panel " * 3, groups)])
    assert drawn.shape == (440, stages.MIN_WIDTH, 3)
    assert len(stages.short("a class of a very long name")) == stages.LABEL_LENGTH
