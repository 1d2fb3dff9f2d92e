"""The public functions for training from Python: ``frcnn.train`` and ``frcnn.load_dataset``."""

import dataclasses
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from frcnn.config import Config, precedence
from frcnn.config.short_names import SHORT_NAMES
from frcnn.data import build
from frcnn.data.recognise import recognise
from frcnn.data.records import dataset_from
from frcnn.data.sample import Dataset
from frcnn.detector import Detector
from frcnn.errors import ConfigError
from frcnn.evaluation.voc_ap import VocAp
from frcnn.runs import run_directory
from frcnn.runs.run_directory import default_run_dir
from frcnn.text import did_you_mean, echo
from frcnn.training import train as training

Data = Dataset | Iterable[Mapping[str, Any]]


@dataclasses.dataclass(frozen=True, eq=False)
class TrainResult:
    """What ``frcnn.train`` returns.

    Attributes:
        run_dir: the run directory: weights, logs, ``metrics.csv``, checkpoints.
        scores: VOC AP of the last validation, with ``ap`` of each class; None if there was none.
        classes: the names of the object classes.
    """

    run_dir: Path
    scores: VocAp | None
    classes: tuple[str, ...]

    @property
    def mean_ap(self) -> float | None:
        """The mAP of the last validation, 0 to 1."""
        return None if self.scores is None else float(self.scores.mean_ap)

    def detector(self, weights: str = "best.weights.h5") -> Detector:
        """Return the trained ``Detector``; ``last.weights.h5`` has the weights of the last epoch."""
        return Detector.load(self.run_dir, weights)


def train(
    data: str | os.PathLike | tuple[Data, Data] | None = None,
    *,
    out: str | os.PathLike | None = None,
    config: Config | None = None,
    settings: Mapping[str, Any] | None = None,
    callbacks: Sequence[Any] = (),
    resume: bool = False,
    allow_config_change: bool = False,
    **options: Any,
) -> TrainResult:
    """Train a Faster R-CNN, as ``frcnn train`` does.

    Args:
        data: a folder of labelled images (``frcnn.data.recognise``); or a tuple of the training set and
            the validation set, each a ``Dataset`` or an iterable of dicts (``frcnn.data.records``).
            None: the data that the settings name.
        out: the run directory, new or empty; None: ``runs/NAME-BACKBONE-TIME``.
        config: all settings; None: the presets of data set, backbone and optimizer.
        settings: {key: value} of settings to change, such as ``{"rpn.samples": 64}``.
        callbacks: objects with any of the methods ``on_train_begin(trainer)``,
            ``on_step_end(trainer, scalars)``, ``on_epoch_end(trainer, result)`` and
            ``on_train_end(trainer)``. ``trainer.stop()`` ends the run after the current step. See
            ``frcnn.training.trainer.Trainer``.
        resume: continue the run in ``out`` from its newest checkpoint.
        allow_config_change: with ``resume``, allow other settings or data than before.
        options: settings by short names, the same as the options of ``frcnn train``: ``epochs=5``,
            ``backbone="resnet50_fpn"``, ``lr=0.01``.

    Returns:
        A ``TrainResult``: the run directory, the scores of the last validation, and the detector.

    Raises:
        FrcnnError: data, settings, weights or run directory cannot be used, or the training diverges.
            The message says what to do.
        Interrupted: a signal stopped the run; it can be resumed.

    Example::

        result = frcnn.train("my_images", backbone="resnet50_fpn", epochs=20)
        print(result.mean_ap)
        found, = result.detector().predict("photo.jpg")
    """
    short = _by_key(options)  # {key: value} of the settings that the options name
    datasets = None
    if isinstance(data, tuple):
        datasets = _datasets(data, config, settings or {})
        short |= {"data.dataset": "python", "data.classes": datasets[0].classes}
    elif data is not None:
        train_split, val_split = short.get("data.train_split"), short.get("data.val_split")
        found, text = recognise(data, train_split, val_split, short.get("data.format", "auto"))
        echo(text)
        # The user's options take precedence over what was recognised. Only the format is always the
        # recognised one, because the option may be "auto".
        short = found | short | {"data.format": found["data.format"]}
    base = config
    if resume and out is None:
        raise ConfigError("resume=True needs the run directory: out=...")
    asked: dict[str, Any] = {}
    if resume and out is not None and config is None:
        # All settings of the run, and those that its user asked for.
        base, asked = run_directory.read_config(Path(out)), run_directory.read_asked(Path(out))
    gathered = precedence.gather(short, settings or {}, None, base, str(out or "config"))
    run_dir = Path(default_run_dir(data, gathered.config) if out is None else out)
    echo(gathered.summary())
    scores = training.train(
        gathered.config,
        run_dir,
        resume,
        allow_config_change,
        asked=asked | gathered.asked if config is None else None,
        datasets=datasets,
        callbacks=callbacks,
    )
    resolved = run_directory.read_config(run_dir)
    assert resolved is not None  # for mypy: the run has written it
    return TrainResult(run_dir, scores, resolved.data.classes)


