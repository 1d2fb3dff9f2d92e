"""Names with escape sequences, in a data set that somebody else made, reach no console as they are."""

import re
import shutil

import pytest
from support import damage

from frcnn import text
from frcnn.cli import common, main

ESCAPE = "\x1b[31m"
# Everything that a terminal obeys, but for the line ends and carriage returns of progress bars.
CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")


def rename(root, name):
    """Put an escape sequence into the names of an image and its annotation, and into their split."""
    image = root / "JPEGImages" / f"{name}.jpg"
    image = image.rename(image.with_stem(f"{name}{ESCAPE}"))
    annotation = root / "Annotations" / f"{name}.xml"
    annotation.rename(annotation.with_stem(f"{name}{ESCAPE}"))
    split = root / "ImageSets" / "Main" / f"{name.partition('_')[0]}.txt"
    split.write_text(split.read_text().replace(name, f"{name}{ESCAPE}"))
    return image


@pytest.fixture
def command(capfd, monkeypatch, tmp_path):
    """Return a function that runs a command line: its status and its output, checked."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        with pytest.raises(SystemExit) as caught:
            common.run(lambda: main.main([str(argument) for argument in arguments]))
        output = "".join(capfd.readouterr())
        assert not CONTROL.search(output), repr(output)
        return caught.value.code or 0, output

    return run


def test_inspect_prints_file_names_escaped(shapes_folder, tmp_path, command):
    root = tmp_path / f"data{ESCAPE}"
    shutil.copytree(shapes_folder, root)
    damage(rename(root, "train_000000"))
    out = ("--out", tmp_path / f"report{ESCAPE}")
    for policy, expected in (("error", 2), ("skip", 0)):
        status, output = command("inspect", root, "--split", "train", "--on-bad-data", policy, *out)
        assert status == expected and "train_000000\\x1b[31m" in output


@pytest.mark.slow
def test_train_evaluate_and_predict_print_file_names_escaped(shapes_folder, tmp_path, command):
    root, run = tmp_path / f"data{ESCAPE}", tmp_path / "run"
    shutil.copytree(shapes_folder, root)
    damaged = rename(root, "train_000000"), rename(root, "val_000000")
    for image in damaged:
        damage(image)
    data = ("--data-dir", root, "--on-bad-data", "skip")
    settings = "short_side=64 long_side=96 train_split=train val_split=val".split()
    settings = [f"data.{setting}" for setting in settings]
    settings += ["train.steps_per_epoch=2", "rpn.post_nms_test=10", "model.head_width=8"]
    settings = [word for setting in settings for word in ("--set", setting)]
    network = ("--dataset", "voc", "--backbone", "tiny", "--weights", "none", "--epochs", 1)

    status, output = command("train", *network, *data, "--out", run, *settings)
    assert status == 0 and "train_000000\\x1b[31m" in output
    status, output = command("evaluate", run, *data)
    assert status == 0 and "skipped: val_000000\\x1b[31m" in output
    status, output = command("predict", run, damaged[0], root / "JPEGImages" / "train_000001.jpg")
    assert status == 1 and "train_000000\\x1b[31m.jpg skipped" in output


def test_class_names_and_mistyped_options_are_printed_escaped(shapes_folder, tmp_path, command):
    root = tmp_path / "data"
    shutil.copytree(shapes_folder, root)
    annotation = root / "Annotations" / "train_000000.xml"
    content = re.sub("<name>.*?<", "<name>cat&#155;31m<", annotation.read_text(), count=1)
    annotation.write_text(content)
    for name in ("train", "inspect"):
        options = ("--set", "data.train_split=train", "--set", "data.val_split=val")
        status, output = command(name, "--dataset", "voc", "--data-dir", root, *options)
        assert status == 2 and r"'cat\x9b31m' has the invisible character U+009B" in output
    status, output = command("train", f"--{ESCAPE}")
    assert status == 2 and r"\x1b[31m" in output


def test_echo_escapes_each_line(capsys):
    text.echo("one\x1b[2J\n\ttwo\r")
    assert capsys.readouterr().out == "one\\x1b[2J\n\ttwo\\r\n"
