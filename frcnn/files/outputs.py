"""Where a command may write: never over a file that it did not make.

A file that a command line names is refused if it exists, unless ``--overwrite`` is given. A picture
whose name follows from an image's name gets a number if the name is taken. Pictures bear a mark of
what made them, so that a command replaces its own earlier ones, and only those.
"""

import contextlib
import hashlib
import itertools
import os
import pathlib
from collections.abc import Iterator

from PIL import Image, PngImagePlugin

from frcnn.errors import FrcnnError, OutputError

MADE_BY, MADE_OF = "Software", "frcnn source"  # keys of a PNG's text


def new_file(path, overwrite=False, sources=()):
    """Return a path as ``pathlib.Path`` if a file may be written there.

    Args:
        path: the file.
        overwrite: whether it may exist.
        sources: files that are read, which must not be written over in any case.

    Raises:
        OutputError: it exists, it is a folder, or its folder is missing or not writable.
    """
    path = pathlib.Path(path)
    if path.is_dir():
        raise OutputError(f"cannot write {path}: it is a folder; give the name of a file")
    if not path.parent.is_dir():
        raise OutputError(f"cannot write {path}: there is no folder {path.parent}")
    if path.exists():
        if any(os.path.exists(source) and path.samefile(source) for source in sources):
            raise OutputError(f"cannot write {path}: it is what is read; give another name")
        if not overwrite:
            raise OutputError(f"{path} exists already; give another name, or --overwrite to replace it")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise OutputError(f"cannot write {path}: no permission")
    return path


def check_folder(path):
    """Check that a path is a folder that may be written to, or can become one.

    Raises:
        OutputError: a file has that name, or the name of a folder above, or there is no permission.
    """
    path = pathlib.Path(path).absolute()
    there = next(folder for folder in (path, *path.parents) if os.path.lexists(folder))
    if not there.is_dir():
        raise OutputError(f"cannot write to {path}: {there} is not a folder; give a folder")
    if not os.access(there, os.W_OK | os.X_OK):
        raise OutputError(f"cannot write to {path}: no permission for {there}")


def new_folder(path):
    """Return a folder as ``pathlib.Path``, made if missing.

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
    """Turn the errors of a disk (full, not writable, gone) within this context into one line.

    Args:
        path: what is written, as the message names it.
        error_class: class of the error that is raised.
    """
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error).partition("\n")[0]  # h5py's errors have several lines
        raise error_class(f"cannot write {path}: {reason}") from error


def save_picture(image, folder, stem, made_by, source, taken):
    """Write a Pillow image as ``STEM.png``, or ``STEM-2.png`` and so on where that name is taken.

    A name is taken by a file of this run, by one that does not bear the mark of ``made_by`` and by
    the picture of another source.

    Args:
        image: Pillow image.
        folder: where to, ``pathlib.Path``.
        stem: of the file's name.
        made_by: name of the command, which the picture will bear.
        source: path of the image file that it shows; the picture bears a digest of it.
        taken: set of paths that must not be written to; the new one is added.

    Returns:
        The path of the picture.

    Raises:
        OutputError: the disk does not take it.
    """
    source = hashlib.sha256(os.fsencode(os.path.realpath(source))).hexdigest()[:16]
    for number in itertools.count(1):
        path = folder / (f"{stem}.png" if number == 1 else f"{stem}-{number}.png")
        if path not in taken and (not os.path.lexists(path) or mark(path) == (made_by, source)):
            break
    taken.add(path)
    text = PngImagePlugin.PngInfo()
    text.add_text(MADE_BY, made_by)
    text.add_text(MADE_OF, source)
    with writing(path):
        image.save(path, pnginfo=text)
    return path


def mark(path):
    """Return what made a PNG, and the digest of its source: (None, None) for what has no mark."""
    try:
        with Image.open(path, formats=("PNG",)) as image:
            return image.info.get(MADE_BY), image.info.get(MADE_OF)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return None, None


def remove_pictures(folder, made_by):
    """Delete the PNGs of a folder that a command made, and nothing else."""
    for path in folder.glob("*.png"):
        if path.is_file() and not path.is_symlink() and mark(path)[0] == made_by:
            with writing(path):
                path.unlink()
