"""A Keras model that runs training and validation steps. B: images."""

from __future__ import annotations

import types
from collections.abc import Callable, Sequence
from typing import Any

import keras
from keras import ops

from frcnn.backend import IS_TENSORFLOW, on_all_devices, on_batches, own_rows
from frcnn.collectives import all_reduce_sum, num_processes, shares_are_apart
from frcnn.training.loss_terms import LossNormalizer, LossTerm, correct_rois, with_common_divisor
from frcnn.training.step_scalars import StepLogs

Tensor = Any


class StepModel(keras.Model):
    """A functional Keras model, from a dict to a dict, that is trained on a sum of losses.

    Call ``run`` for each step. ``train_on_batch`` and ``test_on_batch`` of Keras would convert the logs
    to floats, for which the host has to wait. So here the compiled functions take logs and outputs out
    of the result before Keras sees it, and keep them for ``run``.

    If several processes train together with TensorFlow, each computes the losses of its share of the
    batch, scaled so that their sum over the processes is the loss of the whole batch. The optimizer adds
    up the gradients. The logs are those of the whole batch in every process, as they are with JAX.

    Attributes:
        terms: the losses.
        traces: number of times that a step was traced.
        before_step, after_step: functions without arguments that a training step runs first, and
            functions of ``applied`` that it runs after its update. They are part of the compiled step,
            and may change variables, so there are some with TensorFlow only. ``compile`` removes all.
    """

    train_function: Any  # the compiled steps; Keras sets them to None before the first step
    test_function: Any
    before_step: tuple[Callable[[], None], ...]
    after_step: tuple[Callable[[Tensor], None], ...]

    def compile(
        self,
        optimizer: Any,
        terms: Sequence[LossTerm],
        jit_compile: bool = False,
        select: Callable[[dict, dict], tuple[dict, dict]] | None = None,
        **options: Any,
    ) -> None:
        """Set the losses and the optimizer.

        Args:
            optimizer: Keras optimizer, built for ``trainable_variables``; None: the model is never
                trained.
            terms: the losses.
            jit_compile: whether XLA compiles the steps.
            select: changes targets and outputs for the losses (``HardExamples``); None: no change.
            options: further arguments of ``keras.Model.compile``.
        """
        # On TensorFlow some layers use kernels that XLA lacks, so Keras would refuse ``jit_compile``.
        # ``on_batches`` has XLA compile the step, with other kernels.
        super().compile(optimizer=optimizer, jit_compile=jit_compile and not IS_TENSORFLOW, **options)
        self.uses_xla = jit_compile
        self.terms, self.select = tuple(terms), select
        self.before_step = self.after_step = ()
        self.traces = 0
        # Logs and outputs of the latest step, and {"train" or "test": names of its logs}. They are in a
        # namespace because Keras would wrap a dict that is an attribute of a model.
        self._latest = types.SimpleNamespace(logs=None, outputs={}, names={})

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
            inputs: {name of the input: array of the images of this process}.
            targets: {name of the prediction: its ``y_true``}, for all losses whose ``y_true`` is not an
                output of the model (``LossTerm.target``).
            sample_weight: (B,) weights of the images.
            learn: whether to update the weights.
            only_if: a number on the device. If it is 0, the weights are not updated.

        Returns:
            logs: a ``StepLogs`` with

            - ``rpn_loss`` and ``classifier_loss``: for each sub-model in the model, the weighted sum of
              its losses;
            - ``<prediction>_loss`` of each loss, and ``<prediction>_accuracy`` of class scores;
            - the sum over the batch of each output of shape (B,), under the name of the output;
            - if ``learn``: ``applied`` (1.0, or 0.0 if the update was skipped), ``learning_rate`` and,
              except with ``mixed_float16``, ``gradient_norm``.

            outputs: {name: tensor} of all outputs with two axes or more, on the device, for the images
            of this process.
        """
        sample_weight = own_rows(sample_weight)
        if only_if is not None:
            if not IS_TENSORFLOW:  # all arrays of a batch are divided among the devices
                only_if = ops.broadcast_to(only_if, (len(sample_weight),))
            targets = targets | {"only_if": only_if}
        inputs, targets = ({name: own_rows(x) for name, x in own.items()} for own in (inputs, targets))
        on_batch = self.train_on_batch if learn else self.test_on_batch
        on_batch(inputs, targets, sample_weight=sample_weight, return_dict=True)
        return self._latest.logs, self._latest.outputs

    def reset_metrics(self) -> None:
        """Do nothing. Keras calls this before each step, but no metric has a state here."""

    def train_step(self, *arguments: Any) -> Any:
        """Compute one training step. Keras traces it.

        Returns:
            The result of ``_packed``; on JAX a pair of it and the new state, which Keras' JAX trainer
            passes from step to step.
        """
        optimizer = self.optimizer
        state = None if IS_TENSORFLOW else arguments[0]
        for prepare in self.before_step:
            prepare()
        before = _iterations(optimizer, state)
        result = super().train_step(*arguments)
        logs, state = (result, None) if IS_TENSORFLOW else result
        # The optimizer has counted this step by now. The rate is that of the count before it.
        with keras.StatelessScope([(optimizer.iterations, before)]):
            logs["learning_rate"] = optimizer.learning_rate
        logs["applied"] = ops.cast(_iterations(optimizer, state) > before, "float32")
        for finish in self.after_step:
            finish(logs["applied"])
        if hasattr(optimizer, "norm"):
            logs["gradient_norm"] = optimizer.norm  # the same in all processes
        packed = self._packed(logs, "train")
        return packed if IS_TENSORFLOW else (packed, state)

    def test_step(self, *arguments: Any) -> Any:
        """Compute one step without an update. Returns: as ``train_step``."""
        result = super().test_step(*arguments)
        if IS_TENSORFLOW:
            return self._packed(result, "test")
        return self._packed(result[0], "test"), result[1]

    def _packed(self, logs, kind):
        """Put all logs of a step into one array, so that the host reads them at once.

        Args:
            logs: the result of ``compute_metrics``, and more logs.
            kind: "train" or "test".

        Returns:
            {"values": (number of logs,) float32, "applied": one of them or None, "outputs":
            {name: tensor}}. The names of the logs are kept when the step is traced.
        """
        outputs = logs.pop("outputs")
        self._latest.names[kind] = list(logs)
        values = ops.stack([ops.cast(own, "float32") for own in logs.values()])
        applied = logs.get("applied")
        return {"values": on_all_devices(values), "applied": applied, "outputs": outputs}

    def make_train_function(self, force: bool = False) -> None:
        if force or self.train_function is None:
            if IS_TENSORFLOW:
                self.train_function = on_batches(self, self.train_step, self.uses_xla)
            else:
                super().make_train_function(force)
            self.train_function = self._keeping_logs(self.train_function, "train")

    def make_test_function(self, force: bool = False) -> None:
        if force or self.test_function is None:
            if IS_TENSORFLOW:
                self.test_function = on_batches(self, self.test_step, self.uses_xla)
            else:
                super().make_test_function(force)
            self.test_function = self._keeping_logs(self.test_function, "test")

    def _keeping_logs(self, function: Callable, kind: str) -> Callable:
        """Wrap a compiled step: take logs and outputs out of its result, and keep them for ``run``.

        Keras gets an empty dict, so it reads nothing from the device.
        """

        def on_batch(*arguments):
            result = function(*arguments)
            packed = result if IS_TENSORFLOW else result[0]  # JAX also returns the state
            values, applied = packed.pop("values"), packed.pop("applied")
            self._latest.logs = StepLogs(self._latest.names[kind], values, applied)
            outputs = packed.pop("outputs")
            self._latest.outputs = {name: own_rows(output) for name, output in outputs.items()}
            return result

        return on_batch

    def compute_loss(
        self,
        x: Any = None,
        y: dict[str, Tensor] | None = None,
        y_pred: dict[str, Any] | None = None,
        sample_weight: Tensor | None = None,
        training: bool = True,
    ) -> Tensor:
        """Return the loss of a step, NaN if the update must be skipped. Keras calls it.

        It also adds {log: value} of all losses to ``y_pred``, under the name "losses".
        """
        assert y is not None and y_pred is not None
        if num_processes() > 1 and not shares_are_apart():
            y = with_common_divisor(self.terms, y)
        y, outputs = self.select(y, y_pred) if self.select else (y, y_pred)
        values: dict[str, Tensor] = {}
        by_sub_model: dict[str, Tensor] = {}
        for term in self.terms:
            y_true = _y_true(term, y, outputs)
            values[term.output] = term.loss(y_true, outputs[term.output], sample_weight)
        if shares_are_apart():
            values = self._scaled_to_whole_batch(values, y, outputs)
        for term in self.terms:
            weighted = term.weight * values[term.output]
            by_sub_model[term.sub_model] = by_sub_model.get(term.sub_model, 0.0) + weighted
        # compute_metrics gets the same y_pred. No other way to pass them works on both backends.
        y_pred["losses"] = {f"{name}_loss": value for name, value in (values | by_sub_model).items()}
        loss = sum(by_sub_model.values())
        # An infinite loss may have a finite gradient. A NaN makes all gradients NaN, so the optimizer
        # skips the update.
        may_update = ops.isfinite(loss)
        if "only_if" in y:
            may_update = may_update & (ops.max(y["only_if"]) > 0)
        return loss * ops.where(may_update, 1.0, float("nan"))

    def _scaled_to_whole_batch(self, values, y, y_pred):
        """Scale the losses of this process, so that their sum over all processes is the batch's loss.

        Each loss was divided by this process's number of anchors or RoIs. It is multiplied by this
        number, and divided by the sum of these numbers over all processes.

        Args:
            values: {prediction: loss}.
            y, y_pred: as Keras passes them.
        """
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

    def compute_metrics(
        self,
        x: Any,
        y: dict[str, Tensor],
        y_pred: dict[str, Any],
        sample_weight: Tensor | None = None,
    ) -> dict[str, Any]:
        """Return {name: number} of the logs, and under "outputs" the outputs. Keras calls it."""
        self.traces += 1  # Python runs this line only while a graph is traced
        logs = dict(y_pred["losses"])
        known = {"losses", *(term.output for term in self.terms)}
        others = {name: value for name, value in y_pred.items() if name not in known}
        logs |= {name: ops.sum(value) for name, value in others.items() if len(value.shape) == 1}
        with_accuracy = [term for term in self.terms if term.has_accuracy]
        for term in with_accuracy:
            correct, exists = correct_rois(_y_true(term, y, y_pred), y_pred[term.output])
            logs[f"{term.output}_correct"] = ops.sum(correct * exists)
            logs[f"{term.output}_rois"] = ops.sum(exists)
        if shares_are_apart():
            names = sorted(logs)
            # All in one message: its delay takes longer than its few bytes.
            (sums,) = all_reduce_sum([ops.stack([ops.cast(logs[name], "float32") for name in names])])
            logs = dict(zip(names, ops.unstack(sums, len(names))))
        for term in with_accuracy:
            correct, rois = (logs.pop(f"{term.output}_{what}") for what in ("correct", "rois"))
            logs[f"{term.output}_accuracy"] = correct / ops.maximum(rois, 1.0)
        outputs = {name: y_pred[name] for name in y_pred if name != "losses"}
        return logs | {"outputs": {name: out for name, out in outputs.items() if len(out.shape) > 1}}


def _iterations(optimizer, state):
    """Return the number of updates that an optimizer has applied, as a tensor of the traced step.

    Args:
        optimizer: Keras optimizer.
        state: state of Keras' JAX trainer: lists of the trainable variables, the other variables, the
            optimizer's and the metrics' variables. None with TensorFlow.
    """
    if state is None:
        return ops.convert_to_tensor(optimizer.iterations) + 0  # + 0 makes a copy of the current value
    index = [id(own) for own in optimizer.variables].index(id(optimizer.iterations))
    return state[2][index]


def _y_true(term: LossTerm | LossNormalizer, y: dict, y_pred: dict) -> Tensor:
    """Return the ``y_true`` of a loss: an output of the model, or one of the targets."""
    return y_pred[term.target] if term.target else y[term.output]
