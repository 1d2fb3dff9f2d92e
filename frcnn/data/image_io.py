"""Read the header of an untrusted image file: size, EXIF orientation, and whether the file is whole.

- Images are upright everywhere, as viewers show them. The EXIF orientation is read from the header and
  applied by ``turn`` and ``turn_boxes``, because OpenCV and Pillow differ in which files they turn.
- A header may declare at most ``MAX_PIXELS``: a file of a few bytes can declare 20000x20000 pixels, and
  a decoder would allocate memory for them.
- A file that is cut off is found by its format's end mark, without decoding; decoders fill a cut JPEG
  with grey and report nothing. Damage in the middle of a file shows only when the file is decoded, and
  in a JPEG not even then.
"""

from __future__ import annotations

import dataclasses
import io
import re
import struct
import warnings
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image, ImageFile, UnidentifiedImageError
from PIL.TiffImagePlugin import TiffImageFile

from frcnn.data import unsupported_files
from frcnn.errors import DataError
from frcnn.files import untrusted

FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "TIFF")  # by content: a PNG may be named .jpg
# File name extensions, in lower case.
ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
MAX_PIXELS = 2**27  # per image: 400 MB of RGB; the largest phone cameras have 108 megapixels

# MAX_PIXELS replaces Pillow's warning, which it prints to stderr.
warnings.simplefilter("ignore", Image.DecompressionBombWarning)

EXIF_ORIENTATION = 0x0112
# EXIF orientation -> how the stored pixels become upright: whether to swap x and y, and after that
# whether to mirror x and whether to mirror y.
TURNS = {
    1: (False, False, False),
    2: (False, True, False),
    3: (False, True, True),
    4: (False, False, True),
    5: (True, False, False),
    6: (True, True, False),
    7: (True, True, True),
    8: (True, False, True),
}

TAIL = 64  # bytes at the end of a file that are searched for an end mark first
JPEG_END = b"\xff\xd9"
# A JPEG marker. Not one: FF before 00 (data), before FF (padding), before D0 to D7 (within the pixels).
JPEG_MARK = re.compile(rb"\xff([\x01-\xcf\xd8-\xfe])")


@dataclasses.dataclass(frozen=True)
class Header:
    """Size, orientation and format that an image file declares.

    Attributes:
        stored: (width, height) of the pixels as stored.
        orientation: 1 to 8 as in EXIF; 1 is upright.
        kind: Pillow's name of the format, such as ``"JPEG"``.
        mode: Pillow's name of the pixel format, such as ``"RGB"``.
    """

    stored: tuple[int, int]
    orientation: int = 1
    kind: str = dataclasses.field(default="", compare=False)
    mode: str = dataclasses.field(default="", compare=False)

    @property
    def upright(self) -> tuple[int, int]:
        """(width, height) of the upright image, as ``transforms.load`` returns it."""
        return self.stored[::-1] if TURNS[self.orientation][0] else self.stored


def read_header(file: Path | str | BinaryIO) -> Header:
    """Return the ``Header`` of an image file, without decoding its pixels.

    Args:
        file: a path, or a binary file that can seek.

    Raises:
        DataError: the file cannot be read, is empty, is not an image of ``FORMATS``, declares no pixels
            or more than ``MAX_PIXELS``, or is cut off. The message continues a sentence that begins
            with the file's name.
    """
    if isinstance(file, (str, Path)):
        try:
            with untrusted.open_regular(file, untrusted.MAX_IMAGE_BYTES) as opened:
                return read_header(opened)
        except OSError as error:
            raise DataError(f"cannot be read: {error.strerror or error}") from error
    if not file.seek(0, io.SEEK_END):
        raise DataError("is empty (0 bytes)")
    file.seek(0)
    try:
        with Image.open(file, formats=FORMATS) as image:
            return _checked(image, file)
    except Image.DecompressionBombError as error:
        raise DataError(f"declares more than the limit of {MAX_PIXELS:,} pixels") from error
    except UnidentifiedImageError as error:
        file.seek(0)
        known = unsupported_files.describe(file.read(unsupported_files.HEAD))
        unknown = f"is not an image, or its header is damaged ({', '.join(FORMATS)})"
        raise DataError(known or unknown) from error
    except DataError:
        raise
    except Exception as error:  # Pillow's readers raise many kinds for a broken header
        raise DataError(f"cannot be opened as an image: {error}") from error


