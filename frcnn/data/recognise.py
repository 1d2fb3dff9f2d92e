"""What kind of data set a folder is, so that ``frcnn train my_images`` needs no other option."""

import os
from pathlib import Path

from frcnn.data import voc_layout
from frcnn.errors import DataError
from frcnn.text import listed, shown

# (training, validation), in the order of preference; neither holds images of the other.
SPLITS = (("trainval", "test"), ("train", "val"), ("train", "test"))


def recognise(
    folder: str | os.PathLike, train_split: str | None = None, val_split: str | None = None
) -> tuple[dict[str, str], str]:
    """Find out how to read a folder of labelled images.

    Args:
        folder: a VOC folder (``Annotations``, ``JPEGImages``, ``ImageSets/Main``) or one that holds
            ``VOCdevkit``.
        train_split, val_split: names of the splits, where the caller knows them.

    Returns:
        settings: {key: value}: ``data.dataset``, ``data.dir`` and the splits, the first of ``SPLITS``
            that a VOC folder has.
        text: one line that says what was found.

    Raises:
        DataError: there is no such folder, it is of no known kind, or it has none of ``SPLITS``.

    Example:
        >>> recognise("nowhere")
        Traceback (most recent call last):
        ...
        frcnn.errors.DataError: there is no folder nowhere
    """
    root = Path(folder)
    if not root.is_dir():
        raise DataError(f"there is no folder {shown(folder)}")
    settings = {"data.dataset": "voc", "data.dir": str(folder)}
    known = {"data.train_split": train_split, "data.val_split": val_split}
    settings |= {key: name for key, name in known.items() if name}
    if not (root / "Annotations").is_dir():
        # Raises an error that says what the folder looks like, unless it is a devkit.
        voc_layout.find_folders(root, train_split or "trainval", None)
        return settings, f"data: {shown(folder)} is a VOC devkit"
    if not (train_split and val_split):
        there = voc_layout.splits(root)
        pairs = [pair for pair in SPLITS if set(pair) <= {*there, *filter(None, known.values())}]
        if not pairs:
            raise DataError(
                f"the splits in {root / 'ImageSets' / 'Main'} are: {listed(there)}; expected trainval "
                "and test, or train and val: name them (--train-split, --val-split)"
            )
        settings = dict(zip(known, pairs[0])) | settings
    splits = [settings[key] for key in known]
    return settings, (
        f"data: {shown(folder)} is a VOC folder: training on {shown(splits[0])}, validation on "
        f"{shown(splits[1])}"
    )
