"""The files of a data set, and how to find the image that a label file names.

Label files name images in many ways: relative to the label file, to the data set, to a folder that was
renamed since, or by the absolute path on another computer. A name is only looked up in the listing of
the data set's folder, so no name leads out of it.
"""

from __future__ import annotations

import functools
import os
import posixpath
from collections.abc import Iterable, Iterator
from pathlib import Path

from frcnn.data import image_io, unsupported_files
from frcnn.errors import DataError
from frcnn.text import listed, shown

# Endings of files that are taken for images; the unsupported ones too, so that they are named.
IMAGE_ENDINGS = (*image_io.ENDINGS, *unsupported_files.ENDINGS)
MAX_DEPTH = 12  # folders below each other


def image_name(written: str) -> str:
    """Return the name of an image for messages: its name in the label file, without the suffix."""
    stem, ending = posixpath.splitext(written.replace("\\", "/"))
    return stem if ending.lower() in IMAGE_ENDINGS else stem + ending


class FileTree:
    """All files below a folder, by their relative paths with ``/``.

    Hidden files and folders are skipped. Links to folders are followed.

    Args:
        root: the data set's folder.

    Raises:
        DataError: the folder cannot be listed.

    Example:
        >>> tree = FileTree("my_images")
        >>> tree.find_image("C:\\\\exports\\\\images\\\\a.jpg")
        'images/a.jpg'
    """

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root)
        self._before = str(self.root / "x")[:-1]
        try:
            self.files: list[str] = sorted(_walk(os.fspath(root)))
        except OSError as error:
            raise DataError(f"{root} cannot be read: {error.strerror or error}") from error

    def with_ending(self, *endings: str) -> list[str]:
        """Return the files with one of these endings (lower case, with the dot), sorted."""
        return [file for file in self.files if file.lower().endswith(endings)]

    @functools.cached_property
    def images(self) -> list[str]:
        """The image files, sorted."""
        return self.with_ending(*IMAGE_ENDINGS)

    def path(self, file: str) -> Path:
        """Return the path of a file or folder of the tree."""
        return self.root / file if file else self.root

    def full(self, file: str) -> str:
        """Return the path of a file of the tree as text, as ``str(path(file))``, but faster."""
        return self._before + file

    def has(self, file: str) -> bool:
        """Return whether there is such a file."""
        return file in self._all

    def holds_images(self, folder: str) -> bool:
        """Return whether there are images in a folder or below it."""
        return folder in self._folders

    def find_image(self, written: str, bases: Iterable[str] = ("",)) -> str:
        """Return the image that a label file names.

        Args:
            written: a path, or a name with or without its ending.
            bases: folders of the tree that the path may be relative to, in order of preference.

        Raises:
            DataError: there is no such image, or several fit.
        """
        return self._find(written, tuple(bases), self._image_index, "image")

    def find_text(self, written: str, bases: Iterable[str] = ("",)) -> str:
        """Return the .txt file that a label file names. Arguments: as for ``find_image``."""
        return self._find(written, tuple(bases), self._text_index, "file")

    @functools.cached_property
    def _all(self) -> frozenset[str]:
        return frozenset(self.files)

    @functools.cached_property
    def _folders(self) -> frozenset[str]:
        found = {""}
        for file in self.images:
            folder = posixpath.dirname(file)
            while folder not in found:
                found.add(folder)
                folder = posixpath.dirname(folder)
        return frozenset(found)

    @functools.cached_property
    def _folder_names(self) -> frozenset[str]:
        return frozenset(posixpath.basename(folder) for folder in self._folders)

    @functools.cached_property
    def _image_index(self) -> _Index:
        return _Index(self.images)

    @functools.cached_property
    def _text_index(self) -> _Index:
        return _Index(self.with_ending(".txt"))

    def _find(self, written: str, bases: tuple[str, ...], index: _Index, kind: str) -> str:
        text = written.strip().replace("\\", "/")
        for base in bases:
            path = posixpath.normpath(posixpath.join(base, text))
            if path in index.files:
                return path
            if found := index.by_stem_path.get(path):
                return _only(found, written, kind)
        parts = [part for part in text.split("/") if part not in ("", ".", "..")]
        for start in range(len(parts)):
            path = "/".join(parts[start:])
            if path in index.files and self._fits(path, parts, bases):
                return path
        if parts:
            for found in index.named(parts[-1]):
                if fitting := [path for path in found if self._fits(path, parts, bases)]:
                    return _only(_longest_tail(fitting, parts), written, kind)
        raise DataError(f"there is no {kind} {shown(written)!r} in {self.root}")

    def _fits(self, path: str, parts: list[str], bases: tuple[str, ...]) -> bool:
        """Say whether an image of the right name may be meant, though it lies in another folder.

        ``val/1.jpg`` does not mean ``train/1.jpg`` where there is a folder ``val``, and in a split that
        has a folder of its own ``1.jpg`` does not mean an image outside it.
        """
        if len(parts) > 1:
            return parts[-2] not in self._folder_names or parts[-2] in path.split("/")[:-1]
        own = [base for base in bases if base and self.holds_images(base)]
        return not own or any(path.startswith(f"{base}/") for base in own)


