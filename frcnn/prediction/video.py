"""Videos and cameras, read and written frame by frame by OpenCV.

FFmpeg gets a name only if it is that of a regular file, as it would also open addresses, patterns and
devices. It does not use the network for files that a file names, such as a playlist.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from frcnn.errors import DataError, OutputError
from frcnn.files import outputs, safe_write, untrusted
from frcnn.text import shown

ENDINGS = (".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv", ".flv", ".ts")
DEFAULT_FPS = 25.0  # frames per second, if a video or camera declares none
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # errors are raised; read at the first video
LOST = 0.9  # a video that ends before this share of its declared frames is damaged


class Capture:
    """A video file or a camera; a context manager.

    Args:
        path: a file, or ``camera:N``.

    Attributes:
        fps: frames per second.
        declared_frames: frames that the file declares; None: unknown.

    Raises:
        DataError: it cannot be opened.
    """

    def __init__(self, path: str):
        self.path = path
        camera = re.fullmatch(r"camera:(\d+)", path)
        if camera:
            self._open(int(camera[1]))
        else:
            if why := untrusted.why_unreadable(path):
                raise DataError(f"the video {shown(path)} cannot be read: {why}")
            self._open(path, cv2.CAP_FFMPEG)
        if not self._capture.isOpened():
            what = "is not there" if camera else "is damaged, or not a video"
            raise DataError(f"the {'' if camera else 'video '}{shown(path)} cannot be opened: it {what}")
        fps = self._capture.get(cv2.CAP_PROP_FPS)
        self.fps = fps if 0 < fps <= 1000 else DEFAULT_FPS
        frames = 0 if camera else int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT))
        self.declared_frames = frames if frames > 0 else None

    def _open(self, *source: Any) -> None:
        level = cv2.utils.logging.getLogLevel()
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
        try:
            self._capture = cv2.VideoCapture(*source)
        finally:
            cv2.utils.logging.setLogLevel(level)

    def __enter__(self) -> Capture:
        return self

    def __exit__(self, *_: Any) -> None:
        self._capture.release()

    def frames(self, most: int | None = None) -> Iterator[np.ndarray]:
        """Yield (H, W, 3) uint8 RGB frames, rotated as the file's metadata says.

        Args:
            most: largest number of frames; None: all.

        Raises:
            DataError: no frame can be decoded, or the file ends long before it says.
        """
        number = 0
        while most is None or number < most:
            is_read, frame = self._capture.read()
            if not is_read:
                break
            number += 1
            yield cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
        expected = min(self.declared_frames or 1, most or self.declared_frames or 1)
        if number < LOST * expected:
            raise DataError(
                f"the video {shown(self.path)} is damaged: {number} of {expected} frames can be decoded"
            )


class Writer:
    """Writes an MP4 file, under a temporary name until it is complete.

    Args:
        path: the file, ending in ``.mp4``.
        fps: frames per second.

    Raises:
        OutputError: it cannot be written.
    """

    def __init__(self, path: Path, fps: float):
        self.path, self._fps, self._written = path, fps, 0
        self._part = safe_write.part_of(path)
        self._writer: Any = None
        self._size = (0, 0)

    def add(self, image: Image.Image) -> None:
        """Write a frame; all have the size of the first, rounded down to even numbers."""
        if self._writer is None:
            self._size = (max(2, image.width // 2 * 2), max(2, image.height // 2 * 2))
            with outputs.writing(self.path):
                self._part.unlink(missing_ok=True)
            code = cv2.VideoWriter.fourcc(*"mp4v")  # the codec that OpenCV's packages have everywhere
            self._writer = cv2.VideoWriter(str(self._part), cv2.CAP_FFMPEG, code, self._fps, self._size)
            if not self._writer.isOpened():
                raise OutputError(f"cannot write {self.path}: OpenCV cannot write MP4 there")
        pixels = np.asarray(image.crop((0, 0, *self._size)))
        self._writer.write(cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))
        self._written += 1

    def close(self) -> None:
        """Complete the file and give it its name.

        Raises:
            OutputError: frames are missing, for example because the disk is full: OpenCV reports no
                error for it.
        """
        if self._writer is None:
            return
        self._writer.release()
        with Capture(str(self._part)) as written:
            frames = written.declared_frames or 0
        if frames < self._written:
            self._part.unlink()
            raise OutputError(
                f"cannot write {self.path}: it has {frames} of {self._written} frames (disk full?)"
            )
        with outputs.writing(self.path):
            os.replace(self._part, self.path)
