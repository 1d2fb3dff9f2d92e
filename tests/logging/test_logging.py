import contextlib
import subprocess
import sys

import numpy as np
import pytest

from frcnn.logging import TAGS, RunLogger, named_scalars, with_total_loss, write_log

RPN_LOGS = {"loss": 3.0, "rpn_out_class_loss": 1.0, "rpn_out_regress_loss": 2.0}
CLASSIFIER_LOGS = {
    "dense_class_21_accuracy": 0.5,
    "dense_class_21_loss": 4.0,
    "dense_regress_21_loss": 5.0,
    "loss": 9.0,
}


def read_events(folder):
    """Return tag -> {step: value} of everything in a TensorBoard run."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.util.tensor_util import make_ndarray

    events = EventAccumulator(str(folder), size_guidance={"tensors": 0}).Reload()
    return {
        tag: {event.step: make_ndarray(event.tensor_proto).item() for event in events.Tensors(tag)}
        for tag in events.Tags()["tensors"]
    }


# --- named_scalars ---------------------------------------------------------------------------


def test_dict_gets_the_tags_of_the_table():
    assert named_scalars("rpn", RPN_LOGS) == {
        "rpn/loss": 3.0,
        "rpn/loss_cls": 1.0,
        "rpn/loss_regr": 2.0,
    }
    assert named_scalars("classifier", CLASSIFIER_LOGS) == {
        "classifier/accuracy": 0.5,
        "classifier/loss_cls": 4.0,
        "classifier/loss_regr": 5.0,
        "classifier/loss": 9.0,
    }


@pytest.mark.parametrize("number", [2, 21, 1001])
def test_the_number_of_classes_may_be_any(number):
    assert named_scalars("classifier", {f"dense_class_{number}_loss": 1.0}) == {
        "classifier/loss_cls": 1.0
    }


def test_list_with_names_gives_what_the_dict_gives():
    names, values = list(RPN_LOGS), list(RPN_LOGS.values())
    assert named_scalars("rpn", values, names) == named_scalars("rpn", RPN_LOGS)
    assert named_scalars("rpn", 3.0, ["loss"]) == {"rpn/loss": 3.0}  # a model with only a loss


@pytest.mark.parametrize("value", [np.float32(0.5), np.array([0.5]), np.array(0.5)])
def test_values_come_out_as_floats(value):
    assert type(named_scalars("rpn", {"loss": value})["rpn/loss"]) is float


@pytest.mark.parametrize(
    "logs, names, message",
    [
        ([3.0, 1.0], ["loss"], r"1 names for 2 values: \['loss'\] for \[3.0, 1.0\]"),
        ([3.0, 1.0], None, r"2 values without names, \[3.0, 1.0\]"),
        ([3.0, 1.0], ["loss", "loss"], r"twice: \['loss', 'loss'\] for \[3.0, 1.0\]"),
        ([3.0, 1.0], ["loss", "compile_metrics"], r"do not name the values \[3.0, 1.0\]"),
        ({"loss": 3.0}, ["loss"], r"names of its own, \['loss'\], beside \['loss'\]"),
        ({"rpn_loss": 3.0}, None, r"'rpn_loss'.*\{'rpn_loss': 3.0\}.*'rpn_out_class_loss'"),
        ({"loss": [3.0, 1.0]}, None, r"'loss' must be one number, not \[3.0, 1.0\]"),
        ({"loss": None}, None, r"'loss' must be one number, not None"),
    ],
)
def test_what_does_not_fit_is_refused_and_shown(logs, names, message):
    with pytest.raises(ValueError, match=message):
        named_scalars("rpn", logs, names)


@pytest.mark.parametrize("key", ["dense_class_C_loss", "dense_class__loss", "dense_class_3_loss_1"])
def test_only_a_number_stands_in_for_the_number_of_classes(key):
    with pytest.raises(ValueError, match="unknown key"):
        named_scalars("classifier", {key: 1.0})


def test_two_keys_under_one_tag_are_refused():
    with pytest.raises(ValueError, match="would both be 'classifier/loss_cls'"):
        named_scalars("classifier", {"dense_class_3_loss": 1.0, "dense_class_4_loss": 2.0})


def test_any_other_model_can_be_logged_by_handing_in_its_row():
    with pytest.raises(ValueError, match=r"'mask'.*\['classifier', 'rpn'\].*\"mask/<key>\""):
        named_scalars("mask", {"loss": 1.0})
    tags = TAGS | {"mask": {"out_loss": "mask/loss_pixels", "<key>": "mask/<key>"}}
    logs = {"loss": 1.0, "out_loss": 0.5, "out_mean_iou": 0.25}
    assert named_scalars("mask", logs, tags=tags) == {
        "mask/loss": 1.0,
        "mask/loss_pixels": 0.5,
        "mask/out_mean_iou": 0.25,
    }


def test_total_loss_is_there_only_when_both_losses_are():
    rpn, classifier = named_scalars("rpn", RPN_LOGS), named_scalars("classifier", CLASSIFIER_LOGS)
    assert with_total_loss(rpn) == rpn
    assert with_total_loss(classifier) == classifier
    assert with_total_loss(rpn | classifier) == {**rpn, **classifier, "total_loss": 12.0}


# --- writing ---------------------------------------------------------------------------------


def test_both_runs_share_tags_and_steps(tmp_path):
    with RunLogger(tmp_path) as logger:
        for step in (1, 2, 3):
            logger.write("train", step, {"rpn/loss": 1.0 / step, "time/rpn": 0.5})
        logger.write("validation", 3, {"rpn/loss": 0.75, "AP/dining table": 0.5, "mAP": 0.5})
    assert read_events(tmp_path / "train") == {
        "rpn/loss": {1: 1.0, 2: 0.5, 3: np.float32(1 / 3)},
        "time/rpn": {1: 0.5, 2: 0.5, 3: 0.5},
    }
    assert read_events(tmp_path / "validation") == {
        "rpn/loss": {3: 0.75},
        "AP/dining table": {3: 0.5},
        "mAP": {3: 0.5},
    }


def test_flush_shows_the_scalars_and_diverged_ones_are_not_hidden(tmp_path):
    logger = RunLogger(tmp_path)
    logger.write("train", 1, {"rpn/loss": float("nan"), "classifier/loss": float("inf")})
    logger.flush()
    np.testing.assert_equal(
        read_events(tmp_path / "train"),
        {"rpn/loss": {1: np.nan}, "classifier/loss": {1: np.inf}},
    )
    assert not (tmp_path / "validation").exists()  # no empty run in TensorBoard's list
    logger.close()


def test_mistakes_are_refused_before_anything_is_written(tmp_path):
    with RunLogger(tmp_path) as logger:
        with pytest.raises(ValueError, match=r"unknown tags \['rpn/los'\].*'rpn/loss'"):
            logger.write("train", 1, {"mAP": 0.5, "rpn/los": 1.0})
        with pytest.raises(ValueError, match="unknown run 'val'.*'validation'"):
            logger.write("val", 1, {"mAP": 0.5})
        with pytest.raises(TypeError):
            logger.write("train", 1.5, {"mAP": 0.5})
        with pytest.raises(ValueError, match="'rpn/loss' must be one number"):
            logger.write("train", 1, {"mAP": 0.5, "rpn/loss": "high"})
        logger.write("train", 2, {"mAP": 0.25})
    assert read_events(tmp_path / "train") == {"mAP": {2: 0.25}}


def test_loop_tags_can_be_handed_in(tmp_path):
    with RunLogger(tmp_path, tags={"mask": {"<key>": "mask/<key>"}}, loop_tags=("dice",)) as logger:
        logger.write("train", 1, {"mask/out_loss": 0.5, "dice": 0.25})
        with pytest.raises(ValueError, match="unknown tags"):
            logger.write("train", 1, {"mAP": 0.5})
    assert read_events(tmp_path / "train") == {"mask/out_loss": {1: 0.5}, "dice": {1: 0.25}}


def test_write_log_writes_the_names_given_and_refuses_a_bad_length(tmp_path):
    import tensorflow as tf

    with contextlib.closing(tf.summary.create_file_writer(str(tmp_path))) as writer:
        write_log(writer, ["Elapsed time", "mean_overlapping_bboxes"], [0.5, 12], 7)
        write_log(writer, ["loss"], 3.0, 8)
        with pytest.raises(ValueError, match=r"2 names for 3 values: \['a', 'b'\] for \[1, 2, 3\]"):
            write_log(writer, ["a", "b"], [1, 2, 3], 9)
    assert read_events(tmp_path) == {
        "Elapsed time": {7: 0.5},
        "mean_overlapping_bboxes": {7: 12.0},
        "loss": {8: 3.0},
    }


def test_write_log_takes_the_callback_of_the_old_snippets(tmp_path):
    """``callback.set_model(model)``, then ``write_log(callback, names, logs, batch_no)``."""
    import keras

    callback = keras.callbacks.TensorBoard(str(tmp_path), write_graph=False)
    with pytest.raises(ValueError, match=r"has no model yet: call callback.set_model\(model\)"):
        write_log(callback, ["loss"], [3.0], 1)
    callback.set_model(keras.Sequential())
    write_log(callback, ["loss", "rpn_cls_loss"], [3.0, 1.0], 1)
    write_log(callback, "elapsed", 0.5, 2)
    callback.on_train_end()
    assert read_events(tmp_path / "train") == {
        "loss": {1: 3.0},
        "rpn_cls_loss": {1: 1.0},
        "elapsed": {2: 0.5},
    }
    with pytest.raises(TypeError, match=r"a Keras TensorBoard callback, not to .*logs"):
        write_log("logs", ["loss"], [3.0], 1)


def test_write_log_takes_tensors_and_single_numbers(tmp_path):
    import keras
    import tensorflow as tf

    with contextlib.closing(tf.summary.create_file_writer(str(tmp_path))) as writer:
        write_log(writer, "a", 0.5, 1)
        write_log(writer, "a", tf.constant(0.25), tf.constant(2))
        write_log(writer, ["b", "c"], tf.constant([1.5, 2.5]), np.int64(1))
        write_log(writer, ["b", "c"], [tf.Variable(3.5), tf.constant(4.5, "bfloat16")], tf.Variable(2))
        write_log(writer, "d", keras.Variable(5.5), keras.Variable(1, dtype="int64"))
        write_log(writer, ["e"], [keras.Variable(6.5)], 1)
        write_log(writer, None, {"f": tf.constant(7.5)}, 1)
        with pytest.raises(ValueError, match=r"1 names for 2 values: \['a'\]"):
            write_log(writer, "a", tf.constant([1.0, 2.0]), 3)
        with pytest.raises(ValueError, match="'a' must be one number"):
            write_log(writer, "a", [[1.0, 2.0]], 3)
        with pytest.raises(TypeError):
            write_log(writer, "a", 1.0, 1.5)
    assert read_events(tmp_path) == {
        "a": {1: 0.5, 2: 0.25},
        "b": {1: 1.5, 2: 3.5},
        "c": {1: 2.5, 2: 4.5},
        "d": {1: 5.5},
        "e": {1: 6.5},
        "f": {1: 7.5},
    }
    assert named_scalars("rpn", tf.constant(3.0), "loss") == {"rpn/loss": 3.0}


def test_without_tensorboard_names_work_and_writing_says_what_to_install():
    # A fresh interpreter, because this one has imported TensorFlow already.
    code = """
