"""The table of faults: what is broken, the command, its exit status and message, and the files it keeps.

Each row was once a bug: data read wrongly, weights or files lost, a traceback, a wait without end. Its
``setup`` breaks something in a ``fault_command.Place``. ``test_fault_table.py`` runs the rows.
"""

import dataclasses
import json
import os
import re
import shutil
import signal
from collections.abc import Callable

import h5py
from fault_command import TRAIN
from PIL import Image

RESUME = (*TRAIN, "--resume")
PREDICT = ("predict", "run", "data/JPEGImages/val_000000.jpg")
EVALUATE = ("evaluate", "run")
INSPECT = ("inspect_data", "--config", "small.json", "--data-dir", "data")


@dataclasses.dataclass(frozen=True)
class Row:
    """One fault.

    Attributes:
        name: of the row, unique.
        setup: what breaks a ``ProcessInfo``.
        command: name of a script, and its arguments.
        words: regular expressions that the output must hold.
        status: the exit status.
        untouched: patterns of files that must hold the same bytes afterwards.
        run: whether the place has a trained run in ``run``.
        environment: {name: value} added to the command's environment.
        lines: how many lines of output there may be at most; of no matter where a run trains.
        kill: (text, signal number) to be sent once the output holds the text.
        check: further assertions about the place after the command.
    """

    name: str
    setup: Callable
    command: tuple
    words: tuple
    status: int = 2
    untouched: tuple = ("data/**/*", "run/**/*")
    run: bool = False
    environment: dict = dataclasses.field(default_factory=dict)
    lines: int = 25
    kill: tuple | None = None
    check: Callable = lambda place: None


# Ways to break things.


def nothing(place):
    """Break nothing: the command itself is wrong, or a signal comes."""


def edit(path, old, new):
    text = path.read_text()
    assert re.search(old, text), f"{path} does not hold {old!r}"
    path.write_text(re.sub(old, new, text, count=1))


def annotation(old, new):
    """Return a setup that edits the first training annotation."""
    return lambda place: edit(place / "data/Annotations/train_000000.xml", old, new)


def split_line(line):
    """Return a setup that adds a line to the training split."""

    def setup(place):
        with (place / "data/ImageSets/Main/train.txt").open("a") as file:
            file.write(line + "\n")

    return setup


def image(make):
    """Return a setup that replaces the first training image: ``make(path)`` writes it."""

    def setup(place):
        path = place / "data/JPEGImages/train_000000.jpg"
        path.unlink()
        make(path)

    return setup


def remove(*names):
    def setup(place):
        for name in names:
            path = place / name
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    return setup


def both(*setups):
    def setup(place):
        for one in setups:
            one(place)

    return setup


def write(name, content):
    def setup(place):
        path = place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())

    return setup


def setting(key, value):
    """Return a setup that changes a setting of ``small.json``."""

    def setup(place):
        path, (section, name) = place / "small.json", key.split(".")
        values = json.loads(path.read_text())
        values.setdefault(section, {})[name] = value
        path.write_text(json.dumps(values))

    return setup


def fifo(name):
    def setup(place):
        path = place / name
        path.unlink(missing_ok=True)
        os.mkfifo(path)

    return setup


def link(name, target="elsewhere"):
    """Return a setup that moves a file out of the run and links to it."""

    def setup(place):
        (path,) = place.folder.glob(name)
        path.rename(place / target)
        path.symlink_to(place / target)

    return setup


def flip_bit(pattern, share=0.5):
    """Return a setup that flips a bit of each file that fits a pattern, at a share of its length."""

    def setup(place):
        paths = list(place.folder.glob(pattern))
        assert paths, pattern
        for path in paths:
            content = bytearray(path.read_bytes())
            content[int(len(content) * share)] ^= 0x10
            path.write_bytes(content)

    return setup


def twin_of_first(ending):
    """Return a setup that puts another image beside the first one, under another ending."""

    def setup(place):
        folder = place / "data/JPEGImages"
        with Image.open(folder / "train_000000.jpg") as first:
            first.transpose(Image.Transpose.ROTATE_180).save(folder / f"train_000000{ending}")

    return setup


# Rows.