def load_dataset(
    folder: str | os.PathLike,
    split: str = "train",
    classes: Sequence[str] = (),
    on_bad_data: str = "error",
    format: str = "auto",
) -> Dataset:
    """Return one split of a folder of labelled images.

    Args:
        folder: a folder of labelled images (``frcnn.data.recognise``).
        split: ``"train"`` or ``"val"``: the split that ``frcnn.train`` would train on or validate on.
            Any other name is a split of the folder. ``"all"``: all images of a folder without splits.
        classes: names of the classes in the order of the labels; empty: the classes that occur.
        on_bad_data: ``"error"``: raise an error that lists all faults. ``"skip"``: skip images with
            faults. ``"clip"``: clip boxes that reach out of the image by a little, and skip images with
            other faults.
        format: format of the labels, a value of the setting ``data.format``; ``"auto"``: recognise it.

    Raises:
        DataError: there are no such data, or they have faults.

    Example::

        train_set = frcnn.load_dataset("my_images")
        print(train_set.summary())
    """
    named = None if split in ("train", "val") else split
    settings, _ = recognise(folder, named, named, format)
    config = Config().replace(settings | {"data.on_bad_data": on_bad_data})
    own = {"train": config.data.train_split, "val": config.data.val_split}
    return build.load_split(config.data, own.get(split, split), tuple(classes))


def _by_key(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return {key of the setting: value} of options with short names."""
    for name in options:
        if name not in SHORT_NAMES:
            near = did_you_mean(name, SHORT_NAMES)
            hint = near or f"; the options are {', '.join(SHORT_NAMES)}; others go into settings={{...}}"
            raise ConfigError(f"frcnn.train has no option {name!r}{hint}")
    return {SHORT_NAMES[name]: value for name, value in options.items() if value is not None}


def _datasets(
    data: tuple[Data, Data], config: Config | None, settings: Mapping[str, Any]
) -> tuple[Dataset, Dataset]:
    """Return the training set and the validation set as ``Dataset``s with the same classes."""
    if len(data) != 2:
        raise ConfigError(f"data has {len(data)} parts; expected (training set, validation set)")
    classes = settings.get("data.classes") or (config.data.classes if config else None) or None
    if isinstance(classes, str):
        classes = classes.split(",")
    train_set, val_set = data
    if not isinstance(train_set, Dataset):
        train_set = dataset_from(train_set, classes, "training data")
    if not isinstance(val_set, Dataset):
        val_set = dataset_from(val_set, train_set.classes, "validation data")
    if val_set.classes != train_set.classes:
        raise ConfigError(
            f"the training set has the classes {', '.join(train_set.classes)}, but the validation set "
            f"has {', '.join(val_set.classes)}: give both the same classes in the same order"
        )
    return train_set, val_set
