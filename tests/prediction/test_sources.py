"""Files, folders, patterns, videos and cameras become sources; a URL does not."""

import numpy as np
import pytest
from PIL import Image
from prediction.fakes import write_video

from frcnn.errors import ConfigError, DataError
from frcnn.files import outputs
from frcnn.prediction import sources
from frcnn.prediction.sources import Source, find


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Return a folder with images, a video and other files, which is the current one."""
    monkeypatch.chdir(tmp_path)
    for name in ("b.jpg", "a.PNG", "below/c.jpg", ".hidden.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (40, 30), (9, 9, 9)).save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no image")
    write_video(tmp_path / "clip.mp4")
    return tmp_path


def paths(arguments):
    return [(source.path, source.kind) for source in find(arguments)]


def test_a_folder_is_its_images_and_videos_by_name_and_not_those_of_folders_in_it(folder):
    expected = [("./a.PNG", "image"), ("./b.jpg", "image"), ("./clip.mp4", "video")]
    assert paths(["."]) == expected
    assert paths([str(folder / "below")]) == [(str(folder / "below/c.jpg"), "image")]


def test_a_pattern_may_reach_into_folders(folder):
    assert paths(["*.jpg"]) == [("b.jpg", "image")]
    assert [path for path, _ in paths(["**/*.jpg"])] == ["b.jpg", "below/c.jpg"]
    assert [path for path, _ in paths(["**"])] == ["a.PNG", "b.jpg", "below/c.jpg", "clip.mp4"]


def test_each_file_is_taken_once_and_in_order(folder):
    assert [path for path, _ in paths(["b.jpg", ".", "./b.jpg"])] == ["b.jpg", "./a.PNG", "./clip.mp4"]


def test_a_file_that_has_the_signs_of_a_pattern_is_a_file(folder):
    Image.new("RGB", (4, 3)).save(folder / "x[1].png")
    assert paths(["x[1].png"]) == [("x[1].png", "image")]


def test_pictures_that_were_drawn_earlier_are_no_sources_of_a_folder(folder):
    drawn = Image.new("RGB", (4, 3))
    name = outputs.save_picture(drawn, folder, "b", sources.MADE_BY, "b.jpg", set()).name
    assert name == "b.png" and "./b.png" not in [path for path, _ in paths(["."])]
    assert paths(["b.png"]) == [("b.png", "image")]  # but if it is named


@pytest.mark.parametrize("url", ["http://a.b/c.jpg", "rtsp://camera/1", "file:///tmp/a.jpg", "S3://a/b"])
def test_a_url_is_refused(url):
    with pytest.raises(ConfigError, match=f"{url} is a URL, .* does not use the network: download"):
        find(["a.jpg", url])


def test_a_folder_or_pattern_without_images_is_an_error_with_the_way_out(folder):
    (folder / "empty" / "deep").mkdir(parents=True)
    with pytest.raises(DataError, match=r"empty has no image and no video; .* 'empty/\*\*'"):
        find(["empty"])
    with pytest.raises(DataError, match=r"\*\.bmp has no image and no video$"):
        find(["*.bmp"])


def test_images_and_frames_come_one_by_one_and_faults_do_not_end_it(folder):
    faults = []
    given = find(["b.jpg", "none.jpg", "clip.mp4", "notes.txt", "a.PNG"])
    read = list(sources.read(given, lambda source, error: faults.append((source.path, str(error)))))
    assert [(picture.source.path, picture.frame) for picture in read] == [
        ("b.jpg", None),
        *(("clip.mp4", number) for number in range(5)),
        ("a.PNG", None),
    ]
    assert [path for path, _ in faults] == ["none.jpg", "notes.txt"]
    assert read[1].fps == 20.0 and read[1].pixels.shape == (48, 64, 3)
    np.testing.assert_allclose([one.pixels.mean() for one in read[1:6]], [20, 40, 60, 80, 100], atol=4)
    assert sources.count(given) == 9 and sources.count(given, max_frames=2) == 6
    assert len(list(sources.read(given, lambda *_: None, max_frames=2))) == 4


def test_a_camera_that_is_not_there_is_a_fault_and_its_count_is_unknown():
    (camera,) = find(["camera:97"])
    assert camera == Source("camera:97", "camera") and camera.stem == "camera97"
    assert sources.count([camera]) is None and sources.count([camera], 3) == 3
    faults = []
    assert list(sources.read([camera], lambda source, error: faults.append(str(error)))) == []
    assert faults == ["the camera:97 cannot be opened: it is not there"]
