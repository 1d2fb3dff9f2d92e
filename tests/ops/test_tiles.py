"""Tiles that cover an image, and one set of detections out of theirs."""

import numpy as np
import pytest

from frcnn.errors import ConfigError
from frcnn.ops.tiles import merge, windows


@pytest.mark.parametrize("size", [(6000, 4000), (1025, 1024), (3000, 60), (1024, 5000)])
@pytest.mark.parametrize("overlap", [0.0, 0.2, 0.5])
def test_every_object_up_to_the_overlap_lies_whole_in_a_tile(size, overlap):
    whole, *tiles = windows(*size, 1024, overlap)
    assert whole == (0, 0, *size)
    sides = {(x2 - x1, y2 - y1) for x1, y1, x2, y2 in tiles}
    assert sides == {(min(1024, size[0]), min(1024, size[1]))}  # of one size
    for axis in (0, 1):
        spans = sorted({(tile[axis], tile[axis + 2]) for tile in tiles})
        assert spans[0][0] == 0 and spans[-1][1] == size[axis]
        assert all(end - start >= int(overlap * 1024) for (_, end), (start, _) in zip(spans, spans[1:]))


def test_an_image_no_larger_than_a_tile_is_its_own():
    assert windows(1024, 700, 1024, 0.2) == [(0, 0, 1024, 700)]


@pytest.mark.parametrize("tile, overlap", [(31, 0.2), (-1, 0.2), (512, -0.1), (512, 1.0), (512, np.nan)])
def test_impossible_tiles_are_refused(tile, overlap):
    with pytest.raises(ConfigError, match="tile must be|overlap must be"):
        windows(2000, 2000, tile, overlap)


TILES = [(0, 0, 180, 100), (0, 0, 100, 100), (80, 0, 180, 100)]


def found(*rows):
    """Return detections of one tile out of (box, score, label)."""
    boxes, scores, labels = zip(*rows) if rows else ((), (), ())
    return {
        "boxes": np.array(boxes, "float32").reshape(-1, 4),
        "scores": np.array(scores, "float32"),
        "labels": np.array(labels, "int32"),
    }


def test_boxes_come_into_the_images_pixels_and_duplicates_go():
    left = found(([82, 10, 98, 30], 0.8, 0), ([5, 5, 20, 20], 0.6, 1))
    right = found(([2, 10, 18, 30], 0.9, 0), ([40, 50, 60, 90], 0.7, 0))
    result = merge([found(), left, right], TILES, 0.3, 10)
    assert result["boxes"].tolist() == [[82, 10, 98, 30], [120, 50, 140, 90], [5, 5, 20, 20]]
    np.testing.assert_allclose(result["scores"], [0.9, 0.7, 0.6])
    assert result["labels"].tolist() == [0, 0, 1]
    assert len(merge([found(), left, right], TILES, 0.3, 2)["scores"]) == 2


def test_a_part_that_a_tile_cuts_off_gives_way_to_the_object_even_with_a_better_score():
    left = found(([85, 10, 100, 30], 0.95, 0))  # the left part of an object from 85 to 130
    right = found(([5, 10, 50, 30], 0.6, 0))
    assert merge([found(), left, right], TILES, 0.3, 10)["boxes"].tolist() == [[85, 10, 130, 30]]
    of_the_whole = found(([60, 0, 170, 100], 0.5, 2))  # wider than a tile
    halves = found(([60, 0, 100, 100], 0.9, 2)), found(([0, 0, 90, 100], 0.9, 2))
    assert merge([of_the_whole, *halves], TILES, 0.3, 10)["boxes"].tolist() == [[60, 0, 170, 100]]


def test_another_class_and_a_small_object_inside_a_large_one_stay():
    left = found(([85, 10, 100, 30], 0.9, 1), ([50, 50, 60, 60], 0.9, 0))
    whole = found(([85, 10, 130, 30], 0.6, 0), ([40, 40, 90, 90], 0.8, 0))
    assert len(merge([whole, left, found()], TILES, 0.3, 10)["scores"]) == 4


def test_no_detection_at_all():
    result = merge([found(), found(), found()], TILES, 0.3, 10)
    assert result["boxes"].shape == (0, 4) and result["labels"].dtype == np.int32
