"""What pictures, curves and histograms cost in a training run: the real loop on real images.

The epochs of one run take turns: the validations of even epochs are drawn and charted as by default,
those of odd epochs are not (``log.every=2``). So both sides have the same network, images and machine.
The seconds are also clocked where they are spent, as the difference of two epochs is as noisy as the
machine.
"""

import dataclasses
import tempfile
import time

import numpy as np

METHODS = ("draw_training", "begin", "add", "finish")  # of the trainer's ``VisualLog``
WARM_UP = 2  # epochs, one of each side, in which graphs are traced


@dataclasses.dataclass
class Epoch:
    """One epoch.

    Attributes:
        seconds: of the whole epoch.
        training: seconds of its steps.
        steps: that were trained.
        clocked: seconds that pictures, curves and histograms took.
        has_pictures: whether they were due.
    """

    seconds: float
    training: float
    steps: int
    clocked: float
    has_pictures: bool


class Watch:
    """A callback of ``frcnn.train`` that keeps the ``Epoch``s of a run in ``epochs``."""

    def __init__(self):
        self.epochs = []
        self.full_steps = 0  # that go once through the training split

    def on_train_begin(self, trainer):
        self.full_steps = len(trainer.batches)
        self._clocked = self._trained = 0.0
        for name in METHODS:
            setattr(trainer.visual_log, name, self._timed(getattr(trainer.visual_log, name)))
        self._began = time.perf_counter()

    def _timed(self, method):
        def timed(*arguments):
            started = time.perf_counter()
            try:
                return method(*arguments)
            finally:
                self._clocked += time.perf_counter() - started

        return timed

    def on_epoch_end(self, trainer, result):
        now, trained = time.perf_counter(), trainer.progress.seconds
        seconds, training = now - self._began, trained - self._trained
        steps, due = trainer.steps_per_epoch, trainer.visual_log.is_due
        self.epochs.append(Epoch(seconds, training, steps, self._clocked, due))
        self._began, self._trained, self._clocked = time.perf_counter(), trained, 0.0


def measure(data_dir, rounds, settings):
    """Train, and return the figures as a dict.

    Args:
        data_dir: a folder of labelled images.
        rounds: pairs of epochs after the warm-up.
        settings: {key: value} of any settings; an epoch may have fewer steps than the split has.
    """
    import frcnn

    watch = Watch()
    own = {"log.every": 2, "train.epochs": 2 * rounds + WARM_UP, "checkpoint.every_minutes": 0}
    with tempfile.TemporaryDirectory() as folder:
        frcnn.train(data_dir, out=f"{folder}/run", settings=own | settings, callbacks=[watch])
    return figures(watch.epochs[WARM_UP:], watch.full_steps)


def figures(epochs, full_steps):
    """Return the medians of epochs, and the share that pictures take of an epoch of all images.

    Args:
        epochs: ``Epoch``s of both sides, in turns.
        full_steps: of an epoch of all images.
    """
    sides = {
        name: [one for one in epochs if one.has_pictures == due]
        for name, due in (("with", True), ("without", False))
    }
    medians = {name: float(np.median([one.seconds for one in own])) for name, own in sides.items()}
    low, clocked, high = np.quantile([one.clocked for one in sides["with"]], [0, 0.5, 1]).tolist()
    step = float(np.median([one.training / one.steps for one in epochs]))
    rest = float(np.median([one.seconds - one.training - one.clocked for one in epochs]))
    whole = full_steps * step + rest
    return {
        "epochs": [dataclasses.asdict(one) for one in epochs],
        "median_s": medians,
        "difference_s": medians["with"] - medians["without"],
        "clocked_s": clocked,
        "clocked_spread_s": [low, high],
        "step_s": step,
        "validation_s": rest,
        "full_steps": full_steps,
        "full_epoch_s": whole,
        "share": clocked / (whole + clocked),
        "share_of_measured": clocked / medians["with"],
    }


def text(found):
    """Return the figures as lines for people."""
    both, spread = found["median_s"], found["clocked_spread_s"]
    return (
        f"epochs with pictures {both['with']:.2f} s, without {both['without']:.2f} s (medians), "
        f"difference {found['difference_s']:+.2f} s\n"
        f"clocked in pictures, curves and histograms: {found['clocked_s']:.2f} s a validation "
        f"({spread[0]:.2f} to {spread[1]:.2f}), {found['share_of_measured']:.2%} of these epochs\n"
        f"an epoch of all images, {found['full_steps']} steps of {found['step_s']:.2f} s and "
        f"{found['validation_s']:.1f} s of validation, takes {found['full_epoch_s']:.0f} s without: "
        f"pictures are {found['share']:.2%} of it"
    )
