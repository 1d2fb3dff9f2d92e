"""Where a run stands: what of its state is neither a weight nor an optimizer's."""

import dataclasses

from frcnn.logging.running_mean import RunningMean


@dataclasses.dataclass
class RunState:
    """Counts, and means of the epoch under way.

    Attributes:
        step: training steps done.
        epoch: epochs finished, their validation included.
        finished_step: step at which the last of them ended.
        data_place: (epoch of the data, batch in it) of the next batch.
        seconds: of training so far, over all interruptions.
        waited: seconds of these that steps waited for data.
        means: ``RunningMean`` of the scalars of the epoch under way, of the steps that were applied.
        nonfinite_in_a_row: last steps that were not applied.
        best: (phase, mAP) of the best weights.
        loss: state of ``sanity_checks.watch_loss``.
    """

    step: int = 0
    epoch: int = 0
    finished_step: int = 0
    data_place: tuple = (0, 0)
    seconds: float = 0.0
    waited: float = 0.0
    means: RunningMean = dataclasses.field(default_factory=RunningMean)
    nonfinite_in_a_row: int = 0
    best: list = dataclasses.field(default_factory=lambda: [0, 0.0])
    loss: list = dataclasses.field(default_factory=lambda: [0, 0.0, 0.0, False])

    def add(self, batch, scalars, applied, seconds):
        """Count a training step."""
        self.step += 1
        self.seconds += seconds
        self.waited += scalars["time/data"]
        epoch, index = batch.place
        self.data_place = (epoch, index + 1)
        self.nonfinite_in_a_row = 0 if applied else self.nonfinite_in_a_row + 1
        if applied:
            self.means.add(scalars)

    def end_epoch(self):
        """Count an epoch that has been trained, validated and written down."""
        self.epoch += 1
        self.finished_step = self.step
        self.means = RunningMean()

    def to_json(self):
        """Return all of it as what JSON can hold, every bit kept."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return values | {"means": [dict(self.means), self.means.weights]}

    @classmethod
    def from_json(cls, values):
        return cls(**(values | {"means": RunningMean(*values["means"])}))
