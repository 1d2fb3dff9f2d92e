"""Every reader of files as a function of one file's bytes: what the fuzzer and its seeds' test call.

A reader may return a value or raise an ``FrcnnError``; anything else is a fault, and so is a reader that
takes seconds or gigabytes.
"""

import io
import json
import pathlib
import tempfile

from PIL import Image

from frcnn.config import in_weights
from frcnn.config.schema import Config
from frcnn.config.text_format import parse_assignments
from frcnn.convert import keras_frcnn_config
from frcnn.data import transforms, voc
from frcnn.distributed import process_group
from frcnn.logging import event_files
from frcnn.runs import metrics_csv, run_directory
from frcnn.weights import initial
from frcnn.weights.state_dicts import read_state

_FOLDER = pathlib.Path(tempfile.mkdtemp(prefix="frcnn-fuzz-"))
_ANNOTATION = """<annotation><size><width>40</width><height>30</height></size>
<object><name>cat</name><bndbox><xmin>2</xmin><ymin>3</ymin><xmax>20</xmax><ymax>25</ymax></bndbox></object>
</annotation>"""


def _voc_folder():
    """Return a VOC folder with one image, made once."""
    root = _FOLDER / "voc"
    if not root.exists():
        for name in ("Annotations", "JPEGImages", "ImageSets/Main"):
            (root / name).mkdir(parents=True)
        Image.new("RGB", (40, 30)).save(root / "JPEGImages/a.jpg")
    (root / "Annotations/a.xml").write_text(_ANNOTATION)
    (root / "ImageSets/Main/train.txt").write_text("a\n")
    return root


def _written(name, content):
    path = _FOLDER / name
    path.write_bytes(content)
    return path


def annotation(content):
    root = _voc_folder()
    (root / "Annotations/a.xml").write_bytes(content)
    return voc.collect(root, "train")


def split(content):
    root = _voc_folder()
    (root / "ImageSets/Main/train.txt").write_bytes(content)
    return voc.collect(root, "train")


def image(content):
    return transforms.load(str(_written("image", content)))


def config(content):
    text = content.decode("utf-8", "replace")
    return Config().updated_from_json(text, "config.json").to_json()


def assignments(content):
    text = content.decode("utf-8", "replace")
    return Config().replace(parse_assignments(text.split("\0")))


def hdf5(content):
    path = _written("weights.h5", content)
    return in_weights.read(path), initial.read(path, None)


def npz(content):
    return read_state(_written("weights.npz", content))


def pickle(content):
    return keras_frcnn_config.read_config(_written("config.pickle", content))


def events(content):
    folder = _FOLDER / "train"
    folder.mkdir(exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    (folder / "events.out.tfevents.1.host").write_bytes(content)
    return event_files.rewind(folder, 3)


def metrics(content):
    path = _written("metrics.csv", content)
    metrics_csv.drop_after(path, 3)
    return metrics_csv.append_row(path, {"epoch": 1, "step": 4, "mAP": 0.5})


def nonfinite(content):
    folder = _FOLDER / "run"
    folder.mkdir(exist_ok=True)
    (folder / "nonfinite.jsonl").write_bytes(content)
    return run_directory.rewind(folder, 3, 3)


def environment(content):
    """TF_CONFIG, then Slurm's variables, from text with a line for each."""
    lines = content.decode("utf-8", "replace").split("\n")
    names = ("TF_CONFIG", "SLURM_STEP_NUM_TASKS", "SLURM_JOB_ID", "SLURM_STEP_ID", "SLURM_PROCID")
    names += ("SLURM_STEP_TASKS_PER_NODE", "SLURM_STEP_NODELIST", "SLURM_LOCALID")
    return process_group.find(dict(zip(names, lines)))


READERS = {
    reader.__name__: reader
    for reader in (annotation, split, image, config, assignments, hdf5, npz, pickle, events, metrics)
    + (nonfinite, environment)
}


def seeds_of(name):
    """Return {name: content} of small valid files that fuzzing starts from."""
    made = {}

    def picture(kind, mode="RGB", **options):
        file = io.BytesIO()
        Image.new(mode, (9, 7), 1).save(file, kind, **options)
        made[f"{kind}-{mode}".lower()] = file.getvalue()

    if name == "image":
        for kind, mode in (
            ("JPEG", "RGB"),
            ("JPEG", "L"),
            ("JPEG", "CMYK"),
            ("PNG", "RGBA"),
            ("PNG", "P"),
        ):
            picture(kind, mode)
        for kind in ("BMP", "WEBP", "TIFF"):
            picture(kind)
    elif name == "annotation":
        made["voc"] = _ANNOTATION.encode()
    elif name == "split":
        made["columns"] = b"a 1\nb -1\n"
    elif name == "config":
        made["all"] = Config().to_json().encode()
    elif name == "environment":
        cluster = {"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 0}}
        made["tf"] = json.dumps(cluster).encode()
        made["slurm"] = b"\n4\n17\n0\n2\n2(x2)\nn[07-08]\n0"
    return made
