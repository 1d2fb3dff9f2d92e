"""Download VOC from its official address: resumable, checked and safely unpacked.

A file is named ``*.part`` until its MD5 sum is right, so a file with its final name is complete. The MD5
sums are those in common use for these archives. They detect damage, not an attack.

``keras.utils.get_file`` (3.15.1) and pooch (1.9.0) cannot resume: with a server that ended the
connection after 7,000 of 20,480 bytes, both deleted these bytes and requested the whole file again.
VOC's archives have up to 2 GB, and their server is slow.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import tarfile
import threading
import time
import urllib.request
from collections.abc import Iterable, Iterator
from http.client import HTTPException, HTTPResponse, IncompleteRead
from pathlib import Path, PurePosixPath
from urllib.error import HTTPError

from tqdm import tqdm

from frcnn.errors import DataError
from frcnn.files import file_lock

CHUNK = 1 << 18  # bytes
TIMEOUT = 60.0  # seconds without a byte
SLOW_SECONDS, SLOW_BYTES = 300.0, 1 << 20  # the download ends if the server sends less in this time
WAIT = 24 * 3600.0  # seconds for another process that downloads the same file


@dataclasses.dataclass(frozen=True)
class Archive:
    """A tar file to download.

    Attributes:
        url: its address.
        md5: its MD5 sum, hexadecimal.
        folder: the folder that it is unpacked to, below the data folder.
    """

    url: str
    md5: str
    folder: str

    @property
    def name(self) -> str:
        """File name of the archive."""
        return PurePosixPath(self.url).name


_ADDRESS = "http://host.robots.ox.ac.uk/pascal/VOC"
ARCHIVES = {
    "voc2007": (
        Archive(
            f"{_ADDRESS}/voc2007/VOCtrainval_06-Nov-2007.tar",
            "c52e279531787c972589f7e41ab4ae64",
            "VOCdevkit/VOC2007",
        ),
        Archive(
            f"{_ADDRESS}/voc2007/VOCtest_06-Nov-2007.tar",
            "b6e924de25625d8de591ea690078ad9f",
            "VOCdevkit/VOC2007",
        ),
    ),
    "voc2012": (
        Archive(
            f"{_ADDRESS}/voc2012/VOCtrainval_11-May-2012.tar",
            "6cd6e144f989b92b3379bac3b3de84fd",
            "VOCdevkit/VOC2012",
        ),
    ),
}


def download(archives: Iterable[Archive], data_dir: Path | str) -> None:
    """Download and unpack archives below a folder, except those that are there already.

    Each archive is deleted after it is unpacked. A hidden file in its folder shows that it is complete.
    If several processes download the same archive, one does it and the others wait.

    Args:
        archives: such as ``ARCHIVES["voc2007"]``.
        data_dir: the data folder; it is made if it does not exist.

    Raises:
        DataError: as ``fetch`` and ``unpack``.

    Example:
        >>> download(ARCHIVES["voc2007"], "data")  # doctest: +SKIP
    """
    data_dir = Path(data_dir)
    for archive in archives:
        unpacked = data_dir / archive.folder / f".{archive.name}.unpacked"
        if unpacked.exists():
            continue
        path = data_dir / archive.name
        with _lock(archive.url, path):
            if unpacked.exists():  # by another process, while this one waited
                continue
            _fetch(archive.url, path, archive.md5)
            unpack(path, data_dir)
            unpacked.touch()
            path.unlink()


def fetch(url: str, path: Path | str, md5: str) -> None:
    """Download a file, or the missing part of it.

    If the connection ends, it is opened again, as long as more bytes arrive each time.

    Args:
        url: http or https.
        path: the file to write. If it exists and has the right sum, nothing is downloaded.
        md5: its MD5 sum, hexadecimal.

    Raises:
        DataError: the server cannot be reached, has no such file, is too slow or ends the connection
            (the next call continues from the bytes that arrived); the sum is wrong (the file is
            deleted); or the disk cannot be written to.
    """
    path = Path(path)
    with _lock(url, path):
        _fetch(url, path, md5)


@contextlib.contextmanager
def _lock(url: str, path: Path) -> Iterator[None]:
    """Keep other processes from downloading a file, and turn errors into one line."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with file_lock.FileLock(path.with_name(f".{path.name}.lock"), wait=WAIT, remove=True):
            yield
    except file_lock.Held as held:
        raise DataError(f"{held.holder} is downloading {path}{held.hint}") from None
    except (OSError, HTTPException) as error:  # URLError is an OSError
        raise DataError(
            f"cannot download {url} to {path}: {error}; run the same command again to go on"
        ) from error


