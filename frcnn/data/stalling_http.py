"""Opening an address over a connection that is given up when too little comes over it.

A timeout of a socket limits the silence between two bytes. A server that sends one byte a minute, in its
headers or in its body, keeps within that for ever.
"""

import http.client
import threading
import urllib.request

TIMEOUT = 60.0  # seconds without a byte
SLOW_SECONDS, SLOW_BYTES = 300.0, 1 << 20  # less than so many bytes in so many seconds is too slow


class Guard:
    """Context that shuts its connections when they are too slow.

    Attributes:
        received: bytes of bodies received; whoever reads adds to it.
        is_slow: whether a connection was shut for that.
    """

    def __init__(self):
        self.received = 0
        self.is_slow = False
        self._sockets = []
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def open(self, url, headers):
        """Return the response to a GET.

        Raises:
            OSError, http.client.HTTPException: as ``urllib.request``, or the connection was shut.
        """
        opener = urllib.request.build_opener(_Http(self), _Https(self))
        return opener.open(urllib.request.Request(url, headers=headers), timeout=TIMEOUT)

    def fault(self):
        """Return what to say of a connection that was shut."""
        return f"the server sent less than {SLOW_BYTES} bytes in {SLOW_SECONDS:.0f} seconds"

    def kind(self, connection_class):
        """Return a subclass of an ``HTTPConnection`` whose sockets this guard knows."""
        sockets = self._sockets

        class Guarded(connection_class):
            def connect(self):
                super().connect()
                sockets.append(self.sock)

        return Guarded

    def _watch(self):
        before = 0
        while not self._end.wait(SLOW_SECONDS):
            if self.received - before < SLOW_BYTES:
                self.is_slow = True
                for socket in self._sockets:
                    try:
                        socket.shutdown(2)
                    except OSError:  # it is closed already
                        continue
            before = self.received

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._end.set()
        self._thread.join()


class _Http(urllib.request.HTTPHandler):
    def __init__(self, guard):
        super().__init__()
        self.guard = guard

    def http_open(self, request):
        return self.do_open(self.guard.kind(http.client.HTTPConnection), request)


class _Https(urllib.request.HTTPSHandler):
    def __init__(self, guard):
        super().__init__()
        self.guard = guard

    def https_open(self, request):
        return self.do_open(self.guard.kind(http.client.HTTPSConnection), request, context=self._context)
