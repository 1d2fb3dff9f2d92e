"""Drawn pictures of images, and one drawn video per video."""

from __future__ import annotations

import itertools
import os
from collections.abc import Sequence
from pathlib import Path

from frcnn.files import outputs
from frcnn.inspection.draw import draw
from frcnn.prediction import video
from frcnn.prediction.sinks import Found
from frcnn.prediction.sources import MADE_BY, Picture, Source


class Drawn:
    """Draws detections: ``STEM.png`` per image, ``STEM.mp4`` per video or camera.

    A name that is taken gets a number. A picture that this command drew of the same image is replaced.

    Args:
        out: the folder.
        classes: the detector's.
        sources: files that are never replaced.
        overwrite: whether a video that exists is replaced.
    """

    def __init__(
        self, out: Path, classes: Sequence[str], sources: Sequence[Source], overwrite: bool = False
    ):
        self._out, self._classes, self._overwrite = out, classes, overwrite
        self._sources = {os.path.realpath(source.path) for source in sources}
        self._taken: set[Path] = set()
        self._video: video.Writer | None = None

    def add(self, picture: Picture, found: Found) -> Path | None:
        """Draw the detections in a picture; return the file of an image, None for a frame of a video."""
        boxes = found.get("oriented", found["boxes"])
        image = draw(picture.pixels, boxes, found["labels"], found["scores"], self._classes)
        source = picture.source
        if picture.frame is None:
            return outputs.save_picture(image, self._out, source.stem, MADE_BY, source.path, self._taken)
        if self._video is None:
            self._video = video.Writer(self._free(source.stem), picture.fps)
        self._video.add(image)
        return None

    def end(self, source: Source) -> Path | None:
        """Complete the video of a source, and return its file."""
        if self._video is None:
            return None
        writer, self._video = self._video, None
        writer.close()
        return writer.path

    def close(self) -> None:
        """Complete the file of a video whose end was not reached."""
        if self._video is not None:
            self._video.close()

    def _free(self, stem: str) -> Path:
        """Return a name for a video's file that replaces neither a source nor another result."""
        for number in itertools.count(1):
            path = self._out / (f"{stem}.mp4" if number == 1 else f"{stem}-{number}.mp4")
            is_source = os.path.realpath(path) in self._sources
            replaceable = self._overwrite and path.is_file() and not path.is_symlink()
            if path not in self._taken and not is_source:
                if not os.path.lexists(path) or replaceable:
                    break
        self._taken.add(path)
        return path
