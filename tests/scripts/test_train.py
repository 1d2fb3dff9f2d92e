"""``scripts/train.py``: what its options mean, and one clear line for each thing that can be wrong.

``main`` runs in this process, but where the process itself is the matter.
"""

import contextlib
import json
import re
import subprocess
import sys
import types
from pathlib import Path

import h5py
import numpy as np
import pytest
from support import load_script

from frcnn.cli import common
from frcnn.config import in_weights, presets
from frcnn.config.presets import preset
from frcnn.data import shapes
from frcnn.distributed import discovery, process_group
from frcnn.errors import Interrupted
from frcnn.runs import run_directory

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "train.py"


@pytest.fixture(scope="module")
def script():
    return load_script("train")


@pytest.fixture
def config_of(script):
    """Return a function from a command line to the config it asks for."""
    return lambda line: common.settings_of(script.parse(line.split()), script.SHORT_NAMES).config


@pytest.fixture
def error_of(script, tmp_path, monkeypatch, capfd):
    """Return a function from a command line that is refused to the one line on stderr."""
    monkeypatch.chdir(tmp_path)

    def error(line):
        with pytest.raises(SystemExit) as caught:
            common.run(lambda: script.main(line.split()))
        assert caught.value.code == 2
        # Nothing is left behind that would be taken for a run.
        assert not list(tmp_path.glob("runs/*")) and not (tmp_path / "run" / "config.json").exists()
        (line,) = capfd.readouterr().err.splitlines()
        assert line.startswith("error: ")
        return line

    return error


# Options.


def test_every_option_of_the_issue_sets_its_setting(config_of):
    config = config_of(
        "--dataset voc --data-dir /d --year 07+12 --train-split train --val-split val "
        "--backbone resnet50 --weights none --schedule alternating "
        "--recipe long --epochs 7 --steps-per-epoch 9 --batch-size 2 "
        "--short-side 300 --long-side 500 --lr 0.01 --optimizer adam --seed 5 --set rpn.samples=64"
    )
    expected = {
        "data.dataset": "voc",
        "data.dir": "/d",
        "data.year": "07+12",
        "data.train_split": "train",
        "data.val_split": "val",
        "model.backbone": "resnet50",
        "model.weights": "none",
        "train.schedule": "alternating",
        "train.recipe": "long",
        "train.epochs": 7,
        "train.steps_per_epoch": 9,
        "data.batch_size": 2,
        "data.short_side": 300,
        "data.long_side": 500,
        "optimizer.learning_rate": 0.01,
        "optimizer.name": "adam",
        "train.seed": 5,
        "rpn.samples": 64,
    }
    assert {key: config.get(key) for key in expected} == expected


def test_without_options_it_is_the_preset(config_of):
    assert config_of("") == preset("voc")
    assert config_of("--dataset shapes") == preset("shapes")


def test_adam_brings_its_own_rate_unless_one_is_given(config_of):
    assert config_of("--optimizer adam").optimizer.learning_rate == 1e-5
    assert config_of("--optimizer adam --lr 1e-4").optimizer.learning_rate == 1e-4


def test_a_backbone_brings_its_own_settings_unless_they_are_given(config_of):
    config = config_of("--backbone resnet50_fpn --set rpn.pre_nms_test=7")
    expected = presets.backbone_preset("resnet50_fpn") | {"rpn.pre_nms_test": 7}
    assert config == preset("voc").replace(expected)


@pytest.fixture
def weight_file(tmp_path):
    """Return a file that holds a config as our own weight files do, and that config."""
    values = presets.backbone_preset("mobilenet_v3_large_fpn") | {
        "model.preprocessing": "torch",
        "data.interpolation": "bilinear",
        "data.short_side": 320,
        "data.classes": "cat,dog",
        "train.epochs": 77,
        "rpn.min_size": 0.5,
    }
    config = preset("voc").replace(values)
    h5py.File(tmp_path / "a.detector", "w").close()
    in_weights.write(tmp_path / "a.detector", config.to_json())
    return tmp_path / "a.detector", config


def test_fine_tuning_starts_from_the_network_in_the_file(config_of, weight_file):
    path, trained = weight_file
    config = config_of(f"--dataset shapes --weights {path}")
    assert config.model == trained.model.replace(weights=str(path))
    assert (config.anchors, config.rpn) == (trained.anchors, trained.rpn)
    assert (config.data.interpolation, config.data.short_side) == ("bilinear", 320)
    # The data and the schedule are those asked for.
    assert (config.data.dataset, config.data.classes) == ("shapes", ())
    assert (config.train, config.optimizer) == (preset("shapes").train, preset("shapes").optimizer)


