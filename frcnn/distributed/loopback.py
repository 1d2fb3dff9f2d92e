"""Keeps other machines away from the port of TensorFlow's server.

The server has no password and no encryption: everyone who can connect to it can run any operation, and
so read and write files. It always listens on all network interfaces, and TensorFlow has no option to
change this. If all processes are on one machine, a Linux socket filter accepts only packets from
loopback addresses. It needs no privileges. Other users of the machine can still connect to the port.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket
import struct
import threading

SO_ATTACH_FILTER = 26  # Linux; Python has no name for it
POLL_SECONDS = 0.005  # between two searches for the socket

# Offset of a packet's IP header for the filter: SKF_NET_OFF of linux/filter.h.
_HEADER = -0x100000 & 0xFFFFFFFF
_LOAD_BYTE, _LOAD_WORD, _AND, _JUMP_IF_EQUAL, _RETURN = 0x30, 0x20, 0x54, 0x15, 0x06
# (operation, instructions to jump if equal, if not, value). IPv4: the source address, at byte 12, begins
# with 127. IPv6: the source address, four words at byte 8, is ::1.
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
    (_RETURN, 0, 0, 0xFFFFFFFF),  # accept the whole packet
    (_RETURN, 0, 0, 0),  # drop it
)


def restrict_to_loopback(server: socket.socket) -> None:
    """Let a listening TCP socket, and connections that it accepts later, receive from this machine only.

    Raises:
        OSError: the system does not support it.
    """
    program = b"".join(struct.pack("HBBI", *operation) for operation in PROGRAM)
    buffer = ctypes.create_string_buffer(program, len(program))
    filter_ = struct.pack("HP", len(PROGRAM), ctypes.addressof(buffer))
    server.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, filter_)


class LoopbackOnly:
    """Context in which this process opens a server, and which restricts the server to loopback.

    A thread searches for the server's sockets every few milliseconds. It also closes connections that
    another machine has made before the filter was set.

    Args:
        port: port of the server.

    Attributes:
        is_active: whether the filter is set; read it after the context.
    """

    def __init__(self, port: int):
        self.port = port
        self.is_active = False
        self._restricted: set[int] = set()
        self._opened = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> LoopbackOnly:
        self._thread.start()
        return self

    def __exit__(self, *_) -> None:
        self._opened.set()
        self._thread.join()

    def _run(self):
        with contextlib.suppress(OSError):  # not Linux
            while not self._opened.wait(POLL_SECONDS):
                self._search()
            self._search()

    def _search(self):
        for name in os.listdir("/proc/self/fd"):
            with contextlib.suppress(OSError):  # closed meanwhile, or not a socket
                one = socket.socket(fileno=os.dup(int(name)))
                with one:
                    self._restrict(int(name), one)

    def _restrict(self, descriptor, one):
        if one.family not in (socket.AF_INET, socket.AF_INET6) or one.getsockname()[1] != self.port:
            return
        if one.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            if descriptor not in self._restricted:
                restrict_to_loopback(one)
                self._restricted.add(descriptor)
                self.is_active = True
        elif not _is_loopback(one.getpeername()[0]):
            one.shutdown(socket.SHUT_RDWR)


def _is_loopback(address):
    return address == "::1" or address.removeprefix("::ffff:").startswith("127.")
