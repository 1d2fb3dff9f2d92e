"""The old trainers' config.pickle: all of its makes are read, and none of them can do anything."""

import os
import pickle
import random
import struct
import subprocess

import pytest
from old_config import SETTINGS, dumped, write_config

from frcnn.convert.keras_frcnn_config import read_config
from frcnn.errors import ConfigError

EXPECTED = {
    "classes": ["cat", "dog"],
    "short_side": 600,
    "sizes": (128, 256, 512),
    "ratios": ((1, 1), (1, 2), (2, 1)),
}


@pytest.fixture
def refused(tmp_path):
    """Return a function from a pickle's bytes to the one line that refuses it."""

    def refuse(content):
        (tmp_path / "config.pickle").write_bytes(content)
        with pytest.raises(ConfigError) as caught:
            read_config(tmp_path / "config.pickle")
        text = str(caught.value)
        assert str(tmp_path / "config.pickle") in text and "\n" not in text
        return text

    return refuse


# --- what is right ---------------------------------------------------------------------------


@pytest.mark.parametrize("module", ["keras_frcnn.config", "__main__"])
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_every_protocol_is_read(tmp_path, protocol, module):
    path = write_config(tmp_path / "config.pickle", SETTINGS, protocol=protocol, module=module)
    assert read_config(path) == EXPECTED
    assert read_config(str(path)) == EXPECTED


def test_python_2_is_read(tmp_path):
    """Protocol 0 as Python 2 writes it: of a class without a base, and of one with ``object``."""
    state = (
        b"(dS'class_mapping'\n(dS'cat'\nI0\nsS'h\\xc3\\xbchner'\nI1\nsS'bg'\nI2\ns"
        b"sS'anchor_box_scales'\n(lI128\naI256\naI512\na"
        b"sS'anchor_box_ratios'\n(l(lI1\naI1\naa(lI1\naI2\naa(lI2\naI1\naa"
        b"sS'im_size'\nI600\nsS'verbose'\nI01\nsb."
    )
    old = b"(ikeras_frcnn.config\nConfig\n"
    new = b"ccopy_reg\n_reconstructor\n(ckeras_frcnn.config\nConfig\nc__builtin__\nobject\nNtR"
    for head in (old, new):
        (tmp_path / "config.pickle").write_bytes(head + state)
        assert read_config(tmp_path / "config.pickle") == EXPECTED | {"classes": ["cat", "hühner"]}


def test_older_files_lack_settings_and_newer_ones_have_other_ratios(tmp_path):
    old = {
        k: SETTINGS[k] for k in ("class_mapping", "anchor_box_scales", "anchor_box_ratios", "im_size")
    }
    assert read_config(write_config(tmp_path / "a", old)) == EXPECTED
    long, short = 2 / 2**0.5, 1 / 2**0.5
    new = SETTINGS | {"anchor_box_ratios": [[1, 1], [short, long], [long, short]], "im_size": 300}
    found = read_config(write_config(tmp_path / "a", new))
    assert found == EXPECTED | {"ratios": ((1, 1), (short, long), (long, short)), "short_side": 300}


