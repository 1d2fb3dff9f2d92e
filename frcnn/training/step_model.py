"""A Keras model that runs training or validation steps, and the logs that it leaves on the device.

B: images.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Sequence
from typing import Any

import keras
from keras import ops

from frcnn.backend import IS_TENSORFLOW, on_batches
from frcnn.collectives import all_reduce_sum, num_processes
from frcnn.training.loss_terms import LossNormalizer, LossTerm, correct_rois

Tensor = Any


class StepLogs:
    """The logs of one step, {name: number}, in one array on the device until ``read``.

    Args:
        names: of the numbers.
        values: (len(names),) float32 on the device.

    Example:
        >>> logs, _ = step_model.run(inputs, targets, weights, learn=True)
        >>> logs["applied"]  # a tensor: the host does not wait
        >>> logs.read()  # the host waits until the step is done
        {"applied": 1.0, "rpn_loss": 0.7, ...}
    """

    def __init__(self, names: Sequence[str], values: Tensor):
        self.names, self.values = tuple(names), values

    def __getitem__(self, name: str) -> Tensor:
        return self.values[self.names.index(name)]

    def __contains__(self, name: str) -> bool:
        return name in self.names

    def read(self) -> dict[str, float]:
        """Return the numbers, once the device has them."""
        return dict(zip(self.names, ops.convert_to_numpy(self.values).tolist()))


class StepModel(keras.Model):
    """A functional model, dict to dict, that is trained on a sum of losses.

    Keras' ``train_on_batch`` and ``test_on_batch`` turn logs into floats, for which the host waits. So
    a compiled step hands its logs to ``run`` instead, and these two return an empty dict.

    With several processes, each works on its share of the batch. All get the logs of the whole batch,
    and the gradients of the shares add up to that of the whole.

    Attributes:
        traces: how often a step was traced for new shapes.
    """

    train_function: Any  # Keras sets both to None before the first step
    test_function: Any

    def compile(
        self, optimizer: Any, terms: Sequence[LossTerm], jit_compile: bool = False, **options: Any
    ) -> None:
        """Set what is learnt.

        Args:
            optimizer: Keras optimizer, built for ``trainable_variables``; None: the model only tests.
            terms: the losses.
            jit_compile: whether XLA compiles the steps.
            options: of ``keras.Model.compile``.
        """
        # Keras refuses XLA for a model with layers whose fastest kernels XLA lacks. ``on_batches``
        # traces others in their place.
        super().compile(optimizer=optimizer, jit_compile=jit_compile and not IS_TENSORFLOW, **options)
        self.uses_xla = jit_compile
        self.terms = tuple(terms)
        self.traces = 0
        # Keras must not track these.
        self._last = types.SimpleNamespace(outputs={}, logs=None, names={})

    def run(
        self,
        inputs: dict[str, Tensor],
        targets: dict[str, Tensor],
        sample_weight: Tensor,
        learn: bool,
        only_if: Tensor | None = None,
    ) -> tuple[StepLogs, dict[str, Tensor]]:
        """Run one step, without waiting for its numbers.

        Args:
            inputs: by the names of the inputs.
            targets: ``y_true`` of each loss that is fed, by the name of the prediction.
            sample_weight: (B,) weights of the images.
            learn: whether to update the weights.
            only_if: a number on the device: unless it is above 0, the step does not update the weights.

        Returns:
            logs: ``<sub-model>_loss``, ``<prediction>_loss`` and ``<prediction>_accuracy``, and the sum
            over the batch of each output that has one number per image. Of a step that learns, also
            ``applied`` (1.0, or 0.0 where the update was skipped), its ``learning_rate`` and, unless
            losses are scaled, ``gradient_norm``.
            outputs: all other outputs, predictions among them. They stay on the device.
        """
        if only_if is not None:
            # A number per image, as all arrays of a batch are divided among the devices.
            per_image = ops.broadcast_to(only_if, (len(sample_weight),))
            targets = targets | {"only_if": per_image}
        on_batch = self.train_on_batch if learn else self.test_on_batch
        on_batch(inputs, targets, sample_weight=sample_weight, return_dict=True)
        return self._last.logs, self._last.outputs

    def reset_metrics(self) -> None:
        """Do nothing: all logs are a step's own, so there is nothing to reset."""

    def train_step(self, *arguments: Any) -> Any:
        optimizer = self.optimizer
        state = None if IS_TENSORFLOW else arguments[0]
        before = _iterations(optimizer, state)
        result = super().train_step(*arguments)
        logs, state = (result, None) if IS_TENSORFLOW else result
        with keras.StatelessScope([(optimizer.iterations, before)]):
            logs["learning_rate"] = optimizer.learning_rate
        logs["applied"] = _iterations(optimizer, state) > before
        if hasattr(optimizer, "norm"):
            logs["gradient_norm"] = optimizer.norm  # the same in all processes
        packed = self._packed(logs, "train")
        return packed if IS_TENSORFLOW else (packed, state)

    def test_step(self, *arguments: Any) -> Any:
        result = super().test_step(*arguments)
        if IS_TENSORFLOW:
            return self._packed(result, "test")
        return self._packed(result[0], "test"), result[1]

    def _packed(self, logs, kind):
        """Put all numbers of a step into one array, so that one read gets them."""
        outputs = logs.pop("outputs")
        self._last.names[kind] = list(logs)  # while the step is traced
        values = ops.stack([ops.cast(own, "float32") for own in logs.values()])
        return {"values": values, "outputs": outputs}

    def make_train_function(self, force: bool = False) -> None:
        if force or self.train_function is None:
            if IS_TENSORFLOW:
                self.train_function = on_batches(self, self.train_step, self.uses_xla)
            else:
                super().make_train_function(force)
            self.train_function = self._taking_logs(self.train_function, "train")

    def make_test_function(self, force: bool = False) -> None:
        if force or self.test_function is None:
            if IS_TENSORFLOW:
                self.test_function = on_batches(self, self.test_step, self.uses_xla)
            else:
                super().make_test_function(force)
            self.test_function = self._taking_logs(self.test_function, "test")

    def _taking_logs(self, function: Callable, kind: str) -> Callable:
        """Return a compiled step that keeps logs and outputs for ``run``, so that Keras reads none."""

        def on_batch(*arguments):
            result = function(*arguments)
            logs = result if IS_TENSORFLOW else result[0]  # JAX returns the state, too
            self._last.logs = StepLogs(self._last.names[kind], logs.pop("values"))
            self._last.outputs = logs.pop("outputs")
            return result

        return on_batch

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        values, by_sub_model = {}, {}
        for term in self.terms:
            y_true = _y_true(term, y, y_pred)
            values[term.output] = term.loss(y_true, y_pred[term.output], sample_weight)
        if num_processes() > 1:
            values = self._shares_of_whole(values, y, y_pred)
        for term in self.terms:
            weighted = term.weight * values[term.output]
            by_sub_model[term.sub_model] = by_sub_model.get(term.sub_model, 0.0) + weighted
        # Only y_pred goes from here to compute_metrics on both backends.
        y_pred["losses"] = {f"{name}_loss": value for name, value in (values | by_sub_model).items()}
        loss = sum(by_sub_model.values())
        # An infinite loss may have a finite gradient. NaN has not, so the optimizer skips the step.
        is_sound = ops.isfinite(loss)
        if "only_if" in y:
            is_sound = is_sound & (y["only_if"][0] > 0)
        return loss * ops.where(is_sound, 1.0, float("nan"))

    def _shares_of_whole(self, values, y, y_pred):
        """Scale the losses of this process so that they add up to those of the whole batch."""
        counts = {}
        for term in self.terms:
            if term.normalizer not in counts:
                y_true = _y_true(term.normalizer, y, y_pred)
                counts[term.normalizer] = term.normalizer.count(y_true)
        totals = dict(zip(counts, all_reduce_sum(counts.values())))
        return {
            term.output: values[term.output]
            * (counts[term.normalizer] / ops.maximum(totals[term.normalizer], 1.0))
            for term in self.terms
        }

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        self.traces += 1  # this line runs in Python, so only while a graph is traced
        logs = dict(y_pred["losses"])
        known = {"losses", *(term.output for term in self.terms)}
        others = {name: value for name, value in y_pred.items() if name not in known}
        logs |= {name: ops.sum(value) for name, value in others.items() if len(value.shape) == 1}
        with_accuracy = [term for term in self.terms if term.has_accuracy]
        for term in with_accuracy:
            correct, exists = correct_rois(_y_true(term, y, y_pred), y_pred[term.output])
            logs |= {"correct": ops.sum(correct * exists), "rois": ops.sum(exists)}
        if num_processes() > 1:
            names = sorted(logs)
            # In one message, as the delay of a message counts more than its length.
            (sums,) = all_reduce_sum([ops.stack([ops.cast(logs[name], "float32") for name in names])])
            logs = dict(zip(names, ops.unstack(sums, len(names))))
        for term in with_accuracy:
            accuracy = logs.pop("correct") / ops.maximum(logs.pop("rois"), 1.0)
            logs[f"{term.output}_accuracy"] = accuracy
        outputs = {name: y_pred[name] for name in y_pred if name != "losses"}
        return logs | {"outputs": {name: out for name, out in outputs.items() if len(out.shape) > 1}}


def _iterations(optimizer, state):
    """Return how many updates an optimizer has applied, in a step that is traced.

    Args:
        state: of Keras' JAX trainer: trained variables, others, the optimizer's, metrics'. None with
            TensorFlow.
    """
    if state is None:
        return ops.convert_to_tensor(optimizer.iterations) + 0  # the value at this place in the graph
    index = [id(own) for own in optimizer.variables].index(id(optimizer.iterations))
    return state[2][index]


def _y_true(term: LossTerm | LossNormalizer, y: dict, y_pred: dict) -> Tensor:
    return y_pred[term.target] if term.target else y[term.output]