DATA = [
    Row(
        "annotation cut off", annotation(r"(?s)</annotation>.*", ""), TRAIN, ("train_000000.xml", "XML")
    ),
    Row("annotation missing", remove("data/Annotations/train_000001.xml"), TRAIN, ("train_000001.xml",)),
    Row("image missing", remove("data/JPEGImages/train_000001.jpg"), TRAIN, ("train_000001",)),
    Row(
        "image is a text file",
        image(lambda path: path.write_text("no image")),
        TRAIN,
        ("train_000000.jpg",),
    ),
    Row("image is empty", image(lambda path: path.touch()), TRAIN, ("train_000000.jpg",)),
    Row(
        "image cut off",
        lambda place: os.truncate(place / "data/JPEGImages/train_000000.jpg", 900),
        TRAIN,
        ("train_000000.jpg",),
    ),
    Row(
        "image of another size than declared",
        image(lambda path: Image.new("RGB", (50, 40)).save(path)),
        TRAIN,
        ("train_000000", "50x40"),
    ),
    Row(
        "box out of the image",
        annotation(r"<xmax>[\d.]+</xmax>", "<xmax>9999</xmax>"),
        TRAIN,
        ("train_000000.xml box 1", "9999"),
    ),
    Row(
        "box with words for numbers",
        annotation(r"<ymin>[\d.]+</ymin>", "<ymin>top</ymin>"),
        TRAIN,
        ("box 1", "ymin", "top"),
    ),
    Row(
        "corners relative to the image size",
        annotation(
            r"(?s)<bndbox>.*?</bndbox>",
            "<bndbox><xmin>0.1</xmin><ymin>0.2</ymin><xmax>0.6</xmax><ymax>0.9</ymax></bndbox>",
        ),
        TRAIN,
        ("train_000000.xml box 1", "relative"),
    ),
    Row(
        "objects in a wrapper",
        annotation(r"(?s)(<object>.*</object>)", r"<objects>\1</objects>"),
        TRAIN,
        ("train_000000.xml", "objects"),
    ),
    Row(
        "object with a capital letter",
        annotation(r"(?s)<object>(.*?)</object>", r"<Object>\1</Object>"),
        TRAIN,
        ("train_000000.xml", "Object"),
    ),
    Row(
        "two boxes in one object",
        annotation(r"(?s)(<bndbox>.*?</bndbox>)", r"\1\1"),
        TRAIN,
        ("train_000000.xml", "box 1"),
    ),
    Row(
        "image twice under two endings",
        both(annotation("<filename>.*?</filename>", ""), twin_of_first(".png")),
        TRAIN,
        (r"train_000000\.jpg", r"train_000000\.png"),
    ),
    Row("split line with an ending", split_line("train_000001.jpg"), TRAIN, ("train.txt", "line 5")),
    Row("split line that leads out", split_line("../../small"), TRAIN, ("train.txt", "line 5")),
    Row("split line twice", split_line("train_000001"), TRAIN, ("train.txt", "line 5")),
    Row(
        "split line with an escape sequence",
        split_line("train\x1b[31m_red"),
        TRAIN,
        ("train.txt", "line 5"),
        check=lambda place: no_escape(place),
    ),
    Row(
        "a million bad split lines",
        write("data/ImageSets/Main/train.txt", "".join(f"bad {n}x\n" for n in range(200_000))),
        TRAIN,
        ("train.txt", "and 199988 more"),
    ),
    Row("split missing", nothing, (*TRAIN, "--train-split", "trian"), ("trian", "train")),
    Row("no JPEGImages", remove("data/JPEGImages"), TRAIN, ("there is no folder", "JPEGImages")),
    # The splits are then made, and the run says how.
    Row(
        "no ImageSets",
        remove("data/ImageSets"),
        TRAIN,
        ("there is no split for validation", "chosen by the hash of their names"),
        status=0,
        lines=60,  # a whole run's
        untouched=("data/**/*",),
    ),
    Row("no such data folder", nothing, (*TRAIN, "--data-dir", "nowhere"), ("nowhere",)),
    Row(
        "class of validation alone",
        lambda place: edit(
            place / "data/Annotations/val_000000.xml", r"<name>\w+</name>", "<name>hexagon</name>"
        ),
        TRAIN,
        ("hexagon", "val"),
    ),
    Row(
        "class name with an escape sequence",
        annotation(r"<name>\w+</name>", "<name>\u009b31mred</name>"),
        TRAIN,
        ("train_000000.xml",),
        check=lambda place: no_escape(place),
    ),
    Row(
        "YOLO labels without images",
        both(
            remove("data"),
            write("data/data.yaml", "names: [a]\n"),
            write("data/labels/a.txt", "0 0 0 1 1\n"),
        ),
        TRAIN,
        (r"data \(yolo\) has no split train",),
    ),
    Row(
        "COCO without images",
        both(
            remove("data"),
            write(
                "data/annotations/instances.json", '{"images": [], "annotations": [], "categories": []}'
            ),
        ),
        TRAIN,
        (r"data/annotations/instances\.json lists no image",),
    ),
]

