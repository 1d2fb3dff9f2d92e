"""A class name is one line of characters that can be seen."""

import pytest

from frcnn.config import class_names
from frcnn.config.schema import Config
from frcnn.errors import ConfigError, DataError

BLANKS = "\n \r \t \x0b \x0c \x1c \x85 \u00a0 \u2028 \u2029 \u3000".split(" ")


@pytest.mark.parametrize("blank", BLANKS, ids=ascii)
def test_white_space_becomes_one_blank(blank):
    assert class_names.clean(f"{blank}traffic{blank} {blank}light{blank}") == "traffic light"


@pytest.mark.parametrize("name", ["cup/mug", "<C>", "a\\b", "it's", 'a"b', "a, b", "猫", ".."])
def test_what_can_be_seen_stays(name):
    assert class_names.clean(name) == name


def test_scripts_and_emoji_keep_their_joiners():
    for name in ("می\u200cخواهم", "\U0001f469\u200d\U0001f680"):
        assert class_names.clean(name) == name


def test_an_accent_is_one_letter_however_it_is_written():
    assert class_names.clean("cafe\u0301") == class_names.clean("caf\u00e9") == "caf\u00e9"


@pytest.mark.parametrize("character", ["\0", "\x1b", "\x7f", "\u200b", "\u202e", "\ufeff", "\ud800"])
def test_what_cannot_be_seen_is_refused(character):
    with pytest.raises(DataError, match=f"has the invisible character U\\+{ord(character):04X}"):
        class_names.clean(f"a{character}b")


def test_no_name_is_endless():
    assert len(class_names.clean("x" * 200)) == 200
    with pytest.raises(DataError, match="has 201 characters; the limit is 200"):
        class_names.clean("x" * 201)


@pytest.mark.parametrize(
    "names, says",
    [
        (["a b", "a  b"], "data.classes: the class 'a b' is named twice"),
        (["a", "\n"], "data.classes: class 2 of 2 has an empty name"),
        (["a\x1b"], "data.classes: the class name 'a\\\\x1b' has the invisible character U\\+001B"),
    ],
)
def test_the_setting_is_cleaned_alike(names, says):
    assert Config().replace({"data.classes": ["traffic\n light", "car"]}).data.classes == (
        "traffic light",
        "car",
    )
    with pytest.raises(ConfigError, match=says):
        Config().replace({"data.classes": names})


def test_the_labels_of_some_classes():
    assert class_names.numbers_of(("dog", "cat"), ("cat", "cow", "dog"), "detection.classes") == (2, 0)
    with pytest.raises(ConfigError, match="detection.classes names 'dogg', .*did you mean 'dog'"):
        class_names.numbers_of(("dogg",), ("cat", "dog"), "detection.classes")
    with pytest.raises(ConfigError, match="detection.classes names 'x', .*; the classes are cat, dog"):
        Config().replace({"data.classes": "cat,dog", "detection.classes": "x"})


def test_a_rename_of_another_form_says_the_form():
    with pytest.raises(ConfigError, match="data.rename: 'Dog' is not of the form OLD=NEW"):
        Config().replace({"data.rename": ["Dog"]})
