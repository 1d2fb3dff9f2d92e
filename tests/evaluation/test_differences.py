"""What detectors find, miss and invent on an image."""

from support import found, truth

from frcnn.evaluation.differences import differing_images, outcome

CAT, DOG = 0, 1
LEFT, RIGHT, FAR = [0, 0, 10, 10], [50, 0, 60, 10], [200, 0, 210, 10]


def test_an_outcome_by_hand():
    one = outcome(
        found([LEFT, RIGHT, FAR], None, [CAT, CAT, CAT]), truth([LEFT, RIGHT], [CAT, DOG]), 0.0, 0.5
    )
    assert one.is_right.tolist() == [True, False, False] and one.is_missed.tolist() == [False, True]
    assert (one.mistakes, str(one)) == (3, "1 right, 1 missed, 2 false")


def test_low_scores_and_difficult_objects_do_not_count():
    one = outcome(found([LEFT, FAR], [0.6, 0.4]), truth([LEFT], difficult=[0]), 0.5, 0.5)
    assert (str(one), one.mistakes) == ("1 right, 0 missed, 0 false", 0)


def test_the_greatest_difference_comes_first():
    truths = [truth([LEFT]), truth([LEFT, RIGHT]), truth([LEFT])]
    everything = [found([LEFT]), found([LEFT, RIGHT], [0.9, 0.8]), found([LEFT])]
    little = [found([LEFT]), found([FAR]), found([])]
    differences = differing_images([everything, little], truths)
    assert [image for image, _ in differences] == [1, 2]
    assert [one.mistakes for one in differences[0][1]] == [0, 3]
