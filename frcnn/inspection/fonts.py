"""Text in any script for pictures: each character is drawn in a font that has its glyph.

Pillow's ``ImageFont`` does not fall back to other fonts. matplotlib falls back only to given font
families, and does not find out which of them have the glyph.

The first font is DejaVu Sans (Latin, Greek, Cyrillic, Arabic, Hebrew and more), which comes with
matplotlib; the others are the system's. A character that no font has is written as its code point, such
as ``U+732B``.
"""

from __future__ import annotations

import functools
import math
import pathlib
import unicodedata

import matplotlib
from matplotlib import ft2font
from PIL import ImageDraw, ImageFont

DEJAVU = str(pathlib.Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf")


class Text:
    """One line of text that can be measured and drawn with Pillow.

    Args:
        text: any text; white space becomes single spaces.
        size: font size in pixels.

    Attributes:
        width: pixels.
        ascent: pixels of the glyphs above the baseline.
        descent: pixels of the glyphs below the baseline.
    """

    def __init__(self, text: str, size: int):
        self.runs = [(run, _sized(path, size)) for run, path in runs(text)]
        boxes = [font.getbbox(run, anchor="ls") for run, font in self.runs] or [(0, 0, 0, 0)]
        self.width = math.ceil(sum(font.getlength(run) for run, font in self.runs))
        self.ascent = math.ceil(-min(box[1] for box in boxes))
        self.descent = math.ceil(max(box[3] for box in boxes))

    def draw(
        self, canvas: ImageDraw.ImageDraw, x: float, baseline: float, ink: tuple[int, int, int] | int
    ) -> None:
        """Draw the text from ``x`` to the right."""
        for run, font in self.runs:
            canvas.text((x, baseline), run, fill=ink, font=font, anchor="ls")
            x += font.getlength(run)


def replace_missing(text: str) -> str:
    """Return a text with code points, such as ``U+732B``, for characters that no font has."""
    return "".join(run for run, _ in runs(text))


def families(text: str) -> list[str]:
    """Return matplotlib's names of the fonts that a text needs, for ``Text.set_family``."""
    paths = dict.fromkeys([DEJAVU, *(path for _, path in runs(text))])
    return [_register(path) for path in paths]


@functools.cache
def _register(path):
    from matplotlib import font_manager

    font_manager.fontManager.addfont(path)
    return font_manager.get_font(path).family_name


def runs(text: str) -> list[tuple[str, str]]:
    """Split a text into parts, each with the path of a font that has all its characters."""
    text = " ".join(unicodedata.normalize("NFC", text).split())
    found: list[tuple[str, str]] = []
    missing = False
    for character in text:
        known = found[-1][1] if found else DEJAVU
        path = known if _has(known, character) else find_font(character)
        if path is None and (unicodedata.category(character) == "Cf" or character in "\ufe0e\ufe0f"):
            continue  # changes its neighbours and is invisible itself
        if path is None:
            character, path = f"{' ' if missing else ''}U+{ord(character):04X}", DEJAVU
            missing = True
        else:
            missing = False
        if found and found[-1][1] == path:
            found[-1] = (found[-1][0] + character, path)
        else:
            found.append((character, path))
    return found


@functools.cache
def find_font(character: str) -> str | None:
    """Return the path of the first font that has a character, None if no font has it."""
    return next((path for path in (DEJAVU, *_system_fonts()) if _has(path, character)), None)


def _has(path, character):
    return ord(character) in _characters(path)


@functools.lru_cache(maxsize=64)
def _characters(path):
    """Return the code points that a font file has glyphs for; none if the file is not usable."""
    try:
        font = ft2font.FT2Font(path)
        return frozenset(font.get_charmap()) if font.scalable else frozenset()
    except (OSError, RuntimeError, ValueError):  # a damaged file, or one that FreeType cannot read
        return frozenset()


@functools.cache
def _system_fonts():
    """Return the paths of the system's fonts, plain sans-serif ones first."""
    from matplotlib import (
        font_manager,  # the first import on a machine takes seconds: it reads all fonts
    )

    def rank(path):
        name = pathlib.Path(path).stem.lower()
        is_plain = not any(word in name for word in ("bold", "italic", "oblique", "mono", "serif"))
        return not is_plain, "sans" not in name, name

    # Fonts of last resort draw a box for every character.
    paths = [path for path in font_manager.findSystemFonts() if "lastresort" not in path.lower()]
    return tuple(sorted(paths, key=rank))


@functools.lru_cache(maxsize=64)
def _sized(path, size):
    return ImageFont.truetype(path, size)