import sys
sys.modules["tensorboard"] = None  # makes the import fail as if it were not installed
from frcnn.logging import RunLogger, named_scalars
assert named_scalars("rpn", {"loss": 1.0}) == {"rpn/loss": 1.0}
assert "tensorflow" not in sys.modules
RunLogger("unused")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "ImportError: writing TensorBoard logs needs tensorboard: pip install" in done.stderr


# --- a real Keras model ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def two_outputs():
    """A compiled model whose outputs are named like our classifier's, and one batch for it."""
    import keras

    keras.utils.set_random_seed(0)
    inputs = keras.Input((8,))
    hidden = keras.layers.Dense(16, activation="relu")(inputs)
    model = keras.Model(
        inputs,
        [
            keras.layers.Dense(3, activation="softmax", name="dense_class_3")(hidden),
            keras.layers.Dense(8, name="dense_regress_3")(hidden),
        ],
    )
    model.compile(
        keras.optimizers.SGD(0.1),
        loss=["categorical_crossentropy", "mse"],
        metrics={"dense_class_3": "accuracy"},
    )
    rng = np.random.default_rng(0)
    classes = np.eye(3, dtype="float32")[rng.integers(0, 3, 32)]
    regress = rng.normal(size=(32, 8)).astype("float32")
    return model, rng.normal(size=(32, 8)).astype("float32"), [classes, regress]


