"""The profiler is on for as many steps as asked, after the first ten."""

import pytest

from frcnn.logging import RunLogger, profiling
from frcnn.logging.profiling import WARM_UP, StepProfiler


@pytest.mark.parametrize(
    "steps, total, expected", [(0, 30, []), (3, 30, [10, 11, 12]), (5, 12, [10, 11])]
)
def test_steps_that_are_profiled(tmp_path, monkeypatch, steps, total, expected):
    profiler = StepProfiler(RunLogger(tmp_path), steps)
    on, calls = [], []
    monkeypatch.setattr(StepProfiler, "_start", lambda self: setattr(self, "_is_on", True))

    def stop(self, step=0):
        if self._is_on:
            calls.append(step)
        self._is_on = False

    monkeypatch.setattr(StepProfiler, "stop", stop)
    for step in range(total):
        profiler.before_step(step)
        on += [step] if profiler._is_on else []
    profiler.stop(total)
    assert on == expected and len(calls) == bool(steps)
    assert WARM_UP == 10


@pytest.mark.skipif(not profiling.IS_TENSORFLOW, reason="JAX writes no graph")
def test_profile_and_graph_are_written(tmp_path):
    import tensorflow as tf
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    square = tf.function(lambda x: x * x)
    with RunLogger(tmp_path) as logger:
        profiler = StepProfiler(logger, 1)
        for step in range(WARM_UP + 3):
            profiler.before_step(step)
            square(tf.constant(2.0))
    assert [*(tmp_path / "train" / "plugins" / "profile").rglob("*.xplane.pb")]
    events = EventAccumulator(str(tmp_path / "train")).Reload()
    assert events.SummaryMetadata("step").plugin_data.plugin_name == "graph_run_metadata_graph"


def test_a_start_that_is_too_short_for_a_profile_says_so(tmp_path, capsys):
    profiler = StepProfiler(RunLogger(tmp_path), 3)
    for step in range(8):
        profiler.before_step(step)
    profiler.stop(8)
    expected = "warning: no profile: it begins after 10 steps, and this start had 8\n"
    assert capsys.readouterr().out == expected
