"""Which weights of a run are the best, ``best.weights.h5``."""

from __future__ import annotations

import numpy as np

from frcnn.config.schema import Config
from frcnn.data.sample import Dataset
from frcnn.evaluation.voc_ap import VocAp
from frcnn.runs.run_state import RunState
from frcnn.runs.writer import RunWriter
from frcnn.training.schedule import Schedule


class BestWeights:
    """Saves the weights with the best validation mAP, or the last ones.

    With the setting "auto", a test split does not choose: weights that are chosen by its mAP have a
    better mAP there than on other images. The paper takes the last weights.

    Args:
        config: ``train.best_weights`` is used.
        val_set: data set to validate on.

    Attributes:
        by: "mAP" or "last".
        why: a sentence that says which weights the file will hold, and why.
    """

    def __init__(self, config: Config, val_set: Dataset):
        self.by, split = config.train.best_weights, config.data.val_split
        why = f"by train.best_weights={self.by}"
        if self.by == "auto":
            self.by = "last" if split.lower().startswith("test") else "mAP"
            article = "a" if self.by == "last" else "no"
            why = f"as {val_set.name} is {article} test split (train.best_weights=auto)"
        chosen = {"mAP": "the weights of the best mAP", "last": "the last weights, whatever their mAP"}
        self.why = f"best.weights.h5: {chosen[self.by]}, {why}"

    def save_if_best(
        self, writer: RunWriter, state: RunState, schedule: Schedule, result: VocAp | None
    ) -> None:
        """Save the weights at the end of an epoch, if they are the best so far.

        Without an mAP to compare (no object in the validation split) the last weights are the best.
        Weights of a later phase of the schedule are better than those of an earlier one.
        """
        mean_ap = 0.0 if self.by == "last" or result is None else float(result.mean_ap)
        score = [schedule.phase, 0.0 if np.isnan(mean_ap) else mean_ap]
        is_best = self.by == "last" or score >= state.best
        if is_best and schedule.has_one_network:  # the file holds one network
            state.best = score
            self._save(writer, schedule, "best")
        if schedule.average:
            self._save(writer, schedule, "ema")

    def _save(self, writer, schedule, name):
        with schedule.averaged_weights():
            writer.save_weights(name)

    def replace_lost(self, writer: RunWriter, schedule: Schedule) -> None:
        """Write missing weight files of a finished run again, where the checkpoint has them."""
        for name in ("last", "best", "ema") if schedule.average else ("last", "best"):
            if (writer.run_dir / f"{name}.weights.h5").is_file():
                continue
            if name == "last":
                writer.save_weights(name)
            elif name == "ema" or self.by == "last":
                self._save(writer, schedule, name)
            else:
                print("best.weights.h5 is missing; the checkpoint has the last weights, not these")
                continue
            print(f"{name}.weights.h5 was missing: written again from the checkpoint")
