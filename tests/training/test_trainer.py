"""A run from end to end: its files, and every scalar in them recomputed from the models."""

import contextlib
import csv
import dataclasses
import importlib.util
import io
import re
import shutil
import time

import keras
import numpy as np
import pytest
from PIL import Image
from support import damage
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.util.tensor_util import make_ndarray

from frcnn.config.presets import preset
from frcnn.config.schema import Config
from frcnn.data import build, transforms
from frcnn.data.loader import DataLoader
from frcnn.data.sample import Dataset
from frcnn.detector import Detector
from frcnn.errors import ConfigError, DataError, RunError, WeightsError
from frcnn.evaluation.voc_ap import VocAp, voc_ap
from frcnn.ops import anchors, proposals
from frcnn.training import step_models, trainer, validation
from frcnn.training import train as train_module
from frcnn.training.best_weights import BestWeights
from frcnn.training.schedule import Schedule
from frcnn.training.step_scalars import StepLogs

LOSSES = {"loss", "loss_cls", "loss_regr"}
BOTH_RUNS = {
    *(f"{model}/{loss}" for model in ("rpn", "classifier") for loss in LOSSES),
    "classifier/accuracy",
    "total_loss",
    "rpn/recall",
    "rpn/mean_overlapping_boxes",
    "classifier/positive_rois",
}
TRAIN_ONLY = {"learning_rate/rpn", "learning_rate/classifier"} | {
    *("time/data", "time/rpn", "time/classifier", "traces"),
    *("gradient_norm/rpn", "gradient_norm/classifier"),
}
VALIDATION_ONLY = {"mAP", "AP/circle", "AP/square", "AP/triangle"} | {
    *("F1", "F1_threshold", "calibration_error")
}
VALUES = {
    "data.batch_size": 3,
    "optimizer.lr_images": 3,
    "train.epochs": 2,
    "train.steps_per_epoch": 3,
    "train.log_every": 1,
    "optimizer.warmup_steps": 2,
    "loss.rpn": "1,2",
}


def train(config, run):
    """Train without the console's output; return the last ``VocAp``."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        return train_module.train(config, run)


def read_events(folder):
    """Return tag -> {step: value} of all scalars in a TensorBoard run."""
    return {
        tag: {step: array.item() for step, array in values.items()}
        for tag, values in read_tensors(folder, "scalars").items()
    }


def read_tensors(folder, plugin):
    """Return tag -> {step: array} of all that one page of TensorBoard shows of a run."""
    events = EventAccumulator(str(folder), size_guidance={"tensors": 0}).Reload()
    return {
        tag: {event.step: make_ndarray(event.tensor_proto) for event in events.Tensors(tag)}
        for tag in events.Tags()["tensors"]
        if events.SummaryMetadata(tag).plugin_data.plugin_name == plugin
    }


def rows(run):
    with open(run / "metrics.csv", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


# The formulas of the design, in numpy.


def smooth_l1(error):
    error = np.abs(error)
    return np.where(error < 1 / 9, 4.5 * error**2, error - 1 / 18)


def rpn_losses(scores, deltas, y_class, y_regress, weights):
    """Return class and box loss of the RPN from its outputs; ``weights`` are the images'."""
    valid, label = np.split(y_class, 2, axis=-1)
    mask, target = np.split(y_regress, 2, axis=-1)
    right = np.where(label == 1, scores, 1 - scores)
    by_image = (
        (-np.log(right) * valid).sum((1, 2)) / valid.sum(),
        ((mask > 0) * smooth_l1(deltas - target)).sum((1, 2)) / valid.sum(),
    )
    return [float((one * weights).sum()) for one in by_image]


def classifier_losses(scores, deltas, y_class, y_regress, weights):
    """Return class loss, box loss and accuracy of the classifier from its outputs."""
    there = y_class.sum(-1)
    mask, target = np.split(y_regress, 2, axis=-1)
    entropy = -np.log((scores * y_class).sum(-1) + (there == 0))
    by_image = (
        entropy.sum(1) / there.sum(),
        ((mask > 0) * smooth_l1(deltas - target)).sum((1, 2)) / there.sum(),
    )
    right = (scores.argmax(-1) == y_class.argmax(-1)) * there
    return [float((one * weights).sum()) for one in by_image] + [right.sum() / there.sum()]


