"""A run that is interrupted goes on as if it had not been; and what keeps it from going on is told."""

import contextlib
import csv
import dataclasses
import io
import json
import shutil
import signal

import keras
import numpy as np
import pytest
from benchmark.worker import random_batch
from interrupted_runs import OF_THE_PROCESS, after, assert_alike, is_writing, start, stop, weights
from PIL import Image

from frcnn.data import transforms
from frcnn.detector import Detector
from frcnn.errors import ConfigError, Interrupted, NothingToSave, RunError, WeightsError
from frcnn.models.faster_rcnn import FasterRCNN
from frcnn.runs import checkpoints, run_directory, writer
from frcnn.training import alternating, trainer
from frcnn.training import schedule as schedule_module
from frcnn.training import train as train_module

VALUES = {
    "data.batch_size": 3,  # the third batch of an epoch of the data has two images
    "model.head_dropout": 0.5,
    "train.epochs": 3,
    "train.steps_per_epoch": 4,
    "train.log_every": 1,
    "optimizer.warmup_steps": 2,
    "checkpoint.every_steps": 1,
    "checkpoint.keep": 99,
}


def train(config, run, resume=False, allow_config_change=False):
    """Train and return what was printed."""
    output = io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(io.StringIO()):
        train_module.train(config, run, resume, allow_config_change)
    return output.getvalue()


@pytest.fixture(scope="module")
def config(small_config):
    return small_config.replace(VALUES)


