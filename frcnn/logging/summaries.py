"""Makes ``Summary`` messages of pictures, curves, histograms and text for ``RunLogger.write_summaries``.

They are made without TensorFlow's operations, which would run on the device that trains.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

JPEG_QUALITY = 85
Summary = Any  # tensorboard.compat.proto.summary_pb2.Summary


def image(tag: str, pixels: np.ndarray, description: str = "") -> Summary:
    """Return a picture for TensorBoard's page Images.

    It is stored as JPEG, which for a photograph needs about a tenth of the bytes of a PNG.

    Args:
        tag: name of the picture.
        pixels: (H, W, 3) uint8 RGB.
        description: text in Markdown.

    Raises:
        ValueError: ``pixels`` has another shape or type.
    """
    from PIL import Image
    from tensorboard.plugins.image import metadata

    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
        raise ValueError(f"a picture must be (H, W, 3) uint8, not {pixels.shape} {pixels.dtype}")
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=JPEG_QUALITY)
    height, width = pixels.shape[:2]
    parts = np.array([b"%d" % width, b"%d" % height, file.getvalue()], object)
    return _summary(tag, metadata.create_summary_metadata("", description), parts)


def histogram(tag: str, values: np.ndarray) -> Summary:
    """Return a histogram for the page Histograms. It is empty without values."""
    from tensorboard.plugins.histogram.summary_v2 import histogram_pb

    values = np.asarray(values, "float64")
    return histogram_pb(tag, values[np.isfinite(values)])


def text(tag: str, markdown: str) -> Summary:
    """Return a text for the page Text."""
    from tensorboard.plugins.text.summary_v2 import text_pb

    return text_pb(tag, markdown)


def pr_curve(tag: str, true_positives: np.ndarray, false_positives: np.ndarray, objects: int) -> Summary:
    """Return a curve for the page PR Curves.

    Args:
        tag: name of the curve.
        true_positives: (T,) number of right detections at T thresholds, equally spaced from 0 to 1.
        false_positives: (T,) number of wrong detections at these thresholds.
        objects: number of ground-truth objects, above 0.
    """
    from tensorboard.plugins.pr_curve import metadata

    found = true_positives + false_positives
    precision = np.divide(true_positives, found, out=np.ones(len(found)), where=found > 0)
    rows = (
        true_positives,
        false_positives,
        np.zeros(len(found)),  # a detector has no number of true negatives
        objects - true_positives,
        precision,
        true_positives / objects,
    )
    about = metadata.create_summary_metadata(tag, "", len(found))
    return _summary(f"{tag}/pr_curves", about, np.stack(rows).astype("float32"))


def layout(charts: Mapping[str, Mapping[str, Sequence[str]]]) -> Summary:
    """Return the layout of the page Custom Scalars.

    Args:
        charts: {category: {title of a chart: regular expressions for its tags}}.
    """
    from tensorboard.plugins.custom_scalar import layout_pb2, metadata

    categories = [
        layout_pb2.Category(
            title=title,
            chart=[
                layout_pb2.Chart(title=name, multiline=layout_pb2.MultilineChartContent(tag=tags))
                for name, tags in of_category.items()
            ],
        )
        for title, of_category in charts.items()
    ]
    content = layout_pb2.Layout(category=categories).SerializeToString()
    about = metadata.create_summary_metadata()
    return _summary(metadata.CONFIG_SUMMARY_TAG, about, np.array(content, object))


def hparams(values: Mapping[str, Any], metrics: Sequence[str]) -> list[Summary]:
    """Return a run's settings, and the tags of its scores, for the page HParams.

    Args:
        values: {setting: number, boolean or text}.
        metrics: tags of scalars of the same run; the page shows their last values.
    """
    from tensorboard.plugins.hparams import summary_v2

    columns = [summary_v2.HParam(name) for name in values]
    scores = [summary_v2.Metric(tag) for tag in metrics]
    return [
        summary_v2.hparams_config_pb(columns, scores),
        summary_v2.hparams_pb(dict(values)),
    ]


def _summary(tag, metadata, array):
    from tensorboard.compat.proto import summary_pb2
    from tensorboard.util import tensor_util

    summary = summary_pb2.Summary()
    summary.value.add(tag=tag, metadata=metadata, tensor=tensor_util.make_tensor_proto(array))
    return summary
