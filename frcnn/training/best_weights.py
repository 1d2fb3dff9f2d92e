"""The best weights of a run, ``best.weights.h5``."""

from __future__ import annotations

import numpy as np

from frcnn.config.schema import Config
from frcnn.data.sample import Dataset
from frcnn.evaluation.voc_ap import VocAp
from frcnn.runs.run_state import RunState
from frcnn.runs.writer import RunWriter
from frcnn.training.schedule import Schedule


class BestWeights:
    """Saves the weights with the best validation mAP, or the last weights.

    The setting ``train.best_weights`` decides. With "auto" the last weights are saved if the run
    validates on a test split: weights that are chosen by their mAP on the test split have a better mAP
    there than on other images. The paper takes the last weights.

    Args:
        config: the settings of the run.
        val_set: data set to validate on.

    Attributes:
        by: "mAP" or "last".
        why: a sentence that says which weights are saved, and why.
    """

    def __init__(self, config: Config, val_set: Dataset):
        self.by = config.train.best_weights
        why = f"as train.best_weights={self.by}"
        if self.by == "auto":
            is_test = _is_test_split(config, val_set)
            self.by = "last" if is_test else "mAP"
            article = "a" if is_test else "no"
            why = f"as {val_set.name} is {article} test split (train.best_weights=auto)"
        chosen = {"mAP": "the weights with the best mAP", "last": "the last weights, whatever their mAP"}
        self.why = f"best.weights.h5: {chosen[self.by]}, {why}"

    def save_if_best(
        self, writer: RunWriter, state: RunState, schedule: Schedule, result: VocAp | None
    ) -> None:
        """Save the weights at the end of an epoch, if they are the best so far.

        If there is no mAP, because the validation split has no object, the last weights are the best.
        Weights of a later phase of the schedule count as better than those of an earlier phase.
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
        """Write missing weight files of a finished run again, if the checkpoint has these weights."""
        for name in ("last", "best", "ema") if schedule.average else ("last", "best"):
            if (writer.run_dir / f"{name}.weights.h5").is_file():
                continue
            if name == "last":
                writer.save_weights(name)
            elif name == "ema" or self.by == "last":
                self._save(writer, schedule, name)
            else:
                print("best.weights.h5 is missing; the checkpoint has only the last weights")
                continue
            print(f"{name}.weights.h5 was missing: written again from the checkpoint")


def _is_test_split(config: Config, val_set: Dataset) -> bool:
    """Return whether a run validates on a test split, by the name of the split."""
    split = config.data.val_split
    if config.data.dataset == "python":
        split = val_set.name.rpartition(" ")[2]  # the setting is not about these data
    return split.lower().startswith("test")
