"""A report on a data set before training: faults, sizes, and how well the anchors fit the boxes.

Every image is decoded once, to find damage that the reader of the data set does not find. Boxes are
measured in pixels of the network input. Difficult objects, which training ignores, count only in the
summary.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import pathlib
from collections.abc import Iterator, Sequence

import numpy as np
from PIL import Image
from tqdm import tqdm

from frcnn import rng
from frcnn.config.schema import Config, DataConfig
from frcnn.data import build, faults, image_io, transforms
from frcnn.data.augmentation.augmenter import Augmenter
from frcnn.data.sample import Dataset, Sample
from frcnn.data.sources import Source
from frcnn.errors import DataError
from frcnn.files import outputs
from frcnn.inspection import anchor_fit, charts, draw
from frcnn.inspection.box_statistics import box_charts, input_boxes
from frcnn.inspection.repeats import repeats
from frcnn.inspection.report_folder import MADE_BY, REPORT_END, check_folder, prepare_folder
from frcnn.text import bar_options, echo


def inspect(config: Config, out: pathlib.Path | str, images: int = 16, augmented: int = 0) -> None:
    """Report on the training split of a config, in text and pictures.

    Prints the report and writes ``report.txt``, ``charts.png``, ``boxes/*.png``, with
    ``augmented`` also ``augmented/*.png``, and, with ``data.on_bad_data`` "skip", the images with faults
    to ``skipped.csv``.

    Args:
        config: config with the data set, of which ``data.train_split`` is inspected, and compared with
            ``data.val_split``.
        out: folder for the report, created if missing.
        images: number of images to draw with their boxes; those rotated by EXIF come first.
        augmented: number of versions, as training changes an image, of each of these images, which are
            drawn into ``augmented/``.

    Raises:
        DataError: every image has a fault; or, with ``on_bad_data`` "error", any image has one: the same
            error as in training, after the report is written.
        OutputError: the folder cannot be written to, or holds other files of these names.
    """
    check_folder(out)  # before decoding, which takes long
    source = build.open_data(config.data)
    split, classes = config.data.train_split, config.data.classes
    found, known = build.collect_split(config.data, split, classes, source=source)
    other, why_not = _other_split(config.data, source, found.classes)
    dataset, damaged, turned = decode_all(found, config.data.loader_threads)
    known = [*known, *damaged]
    sections = [f"{dataset.summary()}\n{_images(dataset, turned)}"]
    sections += [text for text in (repeats(dataset, other), why_not) if text]
    if dataset.clipped:
        clipped = [f"{len(dataset.clipped)} boxes clipped to their images"]
        sections.append("\n".join([*clipped, *(f"  {box}" for _, box in dataset.clipped)]))
    pictures = []
    boxes = input_boxes(dataset, config.data)
    if any(len(own) for own, _, _ in boxes):
        best = anchor_fit.best_overlaps(boxes, config, config.anchors)
        pictures = box_charts(dataset, boxes) + anchor_fit.recall_charts(dataset, boxes, best)
        sections += [chart.text() for chart in pictures]
        sections.append(anchor_fit.size_advice(boxes, config, best))
    report = pathlib.Path(out) / "report.txt"
    everything = [f"{len(known)} faults", *(f"  {fault}" for fault in known)] if known else ["no faults"]
    shown = [everything[0], *faults.listing(known, report)]
    text, printed = (
        "\n\n".join([*sections, "\n".join(lines), REPORT_END]) + "\n" for lines in (everything, shown)
    )
    out = prepare_folder(out)
    with outputs.writing(out):
        report.write_text(text, encoding="utf-8", errors="backslashreplace")
        if pictures:
            charts.save(pictures, out / "charts.png")
        taken: set[pathlib.Path] = set()
        changed: set[pathlib.Path] = set()
        if augmented:
            outputs.new_folder(out / "augmented")
        for sample in choose(dataset, turned, images):
            picture = draw_boxes(sample, dataset.classes, config.data)
            stem = sample.name.replace("/", "_")
            outputs.save_picture(picture, out / "boxes", stem, MADE_BY, sample.path, taken)
            for number, picture in enumerate(draw_augmented(dataset, sample, config, augmented), 1):
                outputs.save_picture(
                    picture, out / "augmented", f"{stem}_{number}", MADE_BY, sample.path, changed
                )
        echo(f"{printed}\nwritten to {out}")
        (dataset,) = faults.apply_policy([(dataset, known)], config.data.on_bad_data, report)
        if dataset.skipped:
            faults.record(out / "skipped.csv", [(dataset.name, *entry) for entry in dataset.skipped])


def _other_split(
    config: DataConfig, source: Source, classes: Sequence[str]
) -> tuple[Dataset | None, str]:
    """Return the validation split, or None and a line that says why it is not compared with."""
    if config.val_split == config.train_split:
        return None, ""
    try:
        return build.collect_split(config, config.val_split, classes, source=source)[0], ""
    except DataError as error:
        return None, f"not compared with the split {config.val_split}: {error}"


def decode_all(dataset: Dataset, threads: int) -> tuple[Dataset, list[faults.Fault], list[str]]:
    """Decode every image of a data set.

    Returns:
        The data set without images that cannot be decoded; their faults; and the names of the images
        that EXIF rotates.
    """

    def decode(sample):
        try:
            transforms.load(sample.path)
            return None, image_io.read_header(sample.path).orientation != 1
        except DataError as error:
            return faults.Fault(sample.name, sample.path, str(error)), False

    with concurrent.futures.ThreadPoolExecutor(threads) as pool:
        decoded = pool.map(decode, dataset.samples)
        results = list(tqdm(decoded, "decoding", len(dataset), unit="image", **bar_options()))
    good = tuple(sample for sample, (fault, _) in zip(dataset.samples, results) if fault is None)
    turned = [sample.name for sample, (_, is_turned) in zip(dataset.samples, results) if is_turned]
    damaged = [fault for fault, _ in results if fault is not None]
    return dataclasses.replace(dataset, samples=good), damaged, turned


def _images(dataset, turned):
    """Describe the images' sizes, numbers of objects and EXIF rotation in some lines."""
    if not len(dataset):
        return "no image without a fault"
    sides = np.array([(sample.width, sample.height) for sample in dataset.samples])
    numbers = np.array([len(sample.boxes) for sample in dataset.samples])
    lines = [
        f"images: {sides[:, 0].min()} to {sides[:, 0].max()} wide, {sides[:, 1].min()} to "
        f"{sides[:, 1].max()} high; {np.sum(numbers == 0)} without objects; at most {numbers.max()} "
        "objects in one"
    ]
    if turned:
        shown = ", ".join(turned[:10]) + (", ..." if len(turned) > 10 else "")
        lines.append(f"{len(turned)} turned upright by their EXIF, see that their boxes fit: {shown}")
    return "\n".join(lines)


def choose(dataset: Dataset, turned: Sequence[str], count: int) -> list[Sample]:
    """Choose samples to draw: up to half of them rotated by EXIF, the rest evenly spread over the
    split."""
    by_name = {sample.name: sample for sample in dataset.samples}
    first = [by_name[name] for name in turned if name in by_name][: count // 2]
    rest = [sample for sample in dataset.samples if sample not in first]
    places = np.linspace(0, len(rest) - 1, min(len(rest), count - len(first)))
    return first + [rest[round(place)] for place in places]


def draw_boxes(sample: Sample, classes: Sequence[str], config: DataConfig) -> Image.Image:
    """Draw an image at the size of the network input, with all its boxes."""
    boxes = sample.boxes if sample.oriented is None else sample.oriented
    image, boxes = transforms.resize(transforms.load(sample.path), boxes, config)
    return draw.draw(image, boxes, sample.labels, None, classes)


def draw_augmented(
    dataset: Dataset, sample: Sample, config: Config, versions: int
) -> Iterator[Image.Image]:
    """Yield an image as training would change it in its first epochs, with all its boxes."""
    augmenter = Augmenter(
        dataset,
        config.data,
        config.augment,
        config.train.seed,
        lambda one: transforms.load(one.path),
        config.box.kind,
    )
    for epoch in range(versions):
        index = dataset.samples.index(sample)
        flips = rng.generator(config.train.seed, rng.IMAGES, epoch, index)
        example = augmenter(augmenter.plan(index, epoch), bool(flips.random() < config.data.flip))
        yield draw.draw(example.image, example.boxes, example.labels, None, dataset.classes)
