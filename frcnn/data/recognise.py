"""Recognises the data set in a folder, so that ``frcnn train my_images`` needs no other option."""

import os
from collections.abc import Collection
from pathlib import Path

from frcnn.data import formats, voc_layout
from frcnn.errors import DataError
from frcnn.text import listed, shown

# (training split, validation split), in the order of preference. The two have no common images.
SPLITS = (("trainval", "test"), ("train", "val"), ("train", "test"))


def recognise(
    folder: str | os.PathLike,
    train_split: str | None = None,
    val_split: str | None = None,
    format: str = "auto",
) -> tuple[dict[str, str], str]:
    """Return the settings with which a folder of labelled images can be read.

    Args:
        folder: a folder of labelled images in any known format.
        train_split, val_split: names of the splits; None: choose them.
        format: value of the setting ``data.format``; "auto": recognise it.

    Returns:
        settings: {key: value} of ``data.dataset``, ``data.dir``, ``data.format`` and the splits. For a
            VOC folder these are the first of ``SPLITS`` that it has.
        text: one line that says what was found.

    Raises:
        DataError: there is no such folder, its format is not known, or it has none of ``SPLITS``.

    Example:
        >>> recognise("nowhere")
        Traceback (most recent call last):
        ...
        frcnn.errors.DataError: there is no folder nowhere
    """
    root = Path(folder)
    if not str(folder):
        raise DataError("the name of the data's folder is empty")
    if not root.is_dir():
        file = f"{shown(folder)} is no folder but a file" if root.exists() else ""
        raise DataError(file or f"there is no folder {shown(folder)}")
    settings = {"data.dataset": "voc", "data.dir": str(folder)}
    known = {"data.train_split": train_split, "data.val_split": val_split}
    settings |= {key: name for key, name in known.items() if name}
    if format not in ("auto", "voc"):
        found = formats.find(root, format)
        assert found is not None  # an error otherwise
        return _other_format(found, settings)
    settings["data.format"] = "voc"
    is_voc, has_lists = (root / "Annotations").is_dir(), (root / "ImageSets" / "Main").is_dir()
    if format == "auto" and is_voc and not has_lists and (found := formats.find(root)):
        return _other_format(found, settings)
    if not is_voc:
        try:
            voc_layout.find_folders(root, train_split or "trainval", None)
        except DataError as error:
            if format == "auto" and (found := formats.find(root)):
                return _other_format(found, settings)
            raise DataError(unknown_format(root)) from error
        return settings, f"data: {shown(folder)} is a VOC devkit"
    if not (train_split and val_split):
        there = voc_layout.splits(root)
        pairs = [pair for pair in SPLITS if _fits(pair, (train_split, val_split), there)]
        if not pairs:
            raise DataError(
                f"the splits in {root / 'ImageSets' / 'Main'} are: {listed(there)}; expected trainval "
                "and test, or train and val: name them (--train-split and --val-split, or --split)"
            )
        settings = dict(zip(known, pairs[0])) | settings
    splits = [settings[key] for key in known]
    return settings, (
        f"data: {shown(folder)} is a VOC folder: training on {shown(splits[0])}, validation on "
        f"{shown(splits[1])}"
    )


def _other_format(found: formats.Found, given: dict[str, str]) -> tuple[dict[str, str], str]:
    """Return the result of ``recognise`` for a folder in one of ``formats.FORMATS``."""
    train, val = found.splits()
    settings = {"data.train_split": train, "data.val_split": val} | given | {"data.format": found.name}
    text = (
        f"data: {shown(found.tree.root)} holds labels in the format {found.name} ({shown(found.source)})"
    )
    splits = [shown(settings[f"data.{use}_split"]) for use in ("train", "val")]
    return settings, f"{text}: training on {splits[0]}, validation on {splits[1]}"


def _fits(pair: tuple[str, str], given: tuple[str | None, str | None], there: Collection[str]) -> bool:
    """Return whether a pair of splits can be used.

    Each split of the pair must be in the folder, or the caller has named another one in its place. If
    the caller names one of ``SPLITS``, only the pair with this name fits: for example, ``val`` contains
    images of ``trainval``.

    Args:
        pair: one of ``SPLITS``.
        given: names of the splits that the caller has given, or None.
        there: names of the splits in the folder.
    """
    standard = {name for names in SPLITS for name in names}
    return all(
        name in there if own is None else own == name or own not in standard
        for name, own in zip(pair, given)
    )


def unknown_format(root: Path) -> str:
    """Return the error message for a folder without labels in a known format."""
    with os.scandir(root) as entries:
        names = sorted(entry.name + "/" * entry.is_dir() for entry in entries)
    below = [root / name for name in names if (root / name / "Annotations").is_dir()]
    advice = f"; {shown(below[0])} is a VOC folder: name that one" if below else ""
    return (
        f"{shown(root)} holds no labels in a known format (voc, {', '.join(formats.FORMATS)}), nor "
        f"VOCdevkit; it holds {listed(names) if names else 'nothing'}{advice}"
    )
