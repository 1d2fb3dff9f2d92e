"""Compile the two sub-models for plain ``train_on_batch``, without a schedule."""

import keras

from frcnn.training import optimizers
from frcnn.training.loss_terms import classifier_terms, correct_rois, rpn_terms
from frcnn.training.schedule import USE_XLA


def compile_sub_models(models, config, total_steps):
    """Give each sub-model its losses, its metrics and an optimizer of its own.

    For training them by plain ``train_on_batch`` without a schedule. ``sample_weight`` may be one array
    (B,) for the images, or a list with an array per output, ``frcnn.ops.losses`` says of which shapes.
    ``class_weight``, which Keras does not take for models with several outputs, is the setting
    ``loss.class_weights``::

        classes = {"data.classes": "cat,dog", "loss.class_weights": "cat=2,background=0.5"}
        compile_sub_models(models, config.replace(classes), total_steps=1000)
        models.classifier.train_on_batch(
            [images, rois], [y_class, y_regress], sample_weight=[of_rois, of_rois], return_dict=True
        )
    """
    class_terms = classifier_terms(models, config)
    for model, terms, metrics, undecayed in (
        (models.rpn, rpn_terms(models, config.loss.rpn), None, ()),
        (
            models.classifier,
            class_terms,
            {class_terms[0].output: RoiAccuracy()},
            models.rpn.trainable_variables,
        ),
    ):
        model.compile(
            optimizer=optimizers.make(
                config.optimizer,
                total_steps,
                model.trainable_variables,
                config.train.precision,
                undecayed,
            ),
            loss=[term.loss for term in terms],
            loss_weights=[term.weight for term in terms],
            metrics=metrics,
            jit_compile=USE_XLA,
        )


class RoiAccuracy(keras.metrics.Mean):
    """Share of the RoIs, padding left out, whose most probable class is the right one."""

    def __init__(self, name="accuracy", **kwargs):
        super().__init__(name=name, **kwargs)

    def update_state(self, y_true, y_pred, sample_weight=None):
        """Add a batch.

        Args:
            y_true: (B, R, C) one-hot; an all-zero row is padding.
            y_pred: (B, R, C) scores.
            sample_weight: (B,) or (B, R), which Keras hands to what is in ``weighted_metrics``.
        """
        correct, exists = correct_rois(y_true, y_pred)
        if sample_weight is not None:
            weights = keras.ops.cast(sample_weight, "float32")
            exists = exists * (weights[:, None] if len(weights.shape) == 1 else weights)
        # In one axis: else Keras takes a mean per image, and a RoI counts less where there are many.
        super().update_state(*(keras.ops.reshape(part, (-1,)) for part in (correct, exists)))
