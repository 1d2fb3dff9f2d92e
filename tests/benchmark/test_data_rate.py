"""The rate of the input pipeline."""

from frcnn.benchmark import pipeline
from frcnn.config import Config


def test_images_are_written_prepared_and_counted(tmp_path):
    config = Config().replace({"data.short_side": 60, "data.long_side": 80, "anchors.sizes": "16,32"})
    rate = pipeline.images_per_second(tmp_path, config, (16,), workers=2, seconds=0.05)
    assert rate > 0
    assert len(list(tmp_path.glob("*.jpg"))) == 32
