"""Notices within seconds that another worker has died, and ends this process too.

Without it, a worker would wait for ever in a sum that one of them no longer comes to. Each worker keeps
a connection to the one of rank 0. The system closes it when a process ends, however it ends, and TCP's
own keep-alive finds machines that are gone. Rank 0 then tells all others who it was.

A process that stands still is not dead: that is for who runs the cluster to notice.
"""

import contextlib
import os
import select
import socket
import sys
import threading
import time

from frcnn.errors import ConfigError, FrcnnError

# Of a connection on which nothing is heard: after so many seconds, the other machine is asked so often,
# at such intervals. In all half a minute.
KEEP_ALIVE = {"TCP_KEEPIDLE": 10, "TCP_KEEPCNT": 4, "TCP_KEEPINTVL": 5}
CONNECT_SECONDS = 60
NOTICE_SECONDS = 3
EXIT_STATUS = 3
DONE = "done"


class Watch:
    """Watches the other workers from a thread of its own until ``close``.

    Args:
        place: ``workers.Place``.
        agree: function from rank 0's number (the others': any) to that number on every worker.
    """

    def __init__(self, place, agree):
        self.place = place
        self._closing = threading.Event()
        if place.rank == 0:
            server = socket.create_server(("", 0), backlog=place.count)
            server.settimeout(CONNECT_SECONDS)
            agree(server.getsockname()[1])
            with server:
                self._peers = dict(self._accept(server) for _ in range(place.count - 1))
        else:
            host, port = place.addresses[0].rpartition(":")[0], agree(0)
            try:
                peer = socket.create_connection((host.strip("[]"), port), timeout=CONNECT_SECONDS)
            except OSError as error:
                raise ConfigError(f"worker 0 cannot be reached at {host}:{port}: {error}") from error
            peer.sendall(f"{place.rank}\n".encode())
            self._peers = {0: peer}
        for peer in self._peers.values():
            peer.settimeout(None)
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            for name, value in KEEP_ALIVE.items():
                if hasattr(socket, name):  # not every system has all three
                    peer.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
        threading.Thread(target=self._run, daemon=True).start()

    def _accept(self, server):
        try:
            peer, _ = server.accept()
            peer.settimeout(CONNECT_SECONDS)
            return int(_line(peer)), peer
        except (OSError, ValueError) as error:
            raise ConfigError(f"not all workers have reached worker 0: {error}") from error

    def _run(self):
        left = dict(self._peers)
        while left:
            ready, _, _ = select.select(list(left.values()), [], [])
            for rank in [rank for rank, peer in left.items() if peer in ready]:
                said = _line(left.pop(rank))
                if said != DONE:
                    self._end(rank, said)

    def _end(self, rank, said):
        """End this process as a worker has ended, with what it said before."""
        if self._closing.is_set():
            return
        if not said:
            log = f"; what it printed is in workers/{rank}.log of the run folder" if rank else ""
            said = f"worker {rank} on {self.place.addresses[rank]} has died{log}"
        if self.place.rank == 0:
            self._tell(said, but=rank)
        # Whatever this process is doing it may never come back from: so nothing in it is asked to end.
        with contextlib.suppress(OSError, ValueError):
            print(f"error: {said}; worker {self.place.rank} ends as well", file=sys.stderr, flush=True)
            sys.stdout.flush()
        os._exit(EXIT_STATUS)

    def _tell(self, said, but=None):
        for rank, peer in self._peers.items():
            if rank != but:
                with contextlib.suppress(OSError):
                    peer.sendall(f"{said}\n".encode("utf-8", "replace"))

    def close(self, error=None):
        """Stop watching. The others do so, too, or end with the line of an error if there was one."""
        if error is not None and not isinstance(error, FrcnnError):
            # It may be that another worker is gone, and TensorFlow was the first to notice.
            time.sleep(NOTICE_SECONDS)
        self._closing.set()
        said = DONE
        if error is not None:
            line = " ".join(f"{type(error).__name__}: {error}".split())
            said = f"worker {self.place.rank} has stopped: {line}"
        self._tell(said)


def _line(peer):
    """Return the next line that a peer sends; "" where it is gone."""
    said = b""
    with contextlib.suppress(OSError):
        while not said.endswith(b"\n"):
            more = peer.recv(1)
            if not more:
                return ""
            said += more
    return said.decode("utf-8", "replace").strip()
