"""Warnings about curves that show a problem. Each is given once per start of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from frcnn.evaluation.voc_ap import VocAp

LOW_RECALL = 0.5  # warn if proposals cover a smaller share of the objects
FEW_ROIS = 1.0  # warn if there are fewer positive RoIs per image
RISEN = 1.3  # warn if an epoch's loss is this many times the lowest loss before it
MORE_ROIS = 1.1  # epochs with this many times more positive RoIs are not compared
OVERFITTED = 2.0  # warn if the loss of validation is this many times that of training
FIRST_EPOCH = 2  # first epoch whose recall, RoIs and losses are checked


class CurveWarnings:
    """Checks the means of the scalars of each epoch.

    Args:
        classes: names of the object classes.
        epochs: number of epochs of the run.

    Example:
        >>> for line in CurveWarnings(classes, 16).after_epoch(3, 1, means, val_means, result):
        ...     print("warning:", line)
    """

    def __init__(self, classes: Sequence[str], epochs: int):
        self.classes, self.epochs = classes, epochs
        self._given: set[str] = set()
        self._best: dict[str, tuple[float, float]] = {}  # sub-model: lowest loss, positive RoIs then
        self._phase = 1

    def after_epoch(
        self,
        epoch: int,
        phase: int,
        means: Mapping[str, float],
        val_means: Mapping[str, float],
        result: VocAp | None,
        is_last: bool = False,
    ) -> list[str]:
        """Return one sentence for each new problem.

        Args:
            epoch: number of epochs that have been trained.
            phase: phase of the schedule; losses of different phases are not compared.
            means: {tag: mean} of the epoch's training steps.
            val_means: {tag: mean} of the validation; empty without one.
            result: AP of the validation; None without one.
            is_last: whether the run ends here, though it has more epochs.
        """
        if phase != self._phase:
            self._phase, self._best = phase, {}
        loss = means.get("total_loss", float("nan"))
        found = self._rising(epoch, means)
        if epoch >= min(FIRST_EPOCH, self.epochs):
            found |= self._levels(loss, means, val_means)
        if (is_last or epoch == self.epochs) and result is not None:
            found |= self._undetected(result)
        new = [text for kind, text in found.items() if kind not in self._given]
        self._given |= found.keys()
        return new

    def _rising(self, epoch, means):
        """Warn if a loss is above the lowest loss before it.

        The classifier's loss is larger with more positive RoIs, because background is easy. Their number
        rises in the first epochs of every good run. So an epoch is compared only with epochs that had as
        many positive RoIs.
        """
        found = {}
        rois = means.get("classifier/positive_rois", 0.0)
        for name in ("rpn", "classifier"):
            loss = means.get(f"{name}/loss", float("nan"))
            lowest, rois_then = self._best.get(name, (float("inf"), 0.0))
            comparable = name == "rpn" or rois <= MORE_ROIS * rois_then
            if loss > RISEN * lowest and comparable:
                found[f"rising {name}"] = (
                    f"the loss of the {name} rises: {loss:.3f} on average in epoch {epoch}, "
                    f"{lowest:.3f} in an epoch before: a lower optimizer.learning_rate may help"
                )
            if loss < lowest or not comparable:
                self._best[name] = loss, rois
        return found

    def _levels(self, loss, means, val_means):
        """Warn of a low recall, of few positive RoIs, and of a much larger loss in validation."""
        found = {}
        # If only the recall of validation is low, the network is overfitted, which has its own warning.
        recall = max(run.get("rpn/recall", 0.0) for run in (means, val_means))
        if recall < LOW_RECALL and "rpn/recall" in dict(means) | dict(val_means):
            found["recall"] = (
                f"the RPN proposes only {recall:.0%} of the objects (rpn/recall): the anchors may not "
                "fit the boxes (`frcnn inspect` suggests anchors.sizes), or the learning rate is wrong"
            )
        rois = means.get("classifier/positive_rois", FEW_ROIS)
        if rois < FEW_ROIS:
            found["rois"] = (
                f"the classifier gets {rois:.2f} positive RoIs per image (classifier/positive_rois), so "
                "it learns little but background: look at the boxes and the anchors with `frcnn inspect`"
            )
        val_loss = val_means.get("total_loss", 0.0)
        if val_loss > OVERFITTED * loss:
            found["overfitted"] = (
                f"the loss is {val_loss:.3f} in validation and {loss:.3f} in training: the network "
                "learns the training images by heart, or the two splits differ; more images help, or "
                "fewer epochs"
            )
        return found

    def _undetected(self, result):
        """Warn of classes with objects and without any detection."""
        never = [
            name
            for name, objects, detections in zip(self.classes, result.objects, result.detections)
            if objects and not detections
        ]
        if not never:
            return {}
        more = f" and {len(never) - 5} more" if len(never) > 5 else ""
        return {"undetected": f"never detected, though there are objects: {', '.join(never[:5])}{more}"}
