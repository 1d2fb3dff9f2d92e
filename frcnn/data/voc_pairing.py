"""Finds the annotation of each line of a split file, and the image of each annotation.

Names are looked up in the listings of the folders. No path is made from a name in a split file or an
annotation, so no name can lead out of the data set.

The image of an annotation has the same name. If no image or several images have this name,
``<filename>`` is used; if there is still none, upper and lower case are treated as equal. An image with
the name of another annotation belongs to that annotation. If several images are possible, this is a
fault, because a wrong choice would give an image the boxes of another image.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator

from frcnn.data import image_io, unsupported_files
from frcnn.errors import DataError
from frcnn.text import listed, shown

COLUMN = ("-1", "0", "1")  # second column of a single-class split file
LINE_ENDINGS = (".xml", *image_io.ENDINGS, *unsupported_files.ENDINGS)


class VocFiles:
    """Names of the annotations and images of one VOC folder.

    Args:
        annotations: file names in ``Annotations``.
        images: file names in ``JPEGImages``.
    """

    def __init__(self, annotations: set[str], images: list[str]):
        self.annotations = annotations
        self.images = set(images)
        self.by_stem: dict[str, list[str]] = {}
        endings = (*image_io.ENDINGS, *unsupported_files.ENDINGS)
        for name in images:
            stem, ending = _parts(name)
            if ending.lower() in endings:
                self.by_stem.setdefault(stem, []).append(name)

    @functools.cached_property
    def _by_folded_stem(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for stem, names in self.by_stem.items():
            found.setdefault(stem.casefold(), []).extend(names)
        return found

    @functools.cached_property
    def _by_folded_name(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for name in self.images:
            found.setdefault(name.casefold(), []).append(name)
        return found

    def image_of(self, identifier: str, filename: str) -> str:
        """Return the name of an annotation's image.

        Args:
            identifier: the annotation's name without ``.xml``.
            filename: the text of its ``<filename>``; of a path, only the last part is used.

        Raises:
            DataError: there is none, it belongs to another annotation, or several match.
        """
        named = filename.strip().replace("\\", "/").rpartition("/")[2]
        own = self.by_stem.get(identifier)
        if own:
            return _only(own, named)
        taken: list[str] = []
        for names in (
            [named] if named in self.images else [],
            self._by_folded_stem.get(identifier.casefold(), []),
            self._by_folded_name.get(named.casefold(), []),
        ):
            free = [name for name in names if self._owner(name) is None]
            taken += [name for name in names if name not in free]
            if free:
                return _only(free, named)
        if taken:
            owner = self._owner(taken[0])
            raise DataError(f"there is no image of its own: {shown(taken[0])} belongs to {shown(owner)}")
        tried = ", ".join(image_io.ENDINGS)
        raise DataError(f"there is no image for it (tried {tried} and <filename>)")

    def _owner(self, image: str) -> str | None:
        """Return the annotation that has the name of an image, None if there is none."""
        annotation = f"{_parts(image)[0]}.xml"
        return annotation if annotation in self.annotations else None

    def identifiers(self, lines: list[tuple[int, str]]) -> Iterator[tuple[int, str, str | None]]:
        """Yield (line number, identifier, advice) for each line of a split file.

        ``advice`` is None if there is such an annotation; otherwise it is the end of the error message.

        A single-class split file has a second column (-1, 0 or 1) in every line. If a line does not have
        it, or if a whole line is the name of an annotation or image, the file has no second column. In
        such a file ``cell 1`` is a name.

        Args:
            lines: the lines of ``voc_layout.split_lines``.
        """
        has_column = all(self._has_column(line) for _, line in lines)
        for number, line in lines:
            identifier = line.rsplit(maxsplit=1)[0] if has_column else line
            missing = f"{identifier}.xml" not in self.annotations
            yield number, identifier, self._advice(identifier) if missing else None

    def _has_column(self, line: str) -> bool:
        columns = line.rsplit(maxsplit=1)
        is_name = f"{line}.xml" in self.annotations or line in self.by_stem
        return len(columns) == 2 and columns[1] in COLUMN and not is_name

    def _advice(self, identifier: str) -> str:
        """Return what to do about a name without an annotation, or an empty text."""
        last = identifier.replace("\\", "/").rpartition("/")[2]
        stem, ending = _parts(last)
        for name in (last, stem if ending.lower() in LINE_ENDINGS else last):
            if name != identifier and f"{name}.xml" in self.annotations:
                what = "the ending" if last == identifier else "folder and ending"
                return f": leave out {what}, write {shown(name)}"
        first, *column = identifier.rsplit(maxsplit=1)
        if column and column[0] in COLUMN and f"{first}.xml" in self.annotations:
            return (
                f"; {shown(first)}.xml is there, but -1, 0 or 1 is a second column only if all lines "
                "have one and none is a name with it"
            )
        if other := self._by_folded_annotation.get(f"{identifier}.xml".casefold()):
            return f", did you mean {shown(other[:-4])}?"
        return ""

    @functools.cached_property
    def _by_folded_annotation(self) -> dict[str, str]:
        return {name.casefold(): name for name in sorted(self.annotations)}


def _parts(name: str) -> tuple[str, str]:
    """Split a file name into the name and the extension with its dot."""
    stem, dot, ending = name.rpartition(".")
    return stem, dot + ending


def _only(names: list[str], named: str) -> str:
    """Return the image that <filename> names, or the only one of a known format."""
    if len(names) == 1:
        return names[0]
    if named in names:
        return named
    readable = [name for name in names if name.lower().endswith(image_io.ENDINGS)]
    if len(readable) == 1:
        return readable[0]
    raise DataError(
        f"{len(names)} images match: {listed(sorted(names))}; <filename> is "
        f"{shown(named)!r}: keep one image, or name it there"
    )
