"""Fetch VOC from where it is published: resumable, checked, and unpacked with care.

A file is named ``*.part`` until its sum is right, so what bears its final name is whole. The sums
are MD5 because those are the ones that the field has passed on for these archives; they guard
against damage on the way.
"""

import contextlib
import dataclasses
import hashlib
import tarfile
from http.client import HTTPException, IncompleteRead
from pathlib import Path, PurePosixPath
from urllib.error import HTTPError

from tqdm import tqdm

from frcnn.data import stalling_http
from frcnn.errors import DataError
from frcnn.files import file_lock

CHUNK = 1 << 18
WAIT = 24 * 3600.0  # seconds for another process that fetches the same file


@dataclasses.dataclass(frozen=True)
class Archive:
    """A tar file to fetch.

    Attributes:
        url: where it is published.
        md5: of the file, hexadecimal.
        folder: the folder it unpacks to, below the data folder.
    """

    url: str
    md5: str
    folder: str

    @property
    def name(self):
        return PurePosixPath(self.url).name


_PUBLISHED = "http://host.robots.ox.ac.uk/pascal/VOC"
ARCHIVES = {
    "voc2007": (
        Archive(
            f"{_PUBLISHED}/voc2007/VOCtrainval_06-Nov-2007.tar",
            "c52e279531787c972589f7e41ab4ae64",
            "VOCdevkit/VOC2007",
        ),
        Archive(
            f"{_PUBLISHED}/voc2007/VOCtest_06-Nov-2007.tar",
            "b6e924de25625d8de591ea690078ad9f",
            "VOCdevkit/VOC2007",
        ),
    ),
    "voc2012": (
        Archive(
            f"{_PUBLISHED}/voc2012/VOCtrainval_11-May-2012.tar",
            "6cd6e144f989b92b3379bac3b3de84fd",
            "VOCdevkit/VOC2012",
        ),
    ),
}


def download(archives, data_dir):
    """Fetch and unpack archives below a folder; what is there already is left alone.

    The archives themselves are deleted once unpacked. A hidden file in each one's folder says that
    it was unpacked to the end. Of several processes that ask for the same at once, one does it, and
    the others wait.

    Args:
        archives: of ``Archive``.
        data_dir: the data folder; it need not exist.

    Raises:
        DataError: as ``fetch`` and ``unpack``.
    """
    data_dir = Path(data_dir)
    for archive in archives:
        unpacked = data_dir / archive.folder / f".{archive.name}.unpacked"
        if unpacked.exists():
            continue
        path = data_dir / archive.name
        with _alone(archive.url, path):
            if unpacked.exists():  # by another process, which this one waited for
                continue
            _fetch(archive.url, path, archive.md5)
            unpack(path, data_dir)
            unpacked.touch()
            path.unlink()


def fetch(url, path, md5):
    """Download a file, or the rest of it.

    What breaks off is gone on with as long as more comes. Several processes do it one after another.

    Args:
        url: http or https.
        path: where the file is to be; if it is there with the right sum, nothing is done.
        md5: its sum, hexadecimal.

    Raises:
        DataError: the address cannot be reached or has no such file, the connection broke or is too slow
            (run again to go on), the sum is wrong (the file is deleted), or the disk cannot be written.
    """
    path = Path(path)
    with _alone(url, path):
        _fetch(url, path, md5)


@contextlib.contextmanager
def _alone(url, path):
    """Context in which no other process fetches a file, and in which what goes wrong is one line."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with file_lock.FileLock(path.with_name(f".{path.name}.lock"), wait=WAIT, remove=True):
            yield
    except file_lock.Held as held:
        raise DataError(f"{held.holder} is fetching {path} at the moment{held.hint}") from None
    except (OSError, HTTPException) as error:  # URLError is an OSError
        raise DataError(
            f"cannot fetch {url} to {path}: {error}; run the same command again to go on"
        ) from error


def _fetch(url, path, md5):
    part = path.with_name(f"{path.name}.part")
    if path.exists():
        path.replace(part)  # it is checked like a download that had only the check left
    may_start_anew = True
    while not part.exists() or _md5(part) != md5:
        before = _size(part)
        try:
            is_all = _transfer(url, part, may_start_anew)
        except (ConnectionError, IncompleteRead):
            if _size(part) <= before:
                raise
            is_all = False  # the rest is asked for
        may_start_anew = False
        if (is_all or _size(part) <= before) and _md5(part) != md5:
            part.unlink()
            raise DataError(f"{url}: the file has a wrong MD5 sum and was deleted; try again")
    part.replace(path)


def _size(path):
    return path.stat().st_size if path.exists() else 0


def _transfer(url, part, may_start_anew):
    """Append what is missing to a partial file; start afresh if the server cannot do that.

    Returns:
        Whether the server has said that this was all. False where it did not give the length.

    Raises:
        ConnectionError, IncompleteRead: it ended before.
        OSError, HTTPException: it failed otherwise.
    """
    have = _size(part)
    with stalling_http.Guard() as guard:
        try:
            response = guard.open(url, {"Range": f"bytes={have}-"} if have else {})
            with response:
                have, total = _receive(response, part, have, guard)
        except HTTPError as error:
            if error.code != 416:
                raise
            if not may_start_anew:
                return True
            part.unlink()  # as long as the whole one, yet its sum is wrong: it is of no use
            return _transfer(url, part, False)
        except (OSError, HTTPException) as error:
            if guard.is_slow:
                raise TimeoutError(guard.fault()) from error
            raise
        if guard.is_slow:  # the shut connection looks like an end
            raise TimeoutError(guard.fault())
    if total is not None and have < total:
        raise ConnectionError(f"the connection ended after {have} of {total} bytes")
    return total is not None


def _receive(response, part, have, guard):
    """Write a response's body to a partial file and return its new length and the whole file's."""
    place, _, whole = response.headers.get("Content-Range", "").partition("/")
    if have and not (response.status == 206 and place.startswith(f"bytes {have}-")):
        have, whole = 0, ""
    length = response.headers.get("Content-Length")
    total = int(whole) if whole.isdecimal() else have + int(length) if length is not None else None
    bar = tqdm(total=total, initial=have, unit="B", unit_scale=True, desc=part.stem, disable=None)
    with open(part, "ab" if have else "wb") as file, bar:
        while chunk := response.read1(CHUNK):
            file.write(chunk)
            bar.update(len(chunk))
            have += len(chunk)
            guard.received += len(chunk)
    return have, total


def _md5(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def unpack(path, folder):
    """Unpack a tar file of plain files and folders; if anything else is in it, nothing of it.

    Args:
        path: the tar file.
        folder: what its members' names are relative to.

    Raises:
        DataError: a member is a link or a device, or its name leads out of the folder; or the
            archive is damaged or the disk cannot be written.
    """
    try:
        with tarfile.open(path) as archive:
            members = archive.getmembers()
            for member in members:
                name = PurePosixPath(member.name)
                if name.is_absolute() or ".." in name.parts:
                    raise DataError(f"{path}: refused, for {member.name!r} leads out of the folder")
                if not (member.isfile() or member.isdir()):
                    raise DataError(f"{path}: refused, for {member.name!r} is no file or folder")
            # A second lock where Python has it (3.11.4 and later): permissions, drive letters.
            archive.extraction_filter = getattr(tarfile, "data_filter", None)
            archive.extractall(folder, tqdm(members, "Unpacking", unit="file", disable=None))
    except (OSError, tarfile.TarError) as error:
        raise DataError(f"cannot unpack {path} to {folder}: {error}") from error
