"""Text in any script: which font each character comes from, and what is done where none has it."""

import unicodedata

import numpy as np
import pytest
from PIL import Image, ImageDraw

from frcnn.inspection import fonts


@pytest.fixture
def no_system_fonts(monkeypatch):
    """Only DejaVu Sans is there."""
    monkeypatch.setattr(fonts, "_system_fonts", lambda: ())
    fonts.find_font.cache_clear()
    yield
    fonts.find_font.cache_clear()


def pixels(text, size=40):
    """Return the picture of a text, (H, W) of bool."""
    drawn = fonts.Text(text, size)
    image = Image.new("L", (drawn.width + 20, drawn.ascent + drawn.descent + 20))
    drawn.draw(ImageDraw.Draw(image), 10, 10 + drawn.ascent, 255)
    return np.asarray(image) > 127


@pytest.mark.parametrize(
    "text", ["chien \u00e0 poil", "\u0441\u043e\u0431\u0430\u043a\u0430", "\u03b3\u03ac\u03c4\u03b1"]
)
def test_latin_cyrillic_and_greek_have_a_glyph_for_each_letter(text):
    assert fonts.runs(text) == [(text, fonts.DEJAVU)]
    letters = sorted({letter for letter in text if letter.isalpha()})
    pictures = {pixels(letter).tobytes() for letter in letters}
    assert len(pictures) == len(letters)  # a font without them draws the same square for each


def test_a_character_that_no_font_has_is_written_as_its_code_point(no_system_fonts):
    assert fonts.runs("a\u732b\u72ac 1") == [("aU+732B U+72AC 1", fonts.DEJAVU)]
    assert fonts.runs("\udcff") == [("U+DCFF", fonts.DEJAVU)]  # a byte of a name that is no UTF-8


def test_a_character_comes_from_the_first_font_that_has_it(monkeypatch):
    has = {fonts.DEJAVU: set("ab "), "one": set("c"), "two": set("cd")}
    monkeypatch.setattr(fonts, "_system_fonts", lambda: ("one", "two"))
    monkeypatch.setattr(fonts, "_has", lambda path, character: character in has[path])
    fonts.find_font.cache_clear()
    # A font is kept as long as it has what follows, so that letters which join are in one run.
    assert fonts.runs("abcdc a") == [
        ("ab", fonts.DEJAVU),
        ("c", "one"),
        ("dc", "two"),
        (" a", fonts.DEJAVU),
    ]
    fonts.find_font.cache_clear()


def test_white_space_is_one_space_and_what_is_invisible_is_left_out(no_system_fonts):
    assert fonts.runs("traffic\n\t light\u2028") == [("traffic light", fonts.DEJAVU)]
    assert fonts.runs("\U0001f600\ufe0f")[0][0] in ("\U0001f600", "\U0001f600\ufe0f")
    composed = unicodedata.normalize("NFC", "e\u0301")
    assert fonts.runs("e\u0301") == [(composed, fonts.DEJAVU)]


def test_a_file_that_is_no_font_is_passed_over(tmp_path):
    (tmp_path / "a.ttf").write_bytes(b"no font")
    assert fonts._characters(str(tmp_path / "a.ttf")) == frozenset()


def test_a_text_stays_within_what_it_measures():
    drawn = pixels("\u00c5gj|")
    rows, columns = np.nonzero(drawn)
    assert rows.min() >= 9 and rows.max() < drawn.shape[0] - 9
    assert columns.max() < drawn.shape[1] - 9
    assert fonts.Text("", 14).width == 0
