"""Reads label files (text, JSON, YAML, CSV, XML) within limits. It also has the names of splits."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import yaml
from defusedxml import ElementTree

from frcnn.data.labels import RawImage
from frcnn.errors import DataError
from frcnn.files import untrusted
from frcnn.text import shown

MAX_BYTES = 2**31  # of one label file: COCO's largest has 470 MB
HEAD_BYTES = 2**16  # bytes from which the format of a file is recognised
MAX_YAML_BYTES = 2**20  # PyYAML needs 100 times as much memory

# Names of splits that mean the same.
ALIASES = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation"),
    "test": ("test", "testing"),
}


def head(path: Path | str) -> str:
    """Return the first characters of a file; "" if it cannot be read."""
    try:
        with untrusted.open_regular(path) as file:
            return file.read(HEAD_BYTES).decode("utf-8-sig", "replace")
    except OSError:
        return ""


def read_text(path: Path | str, limit: int = MAX_BYTES) -> str:
    """Return the text of a file, UTF-8 or with a byte order mark UTF-16. Raises DataError."""
    try:
        content = untrusted.read_bytes(path, limit)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error
    encoding = "utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    return content.decode(encoding, "replace")


def read_lines(path: Path | str) -> list[tuple[int, str]]:
    """Return [(line number from 1, text)] of the lines that are not blank. Raises DataError."""
    lines = enumerate(io.StringIO(read_text(path), newline=None), start=1)
    return [(number, line.strip()) for number, line in lines if line.strip()]


def lines_of(image: RawImage, path: Path | str) -> list[tuple[int, str]]:
    """Return ``read_lines`` of an image's label file; none, and a fault of the image, if that fails."""
    try:
        return read_lines(path)
    except DataError as error:
        image.faults.append((str(path), str(error)))
        return []


def read_json(path: Path | str, hook: Callable[[dict], Any] | None = None) -> Any:
    """Return the content of a JSON file; ``hook`` is an ``object_hook`` of json. Raises DataError."""
    try:
        return json.loads(read_text(path), object_hook=hook)
    except (ValueError, RecursionError) as error:  # RecursionError: thousands of nested lists
        raise DataError(f"{path} cannot be read as JSON: {error}") from error


def read_yaml(path: Path | str) -> Any:
    """Return the content of a YAML file without aliases. Raises DataError."""
    try:
        text = read_text(path, MAX_YAML_BYTES)
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, yaml.SafeLoader)):
            raise DataError(f"{path} has aliases, by which a few bytes can become gigabytes")
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path} cannot be read as YAML: {shown(error)}") from error


def read_csv(path: Path | str) -> list[tuple[int, list[str]]]:
    """Return [(line number from 1, fields)] of the rows that are not blank.

    The delimiter is the comma, semicolon or tab, whichever the first line has most of.
    """
    text = read_text(path)
    delimiter = delimiter_of(first_line(text))
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    rows = []
    try:
        for row in reader:
            if any(field.strip() for field in row):
                rows.append((reader.line_num, [field.strip() for field in row]))
    except csv.Error as error:
        raise DataError(f"{path} line {reader.line_num} cannot be read as CSV: {error}") from error
    return rows


def first_line(text: str) -> str:
    """Return the first line that is not blank. A carriage return ends a line, as in csv.reader."""
    return re.split(r"[\r\n]", text.lstrip(), maxsplit=1)[0]


def delimiter_of(line: str) -> str:
    """Return the comma, semicolon or tab, whichever a line has most of outside quotes."""
    return max(",;\t", key=re.sub('"[^"]*"', "", line).count)


def read_xml(path: Path | str) -> Any:
    """Return the root element of an XML file. Raises DataError, which names the file."""
    try:
        return parse_xml(path, MAX_BYTES)
    except DataError as error:
        raise DataError(f"{path} {error}") from error


def parse_xml(path: Path | str, limit: int) -> Any:
    """Return the root element of an XML file of at most ``limit`` bytes.

    Raises:
        DataError: it cannot be read; the message continues a sentence that begins with the file's name.
    """
    try:
        return ElementTree.fromstring(untrusted.read_bytes(path, limit))
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror or error}") from error
    # ParseError is a SyntaxError; defusedxml's refusals and unknown encodings are ValueErrors.
    except (SyntaxError, ValueError, LookupError) as error:
        raise DataError(f"cannot be read as XML: {error}") from error


def split_of(name: str) -> str | None:
    """Return the split that a file's or folder's name tells, None where it tells none.

    Example:
        >>> split_of("instances_train2017"), split_of("valid"), split_of("labels")
        ('train2017', 'valid', None)
    """
    for part in re.split(r"[^0-9a-zA-Z]+", name):
        if re.fullmatch(r"(trainval|train(ing)?|val|valid(ation)?|test(ing)?|minival)\d*", part.lower()):
            return part
    return None


def by_split_folder(files: Iterable[str]) -> dict[str | None, list[str]]:
    """Return {split: files} of files that lie in folders of splits; None: in no such folder.

    Example:
        >>> by_split_folder(["train/a.xml", "labels/val/b.xml", "c.xml"])
        {'train': ['train/a.xml'], 'val': ['labels/val/b.xml'], None: ['c.xml']}
    """
    found: dict[str | None, list[str]] = {}
    for file in files:
        folders = [part for part in file.split("/")[:-1] if split_of(part)]
        found.setdefault(folders[-1] if folders else None, []).append(file)
    return found


def match_split(asked: str, there: Iterable[str]) -> str | None:
    """Return the split that is meant: the one of this name, another word for it, or with a year.

    Example:
        >>> match_split("val", ["train2017", "val2017"]), match_split("val", ["train", "valid"])
        ('val2017', 'valid')
    """
    there = list(there)
    if asked in there:
        return asked
    words = next((words for words in ALIASES.values() if asked.lower() in words), (asked.lower(),))
    fitting = [name for name in there if re.sub(r"\d+$", "", name.lower()) in words]
    return fitting[0] if len(fitting) == 1 else None


def number(value: Any) -> float:
    """Return a number that a file gives as text, with a decimal point or comma; NaN without one."""
    if isinstance(value, str):
        value = value.strip().replace(",", ".") if value.count(",") == 1 else value
    elif isinstance(value, bool) or not isinstance(value, (int, float)):
        return float("nan")
    try:
        return float(value)
    except (ValueError, OverflowError):
        return float("nan")


def names_of(value: Any, path: Path | str) -> tuple[str, ...]:
    """Return class names that a YAML file gives as a list, or a mapping from their numbers."""
    if isinstance(value, dict):
        try:
            value = {int(key): name for key, name in value.items()}
        except (TypeError, ValueError) as error:
            raise DataError(f"{path}: the keys of names are no numbers") from error
        if sorted(value) != list(range(len(value))):
            raise DataError(
                f"{path}: names has the numbers {sorted(value)[:5]}..., expected 0, 1, 2, ..."
            )
        value = [value[index] for index in range(len(value))]
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise DataError(f"{path}: names is {shown(value)}, expected a list of class names")
    return tuple(str(name) for name in value)
