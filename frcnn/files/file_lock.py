"""A lock file that one process holds at a time, on file systems with flock and on those without.

With flock, the system releases the lock of a process that is killed. Without it (some mounts of Lustre
and NFS), the process with the lock touches a second file, the lease, every minute. If the lease has not
been touched for three minutes, another process, on any machine, may take the lock.

The package filelock has both locks. This module chooses between them, and names the process that has the
lock to those that wait.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import time
from pathlib import Path
from typing import Any

import filelock

from frcnn.files import safe_write
from frcnn.text import echo, shown

LEASE_SECONDS = 180.0  # a lease that has not been touched for this time is free
_NO_FLOCK = {errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP}


class Held(Exception):
    """Another process holds the lock.

    Attributes:
        holder: text that names that process.
        hint: end of a sentence that says what to do if that process is dead; empty if the system frees
            its lock.
    """

    def __init__(self, holder: str, hint: str):
        super().__init__(holder + hint)
        self.holder = holder
        self.hint = hint


class FileLock:
    """Hold a lock file within a ``with`` statement.

    Args:
        path: the lock file, in an existing folder. It stays after the release; the files ``NAME-owner``
            and, without flock, ``NAME-lease`` are deleted.
        wait: time to wait for another process, seconds; a line is printed before.
        remove: whether to delete the lock file at the release as well.

    Raises:
        Held: on entry: another process holds the lock.
        OSError: on entry: the folder cannot be written to, or the file is a symbolic link.

    Example:
        >>> with FileLock(Path("run/.lock")):  # doctest: +SKIP
        ...     train()
    """

    def __init__(self, path: Path, wait: float = 0.0, remove: bool = False):
        self.path = path
        self.wait = wait
        self.remove = remove
        self.owner = path.with_name(f"{path.name}-owner")
        self._lock: Any = None

    @property
    def is_lost(self) -> bool:
        """Whether another process has taken the lock over, because this one did not touch its lease."""
        return getattr(self._lock, "compromise", None) is not None

    def __enter__(self) -> FileLock:
        lock: Any = filelock.FileLock(self.path, fallback_to_soft=False)
        try:
            self._acquire(lock, self.wait)
        except OSError as error:
            if error.errno not in _NO_FLOCK:
                raise
            lease = self.path.with_name(f"{self.path.name}-lease")
            lock = filelock.SoftFileLease(lease, lease_duration=LEASE_SECONDS)
            seconds = f"{LEASE_SECONDS:.0f} s"
            hint = f"; if it is dead, the lock is free after {seconds}, or if you delete {lease}"
            self._acquire(lock, max(self.wait, 1.25 * LEASE_SECONDS), hint)
        self._lock = lock
        text = f"process {os.getpid()} on {socket.gethostname()}, since {time.strftime('%F %T')}"
        safe_write.replace(self.owner, text.encode())
        return self

    def _acquire(self, lock: Any, wait: float, hint: str = "") -> None:
        with contextlib.suppress(filelock.Timeout):
            return lock.acquire(timeout=0.0)
        if wait:
            echo(f"{self.path} is held by {self.holder()}: waiting for up to {wait:.0f} s")
            with contextlib.suppress(filelock.Timeout):
                return lock.acquire(timeout=wait)
        raise Held(self.holder(), hint)

    def holder(self) -> str:
        """Return a text that names the process which holds the lock."""
        try:
            return shown(self.owner.read_text(encoding="utf-8", errors="replace"))
        except OSError:
            return "another process"

    def __exit__(self, *_: object) -> None:
        # An error of the disk here must not replace the error that ended the context.
        with contextlib.suppress(OSError):
            if not self.is_lost:
                self.owner.unlink(missing_ok=True)
                if self.remove:  # before the release, so that a waiting process notices
                    self.path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            self._lock.release()