def test_a_run_s_folder_is_as_good_as_the_file(config_of, weight_file, tmp_path):
    path, trained = weight_file
    (tmp_path / "run").mkdir()
    path.rename(tmp_path / "run" / "best.weights.h5")
    config = config_of(f"--dataset shapes --weights {tmp_path / 'run'}")
    assert config.model == trained.model.replace(weights=str(tmp_path / "run"))


def test_options_go_before_the_network_in_the_file(config_of, weight_file):
    path, _ = weight_file
    config = config_of(f"--weights {path} --short-side 200 --set rpn.min_size=2")
    assert (config.data.short_side, config.rpn.min_size) == (200, 2.0)
    assert config_of(f"--weights {path} --backbone mobilenet_v3_large_fpn").rpn.min_size == 0.5
    other = config_of(f"--weights {path} --backbone resnet50_fpn")
    assert other.model.backbone == "resnet50_fpn" and other.anchors.size_per_level


def test_weights_without_a_config_change_nothing(config_of, tmp_path):
    (tmp_path / "a.npz").write_bytes(b"")
    h5py.File(tmp_path / "a.h5", "w").close()
    for name in ("a.npz", "a.h5", "missing.h5"):
        path = tmp_path / name
        expected = preset("voc").replace({"model.weights": str(path)})
        assert config_of(f"--weights {path}") == expected


def test_set_goes_before_options_and_options_before_the_file(config_of, tmp_path):
    path = tmp_path / "c.json"
    path.write_text(json.dumps({"train": {"epochs": 2, "seed": 2, "log_every": 2}}))
    config = config_of(f"--config {path} --epochs 3 --seed 3 --set train.seed=4")
    assert (config.train.log_every, config.train.epochs, config.train.seed) == (2, 3, 4)


def test_options_that_fit_only_together_are_taken_together(config_of):
    config = config_of("--short-side 1200 --set data.long_side=2000")
    assert (config.data.short_side, config.data.long_side) == (1200, 2000)


def test_the_data_set_may_come_from_the_file_but_an_option_goes_before(config_of, tmp_path):
    (tmp_path / "shapes.json").write_text('{"data": {"dataset": "shapes", "flip": 0.25}}')
    line = f"--config {tmp_path / 'shapes.json'}"
    assert config_of(line) == preset("shapes").replace({"data.flip": 0.25})
    assert config_of(line + " --dataset voc") == preset("voc").replace({"data.flip": 0.25})


def test_a_runs_config_gives_that_runs_settings_again(config_of, tmp_path):
    config = preset("shapes").replace({"train.epochs": 3, "data.classes": "circle,square,triangle"})
    (tmp_path / "config.json").write_text(config.to_json())
    assert config_of(f"--config {tmp_path / 'config.json'}") == config


def test_the_config_and_the_run_folder_reach_the_trainer(script, monkeypatch, capsys, tmp_path):
    calls = []

    def train(config, out, resume, allow_config_change, asked):
        calls.append((config, Path(out), resume, allow_config_change, asked))

    trainer = types.SimpleNamespace(train=train)
    monkeypatch.setitem(sys.modules, "frcnn.training.train", trainer)
    monkeypatch.setattr("frcnn.training.train", trainer, raising=False)
    script.main(["--dataset", "shapes", "--out", str(tmp_path / "run")])
    script.main(["--dataset", "shapes"])
    (config, out, *flags), (_, default, *_) = calls
    assert (
        config == preset("shapes")
        and out == tmp_path / "run"
        and flags == [*(False, False, {"data.dataset": "shapes"})]
    )
    assert default.parent.name == "runs" and default.name.startswith("shapes-tiny-")
    assert f"tensorboard --logdir {out}" in capsys.readouterr().out

    # A run is gone on with by its own config, over which the command line's options are put.
    script.main(["--resume", "--out", str(out), "--dataset", "shapes"])
    assert calls[2] == (config, out, True, False, {"data.dataset": "shapes"})  # none yet
    (tmp_path / "run").mkdir()
    config = config.replace({"train.epochs": 3, "roi.samples": 7})
    asked = {"data.dataset": "shapes", "train.epochs": 3}
    run_directory.write_config(out, asked, config)
    capsys.readouterr()
    script.main(["--resume", "--out", str(out)])
    assert calls[3] == (config, out, True, False, asked)
    assert f"  {out}: data.dataset=shapes" in capsys.readouterr().out  # where the settings are from
    script.main(["--resume", "--out", str(out), "--epochs", "5", "--allow-config-change"])
    expected = config.replace({"train.epochs": 5}), out, True, True, asked | {"train.epochs": 5}
    assert calls[4] == expected


