"""Text in any script for pictures: each character in a font that has its glyph.

The first font is DejaVu Sans (Latin, Greek, Cyrillic, Arabic, Hebrew and more), which matplotlib brings;
the others are the system's. A character that no font has is written as its code point, such as
``U+732B``, so that it can be looked up.
"""

import functools
import math
import pathlib
import unicodedata

import matplotlib
from matplotlib import ft2font
from PIL import ImageFont

DEJAVU = str(pathlib.Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf")


class Text:
    """One line of text, ready to be measured and drawn.

    Args:
        text: any str; white space becomes single spaces.
        size: of the font, pixels.

    Attributes:
        width: pixels.
        ascent, descent: pixels above and below the baseline that its glyphs take.
    """

    def __init__(self, text, size):
        self.runs = [(run, _sized(path, size)) for run, path in runs(text)]
        boxes = [font.getbbox(run, anchor="ls") for run, font in self.runs] or [(0, 0, 0, 0)]
        self.width = math.ceil(sum(font.getlength(run) for run, font in self.runs))
        self.ascent = math.ceil(-min(box[1] for box in boxes))
        self.descent = math.ceil(max(box[3] for box in boxes))

    def draw(self, canvas, x, baseline, ink):
        """Draw it from ``x`` to the right on a Pillow ``ImageDraw``."""
        for run, font in self.runs:
            canvas.text((x, baseline), run, fill=ink, font=font, anchor="ls")
            x += font.getlength(run)


def runs(text):
    """Return a text as a list of (part of it, path of a font that has all its characters)."""
    text = " ".join(unicodedata.normalize("NFC", text).split())
    found, missing = [], False
    for character in text:
        known = found[-1][1] if found else DEJAVU
        path = known if _has(known, character) else find_font(character)
        if path is None and (unicodedata.category(character) == "Cf" or character in "\ufe0e\ufe0f"):
            continue  # joins or varies its neighbours, and is nothing to see by itself
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
def find_font(character):
    """Return the path of the first font that has a character, None if there is none."""
    return next((path for path in (DEJAVU, *_system_fonts()) if _has(path, character)), None)


def _has(path, character):
    return ord(character) in _characters(path)


@functools.lru_cache(maxsize=64)
def _characters(path):
    """Return the code points that a font file has glyphs for; none if it is not usable."""
    try:
        font = ft2font.FT2Font(path)
        return frozenset(font.get_charmap()) if font.scalable else frozenset()
    except (OSError, RuntimeError, ValueError):  # a damaged file, or one that FreeType cannot read
        return frozenset()


@functools.cache
def _system_fonts():
    """Return the paths of the system's fonts, plain sans-serif ones first."""
    from matplotlib import font_manager  # seconds where it looks at all fonts for the first time

    def rank(path):
        name = pathlib.Path(path).stem.lower()
        is_plain = not any(word in name for word in ("bold", "italic", "oblique", "mono", "serif"))
        return not is_plain, "sans" not in name, name

    # Fonts of last resort have a box for every character.
    paths = [path for path in font_manager.findSystemFonts() if "lastresort" not in path.lower()]
    return tuple(sorted(paths, key=rank))


@functools.lru_cache(maxsize=64)
def _sized(path, size):
    return ImageFont.truetype(path, size)