STRANGERS = [
    Row(
        "FIFO as an image",
        fifo("data/JPEGImages/train_000000.jpg"),
        TRAIN,
        ("train_000000.jpg",),
        untouched=(),
    ),
    Row(
        "FIFO as an annotation",
        fifo("data/Annotations/train_000000.xml"),
        TRAIN,
        ("train_000000.xml",),
        untouched=(),
    ),
    Row("FIFO as a split", fifo("data/ImageSets/Main/train.txt"), TRAIN, ("train.txt",), untouched=()),
    Row("FIFO as a config", fifo("small.json"), TRAIN, ("small.json",)),
    Row("FIFO as weights", fifo("weights.h5"), (*TRAIN, "--weights", "weights.h5"), ("weights.h5",)),
    Row("device as weights", nothing, (*TRAIN, "--weights", "/dev/zero"), ("/dev/zero",)),
    Row(
        "XML that multiplies",
        write(
            "data/Annotations/train_000000.xml",
            '<!DOCTYPE a [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;">]><annotation>&b;</annotation>',
        ),
        TRAIN,
        ("train_000000.xml",),
    ),
]


def no_escape(place):
    text = (place / "output").read_text(errors="replace")
    assert not re.search("[\x00-\x08\x0b\x0c\x0e-\x1a\x1b\x80-\x9f]", text), repr(text)


def npz_bomb(place):
    """A file of a few kB that declares 40 GB of float32."""
    header = b"\x93NUMPY\x01\x00v\x00" + (
        b"{'descr': '<f4', 'fortran_order': False, 'shape': (100000, 100000), }".ljust(117) + b"\n"
    )
    import zipfile

    with zipfile.ZipFile(place / "weights.npz", "w") as file:
        file.writestr("Conv_0/kernel.npy", header)


def hdf5_bomb(place):
    """A file of a few kB that declares 40 GB of float32, none of it written."""
    with h5py.File(place / "weights.h5", "w") as file:
        group = file.create_group("tiny_conv1")
        file.attrs["layer_names"] = [b"tiny_conv1"]
        group.attrs["weight_names"] = [b"kernel"]
        group.create_dataset("kernel", (100_000, 100_000), "float32", chunks=(100, 100))


STRANGERS += [
    Row("npz that declares gigabytes", npz_bomb, (*TRAIN, "--weights", "weights.npz"), ("weights.npz",)),
    Row("HDF5 that declares gigabytes", hdf5_bomb, (*TRAIN, "--weights", "weights.h5"), ("weights.h5",)),
    Row("no weight file", nothing, (*TRAIN, "--weights", "none.h5"), ("none.h5",)),
    Row(
        "weights are text",
        write("weights.h5", "no weights"),
        (*TRAIN, "--weights", "weights.h5"),
        ("weights.h5",),
    ),
]


SETTINGS = [
    Row("mistyped setting", nothing, (*TRAIN, "--set", "rpn.sampels=3"), ("rpn.samples",)),
    Row("setting out of bounds", nothing, (*TRAIN, "--set", "rpn.nms_iou=7"), ("rpn.nms_iou", "7")),
    Row("loss weight without bounds", nothing, (*TRAIN, "--set", "loss.rpn=1e300,1"), ("loss.rpn",)),
    Row("width without bounds", setting("model.head_width", 10**9), TRAIN, ("model.head_width",)),
    Row(
        "detections without bounds",
        setting("detection.max_detections", 10**9),
        TRAIN,
        ("detection.max_detections",),
    ),
    Row("config is no JSON", write("small.json", "{"), TRAIN, ("small.json",)),
    Row("config of another shape", write("small.json", "[1, 2]"), TRAIN, ("small.json",)),
    Row("fewer than no workers", nothing, (*TRAIN, "--workers-per-node", "-1"), ("workers-per-node",)),
    Row("TF_CONFIG is no JSON", nothing, TRAIN, ("TF_CONFIG",), environment={"TF_CONFIG": "{worker"}),
    Row("TF_CONFIG is a list", nothing, TRAIN, ("TF_CONFIG",), environment={"TF_CONFIG": "[1]"}),
    Row(
        "Slurm's number is a word",
        nothing,
        TRAIN,
        ("SLURM_STEP_NUM_TASKS",),
        environment={"SLURM_STEP_NUM_TASKS": "many"},
    ),
    Row("score is no number", nothing, (*PREDICT, "--score", "nan"), ("score",), run=True),
]