def test_the_first_worker_alone_says_where_the_settings_are_from(script, monkeypatch, capsys, tmp_path):
    trainer = types.SimpleNamespace(train=lambda *_, **__: None)
    monkeypatch.setitem(sys.modules, "frcnn.training.train", trainer)
    monkeypatch.setattr("frcnn.training.train", trainer, raising=False)
    monkeypatch.setattr(process_group, "exit_together", lambda _: contextlib.nullcontext())
    for rank in (0, 1):
        place = discovery.ProcessInfo(rank, ("localhost:1", "localhost:2"))
        monkeypatch.setattr(discovery, "find", lambda place=place: place)
        script.main(["--dataset", "shapes", "--seed", "5", "--out", str(tmp_path / "run")])
        assert ("train.seed=5" in capsys.readouterr().out) == (rank == 0)


def test_a_run_that_stopped_as_asked_has_done_no_wrong(script, monkeypatch, capsys, tmp_path):
    def train(*_, **__):
        raise Interrupted("SIGTERM: stopped after step 3")

    trainer = types.SimpleNamespace(train=train)
    monkeypatch.setitem(sys.modules, "frcnn.training.train", trainer)
    monkeypatch.setattr("frcnn.training.train", trainer, raising=False)
    assert script.main(["--dataset", "shapes", "--out", str(tmp_path / "run")]) is None
    assert "SIGTERM: stopped after step 3" in capsys.readouterr().out


# One line each.


@pytest.mark.parametrize(
    "line, says",
    [
        ("--set rpn.sample=3", "there is no setting 'rpn.sample'; did you mean rpn.samples?"),
        ("--set epochs", "--set takes KEY=VALUE, not 'epochs'"),
        ("--epochs some", "train.epochs must be a whole number of at least 1, not 'some'"),
        ("--dataset coco2", "data.dataset must be one of voc, shapes, python, not 'coco2'"),
        ("--backbone vgg", "model.backbone must be one of vgg16"),
        ("--optimizer sdg", "optimizer.name must be one of sgd, adam, not 'sdg'"),
        ("--config missing.json", "there is no config file missing.json"),
        ("--resume", "--resume needs the run directory: --out RUN"),
        ("--allow-config-change", "--allow-config-change needs --resume"),
    ],
)
def test_bad_settings(error_of, line, says):
    assert says in error_of(line)


def test_a_config_file_that_is_no_text(error_of, tmp_path):
    (tmp_path / "c.json").write_bytes(b"\xff\xfe\x00\x81")
    assert "c.json is not JSON" in error_of("--config c.json")


@pytest.fixture
def line(tmp_path, shapes_folder):
    """Return the start of a command line that would work."""
    return f"--data-dir {shapes_folder} --train-split train --val-split val --weights none --out run "


def test_weights_with_a_damaged_config(error_of, line, weight_file):
    in_weights.write(weight_file[0], "{")
    assert f"{weight_file[0]} is not JSON" in error_of(f"{line} --weights {weight_file[0]}")


def test_an_unknown_class(error_of, line, tmp_path):
    shapes.make(tmp_path / "data", {"train": 2, "val": 1})
    path = tmp_path / "data" / "Annotations" / "val_000000.xml"
    path.write_text(re.sub("<name>[a-z]+<", "<name>star<", path.read_text(), count=1))
    message = error_of(f"{line} --data-dir data")
    assert "val_000000.xml box 1: unknown class 'star'; expected one of circle" in message
    assert "--on-bad-data skip" in message


def test_a_missing_weight_file(error_of, line):
    assert error_of(f"{line} --weights no.h5") == "error: there is no weight file no.h5"


def test_weights_of_nothing_like_it(error_of, line, tmp_path):
    np.savez(tmp_path / "a.npz", **{"Conv_0/kernel": np.zeros((5, 5, 3, 4)), "Conv_0/bias": np.zeros(4)})
    assert "no layer of a.npz fits" in error_of(f"{line} --backbone tiny --weights a.npz")


def test_a_run_folder_already_used(error_of, line, tmp_path):
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "config.json").write_text("{}")
    assert "used already holds a run: resume it with --resume" in error_of(f"{line} --out used")


# The process itself.


def test_voc_with_nothing_there_says_how_to_get_it(tmp_path):
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--dataset", "voc"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: no VOC2007 in data") and "`frcnn download voc2007`" in line
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("arguments", [["--help"], ["--set", "rpn.sample=3"]])
def test_help_and_bad_settings_do_not_wait_for_tensorflow(arguments):
    code = (
        "import runpy, sys\n"
        "sys.argv = sys.argv[1:]\n"
        "try:\n"
        "    runpy.run_path(sys.argv[0], run_name='__main__')\n"
        "finally:\n"
        "    print('loaded:', sorted({'tensorflow', 'keras'} & set(sys.modules)))\n"
    )
    command = [sys.executable, "-c", code, str(SCRIPT), *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    assert "loaded: []" in done.stdout
    if arguments == ["--help"]:
        assert done.returncode == 0 and "--short-side" in done.stdout and "--set" in done.stdout
    else:
        assert done.returncode == 2 and len(done.stderr.splitlines()) == 1
