"""The sources of ``frcnn predict``: files, folders, patterns, videos and cameras, but no URLs."""

from __future__ import annotations

import dataclasses
import glob
import os
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from frcnn.data import image_io, transforms
from frcnn.errors import ConfigError, DataError
from frcnn.files import outputs
from frcnn.prediction import video
from frcnn.text import shown

URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
CAMERA = re.compile(r"camera:(\d{1,3})")
MADE_BY = "frcnn predict"  # mark of the pictures that the command draws


@dataclasses.dataclass(frozen=True)
class Source:
    """An image file, a video file or a camera.

    Attributes:
        path: the path as the user wrote it, or ``camera:0`` for a camera.
        kind: ``"image"``, ``"video"`` or ``"camera"``.
    """

    path: str
    kind: str

    @property
    def stem(self) -> str:
        """Name for output files, without suffix and number."""
        return Path(self.path).stem if self.kind != "camera" else self.path.replace(":", "")


@dataclasses.dataclass(frozen=True, eq=False)
class Picture:
    """One image, or one frame of a video.

    Attributes:
        source: the file or camera.
        pixels: (H, W, 3) uint8 RGB, upright.
        frame: number of the frame, from 0; None for an image file.
        fps: frames per second; 0 of an image file.
    """

    source: Source
    pixels: np.ndarray
    frame: int | None = None
    fps: float = 0.0


def find(arguments: Sequence[str]) -> list[Source]:
    """Return the sources that arguments name, each once, in the order of the arguments.

    Args:
        arguments: files, which need not exist; folders, whose images and videos are taken in the order
            of their names, without those of subfolders; patterns such as ``photos/**/*.jpg``; or
            ``camera:0``. Pictures that this command drew earlier are not taken from folders and
            patterns.

    Raises:
        ConfigError: an argument is a URL.
        DataError: a folder or pattern has no image and no video.

    Example:
        >>> find(["a.jpg", "clip.mp4", "camera:0"])[1]
        Source(path='clip.mp4', kind='video')
    """
    found: dict[str, Source] = {}
    for argument in arguments:
        for source in _of(argument):
            key = source.path if source.kind == "camera" else os.path.realpath(source.path)
            found.setdefault(key, source)
    return list(found.values())


def _of(argument: str) -> list[Source]:
    if URL.match(argument):
        raise ConfigError(
            f"{shown(argument)} is a URL, and frcnn predict does not use the network: download the file"
        )
    if CAMERA.fullmatch(argument):
        return [Source(argument, "camera")]
    if os.path.isdir(argument):
        names = sorted(name for name in os.listdir(argument) if not name.startswith("."))
        paths = [os.path.join(argument, name) for name in names]
        advice = f"; for those of folders in it: '{glob.escape(argument)}/**'"
    elif not os.path.lexists(argument) and glob.has_magic(argument):
        paths, advice = sorted(glob.glob(argument, recursive=True)), ""
    else:
        return [Source(argument, "video" if _is_video(argument) else "image")]
    files = [path for path in paths if _is_known(path) and os.path.isfile(path)]
    files = [path for path in files if outputs.made_by(Path(path)) != MADE_BY]
    if not files:
        raise DataError(f"{shown(argument)} has no image and no video{advice}")
    return [Source(path, "video" if _is_video(path) else "image") for path in files]


def _is_video(path: str) -> bool:
    return path.lower().endswith(video.ENDINGS)


def _is_known(path: str) -> bool:
    return _is_video(path) or path.lower().endswith(image_io.ENDINGS)


def read(
    sources: Sequence[Source],
    on_fault: Callable[[Source, DataError], None],
    max_frames: int | None = None,
) -> Iterator[Picture]:
    """Yield the images and frames of sources one by one.

    Args:
        sources: result of ``find``.
        on_fault: called for a source that cannot be read, or not to its end. Then the next source is
            read.
        max_frames: largest number of frames per video or camera; None: all.
    """
    for source in sources:
        try:
            if source.kind == "image":
                yield Picture(source, transforms.load(source.path))
                continue
            with video.Capture(source.path) as capture:
                for number, pixels in enumerate(capture.frames(max_frames)):
                    yield Picture(source, pixels, number, capture.fps)
        except DataError as error:
            on_fault(source, error)


def count(sources: Sequence[Source], max_frames: int | None = None) -> int | None:
    """Return the number of images and frames, as the videos declare it; None if one does not."""
    total = 0
    for source in sources:
        frames = 1 if source.kind == "image" else max_frames
        if source.kind == "video":
            try:
                with video.Capture(source.path) as capture:
                    declared = capture.declared_frames
            except DataError:  # ``read`` reports it
                declared = 0
            frames = declared if max_frames is None or declared is None else min(declared, max_frames)
        if frames is None:
            return None
        total += frames
    return total
