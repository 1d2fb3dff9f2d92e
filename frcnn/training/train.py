"""From a config to a run: data, weights, models, workers, and the training loop."""

import contextlib
import os
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import keras

from frcnn import backend
from frcnn.config import conv_tiles
from frcnn.config.schema import KEYS, Config, DataConfig
from frcnn.data import build
from frcnn.data.sample import Dataset
from frcnn.distributed import discovery, process_group
from frcnn.errors import DataError
from frcnn.evaluation.voc_ap import VocAp
from frcnn.layers import conv_timing, conv_ways
from frcnn.models.faster_rcnn import FasterRCNN
from frcnn.runs import checkpoints, preflight, run_directory
from frcnn.text import echo
from frcnn.training.trainer import Trainer
from frcnn.weights import initial, pretrained


def train(
    config: Config,
    run_dir: str | os.PathLike,
    resume: bool = False,
    allow_config_change: bool = False,
    make_trainer: Callable | None = None,
    asked: dict[str, Any] | None = None,
    datasets: tuple[Dataset, Dataset] | None = None,
    callbacks: Sequence[Any] = (),
) -> VocAp | None:
    """Train as a config says and return the validation ``VocAp`` of the last epoch.

    Writes to ``run_dir``: ``config.json`` (what was asked), ``resolved.json`` (every value that the run
    uses), ``train/`` and ``validation/`` (TensorBoard), ``metrics.csv``, ``last.weights.h5``,
    ``best.weights.h5`` (best validation mAP, of the schedule's last phase), ``checkpoints/``; where
    images were skipped, ``skipped.csv``; where steps were, ``nonfinite.jsonl``.

    Args:
        config: ``frcnn.config.schema.Config``.
        run_dir: an empty folder or one in which nothing bears the name of what a run writes; made if
            missing.
        resume: go on with the run that ``run_dir`` holds, from its newest checkpoint; start afresh where
            there is no run, or one that was killed before its first checkpoint
            (``frcnn.runs.preflight``). A run that has been trained to its end returns None at once.
        allow_config_change: a run that goes on may do so with another config.
        make_trainer: what is called in the place of ``Trainer``, to watch a run.
        asked: {key: value} for ``config.json``; None: every value of ``config``.
        datasets: the training and the validation set; None: those that ``config`` names.
        callbacks: as ``frcnn.train`` takes them.

    Raises:
        FrcnnError: data, weights, settings or folder do not serve, or the training does not hold.
        Interrupted: a signal asked for it (``frcnn.runs.signals``); ``resume`` goes on.
    """
    run_dir = pathlib.Path(run_dir)
    preflight.check(run_dir, resume)
    before = run_directory.read_config(run_dir)
    # The checkpoint has all weights. Only later phases of four-step start from the initial ones again.
    has_checkpoint = bool(checkpoints.list_checkpoints(run_dir / "checkpoints"))
    restores = has_checkpoint and config.train.schedule != "four-step"
    print(f"device: {backend.prepare_device(config.train.deterministic, discovery.find().local_rank)}")
    group = process_group.join()
    print(group.summary(config), end="")
    with group.local_main_first():
        if not restores:
            initial.check_weights(config.model)  # before the data, which takes a while to read
        train_set, val_set = datasets or build.load(config.data)
        for use, dataset in (("training", train_set), ("validation", val_set)):
            place = "" if datasets else f"{build.folder(config.data)}: "
            echo(f"{use} data: {place}{dataset.summary()}")
            if not len(dataset):
                raise DataError(f"{dataset.name} has no image to work with")
        if not train_set.classes:
            raise DataError(f"{train_set.name} has no object, so there is no class to learn")
        # After the data, so that nothing is downloaded for a run that cannot start.
        weight_file = None if restores else initial.find_or_download(config.model)
    asked = {key: config.get(key) for key in KEYS} if asked is None else asked
    if restores and before is not None:  # the values that these settings got from the weight file
        resolved = {key: before.get(key) for key in ("model.preprocessing", "model.variant")}
        config = config.replace({key: own for key, own in resolved.items() if config.get(key) == "auto"})
    config = resolve(config, train_set.classes, weight_file)
    config = _with_conv_tiles(config, before, group)

    # Keras draws initial weights and dropout from its global generator, which is seeded only here.
    keras.utils.set_random_seed(config.train.seed)
    if restores:
        built = FasterRCNN.from_config(config, allow_random_frozen=True)
    else:
        built, account = pretrained.build(config, weight_file)
        if account:
            echo(account)

    with run_directory.lock(run_dir) if group.is_main else contextlib.nullcontext():
        if group.is_main:
            preflight.check(run_dir, resume)  # again: another process may have begun a run meanwhile
        trainer = (make_trainer or Trainer)(built, config, train_set, val_set, run_dir)
        trainer.callbacks = tuple(callbacks)
        trainer.begin(before, allow_config_change, asked)
        return trainer.fit()


def resolve(config: Config, classes: Sequence[str], weight_file: str | os.PathLike | None) -> Config:
    """Return a config in which nothing is left open: ``auto``, no classes, a multiple of 0.

    Args:
        config: ``Config`` as it was asked for.
        classes: the names of the classes that the training split has.
        weight_file: path of the weights to start from, None without.

    Raises:
        ConfigError: ``model.preprocessing`` or ``model.variant`` is not what the weights want.
        WeightsError: the weights are not for this backbone.
    """
    values = {"data.classes": classes, "data.pad_multiple": pad_multiple(config.data)}
    return initial.resolve_auto_settings(config, weight_file).replace(values)


def _with_conv_tiles(config: Config, before: Config | None, group: process_group.ProcessGroup) -> Config:
    """Return a config that says which convolutions go by tiles; print where that comes from.

    A run that goes on keeps its choice, and all processes have that of the first, so that the same run
    gives the same numbers to the last bit.
    """
    if conv_tiles.parse(config.train.conv_tiles) is not None:
        return config
    if before is not None and conv_tiles.parse(before.train.conv_tiles) is not None:
        return config.replace({conv_tiles.KEY: before.train.conv_tiles})
    dtype = config.train.precision.removeprefix("mixed_")
    tiles, text = conv_timing.choose(dtype) if group.is_main else (conv_ways.NEVER, "")
    if text:
        echo(text)
    return config.replace({conv_tiles.KEY: group.gather_json(conv_tiles.to_text(tiles))[0]})


def pad_multiple(config: DataConfig) -> int:
    """Return the ``pad_multiple`` of a ``DataConfig``, or what a backend takes where it is 0.

    JAX compiles every step for every shape, and takes a tenth of the short side. At 600 x 1000 a network
    of stride 16 or 32 makes that 64: 13 shapes for all but the slimmest images, and a tenth more pixels.
    Twice the multiple would make it 7, and a fifth. TensorFlow leaves shapes open and needs nothing.
    """
    if config.pad_multiple or backend.IS_TENSORFLOW:
        return config.pad_multiple
    return -(-config.short_side // 10)
