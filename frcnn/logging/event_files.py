"""Rewinds TensorBoard's event files to a step, so that a resumed run does not log steps twice.

A file is a sequence of records: length (8 bytes), its checksum (4), an ``Event``, its checksum (4). A
run appends to it in the order of steps, so the file only has to be truncated, which is atomic.

TensorBoard's own mark of a restart, a ``SessionLog.START`` event at the resumed step, is not enough. Of
TensorBoard 2.21's readers, only ``plugin_event_accumulator`` (the slow one of the web page) drops steps
by it, and only if the first file begins with a START, too. ``EventAccumulator`` shows both the old and
the new steps, and the data server (``--load_fast``) drops a tag's steps only if the tag is written
again.
"""

from __future__ import annotations

import os
import pathlib
import re
import struct
from collections.abc import Iterator

from google.protobuf.message import DecodeError
from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import masked_crc32c

from frcnn.files import safe_write

HEAD, TAIL = 12, 4
# A possible start of a record: a length above 0 and below 16 MiB, and its checksum.
_HEADS = re.compile(rb"(?=(?!\0{8})...\0{5}....)", re.DOTALL)


def rewind(folder: pathlib.Path, step: int) -> list[str]:
    """Remove later steps from a TensorBoard run, and the partial record of a killed process.

    Before a damaged file is repaired, a copy is made. The repair keeps all complete records, also those
    after the damage, which TensorBoard would not read.

    Args:
        folder: folder of the run; it may be missing.
        step: last step whose records are kept.

    Returns:
        A message for each damaged file.
    """
    messages = []
    for path in sorted(folder.glob("*.tfevents.*")):
        end, is_whole = _end_of(path, step)
        if not is_whole:
            messages.append(_repair(path, end, step))
        elif end < path.stat().st_size:
            os.truncate(path, end)
    return messages


def set_aside(folder: pathlib.Path) -> list[str]:
    """Rename a TensorBoard run's files, so that TensorBoard ignores them; return the new names."""
    return [
        path.rename(path.with_name(hidden_name(path))).name
        for path in sorted(folder.glob("*.tfevents.*"))
    ]


def hidden_name(path: pathlib.Path) -> str:
    """Return a file name without ``tfevents``, by which TensorBoard finds its files."""
    return path.name.replace("tfevents", "earlier")


def _end_of(path, step):
    """Return the number of bytes of the complete records up to a step, and whether the file is whole."""
    limit, is_whole = _end_of_heads(path)
    end, records = 0, RawEventFileLoader(str(path)).Load()  # C++ code, if TensorFlow is installed
    while end < limit:
        data = next(records, None)
        try:
            if data is None:  # its checksum is wrong
                return end, False
            if Event.FromString(data).step > step:
                return end, True
        except DecodeError:
            return end, False
        end += HEAD + len(data) + TAIL
    return end, is_whole


def _end_of_heads(path):
    """Return the end of the last record before a damaged head or the end of the file.

    TensorFlow's reader must not meet a damaged head: it can end the process with SIGSEGV.

    Returns:
        The position in bytes; and True if nothing follows it, or only a record that a killed process did
        not finish.
    """
    position, size = 0, path.stat().st_size
    with path.open("rb") as file:
        while position + HEAD <= size:
            file.seek(position)
            length = _length(file.read(HEAD), 0)
            if length is None:
                return position, False
            if position + HEAD + length + TAIL > size:
                break
            position += HEAD + length + TAIL
    return position, True


def _repair(path, damage, step):
    """Copy a damaged file, rewrite it with its complete records, and return a message."""
    data = path.read_bytes()
    records = list(whole_records(data, damage, step))
    aside = safe_write.free_name(path.with_name(hidden_name(path)), "damaged")
    safe_write.keep_copy(path, aside)
    safe_write.replace(path, b"".join([data[:damage], *records]))
    return (
        f"{path} is damaged at byte {damage}: a copy is kept as {aside.name}; "
        f"{len(records)} records after the damage could be read and were kept"
    )


def whole_records(data: bytes, position: int, step: int) -> Iterator[bytes]:
    """Yield the records after a position that have right checksums and a step of at most ``step``."""
    while position + HEAD <= len(data):
        length = _length(data, position)
        after = None if length is None else position + HEAD + length + TAIL
        if after is None or after > len(data):
            found = _HEADS.search(data, position + 1)
            while found and _length(data, found.start()) is None:
                found = _HEADS.search(data, found.start() + 1)
            if not found:
                return
            position = found.start()
            continue
        event = _event(data[position + HEAD : after - TAIL], data[after - TAIL : after])
        if event is not None and event.step <= step:
            yield data[position:after]
        position = after


def _length(data, position):
    """Return the length in a record's head, None if its checksum is wrong."""
    length, checksum = data[position : position + 8], data[position + 8 : position + HEAD]
    return struct.unpack("<Q", length)[0] if _fits(length, checksum) else None


def _event(data, checksum):
    """Return the ``Event`` in a record's data, None if it is damaged."""
    if not _fits(data, checksum):
        return None
    try:
        return Event.FromString(data)
    except DecodeError:
        return None


def _fits(data, checksum):
    return struct.pack("<I", masked_crc32c(data)) == checksum
