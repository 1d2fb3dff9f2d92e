"""The code of docs/train_on_batch.md trains both sub-models and logs every value by its name."""

import re
from pathlib import Path

import numpy as np
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from frcnn.data import shapes

PAGE = Path(__file__).resolve().parents[2] / "docs" / "train_on_batch.md"


def test_the_page_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shapes.make(tmp_path / "my_images", {"train": 4, "val": 2}, seed=1)
    namespace = {}
    for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL):
        exec(compile(block, str(PAGE), "exec"), namespace)
    assert namespace["step"] == 2  # two batches of two images
    assert np.isfinite(list(namespace["scalars"].values())).all()
    logged = EventAccumulator("runs/plain/train").Reload().Tags()["tensors"]
    assert {"rpn/loss_cls", "rpn/loss_regr", "classifier/accuracy", "total_loss"} <= set(logged)