# --- what does not serve ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "name, value, says",
    [
        ("network", "resnet50", "network is 'resnet50'; only keras-frcnn's 'vgg'"),
        ("rpn_stride", 8, "rpn_stride is 8; only 16 can be imported"),
        ("std_scaling", 1.0, "std_scaling is 1.0; only 4.0"),
        ("classifier_regr_std", [1, 1, 1, 1], "classifier_regr_std is"),
        ("img_channel_mean", [0, 0, 0], "img_channel_mean is"),
        ("img_scaling_factor", 255.0, "img_scaling_factor is 255.0; only 1.0"),
        ("class_mapping", None, "class_mapping is missing"),
        ("class_mapping", {"bg": 0, "cat": 1}, "must end with 'bg'"),
        ("class_mapping", {"bg": 0}, "must end with 'bg'"),
        ("class_mapping", {"cat": 0, "bg": 2}, "must number the classes from 0"),
        ("class_mapping", {"cat": 0, "dog": 0, "bg": 1}, "must number the classes from 0"),
        ("class_mapping", {"cat": False, "bg": True}, "must number the classes from 0"),
        ("class_mapping", {0: 0, "bg": 1}, "must number the classes from 0"),
        ("class_mapping", ["cat", "bg"], "must number the classes from 0"),
        ("anchor_box_scales", [], "anchor_box_scales must be numbers above 0"),
        ("anchor_box_scales", [128, "256"], "anchor_box_scales must be numbers above 0"),
        ("anchor_box_scales", 128, "anchor_box_scales must be numbers above 0"),
        ("anchor_box_ratios", [[1, 1], [1]], "anchor_box_ratios must be pairs"),
        ("anchor_box_ratios", [1, 2], "anchor_box_ratios must be pairs"),
        ("anchor_box_ratios", [[1, float("nan")]], "anchor_box_ratios must be pairs"),
        ("im_size", float("inf"), "im_size must be a whole number"),
        ("im_size", True, "im_size must be a whole number"),
        ("im_size", 600.5, "im_size must be a whole number"),
    ],
)
def test_a_setting_that_does_not_serve_is_named(refused, name, value, says):
    assert says in refused(dumped(SETTINGS | {name: value}))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match="cannot read .*none.pickle: No such file"):
        read_config(tmp_path / "none.pickle")
    with pytest.raises(ConfigError, match="cannot read .*: is a folder, not a file"):
        read_config(tmp_path)


