"""The description of a detector inside an exported file: one JSON text, the same in all formats."""

from __future__ import annotations

import json
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from frcnn.config.schema import Config
from frcnn.errors import WeightsError

KEY = "frcnn"  # the name under which formats with named entries hold the text
Weights = Literal["float32", "float16", "int8"]
Dtype = Literal["uint8", "float32"]


class Metadata(BaseModel):
    """Facts about an exported detector, for programs that run it.

    Attributes:
        classes: names of the object classes, in the order of ``labels``.
        height, width: height and width of the input, pixels; None: any multiple of ``size_multiple``.
        batch: images per call; None: any number.
        resizes: whether the file resizes and pads images of any size to such an input itself.
        size_multiple: sides of the input are multiples of this, pixels.
        dtype: dtype of the input ``images``.
        weights: precision of the stored weights.
        preprocessing: the mode of ``Preprocess`` that the file applies to raw RGB, 0 to 255.
        short_side, long_side: an image is scaled so that its short side is ``short_side``, but its long
            side at most ``long_side``, and so that it fits into the input; pixels.
        padding: RGB to the right of and below the image.
        score_threshold, nms_iou, max_detections: settings of the file's last step.
        config: JSON of all settings.
    """

    model_config = ConfigDict(frozen=True)

    classes: tuple[str, ...] = Field(min_length=1, max_length=2**14)
    height: int | None = Field(ge=1, le=2**14)
    width: int | None = Field(ge=1, le=2**14)
    batch: int | None = Field(ge=1, le=2**12)
    resizes: bool = False
    size_multiple: int = Field(ge=1, le=2**12)
    dtype: Dtype
    weights: Weights
    preprocessing: str
    short_side: int
    long_side: int
    padding: tuple[float, float, float]
    score_threshold: float
    nms_iou: float
    max_detections: int
    config: str

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the inputs, in order."""
        return ("images",) if self.resizes else ("images", "image_sizes")

    def full_config(self, path: object) -> Config:
        """Return all settings; ``path`` is the file, for messages."""
        return Config().updated_from_json(self.config, f"the config in {path}")


def to_text(metadata: Metadata) -> str:
    """Return the JSON text."""
    return metadata.model_dump_json(indent=1)


def from_text(text: str | None, path: object) -> Metadata:
    """Read the JSON text in a file.

    Args:
        text: the JSON text; None: the file has none.
        path: the file, for messages.

    Raises:
        WeightsError: it is not such a text.
    """
    if text is None:
        raise WeightsError(f"{path} was not written by frcnn export: it has no description")
    try:
        return Metadata.model_validate(json.loads(text))
    except (ValidationError, ValueError) as error:
        fault = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
        raise WeightsError(f"the description in {path} is damaged: {fault}") from None
