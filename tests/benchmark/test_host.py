"""The host's part of a step: no blocking read, and little but the batch goes to the device."""

import pytest
from benchmark import host

SPEC = {
    "what": "step",
    "backbone": "tiny",
    "precision": "float32",
    "height": 64,
    "width": 80,
    "batch": 1,
    "boxes": 2,
    "classes": 2,
    "rois": 8,
    "settings": {"model.head_width": "16", "rpn.post_nms_train": "40", "train.conv_tiles": ""},
}


@pytest.mark.parametrize("schedule", ["alternating", "joint"])
def test_a_step_that_logs_nothing_reads_nothing(schedule, tmp_path):
    watch, batch_bytes = host.measure(SPEC | {"schedule": schedule}, 4, tmp_path)
    assert len(watch.steps) == 4 and watch.nodes() > 1000
    for step in watch.steps:
        assert (step.reads, step.bytes_down) == (0, 0)
        assert step.calls == (1 if schedule == "joint" else 2)
        # The order in which RoIs are drawn; the loader's threads copy the batch.
        assert 0 < step.bytes_up < 1000 < batch_bytes
        assert 0 < step.seconds < 1
