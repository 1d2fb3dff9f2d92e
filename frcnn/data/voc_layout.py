"""Finds the folders and files of a VOC data set. If there is none, the error says what is there.

There are two layouts: the official devkit (``VOCdevkit/VOC2007``, ``VOCdevkit/VOC2012``) with its 20
classes, and a bare folder with the same subfolders and any classes.
"""

from __future__ import annotations

import io
import os
import stat
from pathlib import Path

from frcnn.data.image_io import ENDINGS
from frcnn.errors import ConfigError, DataError
from frcnn.files import untrusted
from frcnn.text import did_you_mean, listed, shown

VOC_CLASSES = tuple(
    "aeroplane bicycle bird boat bottle bus car cat chair cow diningtable dog horse motorbike "
    "person pottedplant sheep sofa train tvmonitor".split()
)
YEARS = {"2007": ("2007",), "2012": ("2012",), "07+12": ("2007", "2012")}


def find_folders(
    root: Path, split: str, year: str | None
) -> tuple[list[Path], str, tuple[str, ...] | None]:
    """Find the VOC folders to read.

    Args:
        root, split, year: as for ``voc.collect``.

    Returns:
        folders: the VOC folders.
        name: name of the data set and split.
        classes: the official classes; None: the folder has its own classes.

    Raises:
        DataError: there is no VOC folder. The message says what is there.
        ConfigError: there is no such year.
    """
    if year is None and _is_voc(root):
        return [root], f"{root.resolve().name} {split}", None
    if year is None:
        year = "2012" if _devkit(root, "2012") and not _devkit(root, "2007") else "2007"
    if str(year) not in YEARS:
        raise ConfigError(f"year is {year!r}; expected one of {', '.join(YEARS)}")
    years = YEARS[str(year)]
    if split == "test" and "2007" in years:
        years = ("2007",)
    devkits = {year: _devkit(root, year) for year in years}
    missing = [year for year, devkit in devkits.items() if devkit is None]
    if missing and _is_voc(root):
        raise DataError(f"{root} is a bare VOC folder, not a devkit: leave out the year")
    if missing:
        raise DataError(_not_found(root, missing))
    which = "07+12" if len(years) > 1 else years[0]
    return [devkit for devkit in devkits.values() if devkit], f"voc{which} {split}", VOC_CLASSES


def _is_folder(path: Path) -> bool:
    return stat.S_ISDIR(_mode(path))


def _mode(path: Path) -> int:
    """Return the ``st_mode`` of a path, 0 if nothing is there.

    Raises:
        PermissionError: a parent folder may not be entered; ``os.path`` would report that nothing is
            there.
    """
    try:
        return os.stat(path).st_mode
    except PermissionError:
        raise
    except (OSError, ValueError):
        return 0


def is_voc_data(root: Path) -> bool:
    """Return whether a folder is a VOC folder with lists of its splits, or holds a devkit."""
    if _is_voc(root) and _is_folder(root / "ImageSets" / "Main"):
        return True
    return any(_devkit(root, year) for years in YEARS.values() for year in years)


def _is_voc(folder: Path) -> bool:
    return _is_folder(folder / "Annotations")


def _devkit(root: Path, year: str) -> Path | None:
    """Return the folder of one year, None if there is none."""
    folders = [root / "VOCdevkit" / f"VOC{year}", root / f"VOC{year}"]
    if root.name == f"VOC{year}":
        folders.append(root)
    return next((folder for folder in folders if _is_voc(folder)), None)


def _not_found(root: Path, missing: list[str]) -> str:
    """Return the error message for a folder without the devkits of some years.

    Args:
        root: the folder that was searched.
        missing: the years.
    """
    years = f"no VOC{' and no VOC'.join(missing)} in {root}"
    if not _is_folder(root):
        years += ", which is no folder"
    command = " ".join(["frcnn download", *(f"voc{year}" for year in missing)])
    parent = root.parent if root.name == "VOCdevkit" else root
    command += f" --data-dir {parent}" if parent != Path("data") else ""
    below = [root / name for name in _subfolders(root) if _is_voc(root / name)]
    bare = f"; or read a VOC folder in it, such as --data-dir {below[0]}" if below else ""
    own = ", or name a folder that holds Annotations, JPEGImages and ImageSets/Main"
    return f"{years}: fetch it with `{command}`" + (bare or own)


def _subfolders(folder: Path) -> list[str]:
    if not _is_folder(folder):
        return []
    return sorted(name for name in os.listdir(folder) if _is_folder(folder / name))


def annotation_names(folder: Path) -> set[str]:
    """Return the file names in ``Annotations``.

    Raises:
        DataError: there are files, but none is XML.
    """
    names = set(os.listdir(folder / "Annotations"))
    if names and not any(name.endswith(".xml") for name in names):
        raise DataError(
            f"{folder / 'Annotations'} holds no .xml file but {listed(sorted(names), 3)}: only VOC's "
            "XML annotations are read"
        )
    return names


def image_names(folder: Path) -> list[str]:
    """Return the file names in ``JPEGImages``.

    Raises:
        DataError: there is no such folder. The message names another folder with images.
    """
    path = folder / "JPEGImages"
    if _is_folder(path):
        return os.listdir(path)
    near = [name for name in _subfolders(folder) if _holds_images(folder / name)]
    what = (
        f"images lie in {shown(near[0])}/: rename it to JPEGImages"
        if near
        else "the images belong there"
    )
    raise DataError(f"there is no folder JPEGImages in {folder}; {what}")


def _holds_images(folder: Path) -> bool:
    return any(name.lower().endswith(ENDINGS) for name in os.listdir(folder))


def split_lines(folder: Path, split: str) -> tuple[Path, list[tuple[int, str]]]:
    """Read the lines of a split file.

    Blank lines are skipped. Bytes that are not UTF-8 give a name that no file has, which is a fault.

    Returns:
        path: the split file.
        lines: (line number from 1, stripped text) each.

    Raises:
        DataError: there is no such file, or it has no line with text.
    """
    lists = folder / "ImageSets" / "Main"
    path = lists / f"{split}.txt"
    if not _is_folder(lists):
        raise DataError(
            f"there is no folder ImageSets/Main in {folder}; it holds a text file for each split, such "
            f"as {split}.txt, with the name of one image, without ending, per line"
        )
    if not _mode(path):
        names = splits(folder)
        raise DataError(
            f"{path} does not exist; the splits there are: {listed(names, 20)}"
            f"{did_you_mean(split, names)}"
        )
    try:
        content = untrusted.read_bytes(path, untrusted.MAX_TEXT_BYTES)
    except OSError as error:
        raise DataError(f"the split {path} cannot be read: {error.strerror or error}") from error
    # PowerShell's `>` writes UTF-16.
    encoding = "utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    text = io.StringIO(content.decode(encoding, "replace"), newline=None)
    lines = [(number, line.strip()) for number, line in enumerate(text, start=1)]
    lines = [(number, line) for number, line in lines if line]
    if not lines:
        raise DataError(f"{path} lists no image")
    return path, lines


def splits(folder: Path) -> list[str]:
    """Return the names of a VOC folder's splits, without the single-class files of each split."""
    names = sorted(path.stem for path in (folder / "ImageSets" / "Main").glob("*.txt"))
    return [name for name in names if name.rpartition("_")[0] not in VOC_CLASSES]
