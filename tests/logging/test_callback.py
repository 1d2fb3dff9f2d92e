"""``NamedScalars``: ``model.fit`` writes the tags of the table, for training and validation."""

import keras
import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.util.tensor_util import make_ndarray

from frcnn.logging import NamedScalars


def read(folder):
    """Return {tag: {step: value}}."""
    events = EventAccumulator(str(folder), size_guidance={"tensors": 0}).Reload()
    return {
        tag: {event.step: make_ndarray(event.tensor_proto).item() for event in events.Tensors(tag)}
        for tag in events.Tags()["tensors"]
    }


def test_fit_logs_both_outputs_by_the_table_on_one_axis(tmp_path):
    x = np.random.default_rng(0).normal(size=(8, 4)).astype("float32")
    y = [np.eye(3)[np.arange(8) % 3], np.zeros((8, 8), "float32")]
    image = keras.Input((4,))
    classes = keras.layers.Dense(3, activation="softmax", name="dense_class_3")(image)
    boxes = keras.layers.Dense(8, name="dense_regress_3")(image)
    model = keras.Model(image, [classes, boxes])
    metrics = {"dense_class_3": "accuracy"}
    model.compile("sgd", ["categorical_crossentropy", "mse"], metrics=metrics)
    callback = NamedScalars(tmp_path, "classifier", every=2)
    options = {
        "shuffle": False,
        "batch_size": 2,
        "validation_data": (x, y),
        "verbose": 0,
        "callbacks": [callback],
    }
    history = [model.fit(x, y, **options).history for _ in range(2)]
    tags = {f"classifier/{name}" for name in ("loss", "loss_cls", "loss_regr", "accuracy")}
    train, validation = read(tmp_path / "train"), read(tmp_path / "validation")
    assert set(train) == set(validation) == tags
    assert list(train["classifier/loss"]) == [1, 2, 4, 6, 8]
    for step, of_fit in zip((4, 8), history):
        assert train["classifier/loss"][step] == pytest.approx(of_fit["loss"][0])
        read_value = validation["classifier/loss_cls"][step]
        assert read_value == pytest.approx(of_fit["val_dense_class_3_loss"][0])


def test_mistakes_are_said_before_the_training(tmp_path):
    with pytest.raises(ValueError, match="no tags for the sub-model 'mask'"):
        NamedScalars(tmp_path, "mask")
    with pytest.raises(ValueError, match="every must be 1 or more, not 0"):
        NamedScalars(tmp_path, "rpn", every=0)
