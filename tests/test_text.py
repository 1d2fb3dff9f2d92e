"""Hints only where names are near, and lists that fit a line."""

import io
import sys

import pytest
from tqdm import tqdm

from frcnn import text
from frcnn.config.schema import Config
from frcnn.errors import ConfigError

NEAR = {"Cat": "cat", "racoon": "raccoon", "trian": "train", "bycicle": "bicycle"}
FAR = ["dog", "cow", "rat", "", "x" * 10**6]


@pytest.mark.parametrize("name", NEAR)
def test_a_typing_error_is_recognised(name):
    known = ["dining table", *NEAR.values()]
    assert text.did_you_mean(name, known) == f", did you mean {NEAR[name]!r}?"


@pytest.mark.parametrize("name", FAR)
def test_what_is_not_near_is_not_suggested(name):
    assert text.did_you_mean(name, ["cat", "raccoon", "train", "bicycle"]) == ""


def test_lists_are_cut_short_and_counted():
    assert text.listed("ab") == "a, b" and text.listed([]) == "none"
    assert text.listed([f"c{n}" for n in range(91)]) == "c0, c1, c2, ... (91 in all)"


KEYS = {
    "train.epoch": "train.epochs",
    "epochs": "train.epochs",
    "learning_rate": "optimizer.learning_rate",
    "optimiser.momentum": "optimizer.momentum",
    "rpn.nms": "rpn.nms_iou",
    "optimizer.lr": None,  # with the section's name it is as near to optimizer.name as to any
    "model.colour": None,
    "zzz.q": None,
}


@pytest.mark.parametrize("key", KEYS)
def test_an_unknown_setting_is_near_to_another_or_to_none(key):
    with pytest.raises(ConfigError) as caught:
        Config().replace({key: 1})
    hint = f"; did you mean {KEYS[key]}?" if KEYS[key] else ""
    assert str(caught.value) == f"there is no setting {key!r}{hint}"


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_bar_in_a_file_is_a_line_for_each_state(monkeypatch):
    file = io.StringIO()
    monkeypatch.setattr(sys, "stderr", file)
    with tqdm(total=4, desc="epoch 1/2", **text.bar_options()) as bar:
        for _ in range(4):
            bar.update()
    first, last = file.getvalue().splitlines()  # and none in the 30 seconds after the first
    assert first.startswith("epoch 1/2:   0%") and last.startswith("epoch 1/2: 100%")
    assert "\r" not in file.getvalue()


def test_a_bar_on_a_terminal_is_redrawn(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    assert text.bar_options() == {"mininterval": 1.0}
