"""Data sets of ``tensorflow_datasets`` (TFDS), if that package is installed.

A builder's images are written to a folder as they are, JPEG or PNG, so a data set of any size fits in
memory; its boxes are checked as those of other labels.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from frcnn.data.faults import apply_policy
from frcnn.data.labels import Choice, LabelledSplit, RawImage, RawObject
from frcnn.data.sample import Dataset
from frcnn.data.to_dataset import to_dataset
from frcnn.errors import ConfigError, DataError
from frcnn.files import outputs, safe_write
from frcnn.text import listed

# Order of the corners in TFDS' names of box formats, and whether they are shares of the image.
BOX_FORMATS = {
    "REL_YXYX": ((1, 0, 3, 2), True),
    "REL_XYXY": ((0, 1, 2, 3), True),
    "YXYX": ((1, 0, 3, 2), False),
    "XYXY": ((0, 1, 2, 3), False),
}
DIFFICULT, CROWD = ("is_difficult", "difficult"), ("is_crowd", "is_group_of", "iscrowd")


def dataset_from_tfds(
    builder: Any,
    split: str,
    folder: str | os.PathLike,
    classes: Sequence[str] = (),
    on_bad_data: str = "error",
) -> Dataset:
    """Return the ``Dataset`` of one split of a TFDS builder.

    Args:
        builder: a ``tfds.core.DatasetBuilder`` whose data are prepared, or its name, such as
            ``"voc/2007"``. It needs a feature ``Image``, and a sequence with a ``BBox`` and a
            ``ClassLabel``, as ``voc``, ``coco`` and ``open_images_v4`` have.
        split: as of ``builder.as_dataset``, such as ``"train"`` or ``"train[:80%]"``.
        folder: the images are written there; those of an earlier call are replaced.
        classes: names in the order of the labels; objects of others are dropped. Empty: all.
        on_bad_data: as of ``frcnn.load_dataset``.

    Raises:
        ConfigError: ``tensorflow_datasets`` is not installed, or there is no such builder.
        DataError: its data are not prepared, have no boxes or classes, or have faults.
        OutputError: an image cannot be written.

    Example::

        train_set = frcnn.dataset_from_tfds("voc/2007", "train", "voc_images/train")
        val_set = frcnn.dataset_from_tfds("voc/2007", "validation", "voc_images/val")
        frcnn.train((train_set, val_set))
    """
    tfds = _import()
    builder = _builder(tfds, builder)
    image_key, objects_key, box_key, label_key = _features(tfds, builder)
    objects = builder.info.features[objects_key].feature
    named = getattr(objects[box_key], "bbox_format", None)
    form = "REL_YXYX" if named is None else named.name
    if form not in BOX_FORMATS:
        raise DataError(f"{builder.name}: boxes are {form}; expected one of {', '.join(BOX_FORMATS)}")
    order, shares = BOX_FORMATS[form]
    names = objects[label_key].names
    target = outputs.new_folder(Path(folder))
    try:
        examples = builder.as_dataset(
            split=split, shuffle_files=False, decoders={image_key: tfds.decode.SkipDecoding()}
        )
    except ValueError as error:
        there = listed(sorted(builder.info.splits))
        raise DataError(f"{builder.name} has no split {split!r}; the splits are: {there}") from error
    images, stems = [], set[str]()
    for number, example in enumerate(tfds.as_numpy(examples)):
        place = f"{builder.name} {split} example {number}: object"
        name = _name(example, number, stems)
        path = target / name
        with outputs.writing(path):
            safe_write.replace(path, example[image_key])
        image = RawImage(name, str(path), [], place, shares=shares)
        found = example[objects_key]
        flags = [_flags(found, keys) for keys in (DIFFICULT, CROWD)]
        for row, (box, label) in enumerate(zip(found[box_key].tolist(), found[label_key].tolist())):
            difficult, crowd = (bool(flag[row]) for flag in flags)
            corners = [box[at] for at in order]
            class_name = names[label] if label >= 0 else ""  # -1 stands for no label
            image.objects.append(RawObject(row, class_name, corners, difficult, crowd))
        images.append(image)
    if not images:
        raise DataError(f"{builder.name} {split} has no example")
    whole = LabelledSplit(f"{builder.name} {split}", images, tuple(names))
    choice = Choice(tuple(classes) or None, bool(classes), clip=on_bad_data == "clip")
    return apply_policy([to_dataset(whole, choice)], on_bad_data)[0]


def _import() -> Any:
    try:
        import tensorflow_datasets
    except ImportError as error:
        raise ConfigError(
            "tensorflow_datasets is not installed: pip install tensorflow_datasets"
        ) from error
    return tensorflow_datasets


def _builder(tfds: Any, builder: Any) -> Any:
    """Return a builder whose data are prepared."""
    if isinstance(builder, str):
        try:
            builder = tfds.builder(builder)
        except (tfds.core.DatasetNotFoundError, ValueError) as error:
            first = str(error).strip().partition("\n")[0]
            raise ConfigError(f"tensorflow_datasets has no builder {builder!r}: {first}") from error
    if not builder.data_path.exists():
        raise DataError(
            f"the data of {builder.name} are not prepared: run builder.download_and_prepare(), or "
            f"tfds build {builder.name}; expected in {builder.data_path}"
        )
    return builder


def _features(tfds: Any, builder: Any) -> tuple[str, str, str, str]:
    """Return the names of the image, of the sequence of objects, and of box and class in it."""
    features = builder.info.features
    kinds = tfds.features
    images = [key for key in features if isinstance(features[key], kinds.Image)]
    for key in features:
        inner = getattr(features[key], "feature", None)
        if not isinstance(inner, Mapping | kinds.FeaturesDict):
            continue
        boxes = [name for name in inner if isinstance(inner[name], kinds.BBoxFeature)]
        labels = [name for name in inner if isinstance(inner[name], kinds.ClassLabel)]
        if len(boxes) == 1 and labels and images:
            label = next((name for name in labels if name in ("label", "category")), labels[0])
            return ("image" if "image" in images else images[0]), key, boxes[0], label
    raise DataError(
        f"{builder.name} has no image with a sequence of boxes and class labels; its features are: "
        f"{listed(sorted(features))}"
    )


def _name(example: Mapping[str, Any], number: int, stems: set[str]) -> str:
    """Return the file name of an example's image: its own if the builder tells it, else its number."""
    written = example.get("image/filename", b"")
    written = written.decode("utf-8", "replace") if isinstance(written, bytes) else ""
    own = re.sub(r"[^\w.-]", "_", Path(written).name).strip(".")
    stem, ending = os.path.splitext(own)
    if not stem or stem.casefold() in stems:
        stem = f"{stem or 'image'}_{number:06d}"
    stems.add(stem.casefold())
    return stem + (ending or ".img")


def _flags(found: Mapping[str, Any], keys: Sequence[str]) -> np.ndarray:
    """Return a flag of each object, under whichever of the names there is; False without any."""
    for key in keys:
        if key in found:
            return np.asarray(found[key], bool)
    return np.zeros(len(next(iter(found.values()))), bool)