RUN_FOLDER = [
    Row("a run is there already", nothing, TRAIN, ("run", "--resume"), run=True),
    Row(
        "somebody's metrics",
        write("run/metrics.csv", "mine\n1\n"),
        TRAIN,
        ("metrics.csv",),
    ),
    Row(
        "somebody's logs",
        write("run/train/events.out.tfevents.1.host", b"mine"),
        TRAIN,
        ("tfevents|train",),
    ),
    Row("checkpoints deleted", remove("run/checkpoints"), RESUME, ("checkpoint",), run=True),
    Row("config deleted", remove("run/config.json"), RESUME, ("config.json",), run=True),
    Row("config damaged", write("run/config.json", "{"), RESUME, ("config.json",), run=True),
    Row(
        "event file is a link",
        both(link("run/train/*.tfevents.*"), setting("train.epochs", 2)),
        (*RESUME, "--allow-config-change"),
        ("tfevents", "link"),
        run=True,
        untouched=("elsewhere",),
    ),
    Row(
        "metrics are a link",
        both(link("run/metrics.csv"), setting("train.epochs", 2)),
        (*RESUME, "--allow-config-change"),
        ("metrics.csv", "link"),
        run=True,
        untouched=("elsewhere",),
    ),
    Row(
        "flipped bit in an event file",
        both(flip_bit("run/train/*.tfevents.*"), setting("train.epochs", 2)),
        (*RESUME, "--allow-config-change"),
        ("damaged",),
        status=0,
        run=True,
        untouched=("data/**/*",),
        lines=100,
    ),
    Row(
        "all checkpoints damaged",
        flip_bit("run/checkpoints/*/variables.npz"),
        RESUME,
        ("checkpoint", "changed"),
        run=True,
    ),
    Row(
        "other settings on resume",
        setting("rpn.samples", 8),
        RESUME,
        ("rpn.samples", "allow-config-change"),
        run=True,
    ),
    Row(
        "other boxes on resume",
        annotation(r"<xmax>[\d.]+</xmax>", "<xmax>60</xmax>"),
        RESUME,
        ("data",),
        run=True,
    ),
    Row("run directory is a file", write("run", "mine"), TRAIN, ("run",), untouched=("run",)),
]


def same_stem(place):
    for name in ("x", "y"):
        (place / name).mkdir()
        shutil.copy(place / "data/JPEGImages/val_000000.jpg", place / name / "p.jpg")


def count_drawn(number):
    def check(place):
        assert len([path for path in (place / "out").rglob("*.png")]) == number

    return check


COMMANDS = [
    Row(
        "two pictures of one name",
        same_stem,
        ("predict", "run", "x/p.jpg", "y/p.jpg", "--out", "out"),
        ("p.png",),
        status=0,
        run=True,
        check=count_drawn(2),
    ),
    Row(
        "drawing over the source",
        lambda place: Image.open(place / "data/JPEGImages/val_000000.jpg").save(place / "p.png"),
        ("predict", "run", "p.png", "--out", "."),
        ("p.*png",),
        status=0,
        run=True,
        untouched=("p.png", "run/**/*"),
    ),
    Row(
        "one bad picture of two",
        write("bad.jpg", "no image"),
        ("predict", "run", "bad.jpg", "data/JPEGImages/val_000000.jpg", "--out", "out"),
        ("bad.jpg",),
        status=1,
        run=True,
        check=count_drawn(1),
    ),
    Row("picture missing", nothing, ("predict", "run", "gone.jpg"), ("gone.jpg",), status=1, run=True),
    Row(
        "predictions into a file",
        write("out", "mine"),
        (*PREDICT, "--out", "out"),
        ("out",),
        run=True,
        untouched=("out",),
    ),
    Row("numbers into a folder", nothing, (*EVALUATE, "--json", "data"), ("data",), run=True),
    Row(
        "numbers over somebody's file",
        write("mine.json", "{}"),
        (*EVALUATE, "--json", "mine.json"),
        ("mine.json",),
        run=True,
        untouched=("mine.json",),
    ),
    Row("no run to evaluate", nothing, ("evaluate", "nowhere"), ("nowhere",)),
    Row(
        "no run to predict with",
        nothing,
        ("predict", "data", "data/JPEGImages/val_000000.jpg"),
        ("data",),
    ),
    Row(
        "inspection into somebody's folder",
        write("inspection/boxes/mine.png", "mine"),
        INSPECT,
        (),
        status=0,
        untouched=("inspection/boxes/mine.png",),
        lines=100,
    ),
    Row(
        "console that knows ASCII alone",
        annotation(r"<name>\w+</name>", "<name>кот</name>"),
        TRAIN,
        (r"\\u043a",),
        status=0,
        environment={"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0", "LC_ALL": "C"},
        lines=100,
    ),
    Row(
        "SIGTERM before the first step",
        nothing,
        (*TRAIN, "--resume"),
        ("SIGTERM",),
        status=0,
        kill=("device:", signal.SIGTERM),
        lines=100,
    ),
    Row(
        "SIGHUP while it trains",
        setting("train.steps_per_epoch", 500),
        (*TRAIN, "--resume"),
        ("SIGHUP", "--resume"),
        status=0,
        kill=("1/500", signal.SIGHUP),
        lines=1000,
    ),
]

ROWS = [*DATA, *STRANGERS, *SETTINGS, *RUN_FOLDER, *COMMANDS]
