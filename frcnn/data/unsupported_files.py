"""Recognise files that are not images of a supported format, and say what to do about them.

They are recognised by their first bytes: a phone's photograph may be HEIC although its name ends in
``.jpg``.
"""

from __future__ import annotations

HEAD = 64  # bytes that ``describe`` needs
SAVE_AS = "save it as JPEG or PNG"

# First bytes -> kind of file.
MAGIC = {
    b"GIF8": "a GIF image",
    b"\x00\x00\x00\x0cjP  ": "a JPEG 2000 image",
    b"\xff\x4f\xff\x51": "a JPEG 2000 image",
    b"\xff\x0a": "a JPEG XL image",
    b"\x00\x00\x00\x0cJXL ": "a JPEG XL image",
    b"8BPS": "a Photoshop image",
    b"%PDF": "a PDF document",
    b"\x76\x2f\x31\x01": "an OpenEXR image",
    b"DDS ": "a DDS image",
    b"P1": "a PNM image",
    b"P2": "a PNM image",
    b"P3": "a PNM image",
    b"P4": "a PNM image",
    b"P5": "a PNM image",
    b"P6": "a PNM image",
    b"<svg": "an SVG drawing",
}
# Brand in the first box of an ISO media file -> kind of file.
BRANDS = {
    b"avif": "an AVIF image",
    b"avis": "an AVIF image",
    b"heic": "an HEIC image",
    b"heix": "an HEIC image",
    b"hevc": "an HEIC image",
    b"heim": "an HEIC image",
    b"heis": "an HEIC image",
    b"mif1": "an HEIF image",
    b"msf1": "an HEIF image",
}
# File name extensions of the kinds above: they let a reader find such an image and name it in an error.
ENDINGS = tuple(".gif .avif .heic .heif .jp2 .j2k .jxl .svg .psd .exr .ppm .pgm".split())


def describe(head: bytes) -> str | None:
    """Return the kind of a file and what to do about it, None if the kind is unknown.

    Args:
        head: the file's first ``HEAD`` bytes, or all if it has fewer.

    Returns:
        The end of a sentence that begins with the file's name.

    Example:
        >>> describe(b"GIF89a")
        'is a GIF image, which is not read: save it as JPEG or PNG'
    """
    if head[4:8] == b"ftyp":
        kind = BRANDS.get(head[8:12], "a video")
        return f"is {kind}, which is not read: {SAVE_AS}"
    for magic, kind in MAGIC.items():
        if head.startswith(magic):
            return f"is {kind}, which is not read: {SAVE_AS}"
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<!doctype html", b"<html")):
        return "is not an image but a web page, as a failed download leaves it: fetch it again"
    if text.startswith(b"version https://git-lfs"):
        return "is not an image but a pointer of Git LFS: fetch the images with `git lfs pull`"
    return None
