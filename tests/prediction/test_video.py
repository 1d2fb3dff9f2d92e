"""Videos: what is written is read back; what is damaged or would use the network is one error."""

import socket

import numpy as np
import pytest
from PIL import Image
from prediction.fakes import write_video

from frcnn.errors import DataError, OutputError
from frcnn.prediction import video


def read(path, most=None):
    with video.Capture(str(path)) as capture:
        return capture, list(capture.frames(most))


@pytest.mark.parametrize("size", [(64, 48), (601, 333)])
def test_what_is_written_is_read_back(tmp_path, size):
    writer = video.Writer(tmp_path / "a.mp4", 12.5)
    for number in range(6):
        writer.add(Image.new("RGB", size, (40 * number, 0, 100)))
    assert not (tmp_path / "a.mp4").exists()  # until it is complete
    writer.close()
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]
    capture, frames = read(tmp_path / "a.mp4")
    assert capture.fps == 12.5 and capture.declared_frames == len(frames) == 6
    assert frames[0].shape == (size[1] // 2 * 2, size[0] // 2 * 2, 3)
    reds = [frame[..., 0].mean() for frame in frames]
    np.testing.assert_allclose(reds, 40 * np.arange(6), atol=12)
    assert frames[0][..., 2].mean() == pytest.approx(100, abs=12)  # RGB, not BGR


@pytest.mark.parametrize("name, code", [("a.avi", "MJPG"), ("a.mkv", "mp4v"), ("a.webm", "VP80")])
def test_other_containers_are_read(tmp_path, name, code):
    _, frames = read(write_video(tmp_path / name, 7, code=code), 4)
    assert len(frames) == 4


def test_a_writer_without_a_frame_leaves_nothing(tmp_path):
    video.Writer(tmp_path / "a.mp4", 25.0).close()
    assert not list(tmp_path.iterdir())


def test_a_video_that_cannot_be_written_is_one_error(tmp_path):
    writer = video.Writer(tmp_path / "none" / "a.mp4", 25.0)
    with pytest.raises(OutputError, match=r"cannot write .*a\.mp4"):
        writer.add(Image.new("RGB", (64, 48)))


@pytest.mark.parametrize("content", [b"", b"no video", b"\0" * 5000])
def test_what_is_no_video_is_one_error(tmp_path, content, capfd):
    (tmp_path / "a.mp4").write_bytes(content)
    with pytest.raises(DataError, match=r"the video .*a\.mp4 cannot be opened: it is damaged, or not a"):
        video.Capture(str(tmp_path / "a.mp4"))
    assert capfd.readouterr().err == ""
    with pytest.raises(DataError, match=r"the video .*none\.mp4 cannot be read: No such file"):
        video.Capture(str(tmp_path / "none.mp4"))
    with pytest.raises(DataError, match="cannot be read: is a folder, not a file"):
        video.Capture(str(tmp_path))


def test_a_video_that_ends_early_gives_its_frames_and_an_error(tmp_path):
    path = write_video(tmp_path / "a.avi", 40, code="MJPG")
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    frames = []
    with pytest.raises(DataError, match=r"a\.avi is damaged: \d+ of 40 frames can be decoded"):
        with video.Capture(str(path)) as capture:
            for frame in capture.frames():
                frames.append(frame)
    assert 5 < len(frames) < 36


@pytest.mark.parametrize(
    "playlist",
    [
        "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nhttp://127.0.0.1:{port}/a.ts\n#EXT-X-ENDLIST\n",
        "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video {port} RTP/AVP 96\n",
        "ffconcat version 1.0\nfile http://127.0.0.1:{port}/a.mp4\n",
    ],
)
@pytest.mark.parametrize("name", ["a.mp4", "a.ts"])
def test_a_playlist_that_is_named_as_a_video_opens_no_address(tmp_path, playlist, name):
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.3)
        (tmp_path / name).write_text(playlist.format(port=server.getsockname()[1]))
        with pytest.raises(DataError, match="cannot be opened"):
            video.Capture(str(tmp_path / name))
        with pytest.raises(TimeoutError):
            server.accept()