def recompute(model, x, y):
    """Work out, without Keras' losses and metrics, what the model's scalars must be."""
    probabilities, regress = (np.asarray(out, np.float64) for out in model.predict_on_batch(x))
    loss_cls = -np.log((probabilities * y[0]).sum(axis=-1)).mean()
    loss_regr = ((regress - y[1]) ** 2).mean()
    return {
        "classifier/loss": loss_cls + loss_regr,
        "classifier/loss_cls": loss_cls,
        "classifier/loss_regr": loss_regr,
        "classifier/accuracy": (probabilities.argmax(-1) == y[0].argmax(-1)).mean(),
    }


def test_every_written_scalar_equals_the_one_recomputed_from_the_model(tmp_path, two_outputs):
    model, x, y = two_outputs
    expected = {"train": {}, "validation": {}}
    with RunLogger(tmp_path) as logger:
        for step in (1, 2, 3):
            expected["train"][step] = recompute(model, x, y)  # the loss is that before the update
            logs = model.train_on_batch(x, y, return_dict=True)
            logger.write("train", step, named_scalars("classifier", logs))
        expected["validation"][3] = recompute(model, x[:8], [target[:8] for target in y])
        model.reset_metrics()
        logs = model.test_on_batch(x[:8], [target[:8] for target in y], return_dict=True)
        logger.write("validation", 3, named_scalars("classifier", logs))
    for run, steps in expected.items():
        events = read_events(tmp_path / run)
        assert set(events) == {tag for tag in TAGS["classifier"].values() if "<N>" not in tag}
        for step, scalars in steps.items():
            for tag, value in scalars.items():
                assert events[tag][step] == pytest.approx(value, rel=1e-5), (run, step, tag)


def test_zip_with_metrics_names_mislabels_as_the_page_says(two_outputs):
    """docs/logging.md rests on this. If it fails, Keras has changed: rewrite the page."""
    model, x, y = two_outputs
    model.test_on_batch(x, y)  # the names are complete only after a first batch
    truth = model.test_on_batch(x, y, return_dict=True)
    values = model.test_on_batch(x, y)
    zipped = dict(zip(model.metrics_names, values, strict=True))  # equal lengths: no error
    assert list(zipped) == ["loss", "compile_metrics", "dense_class_3_loss", "dense_regress_3_loss"]
    assert zipped["loss"] == truth["loss"]
    assert zipped["compile_metrics"] == truth["dense_class_3_loss"]
    assert zipped["dense_class_3_loss"] == truth["dense_regress_3_loss"]
    assert zipped["dense_regress_3_loss"] == truth["dense_class_3_accuracy"]
    with pytest.raises(ValueError, match="return_dict=True"):
        named_scalars("classifier", values, model.metrics_names)


def test_test_on_batch_leaves_the_weights_alone(two_outputs):
    model, x, y = two_outputs
    before = [weight.copy() for weight in model.get_weights()]
    model.test_on_batch(x, y)
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
