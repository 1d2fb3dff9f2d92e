"""TensorBoard's event files, taken back to a step: what a resumed run writes must not be there twice.

A file is a row of records: length (8 bytes), its checksum (4), an ``Event``, its checksum (4). A run
appends to it in the order of steps, so taking it back is cutting it off, which happens in place and at
once: a process that is killed meanwhile leaves nothing half done.
"""

import os
import struct

from google.protobuf.message import DecodeError
from tensorboard.compat.proto.event_pb2 import Event

HEAD, TAIL = 12, 4


def rewind(folder, step):
    """Cut off what a TensorBoard run holds of later steps, and the half record of a killed process.

    Args:
        folder: ``pathlib.Path`` of the run; it may be missing.
        step: the last whose scalars stay.
    """
    for path in folder.glob("*.tfevents.*"):
        end = end_of(path.read_bytes(), step)
        if end < path.stat().st_size:
            os.truncate(path, end)


def end_of(data, step):
    """Return how many bytes the whole records up to a step take at the start of a file."""
    position = 0
    while position + HEAD <= len(data):
        (length,) = struct.unpack_from("<Q", data, position)
        after = position + HEAD + length + TAIL
        if after > len(data):
            break
        try:
            event = Event.FromString(data[position + HEAD : after - TAIL])
        except DecodeError:  # what a full disk left
            break
        if event.step > step:
            break
        position = after
    return position
