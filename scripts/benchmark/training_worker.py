"""Our side of ``time_to_map``: ``python -m benchmark.training_worker FILE``.

It is the run of ``scripts/train.py``, but each epoch begins when a line has been read. FILE is JSON that
``benchmark.time_to_map`` wrote.
"""

import json
import sys

from benchmark.protocol import peak_mb, say
from frcnn.training.trainer import Trainer


class InTurns(Trainer):
    """A trainer that waits for a line before each epoch, and prints its figures after it."""

    def fit(self):
        say("ready")
        wait()
        return super().fit()

    def _write_epoch(self, val_means, result):
        super()._write_epoch(val_means, result)
        progress = self.progress
        found = {
            "seconds": progress.seconds,
            "ap50": None if result is None else float(result.mean_ap),
            "loss": progress.means["total_loss"],
            "peak_mb": peak_mb(),
        }
        say(json.dumps(found))
        if progress.epoch + 1 < self.config.train.epochs:
            wait()


def wait():
    """Wait for a line, which asks for an epoch."""
    if not sys.stdin.readline():
        raise SystemExit("nobody asks for another epoch")


def main(path):
    from frcnn.config.schema import Config
    from frcnn.training import train

    with open(path, encoding="utf-8") as file:
        spec = json.load(file)
    config = Config().updated_from_json(json.dumps(spec["config"]), path)
    train.train(config, spec["run_dir"], make_trainer=InTurns)


if __name__ == "__main__":
    main(sys.argv[1])
