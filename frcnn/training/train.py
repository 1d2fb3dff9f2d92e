"""A run from a config: read the data, load the weights, build the network, and start the loop."""

import contextlib
import os
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import keras

from frcnn import backend
from frcnn.config import conv_tiles
from frcnn.config.schema import KEYS, Config
from frcnn.data import build
from frcnn.data.sample import Dataset
from frcnn.distributed import discovery, process_group
from frcnn.errors import ConfigError, DataError
from frcnn.evaluation.voc_ap import VocAp
from frcnn.layers import conv_timing, conv_ways
from frcnn.models.faster_rcnn import FasterRCNN
from frcnn.runs import checkpoints, preflight, run_directory
from frcnn.text import echo
from frcnn.training import learning_rate
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
    """Train with the settings of a config.

    It writes to ``run_dir``: ``config.json`` (the settings that were asked for), ``resolved.json`` (all
    settings of the run), ``train/`` and ``validation/`` (TensorBoard), ``metrics.csv``,
    ``last.weights.h5``, ``best.weights.h5`` (``frcnn.training.best_weights``) and ``checkpoints/``; if
    images were skipped, ``skipped.csv``; if steps were skipped, ``nonfinite.jsonl``.

    Args:
        config: all settings.
        run_dir: the run directory. It is created if it does not exist. It must not contain a file or
            folder with the name of one that a run writes, except with ``resume``.
        resume: continue the run in ``run_dir`` from its newest checkpoint. If there is no run, or it was
            killed before its first checkpoint, start it (``frcnn.runs.preflight``).
        allow_config_change: allow a resumed run to have other settings or data.
        make_trainer: constructor that is called in place of ``Trainer``, for tests.
        asked: {key: value} for ``config.json``; None: all settings.
        datasets: the training and the validation set; None: those that ``config`` names.
        callbacks: as for ``frcnn.train``.

    Returns:
        The ``VocAp`` of the last validation; None if there was none, or if the run was already finished.

    Raises:
        FrcnnError: data, weights, settings or run directory cannot be used, or the training diverges.
        Interrupted: a signal stopped the run (``frcnn.runs.signals``); it can be resumed.
    """
    run_dir = pathlib.Path(run_dir)
    preflight.check(run_dir, resume)
    if not backend.IS_TENSORFLOW:  # JAX must join before it looks for devices
        process_group.join()
    print(f"device: {backend.prepare_device(config.train.deterministic, discovery.find().local_rank)}")
    group = process_group.join()
    if config.train.xla and backend.IS_TENSORFLOW and group.info.world_size > 1:
        raise ConfigError(
            "train.xla goes with one worker only: XLA adds up no gradients between workers"
        )
    with backend.data_parallel():
        return _train(
            config,
            run_dir,
            group,
            resume,
            allow_config_change,
            make_trainer or Trainer,
            asked,
            datasets,
            callbacks,
        )


def _train(
    config, run_dir, group, resume, allow_config_change, make_trainer, asked, datasets, callbacks
):
    """Train in a group of processes. Other arguments and the result: see ``train``."""
    before = run_directory.read_config(run_dir)
    # A checkpoint has all weights, so the initial weights are not needed. Only four-step uses them
    # again, in later phases.
    has_checkpoint = bool(checkpoints.list_checkpoints(run_dir / "checkpoints"))
    restores = has_checkpoint and config.train.schedule != "four-step"
    print(group.summary(config), end="")
    if text := learning_rate.summary(config):
        print(text)
    with group.local_main_first():
        if not restores:
            initial.check_weights(config.model)  # before the data, which takes a while to read
        train_set, val_set = datasets or build.load(config.data)
        for use, dataset in (("training", train_set), ("validation", val_set)):
            place = "" if datasets else f"{build.folder(config.data)}: "
            echo(f"{use} data: {place}{dataset.summary()}")
            if not len(dataset):
                raise DataError(f"{dataset.name} has no image")
        if not train_set.classes:
            raise DataError(f"{train_set.name} has no object, so there is no class to learn")
        # After the data are read, so that nothing is downloaded for a run that cannot start.
        weight_file = None if restores else initial.find_or_download(config.model)
    asked = {key: config.get(key) for key in KEYS} if asked is None else asked
    if restores and before is not None:  # the first start took the values of "auto" from the weight file
        resolved = {key: before.get(key) for key in ("model.preprocessing", "model.variant")}
        config = config.replace({key: own for key, own in resolved.items() if config.get(key) == "auto"})
    config = resolve(config, train_set.classes, weight_file)
    config = _with_conv_tiles(config, before, group)

    # Keras uses its global random generator for initial weights and dropout. It is seeded only here.
    keras.utils.set_random_seed(config.train.seed)
    if restores:
        built = FasterRCNN.from_config(config, allow_random_frozen=True)
    else:
        built, report = pretrained.build(config, weight_file)
        if report:
            echo(report)

    with run_directory.lock(run_dir) if group.is_main else contextlib.nullcontext():
        if group.is_main:
            preflight.check(run_dir, resume)  # again, because another process may have started a run
        trainer = make_trainer(built, config, train_set, val_set, run_dir)
        trainer.callbacks = tuple(callbacks)
        trainer.begin(before, allow_config_change, asked)
        return trainer.fit()


def resolve(config: Config, classes: Sequence[str], weight_file: str | os.PathLike | None) -> Config:
    """Replace the settings that depend on data, weights and backend by their values.

    These are ``model.preprocessing`` and ``model.variant`` if they are "auto", ``data.classes``, and
    ``data.pad_multiple`` if it is 0.

    Args:
        config: the settings that were asked for.
        classes: names of the classes of the training split.
        weight_file: file of the initial weights; None: no pretrained weights.

    Raises:
        ConfigError: ``model.preprocessing`` or ``model.variant`` is not what the weights need.
        WeightsError: the weights are not for this backbone.
    """
    values = {"data.classes": classes, "data.pad_multiple": pad_multiple(config)}
    return initial.resolve_auto_settings(config, weight_file).replace(values)


def _with_conv_tiles(config: Config, before: Config | None, group: process_group.ProcessGroup) -> Config:
    """Set ``train.conv_tiles``, the table of ``frcnn.layers.conv_ways``, and print where it comes from.

    A resumed run keeps its table, and all processes have the table of the main process, so that a run
    gives bit-identical numbers.
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


def pad_multiple(config: Config) -> int:
    """Return ``data.pad_multiple``; if it is 0, a value that suits the compiler.

    XLA compiles each step once per image shape. So it gets a tenth of the short side. At 600 x 1000 and
    stride 16 or 32 this becomes 64: there are 13 shapes, except for very narrow images, and a tenth more
    pixels. With twice the value there would be 7 shapes and a fifth more pixels. TensorFlow without XLA
    compiles once for all shapes and needs no padding: 0.
    """
    if config.data.pad_multiple or (backend.IS_TENSORFLOW and not config.train.xla):
        return config.data.pad_multiple
    return -(-config.data.short_side // 10)
