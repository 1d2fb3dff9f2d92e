"""Files of a data set that never end, or take more memory than they look like."""

import os
import struct
import zlib

import pytest
from PIL import Image

from frcnn.data import image_io, transforms, voc
from frcnn.errors import DataError
from frcnn.files import untrusted

XML = "<annotation><size><width>4</width><height>3</height></size></annotation>"


@pytest.fixture
def folder(tmp_path):
    """Return a VOC folder of one image without objects."""
    for name in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "Annotations/a.xml").write_text(XML)
    (tmp_path / "ImageSets/Main/train.txt").write_text("a\n")
    Image.new("RGB", (4, 3)).save(tmp_path / "JPEGImages/a.png")
    return tmp_path


@pytest.mark.parametrize("name", ["Annotations/a.xml", "JPEGImages/a.png"])
def test_a_pipe_is_a_fault_and_is_not_waited_for(folder, name):
    (folder / name).unlink()
    os.mkfifo(folder / name)
    _, faults = voc.collect(folder, "train")
    assert [str(fault) for fault in faults] == [
        f"{folder / name}: cannot be read: is a named pipe, not a file"
    ]


def test_a_split_that_is_a_pipe_is_not_waited_for(folder):
    path = folder / "ImageSets/Main/train.txt"
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(DataError, match="train.txt cannot be read: is a named pipe, not a file"):
        voc.collect(folder, "train")


def test_a_folder_of_another_layout_may_hold_a_pipe(tmp_path):
    os.mkfifo(tmp_path / "data.yaml")
    with pytest.raises(DataError):
        voc.collect(tmp_path, "train")


def test_a_picture_to_detect_in_may_not_be_a_pipe(tmp_path):
    os.mkfifo(tmp_path / "a.jpg")
    with pytest.raises(DataError, match="a.jpg cannot be read: is a named pipe"):
        transforms.load(tmp_path / "a.jpg")


def test_a_sparse_file_is_not_read(tmp_path):
    path = tmp_path / "a.jpg"
    Image.new("RGB", (4, 3)).save(path)
    os.truncate(path, untrusted.MAX_IMAGE_BYTES + 1)
    for read in (image_io.read_header, transforms.load):
        with pytest.raises(DataError, match="has 268,435,457 bytes; the limit is 268,435,456"):
            read(path)


def test_a_png_that_declares_more_than_it_holds_is_not_decoded(tmp_path):
    """As an animated one, OpenCV made room for several pictures of its size and gave one of zeros."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    size = struct.pack(">II", 11585, 11585)
    parts = [chunk(b"IHDR", size + bytes([16, 6, 0, 0, 0]))]
    parts += [chunk(b"acTL", struct.pack(">II", 100, 0))]
    parts += [chunk(b"fcTL", struct.pack(">I", 0) + size + struct.pack(">IIHHBB", 0, 0, 1, 1, 0, 0))]
    parts += [chunk(b"IDAT", zlib.compress(bytes(5_000_000), 9)), chunk(b"IEND", b"")]
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))
    with pytest.raises(
        DataError, match="declares 11585x11585 pixels, more than its 4,995 bytes can hold"
    ):
        transforms.load(tmp_path / "a.png")


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "LA", "I;16"])
def test_a_png_of_one_colour_is_read_however_well_it_compresses(tmp_path, mode):
    Image.new(mode, (3000, 2000)).save(tmp_path / "a.png", optimize=True)
    assert image_io.read_header(tmp_path / "a.png").stored == (3000, 2000)
