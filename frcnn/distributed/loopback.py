"""Keeps other machines away from the port that TensorFlow opens on all of this machine's interfaces.

TensorFlow's server has no password and no encryption: who reaches it can run any operation, such as
reading and writing files. It listens on all interfaces, whatever address it is given. Where all workers
are on one machine, a socket filter of Linux lets in packets from loopback addresses only. No privilege
is needed for that. The machine's other users still reach the port.
"""

import contextlib
import ctypes
import os
import socket
import struct
import threading

SO_ATTACH_FILTER = 26  # of Linux; Python has no name for it
SECONDS = 0.005  # between two looks for the socket, while it is being opened

# What a packet's own header starts at, for the filter: SKF_NET_OFF of linux/filter.h.
_HEADER = -0x100000 & 0xFFFFFFFF
_LOAD_BYTE, _LOAD_WORD, _AND, _JUMP_IF_EQUAL, _RETURN = 0x30, 0x20, 0x54, 0x15, 0x06
# (operation, steps to jump if equal, if not, value). Version 4: the source address, from byte 12, begins
# with 127. Version 6: the source address, four words from byte 8, is ::1.
PROGRAM = (
    (_LOAD_BYTE, 0, 0, _HEADER),
    (_AND, 0, 0, 0xF0),
    (_JUMP_IF_EQUAL, 0, 2, 0x40),
    (_LOAD_BYTE, 0, 0, _HEADER + 12),
    (_JUMP_IF_EQUAL, 8, 9, 127),
    (_LOAD_WORD, 0, 0, _HEADER + 8),
    (_JUMP_IF_EQUAL, 0, 7, 0),
    (_LOAD_WORD, 0, 0, _HEADER + 12),
    (_JUMP_IF_EQUAL, 0, 5, 0),
    (_LOAD_WORD, 0, 0, _HEADER + 16),
    (_JUMP_IF_EQUAL, 0, 3, 0),
    (_LOAD_WORD, 0, 0, _HEADER + 20),
    (_JUMP_IF_EQUAL, 0, 1, 1),
    (_RETURN, 0, 0, 0xFFFFFFFF),  # take all of the packet
    (_RETURN, 0, 0, 0),  # drop it
)


def restrict_to_loopback(server):
    """Have a listening TCP socket, and what it accepts from now on, hear this machine alone.

    Raises:
        OSError: the system cannot do that.
    """
    program = b"".join(struct.pack("HBBI", *operation) for operation in PROGRAM)
    buffer = ctypes.create_string_buffer(program, len(program))
    filter_ = struct.pack("HP", len(PROGRAM), ctypes.addressof(buffer))
    server.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, filter_)


class LoopbackOnly:
    """Context in which a server is opened on a port by this process, which ``shield`` is then put on.

    A thread looks for its sockets every few milliseconds. A connection that another machine has made
    before that is closed.

    Attributes:
        is_active: whether it was done, to be asked after the context.
    """

    def __init__(self, port):
        self.port = port
        self.is_active = False
        self._shielded = set()
        self._opened = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._opened.set()
        self._thread.join()

    def _run(self):
        with contextlib.suppress(OSError):  # not Linux
            while not self._opened.wait(SECONDS):
                self._look()
            self._look()

    def _look(self):
        for name in os.listdir("/proc/self/fd"):
            with contextlib.suppress(OSError):  # closed meanwhile, or not a socket
                one = socket.socket(fileno=os.dup(int(name)))
                with one:
                    self._take(int(name), one)

    def _take(self, descriptor, one):
        if one.family not in (socket.AF_INET, socket.AF_INET6) or one.getsockname()[1] != self.port:
            return
        if one.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            if descriptor not in self._shielded:
                restrict_to_loopback(one)
                self._shielded.add(descriptor)
                self.is_active = True
        elif not _is_loopback(one.getpeername()[0]):
            one.shutdown(socket.SHUT_RDWR)


def _is_loopback(address):
    return address == "::1" or address.removeprefix("::ffff:").startswith("127.")