def test_damaged_files_are_refused(refused):
    whole = dumped(SETTINGS)
    for length in (0, 1, 2, 10, len(whole) // 2, len(whole) - 1):
        refused(whole[:length])
    refused(b"<html>not found</html>")
    refused(pickle.dumps(SETTINGS))
    refused(pickle.dumps(None))
    assert "the limit is 1,000,000" in refused(dumped(SETTINGS | {"model_path": "a" * 1_000_000}))


def test_mutated_files_are_refused_or_read(tmp_path):
    chance = random.Random(0)
    path = tmp_path / "config.pickle"
    refusals = 0
    for protocol in range(5):
        whole = dumped(SETTINGS, protocol)
        for _ in range(200):
            content = bytearray(whole)
            for _ in range(chance.randint(1, 3)):
                content[chance.randrange(len(content))] = chance.randrange(256)
            path.write_bytes(content)
            try:
                read_config(path)
            except ConfigError:
                refusals += 1
    assert refusals > 100


# --- attacks ---------------------------------------------------------------------------------


class Calls:
    """Unpickled without care, it calls a function."""

    def __init__(self, function, *arguments):
        self.called = function, arguments

    def __reduce__(self):
        return self.called


@pytest.fixture
def trap(tmp_path, monkeypatch):
    """Return the path that every attack makes a file or a folder at, and the shell command for it."""
    monkeypatch.chdir(tmp_path)
    yield tmp_path / "sprung"
    assert not (tmp_path / "sprung").exists()


ATTACKS = {
    "os.system": lambda trap: Calls(os.system, f"touch {trap}"),
    "os.mkdir": lambda trap: Calls(os.mkdir, str(trap)),
    "eval": lambda trap: Calls(eval, f"open({str(trap)!r}, 'w')"),
    "exec": lambda trap: Calls(exec, f"open({str(trap)!r}, 'w')"),
    "open": lambda trap: Calls(open, str(trap), "w"),
    "subprocess": lambda trap: Calls(subprocess.Popen, ["touch", str(trap)]),
    "getattr": lambda trap: Calls(getattr, eval, "__self__"),
    "import": lambda trap: Calls(__import__, "antigravity"),
    "a pickle in a pickle": lambda trap: Calls(pickle.loads, pickle.dumps(ATTACKS["open"](trap))),
}


@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize("attack", ATTACKS)
def test_nothing_is_called(refused, trap, attack, protocol):
    armed = ATTACKS[attack](trap)
    assert "asks for" in refused(pickle.dumps(armed, protocol))
    # Also where a setting would be, and deeper.
    assert "asks for" in refused(dumped(SETTINGS | {"im_size": armed}, protocol))
    assert "asks for" in refused(dumped(SETTINGS | {"anchor_box_scales": [[{"a": armed}]]}, protocol))


def test_the_traps_would_spring(tmp_path):
    """Or the tests above would show nothing."""
    for attack in ("os.system", "os.mkdir", "eval", "exec", "a pickle in a pickle"):
        pickle.loads(pickle.dumps(ATTACKS[attack](tmp_path / attack)))
        assert (tmp_path / attack).exists()


CONFIG = b"ckeras_frcnn.config\nConfig\n"
BY_HAND = {
    "their own class called with arguments": CONFIG + b"(S'a'\ntR.",
    "another class of their module": b"ckeras_frcnn.config\nos\n.",
    "a dotted name through it": b"\x80\x04\x8c\x12keras_frcnn.config\x8c\x0fConfig.__init__\x93.",
    "the base class through it": b"\x80\x04\x8c\x12keras_frcnn.config\x8c\x10Config.__class__\x93.",
    "the helper called on another class": b"ccopy_reg\n_reconstructor\n(cos\nsystem\nNNtR.",
    "object called": b"c__builtin__\nobject\n(tR.",
    "a class of ours": b"cfrcnn.keras_frcnn_config\n_Unpickler\n.",
    "an extension": b"\x80\x02\x82\x01.",
    "a persistent id": b"Psomething\n.",
    "the class itself": CONFIG + b".",
    "attributes of the class": CONFIG + b"(N}\x8c\x0c__setstate__\x8c\x01astb.",
    "attributes of the helper": b"ccopy_reg\n_reconstructor\n(N}\x8c\x08__code__\x8c\x01astb.",
    "another instance's type": CONFIG + b"(tR(N}\x8c\x09__class__c__builtin__\nobject\nstb.",
    "memory": b"N" + b"r" + struct.pack("<I", 2**31 - 1) + b".",
    "memory, in text": b"Np99999999999\n.",
    "a number of bytes that is not there": b"\x80\x04\x8e" + struct.pack("<Q", 2**40) + b"a.",
    "a large frame": b"\x80\x04\x95" + struct.pack("<Q", 2**40) + b"N.",
    "depth": b"]" * 200_000 + b"a" * 199_999 + b".",
}


@pytest.mark.parametrize("content", BY_HAND.values(), ids=BY_HAND)
def test_pickles_written_by_hand_are_refused(refused, content):
    refused(content)


def test_one_file_leaves_nothing_for_the_next(refused, tmp_path):
    refused(CONFIG + b"(N}\x8c\x07im_sizeK\x01stb.")
    refused(BY_HAND["attributes of the helper"])
    assert read_config(write_config(tmp_path / "a", SETTINGS)) == EXPECTED


def test_the_class_looks_like_no_more_than_its_settings(tmp_path):
    """What a real class would do with attributes of special names, this one does not."""
    special = {"__class__": "a", "__dict__": {"a": 1}, "__reduce__": "b", "__setstate__": "c"}
    assert read_config(write_config(tmp_path / "a", SETTINGS | special)) == EXPECTED


@pytest.mark.parametrize("name", ["network", "anchor_box_scales", "anchor_box_ratios", "class_mapping"])
def test_a_value_whose_text_would_fill_memory_is_shown_in_part(refused, name):
    value = ["x"]
    for _ in range(40):
        value = [value, value]  # a few hundred bytes as a pickle, 2**40 texts when shown
    message = refused(dumped(SETTINGS | {name: value}))
    assert name in message and len(message) < 600