def _checked(image: ImageFile.ImageFile, file: BinaryIO) -> Header:
    width, height = image.size
    if width < 1 or height < 1:
        raise DataError(f"declares {width}x{height} pixels")
    if width * height > MAX_PIXELS:
        raise DataError(f"declares {width}x{height} pixels; the limit is {MAX_PIXELS:,}")
    size = file.seek(0, io.SEEK_END)
    if image.format == "PNG" and _png_bytes(file) > size * untrusted.DEFLATE_LIMIT:
        raise DataError(f"declares {width}x{height} pixels, more than its {size:,} bytes can hold")
    # OpenCV turns some of these and fails on others, whatever its flags are.
    if isinstance(image, TiffImageFile) and image.tag_v2.get(EXIF_ORIENTATION, 1) != 1:
        raise DataError("is a TIFF that is not stored upright: save it upright")
    if not _is_whole(image, file):
        raise DataError("is cut off: the end of the image is missing")
    return Header((width, height), _orientation(image), image.format or "", image.mode)


def _png_bytes(file: BinaryIO) -> int:
    """Return the uncompressed bytes that a PNG declares: its rows of pixels, and one byte per row."""
    file.seek(16)  # after the signature and the head of the first chunk
    width, height, depth, kind = struct.unpack(">IIBB", file.read(10))
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[kind]
    return height * (1 + (width * depth * channels + 7) // 8)


def _orientation(image: Image.Image) -> int:
    """Return the EXIF orientation; 1 if there is none or it is invalid, as in viewers.

    Not by Pillow's ``getexif``, which decodes a whole PNG: 5 s instead of 0.02 s for 500 of 640x512.
    """
    content = image.info.get("exif")
    if not content:
        return 1
    exif = Image.Exif()
    try:
        exif.load(content)
        orientation = exif.get(EXIF_ORIENTATION, 1)
    except Exception:  # Pillow raises many kinds for broken EXIF
        return 1
    return orientation if orientation in TURNS else 1


def _is_whole(image: ImageFile.ImageFile, file: BinaryIO) -> bool:
    """Return whether a file reaches the end that its format marks; True for formats without a mark."""
    size = file.seek(0, io.SEEK_END)
    if image.format == "PNG":
        return _png_ends(file, size)
    if image.format in ("JPEG", "MPO"):
        file.seek(max(0, size - TAIL))
        if file.read().rstrip(b"\0").endswith(JPEG_END):
            return True
        # Cameras and editors append data of their own, so a missing mark is searched for in the whole.
        file.seek(0)
        return _jpeg_ends(file.read())
    if image.format == "WEBP":
        file.seek(4)
        return 8 + int.from_bytes(file.read(4), "little") <= size
    tile: Any = image.tile[0] if image.tile else ("",)  # Pillow declares no type for each format
    if image.format == "BMP" and tile[0] == "raw":
        _, _, offset, (_, stride, _) = tile
        return offset + stride * image.size[1] <= size
    return True


def _png_ends(file: BinaryIO, size: int) -> bool:
    """Return whether every chunk of a PNG lies within the file, up to the one that ends the image.

    A chunk of a damaged file may declare gigabytes, which OpenCV's decoder allocates.
    """
    position = 8  # after the signature
    while position + 12 <= size:  # length, kind and checksum of a chunk
        file.seek(position)
        length, kind = struct.unpack(">I4s", file.read(8))
        position += 12 + length
        if kind == b"IEND":
            return position <= size
    return False


def _jpeg_ends(content: bytes) -> bool:
    """Return whether a JPEG has its own end mark; that of a thumbnail in its header does not count."""
    position = 2
    while mark := JPEG_MARK.search(content, position):
        if mark[0] == JPEG_END:
            return True
        position = mark.end() + int.from_bytes(content[mark.end() : mark.end() + 2], "big")
    return False


def turn(image: np.ndarray, orientation: int) -> np.ndarray:
    """Return an (H, W, 3) image turned upright, given its EXIF orientation."""
    swap, mirror_x, mirror_y = TURNS[orientation]
    if swap:
        image = image.transpose(1, 0, 2)
    image = image[:: -1 if mirror_y else 1, :: -1 if mirror_x else 1]
    return np.ascontiguousarray(image)


def turn_boxes(boxes: np.ndarray, header: Header) -> np.ndarray:
    """Convert (G, 4) boxes from pixels as stored to pixels of the upright image."""
    swap, mirror_x, mirror_y = TURNS[header.orientation]
    width, height = header.upright
    x1, y1, x2, y2 = boxes[:, [1, 0, 3, 2]].T if swap else boxes.T
    if mirror_x:
        x1, x2 = width - x2, width - x1
    if mirror_y:
        y1, y2 = height - y2, height - y1
    return np.stack([x1, y1, x2, y2], axis=1)