@pytest.fixture(scope="module")
def whole(config, tmp_path_factory):
    """Train without interruption, and keep every checkpoint."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    train(config, folder)
    return folder


def back_to(run, step, folder):
    """Copy a run and take away its checkpoints after a step, but nothing else that it wrote."""
    copy = shutil.copytree(run, folder / "run")
    for path in checkpoints.list_checkpoints(copy / "checkpoints"):
        if int(path.name.split("-")[3]) > step:
            shutil.rmtree(path)
    return copy


@pytest.mark.parametrize("step", [1, 4, 7])
def test_from_any_step_it_goes_on_with_the_same_bits(whole, config, tmp_path, step):
    run = back_to(whole, step, tmp_path)
    printed = train(config, run, resume=True)
    assert f"step-{step:08d}" in printed
    assert_alike(whole, run)


@pytest.mark.slow
def test_joint_goes_on_with_the_same_bits(config, tmp_path):
    config = config.replace({"train.schedule": "joint", "train.epochs": 2, "optimizer.name": "sgd"})
    train(config, tmp_path / "whole")
    run = back_to(tmp_path / "whole", 3, tmp_path)
    train(config, run, resume=True)
    assert_alike(tmp_path / "whole", run)


@pytest.mark.slow
def test_with_recipes_it_goes_on_with_the_same_bits(config, tmp_path):
    """All that changes, repeats or weighs images anew at random, and the course of the rate."""
    recipe = {
        "train.epochs": 2,
        "train.patience": 5,
        "train.ema": 0.9,
        "augment.short_sides": "64,96",
        "augment.scale_jitter": "0.5,1.5",
        "augment.crop": 0.5,
        "augment.rotation": 10,
        "augment.mosaic": 0.5,
        "augment.colour": 0.5,
        "augment.jpeg_quality": 40,
        "data.repeat_threshold": 0.8,
        "optimizer.decay": "cosine",
        "loss.box": "giou",
    }
    config = config.replace(recipe)
    train(config, tmp_path / "whole")
    run = back_to(tmp_path / "whole", 3, tmp_path)
    train(config, run, resume=True)
    assert_alike(tmp_path / "whole", run)


@pytest.mark.slow
@pytest.mark.parametrize("schedule", ["joint", "four-step"])
def test_scaled_losses_go_on_with_the_same_scale(config, tmp_path, schedule):
    """Of two steps of a schedule the second comes out of the variables that the first left."""
    config = config.replace({"train.schedule": schedule, "train.precision": "mixed_float16"})
    spec = {"batch": 1, "height": 64, "width": 64, "boxes": 2, "classes": 3}

    def made():
        keras.utils.set_random_seed(0)
        built = FasterRCNN.from_config(config, 4)
        return trainer.SCHEDULES[schedule](built, config, 8), random_batch(built, config, spec)

    first, batch = made()
    first.train_step(batch)
    (scale,) = (name for name in first.variables() if "dynamic_scale" in name)
    first.variables()[scale].assign(1024.0)
    kept = values(first)
    again, _ = made()
    again.restore(1, kept)
    for steps in (first, again):
        steps.train_step(batch)
    after, after_again = values(first), values(again)
    assert after_again[scale] == 1024.0
    assert all((after[name] == after_again[name]).all() for name in after)


def values(schedule):
    return {name: variable.numpy().copy() for name, variable in schedule.variables().items()}


@pytest.fixture
def command(config, tmp_path):
    """Return the options of ``train.py`` for this config."""
    path = tmp_path / "config.json"
    path.write_text(config.replace({"checkpoint.keep": 2}).to_json())
    return ["--config", str(path)]


@pytest.mark.slow
def test_a_process_that_is_killed_goes_on_with_the_same_bits(whole, command, tmp_path):
    """Killed while it writes, and after some more steps; then asked to stop, and let end."""
    run, log = tmp_path / "run", tmp_path / "log"
    assert stop(start(run, command, log), signal.SIGKILL, is_writing(run)) == -signal.SIGKILL
    newest = checkpoints.read_newest(run / "checkpoints")[0]

    def has_gone_on():
        return len(checkpoints.list_checkpoints(run / "checkpoints")) == 2

    assert newest is None or newest.state["progress"]["step"] < 12
    assert stop(start(run, command, log), signal.SIGKILL, has_gone_on) == -signal.SIGKILL
    process = start(run, command, log)
    before = checkpoints.read_newest(run / "checkpoints")[0].path
    status = stop(
        process, signal.SIGTERM, lambda: checkpoints.list_checkpoints(run / "checkpoints")[-1] != before
    )
    assert status == 0, log.read_text()[-3000:]
    assert "SIGTERM: stopped after step" in log.read_text()
    assert stop(start(run, command, log), 0, after(600), limit=600) == 0, log.read_text()[-3000:]
    assert_alike(whole, run)


# Signals.


class Asking:
    """Stands in for the ``StopSignals`` of a trainer: a signal comes at a moment counted in looks."""

    def __init__(self, look):
        self.look = look
        self.looks = 0

    @property
    def signal(self):
        self.looks += 1
        return "SIGUSR1" if self.looks >= self.look else None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass


# In an epoch there are 4 steps and 2 batches of validation: look 5 is amid the first validation.
@pytest.mark.parametrize("look, step", [(1, 1), (5, 4), (7, 5)])
def test_a_signal_stops_the_run_with_a_checkpoint(whole, config, tmp_path, monkeypatch, look, step):
    rare = config.replace({"checkpoint.every_steps": 0, "checkpoint.every_minutes": 0.0})
    with monkeypatch.context() as patch:
        patch.setattr(trainer, "StopSignals", lambda: Asking(look))
        with pytest.raises(Interrupted, match=f"SIGUSR1: stopped after step {step} .*--resume"):
            train(rare, tmp_path / "run")
    *_, path = checkpoints.list_checkpoints(tmp_path / "run" / "checkpoints")
    assert path.name.endswith(f"step-{step:08d}")
    same, found = (
        checkpoints.read(folder / "checkpoints" / path.name) for folder in (whole, tmp_path / "run")
    )
    means = [one.state["progress"]["means"][0] for one in (same, found)]
    assert len(means[0]) > 10
    assert all(means[0][tag] == means[1][tag] for tag in means[0] if not tag.startswith(OF_THE_PROCESS))
    for name, array in same.arrays.items():
        np.testing.assert_array_equal(found.arrays[name], array)


def test_a_signal_before_the_first_step_is_done_stops_the_run_with_nothing_to_save(
    config, tmp_path, monkeypatch
):
    train_step = alternating.Alternating.train_step

    def interrupted(self, batch):
        signal.raise_signal(signal.SIGTERM)
        return train_step(self, batch)

    monkeypatch.setattr(alternating.Alternating, "train_step", interrupted)
    monkeypatch.setattr("frcnn.runs.signals._raised", [])
    with pytest.raises(NothingToSave, match="SIGTERM: stopped before the first step of this start"):
        train(config, tmp_path / "run")
    assert checkpoints.list_checkpoints(tmp_path / "run" / "checkpoints") == []


# Faults of our own after an epoch's last step.


@pytest.mark.slow
@pytest.mark.parametrize("owner, name", [(trainer, "validate"), (writer.metrics_csv, "append_row")])
def test_a_fault_in_scoring_or_logging_loses_no_epoch(
    whole, config, tmp_path, monkeypatch, capsys, owner, name
):
    """The second epoch fails: before anything is scored, or after all but its row is written."""
    rare = config.replace({"checkpoint.every_steps": 0, "checkpoint.every_minutes": 0.0})
    run, original, calls = tmp_path / "run", getattr(owner, name), []

    def failing(*arguments):
        calls.append(arguments)
        if len(calls) == 2:
            raise ZeroDivisionError("not foreseen")
        return original(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, failing)
        with pytest.raises(RunError, match="failed after step 8 .ZeroDivisionError.*kept in .*--resume"):
            train_module.train(rare, run)
    assert "ZeroDivisionError: not foreseen" in capsys.readouterr().err
    newest, _ = checkpoints.read_newest(run / "checkpoints")
    assert newest.path.name == "epoch-0001-step-00000008"
    for name, array in weights(run / "last.weights.h5").items():
        if name.startswith("optimizer"):
            continue  # Keras' own, which nothing reads
        assert any(np.array_equal(array, same) for same in newest.arrays.values()), name
    printed = train(rare, run, resume=True)
    assert "resuming from" in printed
    assert_alike(whole, run)


# What is there to go on with.


def test_a_run_goes_on_without_the_weight_file_that_it_started_from(whole, config, tmp_path):
    first = shutil.copy(whole / "last.weights.h5", tmp_path / "first.weights.h5")
    started = config.replace({"model.weights": str(first), "model.preprocessing": "auto"})
    started = started.replace({"train.epochs": 1})
    train(started, tmp_path / "run")
    run = back_to(tmp_path / "run", 2, tmp_path / "copy")
    first.unlink()
    with pytest.raises(WeightsError, match="there is no weight file"):
        train(started, tmp_path / "other")
    train(started, run, resume=True)
    assert_alike(tmp_path / "run", run)


def test_with_nothing_there_it_starts_afresh(whole, config, tmp_path):
    train(config, tmp_path / "run", resume=True)
    assert_alike(whole, tmp_path / "run")


def test_a_run_killed_before_its_first_checkpoint_starts_afresh(whole, config, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(whole / "train", run / "train")
    for name in ("config.json", "resolved.json"):
        shutil.copy(whole / name, run)
    (run / "checkpoints" / "part-epoch-0000-step-00000001").mkdir(parents=True)
    printed = train(config, run, resume=True)
    assert "resuming from" not in printed
    assert "was written before the first checkpoint: kept as" in printed
    assert_alike(whole, run)


class Killed(BaseException):
    """Stands for the end of the process: nothing handles it."""


def test_a_run_killed_before_its_first_weights_goes_on(whole, config, tmp_path, monkeypatch):
    rare = config.replace({"checkpoint.every_steps": 0, "checkpoint.every_minutes": 0.0})

    def killed(*_):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(writer.detector_files, "save", killed)
        with pytest.raises(Killed):
            train(rare, tmp_path / "run")
    assert "resuming from" in train(rare, tmp_path / "run", resume=True)
    assert_alike(whole, tmp_path / "run")


def test_a_run_that_lost_its_checkpoints_is_left_as_it_is(whole, config, tmp_path):
    run = shutil.copytree(whole, tmp_path / "run")
    shutil.rmtree(run / "checkpoints")
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    with pytest.raises(RunError, match="run .*without a checkpoint to resume from"):
        train(config, run, resume=True)
    assert before == {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}


def test_without_its_config_a_run_does_not_go_on_with_other_settings(whole, config, tmp_path):
    run = back_to(whole, 7, tmp_path)
    (run / "config.json").unlink()
    with pytest.raises(RunError, match="restore it with `cp .*step-00000007/config.json"):
        train(config.replace({"optimizer.learning_rate": 0.5}), run, resume=True)
    shutil.copy(run / "checkpoints" / "epoch-0001-step-00000007" / "config.json", run)
    train(config, run, resume=True)
    assert_alike(whole, run)


def test_a_corrupt_checkpoint_is_named_and_the_one_before_used(whole, config, tmp_path):
    run = back_to(whole, 7, tmp_path)
    torn = run / "checkpoints" / "epoch-0001-step-00000007"
    (torn / "variables.npz").write_bytes(b"")
    printed = train(config, run, resume=True)
    assert f"{torn} is damaged (variables.npz has changed" in printed
    assert "resuming from" in printed and "step-00000006" in printed
    assert_alike(whole, run)


def test_a_run_that_is_at_its_end_says_so(whole, config):
    before = {path: path.stat().st_mtime_ns for path in whole.rglob("*.h5")}
    assert "is finished: 12 steps" in train(config, whole, resume=True)
    assert before == {path: path.stat().st_mtime_ns for path in whole.rglob("*.h5")}


def test_another_config_is_shown_and_needs_leave(whole, config, tmp_path):
    run = back_to(whole, 7, tmp_path)
    longer = config.replace({"train.epochs": 4, "data.flip": 0.25})
    before = (run / "config.json").read_text()
    with pytest.raises(ConfigError) as error:
        train(longer, run, resume=True)
    assert "--allow-config-change" in str(error.value)
    assert "data.flip: 0.5 -> 0.25\n  train.epochs: 3 -> 4" in str(error.value)
    assert (run / "config.json").read_text() == before

    printed = train(longer, run, resume=True, allow_config_change=True)
    assert "changed: train.epochs: 3 -> 4" in printed
    assert json.loads((run / "config.json").read_text())["train"]["epochs"] == 4
    assert (run / "config-until-step-7.json").read_text() == before
    with open(run / "metrics.csv", newline="") as file:
        assert [row["step"] for row in csv.DictReader(file)] == ["4", "8", "12", "16"]


def test_the_same_images_elsewhere_and_other_threads_do_not_stop_a_run(
    whole, config, shapes_folder, tmp_path
):
    run = back_to(whole, 7, tmp_path)
    folder = shutil.copytree(shapes_folder, tmp_path / "data")
    values = {
        "data.dir": str(folder),
        "data.loader_threads": 1,
        "data.prefetch": 2,
        "data.cache_mib": 1,
        "checkpoint.every_minutes": 3.0,
        "checkpoint.keep": 50,
    }
    printed = train(config.replace(values), run, resume=True)
    for key, value in values.items():
        assert f"changed: {key}: {config.get(key)} -> {value}\n" in printed
    assert_alike(whole, run)
    assert run_directory.read_config(run).data.dir == str(folder)
    assert not list(run.glob("*-until-step-*"))


def test_the_run_of_an_earlier_version_goes_on(whole, config, tmp_path):
    run = back_to(whole, 7, tmp_path)
    (run / "resolved.json").rename(run / "config.json")  # where it had every value, resolved
    for checkpoint in (run / "checkpoints").iterdir():  # which had no copies
        sums = (checkpoint / "SHA256SUMS").read_text().splitlines(keepends=True)
        (checkpoint / "SHA256SUMS").write_text(
            "".join(line for line in sums if ".json" not in line or "state" in line)
        )
        for name in ("config.json", "resolved.json"):
            (checkpoint / name).unlink()
    train(config, run, resume=True)
    assert_alike(whole, run)


def test_other_images_are_a_change(whole, config, shapes_folder, tmp_path):
    run = back_to(whole, 7, tmp_path)
    folder = shutil.copytree(shapes_folder, tmp_path / "data")
    names = (folder / "ImageSets/Main/train.txt").read_text().split()
    (folder / "ImageSets/Main/train.txt").write_text("\n".join(names[1:]))
    with pytest.raises(ConfigError, match=r"images and boxes: \['8 images.*\['7 images"):
        train(config.replace({"data.dir": str(folder)}), run, resume=True)


def test_other_contents_of_the_same_size_are_a_change(whole, config, shapes_folder, tmp_path):
    run = back_to(whole, 7, tmp_path)
    folder = shutil.copytree(shapes_folder, tmp_path / "data")
    path = sorted((folder / "JPEGImages").glob("train_*"))[0]
    with Image.open(path) as image:
        turned = image.transpose(Image.Transpose.ROTATE_180)
    turned.save(path)
    with pytest.raises(ConfigError, match=r"(?s)images and boxes: \['8 images.*files.*\['8 images"):
        train(config.replace({"data.dir": str(folder)}), run, resume=True)


def test_a_checkpoint_of_an_earlier_version_knows_less_of_the_images(
    whole, config, tmp_path, monkeypatch
):
    run = back_to(whole, 11, tmp_path)
    newest = checkpoints.read_newest

    def earlier(folder):
        checkpoint, faults = newest(folder)
        checkpoint.state["data"] = [text.partition(", files")[0] for text in checkpoint.state["data"]]
        del checkpoint.state["progress"]["loss"]
        return checkpoint, faults

    monkeypatch.setattr(checkpoints, "read_newest", earlier)
    assert "resuming from" in train(config, run, resume=True)


def test_a_finished_run_gets_its_lost_weights_back(whole, config, tmp_path):
    run = shutil.copytree(whole, tmp_path / "run")
    last, best = run / "last.weights.h5", run / "best.weights.h5"
    (kept := shutil.copy(last, tmp_path / "kept.h5")) and last.unlink()
    best.unlink()
    printed = train(config, run, resume=True)
    assert "last.weights.h5 was missing: written again from the checkpoint" in printed
    assert "best.weights.h5 is missing; the checkpoint has only the last weights" in printed
    assert not best.exists()
    first, again = (Detector.load(path).models.detector.get_weights() for path in (kept, last))
    assert all((one == other).all() for one, other in zip(first, again))


def test_another_number_of_workers_is_a_change(whole, config, tmp_path, monkeypatch):
    run = back_to(whole, 7, tmp_path)
    newest = checkpoints.read_newest

    def of_two(folder):
        checkpoint, faults = newest(folder)
        assert checkpoint.state["workers"] == 1
        checkpoint.state["workers"] = 2
        return checkpoint, faults

    monkeypatch.setattr(checkpoints, "read_newest", of_two)
    with pytest.raises(ConfigError, match="number of processes: 2 -> 1"):
        train(config, run, resume=True)


def test_a_checkpoint_of_another_network_is_refused(whole, config, tmp_path):
    run = back_to(whole, 7, tmp_path)
    with pytest.raises(RunError, match="another network, optimizer or schedule.*rpn_conv"):
        train(config.replace({"model.rpn_channels": 24}), run, resume=True, allow_config_change=True)


def test_a_run_without_resume_is_left_alone(whole, config):
    with pytest.raises(ConfigError, match="already holds a run: resume it with --resume"):
        train(config, whole)


@pytest.mark.slow
def test_images_left_out_during_training_are_listed_once(config, shapes_folder, tmp_path, monkeypatch):
    folder = shutil.copytree(shapes_folder, tmp_path / "data")
    config = config.replace({"data.dir": str(folder), "data.on_bad_data": "skip", "train.epochs": 2})
    load = transforms.load

    def damaged(path, half=False):
        if "train_000003" in str(path):
            raise train_module.DataError(f"{path} cannot be decoded")
        return load(path, half)

    monkeypatch.setattr(transforms, "load", damaged)
    train(config, tmp_path / "whole")
    listed = (tmp_path / "whole" / "skipped.csv").read_text()
    assert listed.count("train_000003") == 2  # as the image's name and in the fault
    for step in (1, 7):
        run = back_to(tmp_path / "whole", step, tmp_path / str(step))
        train(config, run, resume=True)
        assert (run / "skipped.csv").read_text() == listed
        assert_alike(tmp_path / "whole", run)


# Guards.


@pytest.fixture
def spoilt(monkeypatch):
    """Return a function that has the given steps of a run, from 1, train with infinite weights."""

    def spoil(*steps):
        def train_step(self, batch):
            if self.steps_done + 1 in steps:
                infinite = np.full_like(batch.weights, np.inf)
                batch = dataclasses.replace(batch, weights=infinite, on_device=None)
            return original(self, batch)

        original = schedule_module.Schedule.train_step
        monkeypatch.setattr(schedule_module.Schedule, "train_step", train_step)

    return spoil


@pytest.mark.slow
def test_a_step_that_is_not_finite_is_recorded_and_the_run_goes_on(config, tmp_path, spoilt):
    spoilt(2, 6)
    run = tmp_path / "run"
    printed = train(config.replace({"train.log_every": 100}), run)
    assert "12 steps" in printed
    rows = [json.loads(line) for line in (run / "nonfinite.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [2, 6]
    for row in rows:
        assert len(row["images"]) in (2, 3) and row["images"][0].startswith("train_")
        assert row["scalars"]["total_loss"] in ("inf", "nan")
        assert "learning_rate/rpn" in row["scalars"]
    table = (run / "metrics.csv").read_text()
    assert "inf" not in table and "nan" not in table.replace("AP", "")
    arrays = checkpoints.read_newest(run / "checkpoints")[0].arrays
    assert all(np.isfinite(array).all() for array in arrays.values())
    # Gone on with from before the second, it is found again and stands there once.
    copy = back_to(run, 5, tmp_path / "copy")
    train(config.replace({"train.log_every": 100}), copy, resume=True)
    again = [json.loads(line) for line in (copy / "nonfinite.jsonl").read_text().splitlines()]
    assert [(row["step"], row["images"]) for row in again] == [
        (row["step"], row["images"]) for row in rows
    ]


def test_too_many_in_a_row_end_the_run_with_its_checkpoints_intact(config, tmp_path, spoilt):
    spoilt(2, *range(4, 99))
    run = tmp_path / "run"
    with pytest.raises(RunError, match="not finite in 3 steps in a row.*nonfinite.jsonl"):
        train(config.replace({"train.max_nonfinite_steps": 3}), run)
    rows = [json.loads(line)["step"] for line in (run / "nonfinite.jsonl").read_text().splitlines()]
    assert rows == [2, 4, 5, 6]
    newest, faults = checkpoints.read_newest(run / "checkpoints")
    assert not faults and newest.state["progress"]["step"] == 5
    assert all(np.isfinite(array).all() for array in newest.arrays.values())


def test_a_disk_that_fills_up_is_one_line(config, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoints.safe_write, "to_disk", full)
    with pytest.raises(
        RunError, match="cannot write to the run directory .*run: No space left on device"
    ):
        train(config, tmp_path / "run")
