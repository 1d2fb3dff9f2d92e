"""A lock file that one process holds at a time, on file systems with flock and on those without.

With flock, the system frees the lock of a process that is killed. Without it (some mounts of Lustre and
NFS), the holder touches a second file, the lease, every minute. A process on any machine that finds it
untouched for three minutes takes it over.
"""

import contextlib
import errno
import os
import socket
import time

import filelock

from frcnn.files import safe_write
from frcnn.text import echo, shown

LEASE_SECONDS = 180.0  # without a sign of life from the holder
_NO_FLOCK = {errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP}


class Held(Exception):
    """Another process holds the lock.

    Attributes:
        holder: text that names it.
        hint: what to do if it is dead, to follow a sentence; "" where the system sees to that.
    """

    def __init__(self, holder, hint):
        super().__init__(holder + hint)
        self.holder = holder
        self.hint = hint


class FileLock:
    """Context in which this process holds a lock file.

    Args:
        path: ``pathlib.Path`` of the file, in an existing folder. It stays when the lock is given back;
            ``NAME-owner`` and, without flock, ``NAME-lease`` beside it do not.
        wait: seconds to wait for another process, after a line that says so.
        remove: whether the file is to go, too, when the lock is given back.

    Raises:
        Held: on entry.
        OSError: likewise; the folder cannot be written to, or the file is a symbolic link.
    """

    def __init__(self, path, wait=0.0, remove=False):
        self.path = path
        self.wait = wait
        self.remove = remove
        self.owner = path.with_name(f"{path.name}-owner")
        self._lock = None

    @property
    def is_lost(self):
        """Whether another process has taken the lock over, as this one gave no sign of life."""
        return getattr(self._lock, "compromise", None) is not None

    def __enter__(self):
        lock = filelock.FileLock(self.path, fallback_to_soft=False)
        try:
            self._acquire(lock, self.wait)
        except OSError as error:
            if error.errno not in _NO_FLOCK:
                raise
            lease = self.path.with_name(f"{self.path.name}-lease")
            lock = filelock.SoftFileLease(lease, lease_duration=LEASE_SECONDS)
            hint = (
                f"; without a sign of life from it for {LEASE_SECONDS:.0f} s, or if you delete {lease}, "
            )
            self._acquire(lock, max(self.wait, 1.25 * LEASE_SECONDS), f"{hint}the lock is free")
        self._lock = lock
        text = f"process {os.getpid()} on {socket.gethostname()}, since {time.strftime('%F %T')}"
        safe_write.replace(self.owner, text.encode())
        return self

    def _acquire(self, lock, wait, hint=""):
        with contextlib.suppress(filelock.Timeout):
            return lock.acquire(timeout=0.0)
        if wait:
            echo(f"{self.path} is held by {self.holder()}: waiting for up to {wait:.0f} s")
            with contextlib.suppress(filelock.Timeout):
                return lock.acquire(timeout=wait)
        raise Held(self.holder(), hint)

    def holder(self):
        """Return a text that names the process that holds the lock."""
        try:
            return shown(self.owner.read_text(encoding="utf-8", errors="replace"))
        except OSError:
            return "another process"

    def __exit__(self, *_):
        # On a disk that takes no more, what ended the context is what is to be told.
        with contextlib.suppress(OSError):
            if not self.is_lost:
                self.owner.unlink(missing_ok=True)
                if self.remove:  # while it is held: who waits for this file notices, and makes another
                    self.path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            self._lock.release()
