"""Which annotation a line of a split file names, and which image belongs to an annotation.

Files are looked up in the folders' listings and never by a path made from what a split file or an
annotation says, so that no name in them can lead out of the data set.

The image of an annotation is the one of the same name. Where several or none have it, ``<filename>``
decides; last, another case of letters is allowed. An image that has the name of another annotation is
that one's. What is still not unique is a fault, as half of the images of such a data set would have the
boxes of others.
"""

import functools

from frcnn.data import image_io, unsupported_files
from frcnn.errors import DataError
from frcnn.text import listed, shown

COLUMN = ("-1", "0", "1")  # of the split files of a single class: is it there?
LINE_ENDINGS = (".xml", *image_io.ENDINGS, *unsupported_files.ENDINGS)


class Files:
    """The annotations and images of one VOC folder.

    Args:
        annotations: set of the names of the files in ``Annotations``.
        images: list of the names of the files in ``JPEGImages``.
    """

    def __init__(self, annotations, images):
        self.annotations = annotations
        self.images = set(images)
        self.by_stem = {}
        endings = (*image_io.ENDINGS, *unsupported_files.ENDINGS)
        for name in images:
            stem, ending = _parts(name)
            if ending.lower() in endings:
                self.by_stem.setdefault(stem, []).append(name)

    @functools.cached_property
    def _by_folded_stem(self):
        found = {}
        for stem, names in self.by_stem.items():
            found.setdefault(stem.casefold(), []).extend(names)
        return found

    @functools.cached_property
    def _by_folded_name(self):
        found = {}
        for name in self.images:
            found.setdefault(name.casefold(), []).append(name)
        return found

    def image_of(self, identifier, filename):
        """Return the name of an annotation's image.

        Args:
            identifier: the annotation's name without ``.xml``.
            filename: what its ``<filename>`` says; a path, as some tools write, counts by its last part.

        Raises:
            DataError: there is none, it belongs to another annotation, or several fit.
        """
        named = filename.strip().replace("\\", "/").rpartition("/")[2]
        own = self.by_stem.get(identifier)
        if own:
            return _only(own, named)
        taken = []
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

    def _owner(self, image):
        """Return the annotation that has the name of an image, None where there is none."""
        annotation = f"{_parts(image)[0]}.xml"
        return annotation if annotation in self.annotations else None

    def identifiers(self, lines):
        """Yield what the lines of a split file name: (line number, identifier, fault or None).

        The split files of a single class have a second column, of -1, 0 and 1, in every line. A file in
        which a line lacks it, or is as a whole the name of an annotation or image, has no second column:
        ``cell 1`` is a name there.

        Args:
            lines: [(number, text)], as ``voc_layout.split_lines`` returns them.
        """
        has_column = all(self._has_column(line) for _, line in lines)
        for number, line in lines:
            identifier = line.rsplit(maxsplit=1)[0] if has_column else line
            missing = f"{identifier}.xml" not in self.annotations
            yield number, identifier, self._advice(identifier) if missing else None

    def _has_column(self, line):
        columns = line.rsplit(maxsplit=1)
        is_name = f"{line}.xml" in self.annotations or line in self.by_stem
        return len(columns) == 2 and columns[1] in COLUMN and not is_name

    def _advice(self, identifier):
        """Return what to do about a line of a split file that names no annotation, or an empty text."""
        last = identifier.replace("\\", "/").rpartition("/")[2]
        stem, ending = _parts(last)
        for name in (last, stem if ending.lower() in LINE_ENDINGS else last):
            if name != identifier and f"{name}.xml" in self.annotations:
                what = "the ending" if last == identifier else "folder and ending"
                return f": leave out {what}, {shown(name)} alone names it"
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
    def _by_folded_annotation(self):
        return {name.casefold(): name for name in sorted(self.annotations)}


def _parts(name):
    """Return a file's name without its ending, and the ending with its dot."""
    stem, dot, ending = name.rpartition(".")
    return stem, dot + ending


def _only(names, named):
    """Return the one of several images that <filename> names, else the only one that can be read."""
    if len(names) == 1:
        return names[0]
    if named in names:
        return named
    readable = [name for name in names if name.lower().endswith(image_io.ENDINGS)]
    if len(readable) == 1:
        return readable[0]
    raise DataError(
        f"{len(names)} images fit: {listed(sorted(map(shown, names)))}; <filename> says "
        f"{shown(named)!r}: leave one, or name it there"
    )
