"""``scripts/import_weights.py``: what its options mean, and one clear line for what is wrong.

What is imported is tested under ``convert/``; here both importers are replaced
by a small detector.
"""

import os

import numpy as np
import pytest
from support import load_script

from frcnn.cli import common
from frcnn.convert import keras_frcnn, torchvision
from frcnn.detector import Detector
from frcnn.models.faster_rcnn import FasterRCNN

STATE = {"roi_heads.box_predictor.cls_score.weight": np.zeros((4, 8), "float32")}


@pytest.fixture(scope="module")
def script():
    return load_script("import_weights")


@pytest.fixture(scope="module")
def detector(small_config):
    config = small_config.replace({"data.classes": "a,b,c"})
    return Detector(FasterRCNN.from_config(config, 4), config, ("a", "b", "c"))


@pytest.fixture
def calls(detector, monkeypatch, tmp_path):
    """Return the list of the arguments that the importers are called with, instead of importing."""
    calls = []

    def importer(*args, **kwargs):
        calls.append((args, kwargs))
        return detector

    monkeypatch.setattr(torchvision, "import_torchvision", importer)
    monkeypatch.setattr(keras_frcnn, "import_keras_frcnn", importer)
    monkeypatch.chdir(tmp_path)
    np.savez("state.npz", **STATE)
    return calls


def test_torchvision(script, calls, detector, capsys):
    line = "torchvision state.npz fasterrcnn_resnet50_fpn out.h5 --set min_size=600 --set num_classes=4"
    script.main([*line.split(), "--classes", "red cat, dog,bird"])
    ((name, state, classes), settings), *others = calls
    assert name == "fasterrcnn_resnet50_fpn" and not others
    np.testing.assert_array_equal(state[next(iter(STATE))], STATE[next(iter(STATE))])
    assert classes == ["red cat", "dog", "bird"] and settings == {"min_size": "600", "num_classes": 4}
    printed = capsys.readouterr().out
    count = sum(weight.size for weight in detector.models.detector.get_weights())
    assert "loaded all 1 entries of state.npz" in printed and f"{count:,} weights" in printed
    assert "3 classes: a, b, c" in printed
    assert Detector.load("out.h5").classes == ("a", "b", "c")


def test_keras_frcnn(script, calls):
    options = "--short-side 300 --anchor-sizes 64,128 --anchor-ratios 1:1,0.7:1.4 --classes a,b,c"
    for line in ("", options):
        script.main(f"keras-frcnn old.hdf5 out.h5 --overwrite {line}".split())
    given = {
        "classes": ["a", "b", "c"],
        "short_side": "300",
        "sizes": [64, 128],
        "ratios": [[1, 1], [0.7, 1.4]],
    }
    assert [arguments for arguments, _ in calls] == [("old.hdf5",)] * 2
    assert [settings for _, settings in calls] == [{}, given]


class Trap:
    def __reduce__(self):
        return os.mkdir, ("sprung",)


@pytest.mark.parametrize(
    "line, says",
    [
        ("torchvision none.npz fasterrcnn_resnet50_fpn out.h5", "there is no weight file none.npz"),
        ("torchvision a.bin fasterrcnn_resnet50_fpn out.h5", "must end in .npz"),
        ("torchvision trap.npz fasterrcnn_resnet50_fpn out.h5", "cannot read weights from trap.npz"),
        ("torchvision state.npz fasterrcnn out.h5", "there is no import for 'fasterrcnn'"),
        ("torchvision state.npz fasterrcnn_resnet50_fpn out.h5 --set size=3", "no setting size"),
        ("torchvision state.npz fasterrcnn_resnet50_fpn out.h5 --set num_classes=a", "takes numbers"),
        ("torchvision state.npz fasterrcnn_resnet50_fpn no/out.h5", "there is no folder no"),
        ("torchvision state.npz fasterrcnn_resnet50_fpn state.npz", "state.npz: it is an input"),
        ("torchvision state.npz fasterrcnn_resnet50_fpn state.npz --overwrite", "it is an input"),
        ("torchvision state.npz fasterrcnn_resnet50_fpn trap.npz", "trap.npz exists already"),
        ("torchvision state.npz fasterrcnn_resnet50_fpn .", "it is a folder"),
        ("keras-frcnn none.hdf5 out.h5", "there is no weight file none.hdf5"),
        ("keras-frcnn none.hdf5 out.h5 --anchor-ratios 1:x", "--anchor-ratios takes numbers, not '1:x'"),
    ],
)
def test_what_is_wrong_is_one_line(script, line, says, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    np.savez("state.npz", **STATE)
    np.savez("trap.npz", a=np.array([Trap()], object))
    with pytest.raises(SystemExit) as caught:
        common.run(lambda: script.main(line.split()))
    assert caught.value.code == 2
    (error,) = capfd.readouterr().err.splitlines()
    assert error.startswith("error: ") and says in error
    assert not os.path.exists("sprung") and not os.path.exists("out.h5")
