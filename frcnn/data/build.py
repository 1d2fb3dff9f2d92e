"""Reads the training and validation splits that a ``DataConfig`` names."""

import dataclasses
import pathlib
from collections.abc import Sequence

from frcnn.config.schema import DataConfig
from frcnn.data import shapes, voc_layout
from frcnn.data.faults import Fault, apply_policy
from frcnn.data.labels import ADD_CLASS, Choice
from frcnn.data.sample import Dataset
from frcnn.data.sources import Source, open_source
from frcnn.errors import DataError
from frcnn.text import listed


def load(config: DataConfig, seed: int = 0) -> tuple[Dataset, Dataset]:
    """Return the (training, validation) ``Dataset`` that a ``DataConfig`` names.

    Both have the same classes: those in the config, or, if it has none, those of the training split.

    Args:
        config: the section ``data`` of the settings.
        seed: seed of the data set ``shapes``, which is drawn if it is not there yet.

    Raises:
        DataError: there are no such data, or they have faults. The message has the faults of both
            splits.
    """
    source = open_data(config, seed)
    train, faults = collect_split(config, config.train_split, config.classes, source=source)
    classes, advice = config.classes, ADD_CLASS
    # An image with a fault may be the only one with a class. This is not a fault of the other split.
    if not classes and not (faults and config.on_bad_data == "error"):
        classes = train.classes
        advice = (
            f"no object of the training split, {config.train_split}, has this class: put such an image "
            "into that split, or name all classes with --set data.classes=NAME,NAME,..."
        )
    val, val_faults = collect_split(config, config.val_split, classes, advice, source)
    val, shared = _without_shared(val, train)
    val = _with_missing_classes(val, train)
    train, val = apply_policy([(train, faults), (val, val_faults + shared)], config.on_bad_data)
    if train.dropped and not any(len(sample.boxes) for sample in train.samples):
        there = listed(name for name, _ in train.dropped)
        raise DataError(
            f"{train.name} has no object of the classes asked for, {listed(train.classes)}: its objects "
            f"are of {there}; name some of these in data.classes"
        )
    return train, val


def _with_missing_classes(val: Dataset, train: Dataset) -> Dataset:
    """Return the validation set with a note about classes that only one of the two splits has."""
    # By name, because the lists of classes may differ if the training split has faults.
    train_has, val_has = (
        {data.classes[label] for sample in data.samples for label in sample.labels}
        for data in (train, val)
    )
    notes = [
        f"{name} has no object of the classes {listed(sorted(missing))}"
        for name, missing in ((train.name, val_has - train_has), (val.name, train_has - val_has))
        if missing
    ]
    return dataclasses.replace(val, notes=(*val.notes, *notes))


def _without_shared(dataset: Dataset, other: Dataset) -> tuple[Dataset, list[Fault]]:
    """Drop the images that the other data set has under another name, and return their faults as well.

    Two annotations of one image, one in each split, are found only here. (The same image with the same
    name may be in both splits.)
    """
    owner = {sample.path: sample.name for sample in other.samples}
    samples, faults = [], []
    for sample in dataset.samples:
        name = owner.get(sample.path, sample.name)
        if name == sample.name:
            samples.append(sample)
        else:
            what = f"is the only image that fits {sample.name}.xml and {name}.xml of {other.name}"
            faults.append(Fault(sample.name, sample.path, what))
    return dataclasses.replace(dataset, samples=tuple(samples)), faults


def load_split(
    config: DataConfig, split: str, classes: Sequence[str] = (), advice: str = ADD_CLASS
) -> Dataset:
    """Return the ``Dataset`` of one split, after ``apply_policy``. Arguments: as for ``collect_split``.

    Raises:
        DataError: there are no such data, or they have faults.
    """
    return apply_policy([collect_split(config, split, classes, advice)], config.on_bad_data)[0]


def collect_split(
    config: DataConfig,
    split: str,
    classes: Sequence[str] = (),
    advice: str = ADD_CLASS,
    source: Source | None = None,
) -> tuple[Dataset, list[Fault]]:
    """Return the ``Dataset`` of one split without images that have faults, and the list of the faults.

    Args:
        config: the section ``data`` of the settings.
        split: name of the split.
        classes: names in the order of the labels; empty: the classes of the split.
        advice: what to do about an object of another class, for the message.
        source: the opened data; None: open them here.

    Raises:
        DataError: there are no such data.
    """
    rename = dict(one.split("=", 1) for one in config.rename)
    # Whether the user has chosen the classes. The 20 official ones of a devkit are not such a choice.
    only = bool(classes) and tuple(classes) == config.classes != voc_layout.VOC_CLASSES
    clip = config.on_bad_data == "clip"
    choice = Choice(tuple(classes) or None, only, rename, clip, advice)
    return (source or open_data(config)).collect(split, choice)


def open_data(config: DataConfig, seed: int = 0) -> Source:
    """Open the data that a ``DataConfig`` names. The data set ``shapes`` is drawn if it is not there.

    Args:
        config: the section ``data`` of the settings.
        seed: seed of the data set ``shapes``.

    Raises:
        DataError: there are no such data, or they were given as Python objects.
    """
    if config.dataset == "python":
        raise DataError(
            "this run's data were given to frcnn.train as Python objects: give them again, or name a "
            "folder (--dataset voc --data-dir FOLDER)"
        )
    root = folder(config)
    if config.dataset == "shapes":
        shapes.ensure(root, seed=seed)
        return Source(root)
    return open_source(root, config.format, config.year or None)


def folder(config: DataConfig) -> pathlib.Path:
    """Return the folder that a ``DataConfig`` names."""
    root = pathlib.Path(config.dir)
    return root / "shapes" if config.dataset == "shapes" else root
