"""Pictures, curves and histograms of a run's validations, for TensorBoard.

They are made in the main process, from the outputs of the training and validation steps. If this fails,
one line is printed, once per run, and the run goes on.
"""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from keras import ops

from frcnn.backend import num_devices
from frcnn.config.schema import Config
from frcnn.data import oriented
from frcnn.data.loader import Batch
from frcnn.evaluation.coco_ap import coco_ap
from frcnn.evaluation.curves import calibration, score_curves
from frcnn.evaluation.voc_ap import VocAp, with_oriented_boxes
from frcnn.inspection import curve_charts
from frcnn.logging import summaries
from frcnn.models.faster_rcnn import FasterRCNN
from frcnn.runs import run_directory
from frcnn.runs.writer import RunWriter
from frcnn.text import echo
from frcnn.training import curve_log, early_stopping, pictures

Detections = Sequence[Mapping[str, Any]]


class VisualLog:
    """Collects the data of the pictures during a validation, and writes the pictures at its end.

    Args:
        config: the settings; ``log`` and ``detection`` are used.
        models: the network.
        classes: names of the object classes.
        writer: writer of the run directory.
        val_images: number of images of the validation split, this process's share.
        is_main: whether this is the main process. In other processes nothing is done.
    """

    def __init__(
        self,
        config: Config,
        models: FasterRCNN,
        classes: Sequence[str],
        writer: RunWriter,
        val_images: int,
        is_main: bool,
    ):
        self.config, self.models, self.classes, self.writer = config, models, classes, writer
        self.is_main = is_main
        of_batch = config.data.batch_size * num_devices()
        self.chosen = pictures.chosen_batches(val_images, of_batch, config.log.pictures)
        self.is_due = False
        self._complained = False

    def begin_run(self, step: int) -> None:
        """Write the config and the layout of TensorBoard's pages, unless the run is resumed.

        Args:
            step: number of training steps so far.
        """
        if self.is_main and step == 0:
            with self._harmless():
                for run, written in curve_log.start_of_run(self.config).items():
                    self.writer.write_summaries(run, 0, written)

    def draw_training(self, batch: Batch, outputs: Mapping[str, Any], epoch: int, step: int) -> None:
        """Write the pictures of the last training batch before a validation.

        Call it before the checkpoint of this step is saved: a run that resumes from the checkpoint does
        not have the batch.

        Args:
            batch: the batch.
            outputs: outputs of the step model that samples RoIs.
            epoch, step: as for ``begin``.
        """
        if not self._is_due(epoch):
            return
        with self._harmless():
            count = min(self.config.log.train_pictures, len(batch.samples))
            about = self.models.anchor_generator, self.config.log.picture_side
            drawn = [pictures.draw_training(batch, outputs, row, *about) for row in range(count)]
            self._write("train", step, drawn)

    def _is_due(self, epoch):
        """Tell whether a validation has pictures; one that may end the run by its mAP has them, too."""
        if not self.is_main:
            return False
        train = self.config.train
        validations = -(-epoch // train.validate_every)
        regularly = validations % self.config.log.every == 0 or epoch == train.epochs
        return regularly or early_stopping.may_end(*self._patience())

    def _patience(self):
        return self.writer.run_dir / run_directory.METRICS, self.config.train.patience

    def begin(self, epoch: int, step: int) -> None:
        """Begin a validation.

        Args:
            epoch: number of epochs that have been trained.
            step: number of training steps so far.
        """
        self.step, self.epoch = step, epoch
        self.is_due = self._is_due(epoch)
        self.stages: list[pictures.Stages] = []
        self.values: dict[str, list[np.ndarray]] = {}  # of the histograms

    def add(self, batch: Batch, outputs: Mapping[str, Any]) -> None:
        """Collect the data of the pictures and histograms from a validation step.

        Args:
            batch: the batch.
            outputs: outputs of ``validation_step_model``.
        """
        if not self.is_due:
            return
        with self._harmless():
            count = min(self.chosen.get(batch.position[1], 0), len(batch.samples))
            self.stages += [pictures.stages_of(batch, outputs, row) for row in range(count)]
            class_output, box_output = self.models.classifier.output_names
            for tag, values in curve_log.roi_values(outputs, class_output, box_output).items():
                self.values.setdefault(tag, []).append(values)
            self._add_overlaps(batch, ops.convert_to_numpy(outputs["proposals"]))

    def _add_overlaps(self, batch, proposals):
        """Collect the IoU of each object with its best proposal and, for images to draw, best anchor."""
        boxes = {"histograms/best_iou_of_proposals": proposals}
        if batch.position[1] in self.chosen:
            generator = self.models.anchor_generator
            anchors = ops.convert_to_numpy(generator(*batch.images.shape[1:3])[0])
            boxes["histograms/best_iou_of_anchors"] = [anchors] * len(batch.samples)
        for tag, of_images in boxes.items():
            for row in range(len(batch.samples)):
                objects = batch.gt_boxes[row][batch.gt_labels[row] >= 0]
                if of_images[row].shape[-1] == 4:  # anchors are axis-aligned
                    objects = oriented.outer(objects)
                overlaps = curve_log.best_overlaps(of_images[row], objects)
                self.values.setdefault(tag, []).append(overlaps)

    def finish(self, detections: Detections, truths: Detections, result: VocAp) -> dict[str, float]:
        """Write the pictures and curves of the validation.

        Args:
            detections, truths: one dict per image of the whole data set, as for ``voc_ap``.
            result: the AP of these detections.

        Returns:
            {tag: value} of the scalars that belong to the curves; {} if no pictures are due.
        """
        scalars: dict[str, float] = {}
        if self.is_due:
            with self._harmless():
                scored = score_curves(result)
                threshold, f1 = scored.best()
                scalars = {
                    "F1": f1,
                    "F1_threshold": threshold,
                    "calibration_error": calibration(result).error,
                }
                shown = 0.5 if np.isnan(threshold) else threshold
                self._write_pictures(shown)
                found, objects = detections, truths
                if self.config.box.kind == "oriented":
                    found, objects = ([*map(with_oriented_boxes, own)] for own in (found, objects))
                written = curve_log.of_detections(found, objects, result, self.classes, scored, shown)
                if self._is_last(result) and importlib.util.find_spec("pycocotools"):
                    summary = coco_ap(detections, truths, len(self.classes)).summary
                    scalars |= {f"COCO/{name}": value for name, value in summary.items()}
                    written.append(summaries.image("curves/COCO", curve_charts.ap_chart(summary)))
                self.writer.write_summaries("validation", self.step, written + self._histograms())
        return scalars

    def _is_last(self, result):
        """Tell whether the run ends with this validation."""
        is_stopped = early_stopping.ends(*self._patience(), float(result.mean_ap))
        return is_stopped or self.epoch == self.config.train.epochs

    def _histograms(self):
        found = [summaries.histogram(tag, np.concatenate(own)) for tag, own in self.values.items()]
        return found + curve_log.weight_histograms(self.models)

    def _write_pictures(self, score_threshold):
        side, iou = self.config.log.picture_side, self.config.detection.ap_iou
        drawn = [
            pictures.draw_stages(one, self.classes, score_threshold, iou, side) for one in self.stages
        ]
        self._write("validation", self.step, drawn)

    def _write(self, run, step, drawn):
        images = {f"pictures/{number}": pixels for number, pixels in enumerate(drawn, start=1)}
        self.writer.write_images(run, step, images)

    @contextlib.contextmanager
    def _harmless(self) -> Iterator[None]:
        """Catch errors in this context. Print the first one of a run as a warning."""
        try:
            yield
        except Exception as error:
            if not self._complained:
                echo(f"warning: pictures and curves cannot be logged: {type(error).__name__}: {error}")
            self._complained = True
