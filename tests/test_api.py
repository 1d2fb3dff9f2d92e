"""The public API: the code of docs/api.md runs, and bad input is one clear error."""

import re
import threading
from pathlib import Path

import numpy as np
import pytest

import frcnn
from frcnn.config import presets
from frcnn.data import shapes
from frcnn.errors import ConfigError, DataError

PAGE = Path(__file__).resolve().parents[1] / "docs" / "api.md"
SMALL = {
    "data.short_side": 80,
    "data.long_side": 120,
    "model.rpn_channels": 16,
    "train.conv_tiles": (),
    "model.head_width": 16,
    "anchors.sizes": (24.0, 48.0),
    "rpn.post_nms_train": 50,
    "rpn.post_nms_test": 20,
    "train.steps_per_epoch": 2,
}


@pytest.fixture
def small(tmp_path, monkeypatch):
    """Work in an empty folder with a data set, and make small networks where nothing else is said."""
    monkeypatch.chdir(tmp_path)
    shapes.make(tmp_path / "my_images", {"train": 4, "val": 2}, seed=1)
    for name in ("voc", "python"):
        monkeypatch.setitem(presets.PRESETS, name, presets.PRESETS[name] | SMALL)
    return tmp_path


def test_every_public_name_is_there():
    for name in frcnn.__all__:
        assert getattr(frcnn, name) is not None
    assert set(frcnn.__all__) <= set(dir(frcnn))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        frcnn.nothing  # noqa: B018


def test_the_examples_of_the_page_run_in_one_process(small, capsys):
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert len(blocks) == 7
    namespace = {}
    for block in blocks:
        # The third example gives all settings, and 600 pixels take long.
        block = block.replace('"train.epochs": 1}', f'"train.epochs": 1, **{SMALL!r}}}')
        exec(compile(block, str(PAGE), "exec"), namespace)
    assert namespace["result"].classes == ("card",)
    assert namespace["same"].classes == ("circle", "square", "triangle")
    assert 0.0 <= namespace["scores"].mean_ap <= 1.0
    assert (small / "runs" / "third" / "last.weights.h5").is_file()


def test_a_callback_stops_the_run_and_it_resumes(small):
    class Stop:
        steps = 0

        def on_step_end(self, trainer, scalars):
            assert np.isfinite(scalars["total_loss"])
            self.steps += 1
            trainer.stop()

    stop = Stop()
    options = {"out": "run", "backbone": "tiny", "weights": "none", "epochs": 1}
    stopped = frcnn.train("my_images", **options, callbacks=[stop])
    assert stop.steps == 1 and stopped.scores is None and stopped.mean_ap is None
    assert [path.name for path in Path("run/checkpoints").iterdir()] == ["epoch-0000-step-00000001"]
    result = frcnn.train(out="run", resume=True)
    assert result.mean_ap is not None and result.detector().classes == result.classes


def test_a_run_off_the_main_thread(small):
    """As in a notebook's widget: no signal can be handled there, and none is needed."""
    results = []
    options = {"out": "run", "backbone": "tiny", "weights": "none", "epochs": 1}
    thread = threading.Thread(target=lambda: results.append(frcnn.train("my_images", **options)))
    thread.start()
    thread.join()
    (result,) = results
    assert result.mean_ap is not None and (result.run_dir / "last.weights.h5").is_file()


def test_one_split_of_a_folder_that_has_no_other(small):
    for name in ("train", "val"):
        split = Path(f"my_images/ImageSets/Main/{name}.txt")
        split.rename(split.with_name(f"my_{name}.txt"))
    assert len(frcnn.load_dataset("my_images", "my_val")) == 2


def test_arrays_give_what_files_give(small):
    """The same images as PNG files and as arrays train to the same weights."""
    rng = np.random.default_rng(0)
    arrays = [rng.integers(0, 255, (60, 80, 3), dtype="uint8") for _ in range(3)]
    records = [{"image": a, "boxes": [[5, 5, 40, 50]], "labels": ["x"], "name": "n"} for a in arrays]
    files = []
    for number, record in enumerate(records):
        from PIL import Image

        Image.fromarray(record["image"]).save(f"{number}.png")
        files.append(record | {"image": f"{number}.png"})
    weights = []
    for name, given in (("arrays", records), ("files", files)):
        run = frcnn.train((given, given), out=name, backbone="tiny", weights="none", epochs=1)
        weights.append(run.detector("last.weights.h5").models.detector.get_weights())
    for one, other in zip(*weights, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_dataset_of_a_folder(small):
    assert len(frcnn.load_dataset("my_images")) == 4
    assert len(frcnn.load_dataset("my_images", "val")) == 2
    with pytest.raises(DataError, match="there is no folder nowhere"):
        frcnn.load_dataset("nowhere")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"epoch": 3}, "no option 'epoch', did you mean 'epochs'"),
        ({"settings": {"rpn.sample": 3}}, "did you mean rpn.samples"),
        ({"resume": True}, "needs the run directory"),
        ({"data": ([], [], [])}, "3 parts"),
    ],
)
def test_bad_arguments(small, arguments, says):
    with pytest.raises(ConfigError, match=re.escape(says)):
        frcnn.train(**{"data": "my_images"} | arguments)


GOOD = {"image": np.zeros((40, 60, 3), "uint8"), "boxes": [[5, 5, 30, 20]], "labels": ["cat"]}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"labels": []}, "record 0: has 1 boxes and 0 labels"),
        ({"difficult": [True, False]}, "1 boxes and 2 difficult"),
        ({"boxes": [[5, 5, 5, 20]]}, "box 1 [5, 5, 5, 20] is inverted"),
        ({"boxes": [[5, 5, 90, 20]]}, "reaches out of the 60x40 image"),
        ({"boxes": [[float("nan"), 5, 9, 20]]}, "not finite"),
        ({"boxes": "five"}, "boxes are no (G, 4) numbers"),
        ({"image": np.zeros((40, 60, 3), "float32")}, "expected a path or uint8"),
        ({"image": "none.png"}, "the image none.png cannot be read"),
        ({"imgae": 1}, "has unknown keys imgae"),
    ],
)
def test_bad_records(change, says):
    with pytest.raises(DataError) as caught:
        frcnn.dataset_from([GOOD | change])
    assert says in str(caught.value)


def test_records_lack_a_key_or_have_an_unknown_class():
    with pytest.raises(DataError, match="has no boxes, labels; a record has image, boxes"):
        frcnn.dataset_from([{"image": GOOD["image"]}])
    with pytest.raises(DataError, match="unknown classes cat; expected dog"):
        frcnn.dataset_from([GOOD], ["dog"])
    with pytest.raises(DataError, match=r"20 faulty records(.|\n)*and 8 more"):
        frcnn.dataset_from([7] * 20)
