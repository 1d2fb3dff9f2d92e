"""Write a converted data set to a new folder: labels, and images as copies or links."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from tqdm import tqdm

from frcnn.data.converted import Converted
from frcnn.data.to_dataset import SHOW_PROGRESS_AFTER
from frcnn.data.writers import WRITERS
from frcnn.errors import OutputError
from frcnn.files import outputs

IMAGES = ("copy", "link", "none")


def check_new(folder: Path | str) -> Path:
    """Return the path of a folder that is to be made, or is empty.

    Raises:
        OutputError: something is there, or no folder can be made there.
    """
    path = Path(folder)
    outputs.check_folder(path)
    if path.is_dir() and any(path.iterdir()):
        raise OutputError(f"{path} is not empty: give the name of a new folder")
    return path


def write(data: Converted, format: str, folder: Path | str, images: str = "copy") -> None:
    """Write a data set to a new folder.

    It is written beside the folder, under another name, and moved at the end: an interrupted or failed
    conversion leaves nothing behind that looks like a data set.

    Args:
        data: what to write.
        format: a key of ``WRITERS``.
        folder: new or empty.
        images: ``"copy"``; ``"link"``: symbolic links to the files; ``"none"``: labels only.

    Raises:
        OutputError: the folder is not empty, or cannot be written.
    """
    path, writer = check_new(folder), WRITERS[format]
    with outputs.writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.parent))
    try:
        with outputs.writing(path):
            for file, text in writer.files(data):
                _write_text(made / file, text)
            if images != "none":
                _place_images(data, format, made, images)
            made.chmod(0o777 & ~_umask())
            if path.is_dir():
                path.rmdir()
            made.rename(path)
    except BaseException:
        shutil.rmtree(made, ignore_errors=True)
        raise


def _write_text(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("x", encoding="utf-8", newline="\n") as file:
        file.write(text)


def _place_images(data: Converted, format: str, root: Path, images: str) -> None:
    total = sum(map(len, data.splits.values()))
    with tqdm(total=total, desc="images", unit="image", delay=SHOW_PROGRESS_AFTER, leave=False) as bar:
        for split, members in data.splits.items():
            for file, sample in members:
                target = root / WRITERS[format].image_file(split, file)
                target.parent.mkdir(parents=True, exist_ok=True)
                if images == "link":
                    target.symlink_to(os.path.realpath(sample.path))
                else:
                    shutil.copyfile(sample.path, target)
                bar.update()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
