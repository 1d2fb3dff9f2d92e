"""Each reader of files as a function of one file's bytes, for the fuzzer and the test of its seeds.

A reader may return a value or raise an ``FrcnnError``. Any other exception is a fault, and so is a
reader that takes seconds or gigabytes.
"""

import functools
import io
import json
import pathlib
import shutil
import tempfile

import h5py
import labelled
import numpy as np
from PIL import Image

from frcnn.config import in_weights
from frcnn.config.schema import Config
from frcnn.config.text_format import parse_assignments
from frcnn.data import formats, transforms, voc
from frcnn.data.conversion_losses import Losses
from frcnn.data.converted import Converted, NewImage
from frcnn.data.labels import Choice
from frcnn.data.writers import WRITERS
from frcnn.distributed import discovery
from frcnn.export import formats as exported_formats
from frcnn.export import metadata, onnx_file
from frcnn.logging import RunLogger, event_files
from frcnn.prediction.coco_results import CocoIds
from frcnn.runs import metrics_csv, run_directory
from frcnn.weights import entries
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


def _empty(name):
    """Return a new folder, because a reader keeps files there that it cannot read."""
    folder = _FOLDER / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    return folder


def annotation(content):
    root = _voc_folder()
    (root / "Annotations/a.xml").write_bytes(content)
    voc.collect(root, "train", choice=Choice(outlines=True))
    return voc.collect(root, "train")


def split(content):
    root = _voc_folder()
    (root / "ImageSets/Main/train.txt").write_bytes(content)
    return voc.collect(root, "train")


_LINE = "0 0.5 0.5 0.25 0.5\n"
# Reader -> its format, the label file whose bytes it is given, and the files beside it.
LABELS = {
    "coco": ("coco", "annotations.json", {}),
    "yolo": ("yolo", "a.txt", {"classes.txt": "cat\ndog\n"}),
    "yolo_yaml": ("yolo", "data.yaml", {"a.txt": _LINE}),
    "darknet": ("yolo", "obj.data", {"a.txt": _LINE, "obj.names": "cat\n", "train.txt": "a.jpg\n"}),
    "image_list": (
        "yolo",
        "train.txt",
        {"data.yaml": "train: train.txt\nnames: [cat]\n", "a.txt": _LINE},
    ),
    "csv": ("csv", "labels.csv", {}),
    "csv_classes": ("csv", "classes.csv", {"labels.csv": "a.jpg,2,3,22,18,cat\n"}),
    "cvat": ("cvat", "annotations.xml", {}),
    "dota": ("dota", "a.txt", {}),
    "labelme": ("labelme", "a.json", {}),
    "voc_flat": ("voc-flat", "a.xml", {}),
}


def _labels(name, content):
    """Read a folder of one image and label files in which one has this content."""
    format, file, others = LABELS[name]
    root = _FOLDER / name
    if not root.exists():
        labelled.images(root, ["a"])
        for other, text in others.items():
            labelled.write(root, other, text)
    (root / file).write_bytes(content)
    found = formats.find(root, format)
    splits = found.reader.splits(found.tree)
    for split in splits:
        dataset, _ = formats.collect(root, split or "all", Choice(outlines=True), format)
        for target, writer in WRITERS.items():  # polygons, as frcnn convert writes them
            has_angles = any(one.oriented is not None for one in dataset.samples)
            four_points = has_angles and "four points" in writer.STORES
            losses = Losses(target, writer.STORES, writer.MIN_SIDE, four_points)
            kept = [one for sample in dataset.samples if (one := losses.keep(sample)) is not None]
            images = [NewImage(f"{number}.jpg", sample) for number, sample in enumerate(kept)]
            list(writer.files(Converted({"train": images}, dataset.classes)))
            losses.sentences()
    return [formats.collect(root, split or "all", name=format) for split in splits]


def coco_ids(content):
    return CocoIds(str(_written("ids.json", content)), ["cat"])


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
    return in_weights.read(path), entries.read(path)


def npz(content):
    return read_state(_written("weights.npz", content))


def events(content):
    folder = _empty("train")
    (folder / "events.out.tfevents.1.host").write_bytes(content)
    return event_files.rewind(folder, 3)


def metrics(content):
    path = _empty("metrics") / "metrics.csv"
    path.write_bytes(content)
    metrics_csv.drop_after(path, 3)
    return metrics_csv.append_row(path, {"epoch": 1, "step": 4, "mAP": 0.5})


def nonfinite(content):
    folder = _empty("run")
    (folder / "nonfinite.jsonl").write_bytes(content)
    return run_directory.rewind(folder, 3, 3)


def environment(content):
    """TF_CONFIG, then Slurm's variables, from text with a line for each."""
    lines = content.decode("utf-8", "replace").split("\n")
    names = ("TF_CONFIG", "SLURM_STEP_NUM_TASKS", "SLURM_JOB_ID", "SLURM_STEP_ID", "SLURM_PROCID")
    names += ("SLURM_STEP_TASKS_PER_NODE", "SLURM_STEP_NODELIST", "SLURM_LOCALID")
    return discovery.find(dict(zip(names, lines)))


def description(content):
    text = content.decode("utf-8", "replace")
    return metadata.from_text(text, "d.onnx").full_config("d.onnx")


def onnx(content):
    return exported_formats.open_exported(_written("detector.onnx", content))


def litert(content):
    return exported_formats.open_exported(_written("detector.tflite", content))


