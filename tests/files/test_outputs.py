"""No command writes over a file that it did not make."""

import os

import pytest
from PIL import Image

from frcnn.errors import OutputError
from frcnn.files import outputs

PICTURE = Image.new("RGB", (4, 3), (9, 8, 7))


def save(folder, stem, source, taken=None, made_by="me"):
    return outputs.save_picture(
        PICTURE, folder, stem, made_by, source, set() if taken is None else taken
    ).name


def test_a_file_that_exists_is_refused_without_overwrite(tmp_path):
    path = tmp_path / "a.json"
    assert outputs.new_file(path) == path
    path.write_text("mine")
    with pytest.raises(OutputError, match="a.json exists already; .*--overwrite"):
        outputs.new_file(path)
    assert outputs.new_file(str(path), overwrite=True) == path
    assert path.read_text() == "mine"


def test_what_is_read_is_not_written_over_even_with_overwrite(tmp_path):
    path = tmp_path / "a.h5"
    path.write_text("mine")
    (tmp_path / "b.h5").symlink_to(path)
    for name in (path, tmp_path / "b.h5"):
        with pytest.raises(OutputError, match="is an input of this command"):
            outputs.new_file(name, overwrite=True, sources=[tmp_path / "none", path])


def test_a_folder_for_a_file_and_a_file_for_a_folder_are_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="it is a folder; give the name of a file"):
        outputs.new_file(tmp_path, overwrite=True)
    with pytest.raises(OutputError, match="there is no folder .*none"):
        outputs.new_file(tmp_path / "none" / "a.json")
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(OutputError, match="file is not a folder; give a folder"):
            outputs.new_folder(path)
    assert outputs.new_folder(tmp_path / "a" / "b").is_dir()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission_is_named(tmp_path):
    tmp_path.chmod(0o500)
    for make in (lambda: outputs.new_file(tmp_path / "a"), lambda: outputs.new_folder(tmp_path / "a")):
        with pytest.raises(OutputError, match="no permission"):
            make()


def test_names_of_one_run_that_collide_get_a_number(tmp_path):
    taken = set()
    names = [
        save(tmp_path, "p", source, taken) for source in ("x/p.jpg", "y/p.jpg", "x/p.png", "x/p.jpg")
    ]
    assert names == ["p.png", "p-2.png", "p-3.png", "p-4.png"]


def test_a_picture_that_is_not_ours_is_left_alone(tmp_path):
    PICTURE.save(tmp_path / "p.png")
    before = (tmp_path / "p.png").read_bytes()
    assert save(tmp_path, "p", tmp_path / "p.png") == "p-2.png"
    assert save(tmp_path, "p", tmp_path / "p.png") == "p-2.png"  # its own of the same image, again
    (tmp_path / "q.png").write_text("no picture")
    assert save(tmp_path, "q", "q.jpg") == "q-2.png"
    assert (tmp_path / "p.png").read_bytes() == before


def test_the_picture_of_another_image_or_command_is_left_alone(tmp_path):
    assert save(tmp_path, "p", "x/p.jpg") == "p.png"
    assert save(tmp_path, "p", "y/p.jpg") == "p-2.png"
    assert save(tmp_path, "p", "x/p.jpg", made_by="another") == "p-3.png"
    assert save(tmp_path, "p", "y/p.jpg") == "p-2.png"


def test_pictures_tell_no_path_of_their_source(tmp_path):
    save(tmp_path, "p", tmp_path / "secret" / "p.jpg")
    assert b"secret" not in (tmp_path / "p.png").read_bytes()


def test_only_own_pictures_are_removed(tmp_path):
    save(tmp_path, "a", "a.jpg")
    save(tmp_path, "b", "b.jpg", made_by="another")
    PICTURE.save(tmp_path / "c.png")
    (tmp_path / "d.png").write_text("no picture")
    outputs.remove_pictures(tmp_path, "me")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b.png", "c.png", "d.png"]


def test_a_disk_that_takes_no_more_is_one_line(tmp_path):
    with pytest.raises(OutputError, match="cannot write here: No space left"), outputs.writing("here"):
        raise OSError(28, "No space left on device")
