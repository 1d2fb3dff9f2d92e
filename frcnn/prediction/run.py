"""Predict on many sources: read, detect in batches, hand on to sinks."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from tqdm import tqdm

from frcnn.detector import Detector
from frcnn.errors import DataError
from frcnn.prediction import sources as reading
from frcnn.prediction.sinks import Sink
from frcnn.prediction.sources import Picture, Source
from frcnn.text import shown


@dataclasses.dataclass
class Summary:
    """Summary of a prediction.

    Attributes:
        pictures: number of images and frames.
        detections: number of detections in all of them.
        faults: a message for each source that could not be read, or not to its end.
        seconds: from the first image to the last.
        stopped: ``stop`` ended it before the last source.
    """

    pictures: int = 0
    detections: int = 0
    faults: list[DataError] = dataclasses.field(default_factory=list)
    seconds: float = 0.0
    stopped: bool = False

    def __str__(self) -> str:
        rate = self.pictures / self.seconds if self.seconds else 0.0
        return f"{self.detections} detections in {self.pictures} images, {rate:.1f} images/s"


def predict(
    detector: Detector,
    sources: Sequence[Source],
    sinks: Sequence[Sink],
    *,
    batch_size: int = 1,
    tile: int | None = None,
    overlap: float = 0.2,
    max_frames: int | None = None,
    report: Callable[[str], None] = lambda line: None,
    stop: Callable[[], bool] = lambda: False,
) -> Summary:
    """Detect objects in all sources and hand the results to the sinks.

    At most some batches of images are in memory. A source that cannot be read is reported, and the next
    one follows. When it is stopped or interrupted, the files that are being written are completed.

    Args:
        detector: the detector.
        sources: result of ``frcnn.prediction.sources.find``.
        sinks: get the results; they are closed at the end.
        batch_size, tile, overlap: as of ``Detector.predict``.
        max_frames: per video or camera, at most.
        report: called with a line per image or video.
        stop: called after each image; True ends the work.
    """
    summary, counts = Summary(), Counter[str]()
    pending: deque[Picture] = deque()

    def on_fault(source: Source, error: DataError) -> None:
        report(f"{shown(source.path)} skipped" if source.kind == "image" else f"{error}")
        summary.faults.append(error)

    def pixels() -> Iterator[np.ndarray]:
        for picture in reading.read(sources, on_fault, max_frames):
            pending.append(picture)
            yield picture.pixels

    def end(source: Source, drawn: Sequence) -> None:
        drawn = [path for path in drawn if path]
        names = ", ".join(f"{number} {shown(name)}" for name, number in counts.most_common())
        report(f"{shown(source.path)} -> {', '.join(map(str, drawn)) or 'done'}: {names or 'nothing'}")
        counts.clear()

    start = time.perf_counter()
    total = reading.count(sources, max_frames)
    with contextlib.ExitStack() as stack:
        for sink in sinks:
            stack.callback(sink.close)
        bar = stack.enter_context(tqdm(total=total, unit=" images", mininterval=0.5, disable=None))
        video: Source | None = None
        for found in detector.stream(pixels(), batch_size, tile, overlap):
            picture = pending.popleft()
            if video and video != picture.source:
                end(video, [sink.end(video) for sink in sinks])
            video = picture.source if picture.frame is not None else None
            counts.update(found["names"])
            summary.pictures += 1
            summary.detections += len(found["scores"])
            drawn = [sink.add(picture, found) for sink in sinks]
            if video is None:
                end(picture.source, drawn)
            bar.update()
            summary.stopped = stop()
            if summary.stopped:
                break
        if video:
            end(video, [sink.end(video) for sink in sinks])
    summary.seconds = time.perf_counter() - start
    return summary