READERS = {
    reader.__name__: reader
    for reader in (annotation, split, image, config, assignments, hdf5, npz, events, metrics)
    + (nonfinite, environment, coco_ids, description, onnx, litert)
}
READERS |= {name: functools.partial(_labels, name) for name in LABELS}


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
    elif name == "assignments":
        made["some"] = b"rpn.samples=64\0anchors.sizes=32,64\0data.classes=cat,dog"
    elif name in ("npz", "hdf5"):
        made["small"] = _small_weights(name)
    elif name == "events":
        made["three"] = _event_file()
    elif name == "metrics":
        made["rows"] = b"epoch,step,mAP\n1,2,0.5\n2,4,\n"
    elif name in LABELS:
        made = _label_seeds(name)
    elif name == "coco_ids":
        made["coco"] = _label_seeds("coco")["coco"]
    elif name == "description":
        made["small"] = metadata.to_text(_description()).encode()
    elif name == "onnx":
        made["small"] = _small_onnx()
    elif name == "nonfinite":
        made["lines"] = b'{"step": 2, "images": ["a"], "total_loss": NaN}\n{"step": 5, "images": []}\n'
    elif name == "environment":
        cluster = {"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 0}}
        made["tf"] = json.dumps(cluster).encode()
        made["slurm"] = b"\n4\n17\n0\n2\n2(x2)\nn[07-08]\n0"
    return made


def _label_seeds(name):
    """Return {name: content} of the label file of each reader of labels, all of the image ``a``."""
    box = (2, 3, 22, 18)
    if name in ("coco", "cvat", "labelme", "voc_flat"):
        root = _empty(f"seeds-{name}")
        labelled.WRITERS[LABELS[name][0]](root)
        made = {name: (root / LABELS[name][1]).read_bytes()}
        if name == "coco":
            content = labelled.coco_content()
            shapes = [[[1, 1, 9, 1, 9, 9]], {"size": [30, 40], "counts": [5, 1195]}, []]
            for annotation, shape in zip(content["annotations"], shapes, strict=True):
                annotation["segmentation"] = shape
            made["polygons"] = json.dumps(content).encode()
        return made
    openimages = (
        "ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,IsOccluded,IsTruncated,IsGroupOf"
    )
    texts = {
        "yolo": {
            "box": labelled.yolo_line("cat", box),
            "polygon": "1 0.1 0.1 0.5 0.2 0.3 0.9",
            "corners": "1 0.1 0.1 0.5 0.2 0.4 0.6 0 0.5",
        },
        "yolo_yaml": {
            "list": "path: .\ntrain: ./\nval: ./\nnc: 2\nnames: [cat, dog]\n",
            "numbers": "train:\n  - .\nnames:\n  0: cat\n  1: dog\n",
        },
        "darknet": {"darknet": "classes = 1\ntrain = train.txt\nnames = data/obj.names\nbackup = x\n"},
        "image_list": {"list": "./a.jpg\nC:\\\\x\\\\a.jpg\n"},
        "csv": {
            "plain": "a.jpg,2,3,22,18,cat\na.jpg,,,,,\n",
            "corners": "a.jpg,2,3,22,3,20.5,18,1,17,cat\n",
            "header": 'filename;width;height;class;xmin;ymin;xmax;ymax\na.jpg;40;30;"cat";2;3;22;18\n',
            "openimages": f"{openimages}\na,x,/m/0c,1,0.05,0.55,0.1,0.6,0,0,1\n",
        },
        "dota": {"corners": "imagesource:x\ngsd:0.5\n2 3 22 3 20.5 18 1 17 large vehicle 1\n"},
        "csv_classes": {"order": "cat,0\ndog,1\n", "openimages": "/m/0c,cat\n/m/0d,dog\n"},
    }
    return {key: text.encode() for key, text in texts[name].items()}


def _description():
    """Return the description of an exported detector of one class."""
    return metadata.Metadata(
        classes=("cat",),
        height=32,
        width=32,
        batch=1,
        size_multiple=8,
        dtype="uint8",
        weights="float32",
        preprocessing="torch",
        short_side=32,
        long_side=32,
        padding=transforms.PADDING_RGB,
        score_threshold=0.05,
        nms_iou=0.5,
        max_detections=10,
        config=Config().to_json(),
    )


def _small_onnx():
    """Return an ONNX file as ``frcnn export`` writes it, of a graph that returns its input."""
    from onnx import TensorProto, helper

    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in ("x", "y")]
    node = helper.make_node("Identity", ["x"], ["y"])
    opset = [helper.make_opsetid("", onnx_file.OPSET)]
    graph = helper.make_graph([node], "small", ends[:1], ends[1:])
    model = helper.make_model(graph, opset_imports=opset, ir_version=8)
    path = _FOLDER / "small.onnx"
    onnx_file.save(model, _description(), path)
    return path.read_bytes()


def _small_weights(kind):
    file = io.BytesIO()
    array = np.arange(6, dtype="float32").reshape(2, 3)
    if kind == "npz":
        np.savez(file, **{"Conv_1/kernel": array, "Conv_1/bias": array[0]})
    else:
        with h5py.File(file, "w") as group:
            group["layers/dense/vars/0"] = array
    return file.getvalue()


def _event_file():
    folder = _empty("seed")
    with RunLogger(folder) as logger:
        for step in (1, 2, 5):
            logger.write("train", step, {"total_loss": 1.0})
    return next((folder / "train").iterdir()).read_bytes()
