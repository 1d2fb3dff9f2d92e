"""TensorBoard's event files, taken back to a step: what a resumed run writes must not be there twice.

A file is a row of records: length (8 bytes), its checksum (4), an ``Event``, its checksum (4). A run
appends to it in the order of steps, so taking it back is cutting it off, which happens in place and at
once: a process that is killed meanwhile leaves nothing half done.

TensorBoard's own mark of a restart, a ``SessionLog.START`` event at the resumed step, does not serve. Of
TensorBoard 2.21's readers, only ``plugin_event_accumulator`` (the slow one of the web page) purges by
it, and only if the first file begins with a START, too; ``EventAccumulator`` shows both the old and the
new steps, and the data server (``--load_fast``) purges a tag only if the tag is written again.
"""

import os
import re
import struct

from google.protobuf.message import DecodeError
from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import masked_crc32c

from frcnn.files import safe_write

HEAD, TAIL = 12, 4
# Where a record may begin: a length that is not 0 and below 16 MiB, and its checksum.
_HEADS = re.compile(rb"(?=(?!\0{8})...\0{5}....)", re.DOTALL)


def rewind(folder, step):
    """Cut off what a TensorBoard run holds of later steps, and the half record of a killed process.

    Of a damaged file, a copy is kept, and all records that are whole stay: those after the damage, too,
    which TensorBoard would not read.

    Args:
        folder: ``pathlib.Path`` of the run; it may be missing.
        step: the last whose scalars stay.

    Returns:
        A line for each damaged file.
    """
    said = []
    for path in sorted(folder.glob("*.tfevents.*")):
        end, is_whole = _end_of(path, step)
        if not is_whole:
            said.append(_mend(path, end, step))
        elif end < path.stat().st_size:
            os.truncate(path, end)
    return said


def set_aside(folder):
    """Rename a TensorBoard run's files, so that TensorBoard does not show them; return the new names."""
    return [
        path.rename(path.with_name(hidden_name(path))).name
        for path in sorted(folder.glob("*.tfevents.*"))
    ]


def hidden_name(path):
    """Return a name for a file that TensorBoard, which goes by ``tfevents``, does not read."""
    return path.name.replace("tfevents", "earlier")


def _end_of(path, step):
    """Return how many bytes the whole records up to a step take, and whether no damage ends them."""
    limit, is_whole = _end_of_heads(path)
    end, records = 0, RawEventFileLoader(str(path)).Load()  # in C++, where TensorFlow is
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
    """Return where the last record ends whose head is right and that lies within the file.

    TensorFlow's reader must not come to a damaged head: there it can end the process with SIGSEGV.

    Returns:
        The position in bytes, and whether what follows is nothing, or half a record of a killed process.
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


def _mend(path, damage, step):
    """Keep a damaged file under another name, write its whole records anew and return what to say."""
    data = path.read_bytes()
    records = list(whole_records(data, damage, step))
    aside = safe_write.free_name(path.with_name(hidden_name(path)), "damaged")
    safe_write.keep_copy(path, aside)
    safe_write.replace(path, b"".join([data[:damage], *records]))
    return (
        f"{path} is damaged at byte {damage}: kept as {aside.name}; "
        f"{len(records)} records after the damage can be read and stay"
    )


def whole_records(data, position, step):
    """Yield the records up to a step whose checksums are right, as bytes, from a position on."""
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
    """Return the length that a record's head gives, None if its checksum is wrong."""
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
