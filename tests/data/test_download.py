"""Downloading, against a server in this process that can misbehave."""

import hashlib
import http.server
import io
import tarfile
import threading
import time

import pytest

from frcnn.cli.main import main
from frcnn.data import download
from frcnn.data.download import Archive
from frcnn.errors import DataError


def tar(*members, content=b"x" * 5000):
    """Return a tar file's bytes; a member is a name, or a ``TarInfo`` without content."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for member in members:
            if isinstance(member, str):
                member = tarfile.TarInfo(member)
                member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return file.getvalue()


def md5(content):
    return hashlib.md5(content).hexdigest()


GOOD = tar("VOCdevkit/VOC2007/Annotations/1.xml", "VOCdevkit/VOC2007/JPEGImages/1.jpg")


class Server(http.server.ThreadingHTTPServer):
    """Serves ``files``; ``ranges``: heeds Range; ``cut``: sends no more than so many bytes.

    ``length``: says how many there are. ``drip``: what it sends byte by byte, "headers" or "body".
    """

    files = {"/good.tar": GOOD}
    ranges = True
    cut = None
    length = True
    drip = None

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.requested = []  # (path, Range header)
        self.sent = 0

    def url(self, name):
        return f"http://127.0.0.1:{self.server_address[1]}/{name}"


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        server = self.server
        wanted = self.headers.get("Range")
        server.requested.append((self.path, wanted))
        content = server.files.get(self.path)
        if content is None:
            return self.send_error(404)
        if server.drip:
            return self.send_slowly(b"HTTP/1.0 200 OK\r\n" + (b"\r\n" if server.drip == "body" else b""))
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and server.ranges else 0
        if start >= len(content):
            return self.send_error(416)
        self.send_response(206 if start else 200)
        if start:
            whole = len(content) if server.length else "*"
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{whole}")
        if server.length:
            self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        server.sent += len(
            content[start : server.cut and start + server.cut]
        )  # first: whoever reads may look at once
        self.wfile.write(content[start : server.cut and start + server.cut])

    def send_slowly(self, head):
        try:
            self.wfile.write(head)
            while self.server.drip:
                self.wfile.write(b"x")
                time.sleep(0.02)
        except OSError:  # given up by who asked
            pass

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    server = Server()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


# Fetching.


def test_a_file_is_fetched_whole(server, tmp_path):
    path = tmp_path / "new" / "good.tar"
    download.fetch(server.url("good.tar"), path, md5(GOOD))
    assert path.read_bytes() == GOOD
    assert [file.name for file in path.parent.iterdir()] == ["good.tar"]


def test_a_file_that_is_there_is_not_fetched_again(server, tmp_path):
    (tmp_path / "good.tar").write_bytes(GOOD)
    download.fetch(server.url("good.tar"), tmp_path / "good.tar", md5(GOOD))
    assert server.requested == [] and (tmp_path / "good.tar").read_bytes() == GOOD


@pytest.mark.parametrize("length", [True, False])
def test_a_body_that_is_cut_off_again_and_again_is_gone_on_with(server, tmp_path, length):
    server.cut, server.length = 7000, length
    download.fetch(server.url("good.tar"), tmp_path / "good.tar", md5(GOOD))
    assert (tmp_path / "good.tar").read_bytes() == GOOD
    assert [wanted for _, wanted in server.requested] == [None, "bytes=7000-", "bytes=14000-"]


@pytest.mark.parametrize("drip", ["headers", "body"])
def test_a_server_that_sends_a_byte_now_and_then_is_given_up(server, tmp_path, monkeypatch, drip):
    monkeypatch.setattr(download, "SLOW_SECONDS", 0.5)
    server.drip = drip
    started = time.monotonic()
    with pytest.raises(DataError, match="the server sent less than 1048576 bytes in .* run the same"):
        download.fetch(server.url("good.tar"), tmp_path / "good.tar", md5(GOOD))
    assert time.monotonic() - started < 20
    server.drip = None
    assert [path.name for path in tmp_path.iterdir()] == ["good.tar.part"] * (drip == "body")


def test_two_at_once_fetch_a_file_once(server, tmp_path):
    archive = Archive(server.url("good.tar"), md5(GOOD), "VOCdevkit/VOC2007")
    failed = []

    def fetch():
        try:
            download.download([archive], tmp_path)
        except DataError as error:
            failed.append(error)

    threads = [threading.Thread(target=fetch) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == [] and len(server.requested) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["VOCdevkit"]


def test_a_broken_connection_leaves_what_came_and_the_next_run_goes_on(server, tmp_path):
    path = tmp_path / "good.tar"
    (tmp_path / "good.tar.part").write_bytes(GOOD[:7000])
    server.cut = 0
    with pytest.raises(DataError, match=f"ended after 7000 of {len(GOOD)} bytes; run .* go on"):
        download.fetch(server.url("good.tar"), path, md5(GOOD))
    assert not path.exists()
    server.cut = None
    download.fetch(server.url("good.tar"), path, md5(GOOD))
    assert path.read_bytes() == GOOD
    assert server.requested[1] == ("/good.tar", "bytes=7000-")
    assert server.sent == len(GOOD) - 7000


def test_a_server_that_ignores_range_is_read_from_the_start(server, tmp_path):
    server.ranges = False
    (tmp_path / "good.tar.part").write_bytes(GOOD[:7000])
    download.fetch(server.url("good.tar"), tmp_path / "good.tar", md5(GOOD))
    assert (tmp_path / "good.tar").read_bytes() == GOOD


def test_a_partial_file_that_is_too_long_is_fetched_anew(server, tmp_path):
    (tmp_path / "good.tar.part").write_bytes(b"?" * (len(GOOD) + 1))
    download.fetch(server.url("good.tar"), tmp_path / "good.tar", md5(GOOD))
    assert (tmp_path / "good.tar").read_bytes() == GOOD


def test_a_download_that_lacked_only_the_check_is_not_fetched_again(server, tmp_path):
    (tmp_path / "good.tar.part").write_bytes(GOOD)
    download.fetch(server.url("good.tar"), tmp_path / "good.tar", md5(GOOD))
    assert server.requested == []


def test_a_damaged_part_of_an_earlier_run_is_fetched_anew(server, tmp_path):
    (tmp_path / "good.tar.part").write_bytes(b"?" * 7000)
    download.fetch(server.url("good.tar"), tmp_path / "good.tar", md5(GOOD))
    assert (tmp_path / "good.tar").read_bytes() == GOOD
    assert [wanted for _, wanted in server.requested] == ["bytes=7000-", None]


def test_a_wrong_sum_is_an_error_that_leaves_nothing(server, tmp_path):
    with pytest.raises(DataError, match="wrong MD5 sum"):
        download.fetch(server.url("good.tar"), tmp_path / "good.tar", md5(b"another file"))
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_not_there_is_an_error_with_its_address(server, tmp_path):
    with pytest.raises(DataError, match="/none.tar .*404"):
        download.fetch(server.url("none.tar"), tmp_path / "none.tar", "")


def test_an_address_that_does_not_answer_is_an_error(server, tmp_path):
    url = server.url("good.tar")
    server.server_close()
    with pytest.raises(DataError, match="cannot download http://127.0.0.1"):
        download.fetch(url, tmp_path / "good.tar", "")


# Unpacking.


def link(name, target, kind):
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member


EVIL = {
    "parent": "VOCdevkit/../../evil",
    "absolute": "/tmp/evil",
    "symbolic link": link("VOCdevkit/evil", "/etc", tarfile.SYMTYPE),
    "hard link": link("VOCdevkit/evil", "fine", tarfile.LNKTYPE),
    "device": link("VOCdevkit/evil", "", tarfile.CHRTYPE),
}


@pytest.mark.parametrize("member", EVIL.values(), ids=EVIL)
def test_an_archive_with_an_evil_member_is_refused_as_a_whole(tmp_path, member):
    (tmp_path / "evil.tar").write_bytes(tar("fine", member))
    with pytest.raises(DataError, match="refused, '.*evil'"):
        download.unpack(tmp_path / "evil.tar", tmp_path / "a" / "b")
    assert [file.name for file in tmp_path.rglob("*")] == ["evil.tar"]


def test_a_damaged_archive_is_an_error(tmp_path):
    (tmp_path / "bad.tar").write_bytes(b"no tar file")
    with pytest.raises(DataError, match="cannot unpack"):
        download.unpack(tmp_path / "bad.tar", tmp_path)


# Both.


def test_download_unpacks_once_and_keeps_no_archive(server, tmp_path):
    archive = Archive(server.url("good.tar"), md5(GOOD), "VOCdevkit/VOC2007")
    for _ in range(2):
        download.download([archive], tmp_path)
    assert len(server.requested) == 1
    assert (tmp_path / "VOCdevkit/VOC2007/JPEGImages/1.jpg").read_bytes() == b"x" * 5000
    assert [path.name for path in tmp_path.iterdir()] == ["VOCdevkit"]


def test_the_script_fetches_what_it_is_asked_for(server, tmp_path, monkeypatch, capsys):
    archive = Archive(server.url("good.tar"), md5(GOOD), "VOCdevkit/VOC2007")
    monkeypatch.setitem(download.ARCHIVES, "voc2007", (archive,))
    main(["download", "voc2007", "--data-dir", str(tmp_path)])
    assert capsys.readouterr().out == f"voc2007 is in {tmp_path / 'VOCdevkit' / 'VOC2007'}\n"
    assert (tmp_path / "VOCdevkit/VOC2007/Annotations/1.xml").is_file()


def test_what_is_published_is_known_by_distinct_names_and_sums():
    archives = [archive for group in download.ARCHIVES.values() for archive in group]
    assert len({archive.name for archive in archives}) == len(archives) == 3
    assert all(len(archive.md5) == 32 for archive in archives)
    assert len({archive.md5 for archive in archives}) == 3
