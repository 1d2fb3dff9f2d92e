"""From ``DataConfig`` to the training and validation splits."""

import dataclasses
import pathlib
from collections.abc import Sequence

from frcnn.config.schema import DataConfig
from frcnn.data import formats, shapes, voc, voc_layout
from frcnn.data.faults import Fault, apply_policy
from frcnn.data.labels import Choice, to_dataset
from frcnn.data.sample import Dataset
from frcnn.errors import DataError
from frcnn.text import listed


def load(config: DataConfig, seed: int = 0) -> tuple[Dataset, Dataset]:
    """Return the (training, validation) ``Dataset`` that a ``DataConfig`` names.

    Both have the same classes: those in the config, else those that the training split brings.

    Args:
        config: ``DataConfig``.
        seed: that ``shapes`` are drawn from, when they are not there yet.

    Raises:
        DataError: no such data, or faults in it: those of both splits at once.
    """
    _refuse_python(config)
    train, faults = collect_split(config, config.train_split, config.classes, seed)
    classes, advice = config.classes, {}
    # An image with a fault may hold a class that no other has; that is no fault of the other split.
    if not classes and not (faults and config.on_bad_data == "error"):
        classes = train.classes
        advice = {
            "advice": f"no object of the training split, {config.train_split}, has this class: put such "
            "an image into that split, or name all classes with --set data.classes=NAME,NAME,..."
        }
    val, val_faults = collect_split(config, config.val_split, classes, seed, **advice)
    val, shared = _without_shared(val, train)
    val = _with_missing_classes(val, train)
    return tuple(apply_policy([(train, faults), (val, val_faults + shared)], config.on_bad_data))


def _with_missing_classes(val: Dataset, train: Dataset) -> Dataset:
    """Return the validation set with a note about the classes that one of the two splits lacks."""
    # By name: with faults in the training split, the two need not have the same list of classes.
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
    """Return a data set without the images that are another's under another name, and their faults.

    Two annotations of one image, in one split each, are seen nowhere else. (The same image of the same
    name may well be in both.)
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
    config: DataConfig,
    split: str,
    classes: Sequence[str] = (),
    seed: int = 0,
    advice: str = voc.UNKNOWN_CLASS_ADVICE,
) -> Dataset:
    """Return the ``Dataset`` of one split, its faults settled.

    Args:
        config, split, classes, seed, advice: as for ``collect_split``.

    Raises:
        DataError: no such data, or faults in it.
    """
    return apply_policy([collect_split(config, split, classes, seed, advice)], config.on_bad_data)[0]


def collect_split(
    config: DataConfig,
    split: str,
    classes: Sequence[str] = (),
    seed: int = 0,
    advice: str = voc.UNKNOWN_CLASS_ADVICE,
) -> tuple[Dataset, list[Fault]]:
    """Return the ``Dataset`` of one split without its faulty images, and the list of its ``Fault``.

    Args:
        config: ``DataConfig``.
        split: its name.
        classes: names in the order of the labels; empty: those that the split brings.
        seed: as for ``load``.
        advice: as for ``voc.collect``.

    Raises:
        DataError: no such data.
    """
    _refuse_python(config)
    root, year = folder(config), config.year or None
    if config.dataset == "shapes":
        shapes.ensure(root, seed=seed)
    rename = dict(one.split("=", 1) for one in config.rename)
    # The user's own choice of classes. Of the 20 official ones, which a devkit is read with, it is none.
    only = bool(classes) and tuple(classes) == config.classes != voc_layout.VOC_CLASSES
    clip = config.on_bad_data == "clip"
    if config.dataset != "shapes" and (found := _other_format(config, root)):
        choice = Choice(tuple(classes) or None, only, rename, clip, advice)
        return to_dataset(formats.read(found, split), choice)
    return voc.collect(root, split, year, classes or None, advice, only, rename, clip)


def _other_format(config: DataConfig, root: pathlib.Path) -> formats.Found | None:
    """Return the data set of a folder that is not laid out as VOC's, None for one that is."""
    if config.format == "voc" or (config.format == "auto" and voc_layout.is_voc_data(root)):
        return None
    if not root.is_dir():
        return None
    return formats.find(root, config.format)


def _refuse_python(config: DataConfig) -> None:
    if config.dataset == "python":
        raise DataError(
            "this run's data were given to frcnn.train as Python objects: give them again, or name a "
            "folder (--dataset voc --data-dir FOLDER)"
        )


def folder(config: DataConfig) -> pathlib.Path:
    """Return the folder that a ``DataConfig`` names."""
    root = pathlib.Path(config.dir)
    return root / "shapes" if config.dataset == "shapes" else root
