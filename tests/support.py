"""Functions that several test files use."""

import contextlib
import functools
import importlib
import importlib.util
import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from frcnn.backend import IS_TENSORFLOW, compiled


@functools.cache
def at_once(function, **options):
    """Return ``function`` with some options set, compiled as a whole where the backend is JAX.

    Outside a compiled function JAX compiles every operation for every shape, which takes longer than all
    that is tested. TensorFlow runs it op by op, which shows faults where they are.
    """
    function = functools.partial(function, **options)
    return function if IS_TENSORFLOW else compiled(function)


def load_script(name):
    """Return ``scripts/benchmark.py``, or the module that another file of ``scripts/`` calls."""
    if name != "benchmark":
        return importlib.import_module(f"frcnn.cli.{name.removesuffix('_data')}")
    path = Path(__file__).resolve().parents[1] / "scripts" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"{name}_script", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def truth(boxes, labels=None, difficult=()):
    """Labelled boxes of one image, in the form that the metrics take."""
    return {
        "boxes": np.array(boxes, np.float32).reshape(-1, 4),
        "labels": np.zeros(len(boxes), int) if labels is None else np.array(labels),
        "difficult": np.isin(np.arange(len(boxes)), difficult),
    }


def found(boxes, scores=None, labels=None):
    """Detections of one image; without scores, from the best to the worst."""
    return {
        "boxes": np.array(boxes, np.float32).reshape(-1, 4),
        "scores": np.linspace(0.9, 0.1, len(boxes)) if scores is None else np.array(scores),
        "labels": np.zeros(len(boxes), int) if labels is None else np.array(labels),
    }


def damage(path):
    """Replace an image by a PNG that is damaged in the middle, but not at its beginning and end."""
    with Image.open(path) as image:
        image.load()
    image.save(path, "PNG")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)


def coco_eval(folder, detections, truths, classes):
    """Return pycocotools' own ``COCOeval`` after ``summarize``, of files of labels and detections.

    Skips the test where pycocotools is not installed.

    Args:
        folder: for the two files, in COCO's formats.
        detections, truths: one dict per image, as ``voc_ap`` takes them.
        classes: names of the object classes.
    """
    coco, cocoeval = pytest.importorskip("pycocotools.coco"), pytest.importorskip("pycocotools.cocoeval")

    def rows(images, extra):
        for image, one in enumerate(images):
            for row, (x1, y1, x2, y2) in enumerate(np.asarray(one["boxes"], float).tolist()):
                entry = {"image_id": image, "category_id": int(one["labels"][row]) + 1}
                size = [x2 - x1, y2 - y1]
                yield entry | {"bbox": [x1, y1, *size], "area": size[0] * size[1]} | extra(one, row)

    labels = rows(truths, lambda one, row: {"iscrowd": int(one["difficult"][row])})
    content = {
        "images": [{"id": image} for image in range(len(truths))],
        "categories": [{"id": number, "name": name} for number, name in enumerate(classes, 1)],
        "annotations": [row | {"id": number} for number, row in enumerate(labels, 1)],
    }
    results = [*rows(detections, lambda one, row: {"score": float(one["scores"][row])})]
    for name, written in (("labels", content), ("results", results)):
        (folder / f"{name}.json").write_text(json.dumps(written))
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints its progress
        truth = coco.COCO(str(folder / "labels.json"))
        evaluation = cocoeval.COCOeval(truth, truth.loadRes(str(folder / "results.json")), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation
