"""What the header of an image file tells, and what it must not get away with."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from frcnn.data import image_io, transforms
from frcnn.errors import DataError

NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (30, 40, 3), "uint8"))


def encoded(kind, **options):
    file = io.BytesIO()
    NOISE.save(file, kind, **options)
    return file.getvalue()


def header(content):
    return image_io.read_header(io.BytesIO(content))


def error_of(content):
    with pytest.raises(DataError) as caught:
        header(content)
    return str(caught.value)


def png(width, height, data=b""):
    """Return a PNG that declares a size and holds next to nothing."""
    parts = [
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)),
        (b"IDAT", data),
        (b"IEND", b""),
    ]
    chunks = [
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in parts
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def jpeg(width, height):
    """Return a JPEG of 40x30 pixels that declares another size."""
    content = bytearray(encoded("JPEG"))
    start = content.find(b"\xff\xc0") + 5
    content[start : start + 4] = struct.pack(">HH", height, width)
    return bytes(content)


# Sizes.


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP", "WEBP", "TIFF"])
def test_the_size_is_width_and_height(kind):
    assert header(encoded(kind)) == image_io.Header((40, 30), 1)


@pytest.mark.parametrize("declared", [png, jpeg])
def test_no_pixels_are_a_fault(declared):
    assert "header is damaged" in error_of(declared(0, 0))


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("declared", [png, jpeg])
@pytest.mark.parametrize("side", [12000, 20000, 65500])
def test_too_many_pixels_are_a_fault_without_room_being_made_for_them(declared, side, tmp_path):
    assert error_of(declared(side, side)).endswith(
        ("limit is 134,217,728", "limit of 134,217,728 pixels")
    )
    (tmp_path / "a").write_bytes(declared(side, side))
    with pytest.raises(DataError, match="a declares .*limit"):
        transforms.load(tmp_path / "a")


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_the_limit_lets_the_largest_cameras_through():
    assert header(png(12000, 9000, bytes(400_000))).stored == (12000, 9000)


# Whole or not.


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP", "WEBP"])
@pytest.mark.parametrize("kept", [0.5, 0.9, 0.995])
def test_a_file_that_was_cut_off_is_a_fault(kind, kept):
    content = encoded(kind)
    assert any(word in error_of(content[: int(kept * len(content))]) for word in ("cut off", "opened"))


@pytest.mark.parametrize(
    "options", [{"progressive": True}, {"restart_marker_blocks": 1}, {"quality": 100}]
)
def test_every_kind_of_jpeg_is_whole_until_it_is_cut(options):
    content = encoded("JPEG", **options)
    assert header(content).stored == (40, 30)
    assert "cut off" in error_of(content[:-2])


def test_a_download_filled_up_with_zeros_is_cut_off():
    for kind in ("JPEG", "PNG"):
        content = encoded(kind)
        assert "cut off" in error_of(content[: len(content) // 2] + bytes(len(content) // 2))


@pytest.mark.parametrize("more", [b"\0" * 5000, b"\r\n", b"\0\0\0\1samsung" * 50])
def test_what_cameras_append_is_no_fault(more):
    for kind in ("JPEG", "PNG"):
        assert header(encoded(kind) + more).stored == (40, 30)


def test_the_end_of_a_thumbnail_is_not_the_end_of_the_image():
    exif = b"Exif\0\0" + encoded("JPEG")
    content = encoded("JPEG", exif=exif)
    assert header(content).stored == (40, 30)
    assert "cut off" in error_of(content[: int(0.9 * len(content))])


def test_the_first_of_two_images_in_a_file_is_enough(tmp_path):
    """Telephones write a second one behind the first."""
    NOISE.save(tmp_path / "a.jpg", "MPO", save_all=True, append_images=[NOISE])
    content = (tmp_path / "a.jpg").read_bytes()
    assert header(content).stored == (40, 30)
    assert header(content[: int(0.9 * len(content))]).stored == (40, 30)
    assert transforms.load(tmp_path / "a.jpg").shape == (30, 40, 3)


def test_what_is_no_image_is_told_apart(tmp_path):
    assert error_of(b"") == "is empty (0 bytes)"
    assert "is not an image" in error_of(b"what is this?" + bytes(100))
    with pytest.raises(DataError, match="cannot be read: No such file"):
        image_io.read_header(tmp_path / "missing.png")
    with pytest.raises(DataError, match="cannot be read: is a folder, not a file"):
        image_io.read_header(tmp_path)


def ftyp(brand):
    return struct.pack(">I4s4s4x", 24, b"ftyp", brand) + bytes(100)


FOREIGN = {
    "GIF": (encoded("GIF"), "is a GIF image, which is not read: save it as JPEG or PNG"),
    "AVIF": (ftyp(b"avif"), "is an AVIF image"),
    "HEIC": (ftyp(b"heic"), "is an HEIC image"),
    "video": (ftyp(b"isom"), "is a video"),
    "JPEG 2000": (b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(100), "is a JPEG 2000 image"),
    "PPM": (encoded("PPM"), "is a PNM image"),
    "PDF": (encoded("PDF"), "is a PDF document"),
    "web page": (b"\n<!DOCTYPE HTML><html>404</html>", "is not an image but a web page"),
    "LFS": (
        b"version https://git-lfs.github.com/spec/v1\noid x",
        "fetch the images with `git lfs pull`",
    ),
}


@pytest.mark.parametrize("content, says", FOREIGN.values(), ids=FOREIGN)
def test_a_file_of_another_kind_is_named_with_what_to_do(content, says):
    assert error_of(content).startswith(says) or says in error_of(content)


# Which way is up.


@pytest.mark.parametrize("orientation", range(1, 9))
def test_boxes_turn_with_the_pixels(orientation):
    image = np.zeros((30, 40, 3), "uint8")
    image[4:9, 10:30] = 255
    one = image_io.Header((40, 30), orientation)
    turned = image_io.turn(image, orientation)
    assert turned.shape[1::-1] == one.upright
    y, x = np.nonzero(turned[..., 0])
    boxes = image_io.turn_boxes(np.array([[10, 4, 30, 9]] * 2, "float32"), one)
    np.testing.assert_array_equal(boxes, [[x.min(), y.min(), x.max() + 1, y.max() + 1]] * 2)
    assert boxes.dtype == "float32"
    assert image_io.turn_boxes(np.zeros((0, 4), "float32"), one).shape == (0, 4)


def test_a_tiff_that_is_not_upright_is_a_fault():
    exif = Image.Exif()
    exif[0x0112] = 6
    assert "save it upright" in error_of(encoded("TIFF", exif=exif))