class _Index:
    """Files by whole path and by name, with and without ending."""

    def __init__(self, files: list[str]) -> None:
        self.files = frozenset(files)
        self._list = files

    @functools.cached_property
    def by_stem_path(self) -> dict[str, list[str]]:
        return _grouped(self._list, lambda file: posixpath.splitext(file)[0])

    @functools.cached_property
    def _by_name(self) -> dict[str, list[str]]:
        return _grouped(self._list, posixpath.basename)

    @functools.cached_property
    def _by_folded_stem(self) -> dict[str, list[str]]:
        return _grouped(self._list, lambda file: _stem(file).casefold())

    def named(self, name: str) -> Iterator[list[str]]:
        """Yield the files of a name: exact, without its ending, in another case of letters."""
        yield self._by_name.get(name, [])
        folded = self._by_folded_stem.get(name.casefold(), [])  # written without an ending
        yield [file for file in folded if _stem(file) == name]
        yield folded
        folded = self._by_folded_stem.get(_stem(name).casefold(), [])
        yield [file for file in folded if posixpath.basename(file).casefold() == name.casefold()]


def _walk(root: str) -> Iterator[str]:
    """Yield the relative paths of all files below a folder."""
    waiting: list[tuple[str, int, tuple[str, ...]]] = [("", 0, (os.path.realpath(root),))]
    while waiting:
        folder, depth, above = waiting.pop()
        with os.scandir(os.path.join(root, folder) if folder else root) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                path = f"{folder}/{entry.name}" if folder else entry.name
                if not _is_folder(entry):
                    yield path
                elif depth < MAX_DEPTH:
                    real = (
                        os.path.realpath(entry.path)
                        if entry.is_symlink()
                        else f"{above[-1]}/{entry.name}"
                    )
                    if real not in above:  # a link to a folder above would never end
                        waiting.append((path, depth + 1, (*above, real)))


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def _stem(file: str) -> str:
    return posixpath.splitext(posixpath.basename(file))[0]


def _grouped(files: list[str], key) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for file in files:
        found.setdefault(key(file), []).append(file)
    return found


def _longest_tail(paths: list[str], parts: list[str]) -> list[str]:
    """Return the paths that share the most parts with the written path, from its end."""

    def shared(path: str) -> int:
        count = 0
        for own, other in zip(reversed(path.split("/")[:-1]), reversed(parts[:-1])):
            if own != other:
                break
            count += 1
        return count

    most = max(map(shared, paths))
    return [path for path in paths if shared(path) == most]


def _only(found: list[str], written: str, kind: str) -> str:
    if len(found) > 1:
        raise DataError(f"{len(found)} {kind}s fit {shown(written)!r}: {listed(found)}")
    return found[0]
