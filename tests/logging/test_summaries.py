"""What is written besides scalars can be read back as TensorBoard reads it."""

import io

import numpy as np
import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.util.tensor_util import make_ndarray

from frcnn.logging import RunLogger, summaries


def read(folder):
    """Return {tag: (plugin, step, array)} of the last value of each tag."""
    events = EventAccumulator(str(folder), size_guidance={"tensors": 0}).Reload()
    found = {}
    for tag in events.Tags()["tensors"]:
        last = events.Tensors(tag)[-1]
        plugin = events.SummaryMetadata(tag).plugin_data.plugin_name
        found[tag] = plugin, last.step, make_ndarray(last.tensor_proto)
    return found


def test_a_picture_is_a_jpeg_with_its_size(tmp_path):
    pixels = np.zeros((20, 30, 3), np.uint8)
    pixels[..., 0] = 200
    with RunLogger(tmp_path) as logger:
        logger.write_images("validation", 7, {"pictures/1": pixels})
    plugin, step, (width, height, data) = read(tmp_path / "validation")["pictures/1"]
    assert (plugin, step, width, height) == ("images", 7, b"30", b"20")
    image = Image.open(io.BytesIO(data))
    assert image.format == "JPEG" and np.abs(np.asarray(image)[..., 0].astype(int) - 200).max() < 4


@pytest.mark.parametrize("pixels", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3))])
def test_other_arrays_are_no_picture(pixels):
    with pytest.raises(ValueError, match=r"must be \(H, W, 3\) uint8"):
        summaries.image("pictures/1", pixels)


def test_curves_histograms_and_text(tmp_path):
    right, wrong = np.array([3, 2, 0]), np.array([3, 0, 0])
    written = [
        summaries.pr_curve("PR/cat", right, wrong, objects=4),
        summaries.histogram("histograms/scores", np.array([0.0, 1.0, 1.0, np.nan])),
        summaries.text("config", "| a | b |"),
    ]
    with RunLogger(tmp_path) as logger:
        logger.write_summaries("train", 3, written)
    found = read(tmp_path / "train")
    assert {tag: value[0] for tag, value in found.items()} == {
        "PR/cat/pr_curves": "pr_curves",
        "histograms/scores": "histograms",
        "config": "text",
    }
    curve = found["PR/cat/pr_curves"][2]
    np.testing.assert_allclose(curve[4], [1 / 2, 1, 1])  # precision; 1 without any detection
    np.testing.assert_allclose(curve[5], [3 / 4, 2 / 4, 0])  # recall
    np.testing.assert_allclose(curve[3], [1, 2, 4])  # objects that are not found
    assert found["histograms/scores"][2][:, 2].sum() == 3
    assert found["config"][2].item() == b"| a | b |"


def test_unknown_tags_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"unknown tags \['picture'\].*pictures/<number>"):
        RunLogger(tmp_path).write_summaries("train", 0, [summaries.text("picture", "")])
    assert not (tmp_path / "train").exists()