def iou(boxes, others):
    size = np.minimum(boxes[:, None, 2:], others[:, 2:]) - np.maximum(boxes[:, None, :2], others[:, :2])
    shared = np.maximum(size, 0).prod(-1)
    areas = [np.maximum(b[:, 2:] - b[:, :2], 0).prod(-1) for b in (boxes, others)]
    return shared / np.maximum(areas[0][:, None] + areas[1] - shared, 1e-9)


class Witness:
    """Looks on at the sub-models of a run and works out for itself what should be logged.

    Before each run of a step model it asks the sub-models for their predictions, whose weights are those
    that the logged loss is of, and applies the formulas.

    Attributes:
        seen: for training and validation, the scalars of each step in order.
        images: of each validation step, how many there were.
    """

    def __init__(self, config):
        self.config = config
        self.seen = {"train": [], "test": []}
        self.images = []

    def patch(self, patch):
        """Look before each run of the step models that are made from now on."""
        original = step_models.StepModel.run

        def run(step, inputs, targets, sample_weight, learn, only_if=None):
            to_numpy = keras.ops.convert_to_numpy
            seen = [keras.tree.map_structure(to_numpy, own) for own in (inputs, targets, sample_weight)]
            if step.name != "classifier_step":
                self.rpn(learn, *seen)
            if step.name == "classifier_step":
                self.classifier(*seen)
            result = original(step, inputs, targets, sample_weight, learn, only_if)
            if step.name == "validation_step":  # RoIs and their targets are made inside
                made = {name: to_numpy(own) for name, own in result[1].items()}
                names = self.models.classifier.output_names
                targets = dict(zip(names, (made["y_class"], made["y_regress"])))
                self.classifier(seen[0] | {"rois": made["rois"]}, targets, seen[2])
            return result

        def build(*args, **kwargs):
            self.models, account = original_build(*args, **kwargs)
            return self.models, account

        original_build = train_module.pretrained.build
        patch.setattr(train_module.pretrained, "build", build)
        patch.setattr(step_models.StepModel, "run", run)

    def rpn(self, learn, inputs, targets, sample_weight):
        images = inputs["images"]
        cells = np.maximum(inputs["cells"], 0)[..., None]  # the targets of padding are zeros
        outputs = self.models.rpn.predict_on_batch(images)
        outputs = [np.take_along_axis(values, cells, axis=1) for values in outputs]
        cls, regr = rpn_losses(*outputs, *targets.values(), sample_weight)
        self.step = {"rpn/loss_cls": cls, "rpn/loss_regr": regr, "rpn/loss": cls + 2 * regr}
        self.seen["train" if learn else "test"].append(self.step)
        if not learn:
            self.images.append(len(images))
        else:
            rate = 1e-3 * min(len(self.seen["train"]) / 2, 1)  # two steps of warm-up
            rate *= 0.1 if len(self.seen["train"]) > 4 else 1  # of 6 steps, 0.75 rounded to even
            self.step["learning_rate/rpn"] = self.step["learning_rate/classifier"] = rate
        self.proposals(images, inputs["image_sizes"], inputs["gt_boxes"], inputs["gt_labels"])

    def proposals(self, images, sizes, gt_boxes, gt_labels):
        scores, deltas = self.models.rpn.predict_on_batch(images)
        rpn, stride = self.config.rpn, 8
        base = anchors.base_anchors(self.config.anchors.sizes, self.config.anchors.ratios)
        grid = anchors.grid(images.shape[1] // stride, images.shape[2] // stride, stride, stride, base)
        proposed, _ = proposals.propose(
            grid,
            (np.log(scores) - np.log1p(-scores)).reshape(len(images), -1),
            deltas.reshape(len(images), -1, 4),
            sizes,
            [len(grid)],
            rpn.pre_nms_train,
            rpn.post_nms_train,
            rpn.nms_iou,
            rpn.min_size,
        )
        hits = [
            iou(boxes[labels >= 0], keras.ops.convert_to_numpy(found)) >= 0.5
            for boxes, labels, found in zip(gt_boxes, gt_labels, proposed)
        ]
        found = np.concatenate([one.any(1) for one in hits])
        if len(found):
            self.step["rpn/recall"] = found.mean()
        self.step["rpn/mean_overlapping_boxes"] = np.mean([one.any(0).sum() for one in hits])

    def classifier(self, inputs, targets, sample_weight):
        targets = {name: keras.ops.convert_to_numpy(target) for name, target in targets.items()}
        outputs = self.models.classifier.predict_on_batch([inputs["images"], inputs["rois"]])
        cls, regr, accuracy = classifier_losses(*outputs, *targets.values(), sample_weight)
        self.step["classifier/loss_cls"], self.step["classifier/loss_regr"] = cls, regr
        self.step["classifier/loss"], self.step["classifier/accuracy"] = cls + regr, accuracy
        self.step["total_loss"] = self.step["rpn/loss"] + cls + regr
        positive = next(iter(targets.values()))[..., :-1]
        self.step["classifier/positive_rois"] = positive.sum() / len(inputs["images"])


@dataclasses.dataclass
class Run:
    folder: object
    config: object
    witness: Witness
    result: VocAp
    events: dict


@pytest.fixture(scope="module")
def run(small_config, tmp_path_factory):
    """Train 2 epochs of 3 steps, watched, without dropout: what is predicted is what is trained on."""
    folder = tmp_path_factory.mktemp("runs") / "new" / "run"
    config = small_config.replace(VALUES | {"model.preprocessing": "auto"})
    witness = Witness(config)
    with pytest.MonkeyPatch.context() as patch:
        witness.patch(patch)
        result = train(config, folder)
    events = {name: read_events(folder / name) for name in ("train", "validation")}
    return Run(folder, config, witness, result, events)


def test_the_files_are_those_of_the_issue(run):
    names = {path.name for path in run.folder.iterdir() if not path.name.startswith(".")}
    assert names == {
        "checkpoints",
        "config.json",
        "resolved.json",
        "train",
        "validation",
        "metrics.csv",
        "last.weights.h5",
        "best.weights.h5",
    }


def test_the_config_says_what_was_used(run):
    asked = Config().updated_from_json((run.folder / "config.json").read_text())
    assert asked == run.config  # preprocessing auto, no classes
    saved = Config().updated_from_json((run.folder / "resolved.json").read_text())
    used = {"data.classes": ("circle", "square", "triangle"), "model.preprocessing": "tf"}
    assert saved == run.config.replace(used)


def test_what_is_left_open_is_settled_by_data_and_weights(tmp_path):
    config = Config()  # the config's own values: vgg16, whose Keras weights want caffe's pixels
    settled = train_module.resolve(config, ("cat", "dog"), None)
    assert settled == config.replace({"data.classes": "cat,dog", "model.preprocessing": "caffe"})
    assert train_module.resolve(settled, ("cat", "dog"), None) == settled
    np.savez(tmp_path / "vgg16.npz", **{"Conv_0/kernel": np.zeros(1)})
    of_torchvision = train_module.resolve(config, ("cat",), tmp_path / "vgg16.npz")
    assert of_torchvision.model.preprocessing == "torch"
    said = config.replace({"model.preprocessing": "tf"})
    assert train_module.resolve(said, ("cat",), None).model.preprocessing == "tf"  # no weights, no want


def test_weights_that_want_other_pixels_are_refused(tmp_path):
    """As from the config of a run with Keras' weights, reused with torchvision's."""
    np.savez(tmp_path / "vgg16.npz", **{"Conv_0/kernel": np.zeros(1)})
    said = Config().replace({"model.preprocessing": "caffe"})
    with pytest.raises(
        ConfigError, match="model.preprocessing is caffe, but .*vgg16.npz .* torch: .*auto"
    ):
        train_module.resolve(said, ("cat",), tmp_path / "vgg16.npz")


def test_both_runs_have_the_designs_tags_on_one_axis(run):
    assert set(run.events["train"]) == BOTH_RUNS | TRAIN_ONLY
    of_validation = {tag: list(values) for tag, values in run.events["validation"].items()}
    coco = {tag: of_validation.pop(tag) for tag in [*of_validation] if tag.startswith("COCO/")}
    assert set(of_validation) == BOTH_RUNS | VALIDATION_ONLY
    assert all(list(values) == [1, 2, 3, 4, 5, 6] for values in run.events["train"].values())
    assert all(steps == [3, 6] for steps in of_validation.values())
    if importlib.util.find_spec("pycocotools"):  # the slowest of the scores, so only once
        assert len(coco) == 12 and all(steps == [6] for steps in coco.values())


def test_every_training_scalar_is_the_one_recomputed_from_the_models(run):
    steps = run.witness.seen["train"]
    assert len(steps) == 6
    for number, step in enumerate(steps, start=1):
        assert set(step) == BOTH_RUNS | {"learning_rate/rpn", "learning_rate/classifier"}
        for tag, value in step.items():
            read = run.events["train"][tag][number]
            assert read == pytest.approx(value, rel=2e-4, abs=1e-7), (tag, number)
    # Values that are all alike would prove nothing.
    for tag in BOTH_RUNS - {"rpn/recall", "rpn/mean_overlapping_boxes", "classifier/accuracy"}:
        assert len(set(run.events["train"][tag].values())) > 1, tag


def test_every_validation_scalar_is_the_mean_of_those_recomputed(run):
    steps, images = run.witness.seen["test"], run.witness.images
    assert images == [3, 1, 3, 1]  # two validations of two batches
    for number, pair in ((3, steps[:2]), (6, steps[2:])):
        for tag in BOTH_RUNS:
            read, expected = (
                run.events["validation"][tag][number],
                np.average([one[tag] for one in pair], weights=[3, 1]),
            )
            assert read == pytest.approx(expected, rel=2e-4, abs=1e-7), (tag, number)


def test_the_same_images_are_drawn_at_each_validation(run):
    of_validation, of_training = (
        read_tensors(run.folder / name, "images") for name in ("validation", "train")
    )
    charts = {"curves/F1", "curves/calibration", "curves/confusion"}
    assert (of_validation.pop("curves/COCO", None) is None) == (
        importlib.util.find_spec("pycocotools") is None
    )
    assert set(of_validation) == {f"pictures/{number}" for number in (1, 2, 3, 4)} | charts
    assert set(of_training) == {"pictures/1", "pictures/2"}
    for pictures in (of_validation, of_training):
        for by_step in pictures.values():
            assert set(by_step) == {3, 6}
            width, height, data = by_step[6]
            assert Image.open(io.BytesIO(data)).size == (int(width), int(height))
    for number in (1, 2, 3, 4):  # images of different sizes
        first, second = of_validation[f"pictures/{number}"].values()
        assert tuple(first[:2]) == tuple(second[:2])


def test_curves_agree_with_the_scalars_and_histograms_hold_every_object(run):
    curves = read_tensors(run.folder / "validation", "pr_curves")
    assert set(curves) == {f"PR/{name}/pr_curves" for name in ("circle", "square", "triangle")}
    f1 = []
    for label, by_step in enumerate(curves.values()):
        right, wrong, _, missed, precision, recall = by_step[6]
        assert (right + missed == run.result.objects[label]).all()
        f1.append(2 * right / (2 * right + wrong + missed))
        np.testing.assert_allclose(recall[0], run.result.recall[label][-1:].sum(), rtol=1e-6)
    best = np.mean(f1, axis=0).max()
    assert run.events["validation"]["F1"][6] == pytest.approx(best, rel=1e-6)
    histograms = read_tensors(run.folder / "validation", "histograms")
    objects = run.result.objects.sum()
    for tag in ("histograms/best_iou_of_proposals", "histograms/best_iou_of_anchors"):
        assert histograms[tag][6][:, 2].sum() == objects
    assert {"histograms/weights_rpn", "histograms/box_deltas_target"} < set(histograms)


def test_config_and_layout_are_written_once(run):
    (config,) = read_tensors(run.folder / "train", "text").values()
    assert list(config) == [0] and b"| **train.epochs** | 2 |" in config[0].item()
    assert "custom_scalars__config__" in read_tensors(run.folder / "train", "custom_scalars")
    assert len(read_tensors(run.folder / "validation", "hparams")) == 2


def test_times_are_seconds(run):
    for tag in TRAIN_ONLY:
        assert all(0 <= value < 60 for value in run.events["train"][tag].values())


def test_metrics_csv_has_a_row_an_epoch(run):
    first, second = table = rows(run.folder)
    assert [row["epoch"] for row in table] == ["1", "2"]
    assert [row["step"] for row in table] == ["3", "6"]
    for row, numbers in ((first, (1, 2, 3)), (second, (4, 5, 6))):
        for tag in BOTH_RUNS:
            mean = np.mean([run.events["train"][tag][step] for step in numbers])
            assert float(row[f"train/{tag}"]) == pytest.approx(mean, rel=1e-5), tag
            value = run.events["validation"][tag][numbers[-1]]
            assert float(row[f"validation/{tag}"]) == pytest.approx(value, rel=1e-5), tag
        for tag in VALIDATION_ONLY:
            assert float(row[tag]) == pytest.approx(run.events["validation"][tag][numbers[-1]], rel=1e-5)
    assert float(second["mAP"]) == run.result.mean_ap
    assert float(second["train_seconds"]) > float(first["train_seconds"]) > 0


def test_a_folder_that_holds_a_run_is_refused_and_left_alone(run):
    before = (
        (run.folder / "config.json").read_bytes(),
        (run.folder / "last.weights.h5").stat().st_mtime_ns,
    )
    with pytest.raises(ConfigError, match=f"{run.folder} already holds a run.*--out"):
        train(run.config, run.folder)
    assert before == (
        (run.folder / "config.json").read_bytes(),
        (run.folder / "last.weights.h5").stat().st_mtime_ns,
    )


# The same run again.


def test_the_same_seed_gives_the_same_run_whatever_the_workers_with_a_cache_or_without(run, tmp_path):
    values = {"data.loader_threads": 3, "data.prefetch": 1, "data.cache_mib": 1}
    train(run.config.replace(values), tmp_path / "again")
    again, first = rows(tmp_path / "again"), rows(run.folder)
    for row in (*again, *first):
        del row["train_seconds"]
    assert again == first  # to the last bit


@pytest.mark.slow
def test_another_seed_gives_another_run(run, tmp_path):
    values = {"train.seed": 1, "train.epochs": 1, "train.steps_per_epoch": 1}
    train(run.config.replace(values), tmp_path / "other")
    other = read_events(tmp_path / "other" / "train")
    for tag in ("rpn/loss_cls", "rpn/loss_regr", "classifier/loss_cls"):
        assert other[tag][1] != run.events["train"][tag][1]


# The loop, with a schedule that only counts.


class Counting(Schedule):
    """Stands in for a schedule: a step adds one to a weight."""

    def __init__(self, models, *others):
        super().__init__(models, *others)
        self.bias = models.classifier.get_layer("class_logits").bias
        self.bias.assign(keras.ops.zeros_like(self.bias))

    def _build(self):
        pass

    def _train(self, batch, rng):
        """Return as logs the steps that the weight has seen."""
        self.bias.assign(self.bias + 1.0)
        return {"joint": StepLogs(("applied", "loss"), keras.ops.stack([1.0, self.bias[0]]), 1.0)}, {}

    def _scalars(self, logs):
        return dict.fromkeys(("rpn/loss", "classifier/loss", "total_loss"), logs["joint"]["loss"])

    def validation_step(self, batch, generator):
        return {"rpn/loss": 7.0}, [np.zeros((len(batch.images), 0, *end)) for end in ((4,), (), ())]


@pytest.fixture
def counted(small_config, tmp_path, monkeypatch):
    """Return a function that runs epochs of one step with given mAPs, and returns the run directory."""

    def go(aps, more=(), schedule=Counting, resume=(), **values):
        def scores(*_):
            ap = next(left)
            return VocAp(
                np.full(3, ap), ap, np.ones(3, int), np.ones(3, int), (), (), (), (), 0.5, "all-point"
            )

        left = iter(aps)
        monkeypatch.setitem(trainer.SCHEDULES, "alternating", schedule)
        monkeypatch.setattr(validation, "voc_ap", scores)
        one = {"train.steps_per_epoch": 1, "train.log_every": 1}
        config = {f"train.{name}": value for name, value in values.items()}
        with contextlib.redirect_stderr(io.StringIO()):
            train_module.train(
                small_config.replace(one | config | dict(more)), tmp_path / "run", *resume
            )
        assert next(left, None) is None  # as many validations as expected
        return tmp_path / "run"

    return go


def steps_behind(run, name):
    """Return how many steps the weights in a file have seen."""
    loaded = Detector.load(run, name).models
    return float(loaded.classifier.get_layer("class_logits").get_weights()[1][0])


def test_best_weights_are_those_of_the_best_map(counted):
    run = counted([0.2, 0.6, 0.4], epochs=3)
    assert steps_behind(run, "best.weights.h5") == 2.0
    assert steps_behind(run, "last.weights.h5") == 3.0
    assert [row["mAP"] for row in rows(run)] == ["0.2", "0.6", "0.4"]


def test_epochs_between_validations_take_no_result_for_theirs(counted):
    run = counted([0.6, 0.4, 0.3], epochs=5, validate_every=2)
    assert steps_behind(run, "best.weights.h5") == 2.0
    assert steps_behind(run, "last.weights.h5") == 5.0
    assert [row["mAP"] for row in rows(run)] == ["", "0.6", "", "0.4", "0.3"]
    assert [row["validation/rpn/loss"] for row in rows(run)] == ["", "7.0", "", "7.0", "7.0"]
    assert list(read_events(run / "validation")["mAP"]) == [2, 4, 5]


def test_without_objects_to_find_the_last_weights_are_the_best(counted):
    run = counted([float("nan")] * 2, epochs=2)
    assert steps_behind(run, "best.weights.h5") == 2.0


@pytest.mark.parametrize(
    "best, split, steps, says",
    [
        (
            "auto",
            "val",
            1.0,
            "the weights with the best mAP, as some is no test split (train.best_weights=auto)",
        ),
        ("auto", "test_a", 2.0, "the last weights, whatever their mAP, as some is a test split"),
        ("mAP", "test_a", 1.0, "the weights with the best mAP, as train.best_weights=mAP"),
        ("last", "val", 2.0, "the last weights, whatever their mAP, as train.best_weights=last"),
    ],
)
def test_nothing_is_chosen_by_its_map_on_a_test_split(counted, folder, best, split, steps, says):
    shutil.copy(folder / "ImageSets/Main/val.txt", folder / "ImageSets/Main/test_a.txt")
    values = {"data.dir": str(folder), "data.val_split": split}
    run = counted([0.6, 0.4], values, epochs=2, best_weights=best)
    assert steps_behind(run, "best.weights.h5") == steps
    config = Config().replace({"train.best_weights": best, "data.val_split": split})
    assert says in BestWeights(config, Dataset("some", (), ())).why


@pytest.mark.parametrize(
    "name, by",
    [("validation data", "mAP"), ("my data", "mAP"), ("VOC2007 test", "last"), ("test", "last")],
)
def test_python_data_are_a_test_split_only_by_their_own_name(name, by):
    """``data.val_split`` is "test" by default, and does not name data that are Python objects."""
    config = Config().replace({"data.dataset": "python"})
    best = BestWeights(config, Dataset(name, (), ()))
    assert best.by == by and f"as {name} is " in best.why


def test_a_run_that_goes_on_with_the_last_weights_forgets_a_better_map(counted):
    counted([0.6], epochs=1, best_weights="mAP")
    run = counted([0.4], resume=(True, True), epochs=2, best_weights="last")
    assert steps_behind(run, "best.weights.h5") == steps_behind(run, "last.weights.h5") > 0


def test_weights_that_are_not_finite_end_the_run_and_are_never_the_best(counted, tmp_path, monkeypatch):
    class Spoilt(Counting):
        def train_step(self, batch):
            scalars = super().train_step(batch)
            if scalars["rpn/loss"] == 3.0:
                self.bias.assign(self.bias * float("nan"))
            return scalars

    with pytest.raises(RunError, match="after step 3 there is NaN or infinity in model/.*bias"):
        counted([0.2, 0.6, 0.4], schedule=Spoilt, epochs=4)
    assert steps_behind(tmp_path / "run", "best.weights.h5") == 2.0
    assert steps_behind(tmp_path / "run", "last.weights.h5") == 2.0


def test_warnings_come_before_the_first_step(counted, capsys):
    with contextlib.redirect_stdout(io.StringIO()) as output:
        counted([0.1], epochs=1)
    shown = output.getvalue()
    assert 0 < shown.index("best.weights.h5: ") < shown.index("warning: the warm-up of 100 steps ")
    assert shown.index("warning: ") < shown.index("1 steps, ")


def test_a_loss_that_explodes_is_said(counted):
    class Exploding(Counting):
        def _scalars(self, logs):
            scalars = super()._scalars(logs)
            return scalars | {"total_loss": 2.0 if scalars["rpn/loss"] <= 20 else 400.0}

    with contextlib.redirect_stdout(io.StringIO()) as output:
        counted([0.1], schedule=Exploding, epochs=1, steps_per_epoch=25)
    assert output.getvalue().count("warning: step 21: the loss is 21 times the mean") == 1


def test_scalars_are_those_of_the_step_and_the_first_is_there(counted):
    run = counted([0.1, 0.1], epochs=2, steps_per_epoch=5, log_every=4)
    assert read_events(run / "train")["rpn/loss"] == {1: 1.0, 4: 4.0, 8: 8.0}
    assert list(read_events(run / "validation")["rpn/loss"]) == [5, 10]
    # metrics.csv has the means over all steps, logged or not.
    assert [float(row["train/rpn/loss"]) for row in rows(run)] == [3.0, 8.0]


def test_steps_of_an_epoch_default_to_once_through_the_data(counted):
    run = counted([0.1], epochs=1, steps_per_epoch=0)
    assert rows(run)[0]["step"] == "4"  # eight images, two a batch


def test_the_end_of_a_run_tells_of_waiting_and_of_the_cache(small_config, tmp_path, monkeypatch):
    class Slow(Counting):
        def train_step(self, batch):
            time.sleep(0.2)
            return super().train_step(batch)

    load = transforms.load
    monkeypatch.setattr(transforms, "load", lambda path, half=False: time.sleep(0.1) or load(path))
    monkeypatch.setitem(trainer.SCHEDULES, "alternating", Slow)
    values = {"train.epochs": 1, "data.batch_size": 4, "data.cache_mib": 1}
    output = io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(io.StringIO()):
        train_module.train(small_config.replace(values), tmp_path / "run")
    of_steps, of_cache = output.getvalue().splitlines()[-2:]
    # Both workers take 0.4 s for their batch, at the same time; each step 0.2 s.
    share = re.fullmatch(
        r"2 steps, \d+ s of training, ([0-9.]+)% of it waiting for data; \d+ s since this start",
        of_steps,
    )
    assert 25 < float(share[1]) < 100
    # Training's eight images and validation's four, of which none is larger than 120 x 80.
    assert re.fullmatch(r"cache: 12 images, 0\.[23] of 1 MiB", of_cache)


# What cannot start.


@pytest.fixture
def folder(shapes_folder, tmp_path):
    """Return a copy of the data set to spoil."""
    return shutil.copytree(shapes_folder, tmp_path / "spoilt")


def spoil(folder, old, new, pattern="*.xml"):
    for path in (folder / "Annotations").glob(pattern):
        path.write_text(path.read_text().replace(old, new))


def test_faulty_images_are_an_error(folder, small_config, tmp_path):
    spoil(folder, "name>", "nam>", "train_00000[12].xml")
    config = small_config.replace({"data.dir": str(folder)})
    with pytest.raises(DataError, match="train_000001.xml"):
        train(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_run_that_left_images_out_lists_them(folder, small_config, tmp_path, monkeypatch):
    spoil(folder, "name>", "nam>", "train_000001.xml")
    monkeypatch.setitem(trainer.SCHEDULES, "alternating", Counting)
    values = {"data.dir": str(folder), "data.on_bad_data": "skip", "train.epochs": 1}
    train(small_config.replace(values), tmp_path / "run")
    with open(tmp_path / "run" / "skipped.csv", newline="") as file:
        header, (split, image, fault) = csv.reader(file)
    assert header == ["split", "image", "fault"]
    assert (split, image) == ("spoilt train", "train_000001") and "has no <name>" in fault


def test_with_a_third_of_the_files_bad_it_trains_on_exactly_the_others(
    shapes_folder, small_config, tmp_path, monkeypatch
):
    """Of nine images three are bad: two seen before training, one only when it is decoded."""
    folder = shutil.copytree(shapes_folder, tmp_path / "spoilt")
    names = [f"train_{k:06d}" for k in range(8)] + ["val_000000"]
    (folder / "ImageSets/Main/train.txt").write_text("\n".join(names))
    (folder / "ImageSets/Main/val.txt").write_text("val_000001\nval_000002")
    cut, broken, late = ((folder / "JPEGImages" / f"{names[k]}.jpg") for k in (1, 4, 6))
    cut.write_bytes(cut.read_bytes()[:-500])
    spoil(folder, "name>", "nam>", f"{broken.stem}.xml")
    damage(late)

    seen = []

    class Watching(Counting):
        def train_step(self, batch):
            seen.append([sample.name for sample in batch.samples])
            return super().train_step(batch)

    monkeypatch.setitem(trainer.SCHEDULES, "alternating", Watching)
    values = {"data.dir": str(folder), "data.on_bad_data": "skip", "train.epochs": 2}
    train(small_config.replace(values), tmp_path / "run")
    bad = {cut.stem, broken.stem, late.stem}
    good = sorted(set(names) - bad)
    assert len(good) == 6
    flat = [name for names in seen for name in names]
    assert set(flat) == set(good) and sorted(flat[:6]) == good
    with open(tmp_path / "run" / "skipped.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["image"] for row in rows] == [cut.stem, broken.stem, late.stem]
    assert [row["split"] for row in rows] == ["spoilt train"] * 3
    for row, says in zip(rows, ("is cut off", "has no <name>", "cannot be decoded")):
        assert says in row["fault"]


def test_with_error_an_image_that_cannot_be_decoded_ends_the_run(folder, small_config, tmp_path):
    damage(folder / "JPEGImages" / "train_000003.jpg")
    with pytest.raises(DataError, match="train_000003.jpg cannot be decoded"):
        train(small_config.replace({"data.dir": str(folder)}), tmp_path / "run")


def test_a_data_set_with_nothing_but_faults_is_an_error(folder, small_config, tmp_path):
    spoil(folder, "name>", "nam>")
    config = small_config.replace({"data.dir": str(folder), "data.on_bad_data": "skip"})
    with pytest.raises(DataError, match="spoilt train.*every image"):
        train(config, tmp_path / "run")


def test_a_data_set_without_any_object_is_an_error(folder, small_config, tmp_path):
    for path in (folder / "Annotations").iterdir():
        path.write_text(re.sub("(?s)<object>.*</object>", "", path.read_text()))
    with pytest.raises(DataError, match="spoilt train has no object"):
        train(small_config.replace({"data.dir": str(folder)}), tmp_path / "run")


def test_missing_data_is_reported_before_weights_are_fetched(small_config, tmp_path, monkeypatch):
    monkeypatch.setattr(keras.utils, "get_file", lambda **_: pytest.fail("asked for a download"))
    with pytest.raises(DataError, match="frcnn download voc2007"):
        train(preset("voc").replace({"data.dir": str(tmp_path)}), tmp_path / "run")


def test_weights_that_there_are_not_are_reported_before_data_is_read(small_config, tmp_path):
    """Reading a large data set takes a while, at the end of which the run had to fail."""
    for values, says in (
        ({"model.weights": "imagenet"}, "no ImageNet weights for tiny"),
        ({"model.weights": "no.h5"}, "there is no weight file no.h5"),
    ):
        config = small_config.replace({"data.dir": str(tmp_path / "no data")} | values)
        with pytest.raises(WeightsError, match=says):
            train(config, tmp_path / "run")


def test_no_folder_is_made_for_a_run_that_cannot_start(small_config, tmp_path):
    config = small_config.replace({"model.weights": str(tmp_path / "missing.h5")})
    with pytest.raises(WeightsError, match="missing.h5"):
        train(config, tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


def test_a_run_folder_that_cannot_be_made_is_named(small_config, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match="cannot read the run directory .*file/run: Not a directory"):
        train(small_config, tmp_path / "file" / "run")


# Learning.


@pytest.mark.slow
def test_four_images_are_learnt_by_heart(shapes_folder, tmp_path):
    """Losses fall, mAP rises, and what a person loads from the run directory finds the objects."""
    config = preset("shapes").replace(
        {
            "data.dataset": "voc",
            "data.dir": str(shapes_folder),
            "data.train_split": "val",
            "data.val_split": "val",
            "data.short_side": 112,
            "data.long_side": 160,
            "data.flip": 0.0,
            "optimizer.warmup_steps": 10,
            "train.epochs": 2,
            "train.steps_per_epoch": 60,
        }
    )
    result = train(config, tmp_path / "run")
    assert result.mean_ap >= 0.9
    losses = read_events(tmp_path / "run" / "train")["total_loss"]
    assert losses[120] < 0.25 * losses[1]

    # The logged mAP is that of the weights on disk.
    detector = Detector.load(tmp_path / "run", "last.weights.h5")
    dataset, _ = build.load(detector.config.data)
    found, truths = [], []
    for batch in DataLoader(dataset, detector.config.data, 8, training=False).epoch():
        sizes = [(sample.height, sample.width) for sample in batch.samples]
        found += detector.detect(batch.images, batch.image_sizes, sizes)
        truths += [dataclasses.asdict(sample) for sample in batch.samples]
    logged = read_events(tmp_path / "run" / "validation")
    again = voc_ap(found, truths, 3)
    assert logged["mAP"][120] == pytest.approx(again.mean_ap)
    for name, ap in zip(detector.classes, again.ap):
        assert logged[f"AP/{name}"][120] == pytest.approx(ap, nan_ok=True)

    # One image at a time, in its own pixels.
    sample = dataset.samples[0]
    (one,) = Detector.load(tmp_path / "run").predict([sample.path])
    sure = one["scores"] > 0.5
    overlaps = iou(sample.boxes, one["boxes"][sure])
    assert (overlaps.max(1) > 0.6).all()
    names = [name for name, is_sure in zip(one["names"], sure) if is_sure]
    assert [names[column] for column in overlaps.argmax(1)] == [
        dataset.classes[label] for label in sample.labels
    ]