def _fetch(url: str, path: Path, md5: str) -> None:
    part = path.with_name(f"{path.name}.part")
    if path.exists():
        path.replace(part)  # its sum is still to be checked
    is_new = not part.exists()
    while _md5(part) != md5:
        before = _size(part)
        try:
            is_complete = _transfer(url, part)
        except (ConnectionError, IncompleteRead):
            if _size(part) <= before:
                raise
            continue
        if not is_complete and _size(part) > before or _md5(part) == md5:
            continue
        part.unlink()
        if is_new:
            raise DataError(f"{url}: the file has a wrong MD5 sum and was deleted; try again")
        is_new = True  # the old part was damaged: download again from the start
    part.replace(path)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _transfer(url: str, part: Path) -> bool:
    """Download the missing part of a file, or all of it if the server cannot resume.

    Returns:
        Whether the file has the length that the server gave; False if it gave none.

    Raises:
        ConnectionError, IncompleteRead: the connection ended before that.
        OSError, HTTPException: another error of the connection or the disk.
    """
    have = _size(part)
    try:
        response = _open(url, {"Range": f"bytes={have}-"} if have else {})
    except HTTPError as error:
        if have and error.code == 416:  # there are no bytes after those that have arrived
            return True
        raise
    with response:
        place, _, whole = response.headers.get("Content-Range", "").partition("/")
        if not (response.status == 206 and place.startswith(f"bytes {have}-")):
            have, whole = 0, ""
        length = response.headers.get("Content-Length")
        total = int(whole) if whole.isdecimal() else have + int(length) if length is not None else None
        options = {"unit": "B", "unit_scale": True, "disable": None}
        with (
            open(part, "ab" if have else "wb") as file,
            tqdm(desc=part.stem, total=total, initial=have, **options) as bar,
        ):
            since, received = time.monotonic(), 0
            while chunk := response.read1(CHUNK):
                file.write(chunk)
                bar.update(len(chunk))
                have, received = have + len(chunk), received + len(chunk)
                if time.monotonic() - since > SLOW_SECONDS:
                    if received < SLOW_BYTES:
                        raise TimeoutError(_too_slow())
                    since, received = time.monotonic(), 0
    if total is not None and have < total:
        raise ConnectionError(f"the connection ended after {have} of {total} bytes")
    return total is not None


def _open(url: str, headers: dict[str, str]) -> HTTPResponse:
    """Return the response to a GET within ``SLOW_SECONDS``.

    The timeout of a socket limits only the time between two bytes, so a server could send headers byte
    by byte without end. So a thread opens the connection. It ends with the process at the latest.
    """
    results = []

    def request():
        try:
            opened = urllib.request.urlopen(
                urllib.request.Request(url, headers=headers), timeout=TIMEOUT
            )
        except Exception as error:
            opened = error
        results.append(opened)

    thread = threading.Thread(target=request, daemon=True)
    thread.start()
    thread.join(SLOW_SECONDS)
    if not results:
        raise TimeoutError(_too_slow())
    if isinstance(results[0], Exception):
        raise results[0]
    return results[0]


def _too_slow() -> str:
    return f"the server sent less than {SLOW_BYTES} bytes in {SLOW_SECONDS:.0f} seconds"


def _md5(path: Path) -> str | None:
    """Return a file's MD5 sum, None if there is no file."""
    if not path.exists():
        return None
    with open(path, "rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def unpack(path: Path | str, folder: Path | str) -> None:
    """Unpack a tar file. If it contains anything but plain files and folders, unpack nothing.

    Args:
        path: the tar file.
        folder: the folder to unpack to.

    Raises:
        DataError: a member is a link or a device, or its name leads out of the folder; or the archive is
            damaged, or the disk cannot be written to.
    """
    try:
        with tarfile.open(path) as archive:
            members = archive.getmembers()
            for member in members:
                name = PurePosixPath(member.name)
                if name.is_absolute() or ".." in name.parts:
                    raise DataError(f"{path}: refused, {member.name!r} leads out of the folder")
                if not (member.isfile() or member.isdir()):
                    raise DataError(f"{path}: refused, {member.name!r} is not a file or folder")
            # Python's filter (from 3.11.4) also checks permissions and drive letters. It is not enough
            # by itself: it accepts hard links, and unpacks the members before the one that it refuses.
            archive.extraction_filter = getattr(tarfile, "data_filter", None)
            archive.extractall(folder, tqdm(members, "Unpacking", unit="file", disable=None))
    except (OSError, tarfile.TarError) as error:
        raise DataError(f"cannot unpack {path} to {folder}: {error}") from error
