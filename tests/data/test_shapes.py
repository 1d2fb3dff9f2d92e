"""The shapes data set: exact boxes, the same bytes for the same seed, whole or not there."""

import json

import numpy as np
import pytest
from PIL import Image

from frcnn.data import shapes, voc
from frcnn.errors import DataError


def scenes(seeds):
    return [shapes.draw_scene(np.random.default_rng(seed)) for seed in seeds]


def contents(root):
    return {path.relative_to(root): path.read_bytes() for path in root.rglob("*") if path.is_file()}


# Drawing.


def test_a_circle_covers_the_pixels_whose_centres_it_holds():
    share = shapes.coverage((np.array([50.0, 40.0]), 10.0), 100, 80)
    assert shapes.bounding_box(share >= 0.5) == [40, 30, 60, 50]
    assert share[40, 50] == 1.0 and share[0, 0] == 0.0
    assert abs(share.sum() - np.pi * 10.0**2) < 1.0  # antialiased: the area is the circle's


def test_a_polygon_covers_the_pixels_whose_centres_it_holds():
    corners = np.array([[10.0, 5.0], [30.0, 5.0], [30.0, 20.0], [10.0, 20.0]])
    mask = shapes.coverage(corners, 50, 40) >= 0.5
    assert shapes.bounding_box(mask) == [10, 5, 30, 20] and mask.sum() == 20 * 15


def test_a_pixel_that_is_half_covered_is_half_painted():
    corners = np.array([[10.5, 5.0], [30.0, 5.0], [30.0, 20.0], [10.5, 20.0]])
    assert shapes.coverage(corners, 50, 40)[10, 10] == pytest.approx(0.5)


def test_boxes_are_the_hulls_of_what_can_be_seen():
    for scene in scenes(range(10)):
        assert 1 <= len(scene.boxes) == len(scene.labels) <= 6
        for number, (x1, y1, x2, y2) in enumerate(scene.boxes):
            y, x = np.nonzero(scene.owner == number)
            assert (x.min(), y.min(), x.max() + 1, y.max() + 1) == (x1, y1, x2, y2)


def test_objects_overlap_but_stay_visible(monkeypatch):
    tried = []

    def recorded(*arguments):
        tried.append(coverage(*arguments) >= 0.5)
        return coverage(*arguments)

    coverage = shapes.coverage
    monkeypatch.setattr(shapes, "coverage", recorded)
    visible_shares = []
    for seed in range(25):
        tried.clear()
        (scene,) = scenes([seed])
        for number in range(len(scene.labels)):
            visible = scene.owner == number
            whole = next(mask for mask in tried if not np.any(visible & ~mask))
            visible_shares.append(visible.sum() / whole.sum())
    assert shapes.MIN_VISIBLE <= min(visible_shares) < 0.75
    assert np.mean(np.equal(visible_shares, 1.0)) > 0.5


def test_objects_stand_out_from_the_ground():
    for scene in scenes(range(20)):
        for number, (x1, y1, x2, y2) in enumerate(scene.boxes):
            inside = scene.image[scene.owner == number].mean(axis=0)
            around = scene.owner[y1:y2, x1:x2] == -1
            if around.sum() > 20:
                ground = scene.image[y1:y2, x1:x2][around].mean(axis=0)
                assert np.linalg.norm(inside - ground) > 50


def test_pictures_vary_in_size_and_some_are_upright():
    sizes = {scene.image.shape[:2] for scene in scenes(range(30))}
    assert len(sizes) > 20
    assert {True, False} == {height > width for height, width in sizes}
    assert all(144 <= min(size) <= 192 <= max(size) <= 256 for size in sizes)


# Writing.


def test_the_reader_gives_back_the_boxes_that_were_drawn(tmp_path):
    shapes.make(tmp_path / "shapes", {"train": 12}, seed=3)
    dataset = voc.read(tmp_path / "shapes", "train", classes=shapes.CLASSES)
    for number, sample in enumerate(dataset.samples):
        drawn = shapes.draw_scene(shapes.scene_rng(3, "train", number))
        np.testing.assert_array_equal(sample.boxes, drawn.boxes)
        np.testing.assert_array_equal(sample.labels, drawn.labels)
        picture = np.asarray(Image.open(sample.path), int)
        assert np.abs(picture - drawn.image).mean() < 8  # JPEG; another picture is off by tens


def test_the_same_seed_gives_the_same_bytes(tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        shapes.make(tmp_path / name, {"train": 2, "val": 1}, seed)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    for path, content in contents(tmp_path / "a").items():
        if path.suffix == ".jpg":
            assert content != (tmp_path / "c" / path).read_bytes()


def test_an_image_does_not_depend_on_how_many_there_are(tmp_path):
    shapes.make(tmp_path / "few", {"train": 2})
    shapes.make(tmp_path / "many", {"val": 2, "train": 4})
    few, many = contents(tmp_path / "few" / "JPEGImages"), contents(tmp_path / "many" / "JPEGImages")
    assert few.items() <= many.items() and len(set(many.values())) == 6


def test_nothing_is_left_of_a_run_that_is_interrupted(tmp_path, monkeypatch):
    drawn = []

    def interrupted(rng):
        drawn.append(rng)
        if len(drawn) == 3:
            raise KeyboardInterrupt
        return scene(rng)

    scene = shapes.draw_scene
    monkeypatch.setattr(shapes, "draw_scene", interrupted)
    with pytest.raises(KeyboardInterrupt):
        shapes.make(tmp_path / "shapes", {"train": 5})
    assert list(tmp_path.iterdir()) == []


def test_what_is_there_is_not_overwritten(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(DataError, match="is not empty"):
        shapes.make(tmp_path, {"train": 1})
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_ensure_makes_the_data_set_once(tmp_path, monkeypatch):
    root = tmp_path / "data" / "shapes"
    shapes.ensure(root, {"train": 1})
    monkeypatch.setattr(shapes, "make", lambda *_: pytest.fail("made again"))
    shapes.ensure(root, {"train": 1})


@pytest.mark.parametrize("other", [{"splits": {"train": 2}}, {"splits": {"train": 1}, "seed": 1}])
def test_ensure_refuses_a_data_set_of_other_settings(tmp_path, other):
    shapes.ensure(tmp_path / "shapes", {"train": 1})
    with pytest.raises(DataError, match='"seed": 0.*wanted .*delete it'):
        shapes.ensure(tmp_path / "shapes", **other)


def test_ensure_refuses_a_folder_of_something_else(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(DataError, match="is not empty"):
        shapes.ensure(tmp_path)


def test_ensure_takes_what_another_process_made_meanwhile(tmp_path, monkeypatch):
    def outrun(root, splits, seed):
        make(root, splits, seed)
        make(root, splits, seed)

    make = shapes.make
    monkeypatch.setattr(shapes, "make", outrun)
    shapes.ensure(tmp_path / "shapes", {"train": 1})
    assert json.loads((tmp_path / "shapes" / "shapes.json").read_text())["splits"] == {"train": 1}
