"""Output files of commands. A command replaces only files that it has made itself.

A file named on a command line is refused if it exists, unless ``--overwrite`` is given. A picture has
the name of its image, with a number if that name is taken. The name of the command is stored in the
picture, so that a command replaces only its own earlier pictures.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
import pathlib
from collections.abc import Iterable, Iterator

from PIL import Image, PngImagePlugin

from frcnn.errors import FrcnnError, OutputError

MADE_BY, MADE_OF = "Software", "frcnn source"  # keys of a PNG's text


def new_file(
    path: pathlib.Path | str, overwrite: bool = False, sources: Iterable[pathlib.Path | str] = ()
) -> pathlib.Path:
    """Check that a file may be written, and return its path.

    Args:
        path: the file.
        overwrite: whether the file may exist.
        sources: files that the command reads; they are never replaced.

    Raises:
        OutputError: the file exists, is a folder, or its folder is missing or not writable.
    """
    path = pathlib.Path(path)
    if path.is_dir():
        raise OutputError(f"cannot write {path}: it is a folder; give the name of a file")
    if not path.parent.is_dir():
        raise OutputError(f"cannot write {path}: there is no folder {path.parent}")
    if path.exists():
        if any(os.path.exists(source) and path.samefile(source) for source in sources):
            raise OutputError(f"cannot write {path}: it is an input of this command; give another name")
        if not overwrite:
            raise OutputError(f"{path} exists already; give another name, or --overwrite to replace it")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise OutputError(f"cannot write {path}: no permission")
    return path


def check_folder(path: pathlib.Path | str) -> None:
    """Check that a path is a writable folder, or that such a folder can be made.

    Raises:
        OutputError: a file has that name or the name of a parent folder, or there is no permission.
    """
    path = pathlib.Path(path).absolute()
    there = next(folder for folder in (path, *path.parents) if os.path.lexists(folder))
    if not there.is_dir():
        raise OutputError(f"cannot write to {path}: {there} is not a folder; give a folder")
    if not os.access(there, os.W_OK | os.X_OK):
        raise OutputError(f"cannot write to {path}: no permission for {there}")


def new_folder(path: pathlib.Path | str) -> pathlib.Path:
    """Make a folder if it does not exist, and return its path.

    Raises:
        OutputError: as ``check_folder`` does.
    """
    check_folder(path)
    path = pathlib.Path(path)
    with writing(path):
        path.mkdir(parents=True, exist_ok=True)
    return path


@contextlib.contextmanager
def writing(path: pathlib.Path | str, error_class: type[FrcnnError] = OutputError) -> Iterator[None]:
    """Turn errors of writing (disk full, no permission) in this context into a one-line error.

    Args:
        path: name in the message of what is written.
        error_class: class of the error that is raised.
    """
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error).partition("\n")[0]  # h5py's errors have several lines
        raise error_class(f"cannot write {path}: {reason}") from error


def save_picture(
    image: Image.Image,
    folder: pathlib.Path,
    stem: str,
    made_by: str,
    source: pathlib.Path | str,
    taken: set[pathlib.Path],
) -> pathlib.Path:
    """Write a picture as ``STEM.png``, or as ``STEM-2.png`` and so on if that name is taken.

    A name is taken if this command has written it already, or if the file there was made by something
    else or shows another source.

    Args:
        image: the picture.
        folder: the folder to write to.
        stem: file name without ``.png``.
        made_by: name of the command, stored in the picture.
        source: the image file that it shows; a digest of its path is stored in the picture.
        taken: paths that this command has written; the new one is added.

    Returns:
        The path of the picture.

    Raises:
        OutputError: it cannot be written.
    """
    digest = hashlib.sha256(os.fsencode(os.path.realpath(source))).hexdigest()[:16]
    for number in itertools.count(1):
        path = folder / (f"{stem}.png" if number == 1 else f"{stem}-{number}.png")
        if path not in taken and (not os.path.lexists(path) or _mark(path) == (made_by, digest)):
            break
    taken.add(path)
    text = PngImagePlugin.PngInfo()
    text.add_text(MADE_BY, made_by)
    text.add_text(MADE_OF, digest)
    with writing(path):
        image.save(path, pnginfo=text)
    return path


def made_by(path: pathlib.Path) -> str | None:
    """Return the name of the command that drew a picture, None if it is not such a picture."""
    return _mark(path)[0]


def _mark(path: pathlib.Path) -> tuple[str | None, str | None]:
    """Return the command that made a PNG and the digest of its source, each None if it is missing."""
    try:
        with Image.open(path, formats=("PNG",)) as image:
            return image.info.get(MADE_BY), image.info.get(MADE_OF)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return None, None


def remove_pictures(folder: pathlib.Path, command: str) -> None:
    """Delete the PNG files in a folder that a command made, and nothing else."""
    for path in folder.glob("*.png"):
        if path.is_file() and not path.is_symlink() and _mark(path)[0] == command:
            with writing(path):
                path.unlink()
