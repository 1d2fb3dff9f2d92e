"""What ``frcnn predict`` looks at: files, folders, patterns, videos and cameras, but no URLs."""

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
        path: as the user named it; ``camera:0`` of a camera.
        kind: ``"image"``, ``"video"`` or ``"camera"``.
    """

    path: str
    kind: str

    @property
    def stem(self) -> str:
        """The name of output files, without ending and number."""
        return Path(self.path).stem if self.kind != "camera" else self.path.replace(":", "")


@dataclasses.dataclass(frozen=True, eq=False)
class Picture:
    """One image, or one frame of a video.

    Attributes:
        source: where it comes from.
        pixels: (H, W, 3) uint8 RGB, upright.
        frame: number from 0; None of an image file.
        fps: frames per second; 0 of an image file.
    """

    source: Source
    pixels: np.ndarray
    frame: int | None = None
    fps: float = 0.0


def find(arguments: Sequence[str]) -> list[Source]:
    """Return the sources that arguments name, each once, in their order; those of a folder by name.

    Args:
        arguments: files (which need not exist); folders, whose images and videos are taken, without
            those of folders in them; patterns such as ``photos/**/*.jpg``; ``camera:0``. Of folders and
            patterns, pictures that this command drew earlier are left out.

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
        sources: of ``find``.
        on_fault: called with a source that cannot be read, or not to its end; the next one follows.
        max_frames: per video or camera, at most.
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
    """Return how many images and frames there are, as far as videos declare it; None: unknown."""
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
