"""Compile the two sub-models for plain ``train_on_batch``, without a schedule.

B: images, R: RoIs, C: classes with background last.
"""

from __future__ import annotations

from typing import Any

import keras

from frcnn.config.schema import Config
from frcnn.errors import ConfigError
from frcnn.models.faster_rcnn import FasterRCNN
from frcnn.training import learning_rate, optimizers
from frcnn.training.loss_terms import classifier_terms, correct_rois, rpn_terms
from frcnn.training.schedule import USE_XLA

Tensor = Any


def compile_sub_models(model: FasterRCNN, config: Config | None = None, *, total_steps: int) -> None:
    """Compile ``rpn`` and ``classifier``, each with its losses, its metrics and its own optimizer.

    After this ``train_on_batch`` accepts a ``sample_weight``: one array (B,) with a weight per image, or
    a list with one array per output (shapes: ``frcnn.ops.losses``). Keras does not accept
    ``class_weight`` for models with several outputs: set ``loss.class_weights`` instead.

    Args:
        model: the network.
        config: settings, of which ``optimizer``, ``loss``, ``train.precision`` and ``data.batch_size``
            are used. Default: those of the model.
        total_steps: number of training steps; warm-up and decay of the learning rate depend on it.

    Raises:
        ConfigError: ``loss.hard_examples`` or ``model.cascade_stages`` is set, which plain
            ``train_on_batch`` cannot do.

    Example:
        >>> config = preset("shapes").replace({"model.preprocessing": "tf"})
        >>> model = FasterRCNN.from_config(config, num_classes=4)
        >>> compile_sub_models(model, total_steps=1000)
        >>> logs = model.rpn.train_on_batch(images, [y_class, y_regress], return_dict=True)
    """
    config = config or model.config
    if config.loss.hard_examples:
        raise ConfigError("loss.hard_examples needs a schedule of frcnn.train: set it to 0")
    if len(model.cascade.stages) > 1:
        raise ConfigError("model.cascade_stages needs a schedule of frcnn.train: set it to 1")
    class_terms = classifier_terms(model, config)
    for sub_model, terms, metrics, undecayed in (
        (model.rpn, rpn_terms(model, config.loss.rpn), None, ()),
        # Weight decay of the shared layers is applied once per step, by the RPN's optimizer.
        (
            model.classifier,
            class_terms,
            {class_terms[0].output: RoiAccuracy()},
            model.rpn.trainable_variables,
        ),
    ):
        sub_model.compile(
            optimizer=optimizers.make(
                config.optimizer,
                learning_rate.of_config(config, total_steps),
                sub_model.trainable_variables,
                config.train.precision,
                undecayed,
            ),
            loss=[term.loss for term in terms],
            loss_weights=[term.weight for term in terms],
            metrics=metrics,
            jit_compile=USE_XLA,
        )


class RoiAccuracy(keras.metrics.Mean):
    """Accuracy of the classifier: share of the RoIs whose highest score is that of the true class."""

    def __init__(self, name: str = "accuracy", **kwargs: Any):
        super().__init__(name=name, **kwargs)

    def update_state(self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor | None = None) -> None:
        """Add a batch.

        Args:
            y_true: (B, R, C) one-hot; an all-zero row is padding.
            y_pred: (B, R, C) scores.
            sample_weight: (B,) or (B, R). Keras passes it only to ``weighted_metrics``.
        """
        correct, exists = correct_rois(y_true, y_pred)
        if sample_weight is not None:
            weights = keras.ops.cast(sample_weight, "float32")
            exists = exists * (weights[:, None] if len(weights.shape) == 1 else weights)
        # Flattened, because otherwise Keras takes the mean per image first, and then of all images.
        super().update_state(*(keras.ops.reshape(part, (-1,)) for part in (correct, exists)))
