"""A detector that finds the same in every image, and small videos."""

import cv2
import numpy as np

from frcnn.config.schema import Config

BOX = [1.0, 2.0, 9.5, 8.0]


class Finds:
    """Stands in for a ``Detector``: one box in every image, of the second class."""

    classes = ("dog", "\u732b")  # not every console knows it
    config = Config()

    def __init__(self):
        self.images = []

    def stream(self, images, batch_size=1, tile=None, overlap=0.2):
        for image in images:
            self.images.append(image)
            yield {
                "boxes": np.array([BOX], "float32"),
                "scores": np.array([0.9], "float32"),
                "labels": np.array([1], "int32"),
                "names": ["\u732b"],
            }


def write_video(path, frames=5, size=(64, 48), code="mp4v", fps=20.0):
    """Write a video whose frames become brighter; return the path."""
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*code), fps, size)
    assert writer.isOpened()
    for number in range(frames):
        writer.write(np.full((*size[::-1], 3), 20 + 20 * number % 200, np.uint8))
    writer.release()
    return path
