"""A look at a data set before it is trained on: faults, sizes, and whether the anchors fit the boxes.

Every image is decoded once, which finds the damage that the reader cannot see, and boxes are measured in
pixels of the network input, after the resizing that training does. Difficult boxes count where
training leaves them out, in the summary alone.
"""

import concurrent.futures
import dataclasses
import functools
import pathlib

import keras
import numpy as np
from keras import ops
from tqdm import tqdm

from frcnn.backend import compiled
from frcnn.data import build, faults, image_io, transforms
from frcnn.errors import DataError, OutputError
from frcnn.files import outputs
from frcnn.inspection import charts, draw
from frcnn.models.backbones import BACKBONES
from frcnn.ops.anchors import AnchorGenerator
from frcnn.ops.boxes import iou
from frcnn.text import echo

THRESHOLDS = (0.5, 0.7)  # IoU: what counts as found in VOC, and what makes an anchor positive
MADE_BY = "frcnn inspect_data"
REPORT_END = f"report by {MADE_BY}"  # by which an earlier report is known
REPORT_FILES = ("report.txt", "charts.png", "skipped.csv")
CHUNK = 8  # boxes that are held against all anchors at once


def inspect(config, out, images=16):
    """Report on the training split of a config, in text and pictures.

    Prints the report, and writes to ``out``: ``report.txt``, ``charts.png``, ``boxes/*.png`` and, with
    ``on_bad_data`` "skip", ``skipped.csv`` where images have faults.

    Args:
        config: ``frcnn.config.schema.Config``; ``data.train_split`` is looked at.
        out: folder, made if missing.
        images: how many are drawn with their boxes; those that EXIF turns go first.

    Raises:
        DataError: with ``on_bad_data`` "error", the same error as training's, once all is written; or
            no image has no fault.
        OutputError: the folder cannot be written, or holds files of such names that are not ours.
    """
    check_folder(out)  # before all images are decoded
    found, known = build.collect_split(config.data, config.data.train_split, config.data.classes)
    dataset, damaged, turned = decode_all(found, config.data.loader_threads)
    known = [*known, *damaged]
    sections = [f"{dataset.summary()}\n{_images(dataset, turned)}"]
    pictures = []
    boxes = input_boxes(dataset, config.data)
    if any(len(own) for own, _, _ in boxes):
        best = best_overlaps(boxes, config, config.anchors)
        pictures = describe(dataset, boxes) + fit(dataset, boxes, best)
        sections += [chart.text() for chart in pictures]
        sections.append(advice(boxes, config, best))
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
            charts.stack([chart.picture() for chart in pictures]).save(out / "charts.png")
        taken = set()
        for sample in choose(dataset, turned, images):
            picture = draw_boxes(sample, dataset.classes, config.data)
            stem = sample.name.replace("/", "_")
            outputs.save_picture(picture, out / "boxes", stem, MADE_BY, sample.path, taken)
        echo(f"{printed}\nwritten to {out}")
        (dataset,) = faults.apply_policy([(dataset, known)], config.data.on_bad_data, report)
        if dataset.skipped:
            faults.record(out / "skipped.csv", [(dataset.name, *entry) for entry in dataset.skipped])


def check_folder(out):
    """Check that a folder can take a report: it holds an earlier one, or no file of the same name.

    Raises:
        OutputError: it cannot.
    """
    out = pathlib.Path(out)
    outputs.check_folder(out)
    outputs.check_folder(out / "boxes")
    report = out / "report.txt"
    with outputs.writing(report):
        if report.is_file() and report.read_bytes().rstrip().endswith(REPORT_END.encode()):
            return
    for name in REPORT_FILES:
        if (out / name).exists():
            raise OutputError(
                f"{out / name} exists and is not known as a file of {MADE_BY}: move it away, or give "
                "another folder by --out"
            )


def prepare_folder(out):
    """Return a report's folder, made if missing, without the files of the report that it held.

    Raises:
        OutputError: as ``check_folder`` does.
    """
    check_folder(out)
    out = outputs.new_folder(out)
    with outputs.writing(out):
        for name in REPORT_FILES:
            (out / name).unlink(missing_ok=True)
    outputs.remove_pictures(outputs.new_folder(out / "boxes"), MADE_BY)
    return out


def decode_all(dataset, workers):
    """Decode every image of a data set.

    Returns:
        The data set without those that cannot be decoded; their list of ``Fault``; and the names of
        the images that EXIF turns.
    """

    def look(sample):
        try:
            transforms.load(sample.path)
            return None, image_io.read_header(sample.path).orientation != 1
        except DataError as error:
            return faults.Fault(sample.name, sample.path, str(error)), False

    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        looks = pool.map(look, dataset.samples)
        looks = list(tqdm(looks, "decoding", len(dataset), unit="image", mininterval=1.0))
    good = tuple(sample for sample, (fault, _) in zip(dataset.samples, looks) if fault is None)
    turned = [sample.name for sample, (_, is_turned) in zip(dataset.samples, looks) if is_turned]
    damaged = [fault for fault, _ in looks if fault is not None]
    return dataclasses.replace(dataset, samples=good), damaged, turned


def input_boxes(dataset, config):
    """Return what training has of each image.

    Args:
        dataset: ``Dataset``.
        config: ``DataConfig``.

    Returns:
        A list of (boxes (G, 4) float32 pixels of the network input, labels (G,), (height, width) of the
        resized image); difficult ones left out.
    """
    found = []
    for sample in dataset.samples:
        (width, height), _ = transforms.resized_size(sample.width, sample.height, config)
        stretch = np.array([width / sample.width, height / sample.height] * 2, "float32")
        kept = ~sample.difficult
        found.append((sample.boxes[kept] * stretch, sample.labels[kept], (height, width)))
    return found


def _images(dataset, turned):
    """Return lines on what the images are like."""
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


def sides(boxes):
    """Return the (G,) square root of each box's area, pixels of the network input."""
    return np.sqrt(np.prod(_extents(boxes), axis=1))


def _extents(boxes):
    """Return the (G, 2) widths and heights of all images' boxes."""
    corners = np.concatenate([own for own, _, _ in boxes])
    return corners[:, 2:] - corners[:, :2]


def describe(dataset, boxes):
    """Return the ``Bars`` of boxes a class, of their sizes and of their aspect ratios."""
    labels = np.concatenate([own for _, own, _ in boxes])
    a_class = np.bincount(labels, minlength=len(dataset.classes))
    extents = _extents(boxes)
    return [
        charts.counts("boxes a class", dataset.classes, a_class),
        charts.histogram(
            "boxes by side, sqrt(width x height), pixels of the network input", sides(boxes)
        ),
        charts.histogram("boxes by aspect ratio, height / width", extents[:, 1] / extents[:, 0]),
    ]


def fit(dataset, boxes, best):
    """Return the ``Bars`` of the anchors' recall, overall and a class, at each of ``THRESHOLDS``."""
    labels = np.concatenate([own for _, own, _ in boxes])
    groups = [("all", np.ones(len(labels), bool))]
    groups += [(name, labels == index) for index, name in enumerate(dataset.classes)]
    groups = [(name, rows) for name, rows in groups if rows.any()]
    return [
        charts.shares(
            f"boxes that some anchor overlaps by an IoU of {threshold} or more",
            [name for name, _ in groups],
            [np.mean(best[rows] >= threshold) for _, rows in groups],
        )
        for threshold in THRESHOLDS
    ]


def advice(boxes, config, best):
    """Return lines with the anchors' recall now, given ``best_overlaps``, and with suggested sizes."""
    sizes = suggest_sizes(sides(boxes), len(config.anchors.sizes))
    lines = [f"anchors on {config.model.backbone}, ratios {_list(config.anchors.ratios)}"]

    def add(what, chosen, overlaps):
        recall = ", ".join(f"{np.mean(overlaps >= t):.1%} at {t}" for t in THRESHOLDS)
        lines.append(f"  {what}: sizes {_list(chosen)}: recall {recall}")

    add("now", config.anchors.sizes, best)
    if config.anchors.size_per_level and len(sizes) < len(config.anchors.sizes):
        lines.append(
            f"  nothing to suggest: the boxes are of {len(sizes)} sizes ({_list(sizes)}), and the "
            f"anchors need one for each of {len(config.anchors.sizes)} levels"
        )
        return "\n".join(lines)
    suggested = dataclasses.replace(config.anchors, sizes=sizes)
    add("suggested", sizes, best_overlaps(boxes, config, suggested))
    lines.append(f"  to take the suggested: --set anchors.sizes={_list(sizes)}")
    return "\n".join(lines)


def _list(numbers):
    return ",".join(f"{number:g}" for number in numbers)


def suggest_sizes(box_sides, count):
    """Return anchor sizes that stand for the sizes of boxes, rising, whole pixels, no two the same.

    K-means on the logarithm of a box's side, for IoU sees ratios of sizes and not differences. It starts
    from quantiles, so that it always ends the same.

    Args:
        box_sides: (G,) as ``sides`` returns them, G at least 1.
        count: how many sizes, at most; boxes of few sizes have no more to tell.
    """
    logs = np.log(box_sides)
    centres = np.quantile(logs, (np.arange(count) + 0.5) / count)
    for _ in range(100):
        nearest = np.abs(logs[:, None] - centres).argmin(axis=1)
        members = [logs[nearest == k] for k in range(count)]
        moved = np.array([own.mean() if len(own) else old for own, old in zip(members, centres)])
        if np.allclose(moved, centres):
            break
        centres = moved
    return tuple(sorted({float(max(1, round(size))) for size in np.exp(centres)}))


def best_overlaps(boxes, config, anchor_config):
    """Return the best IoU that any anchor has with each box, (G,) over all images.

    Each image is taken by itself, padded as a batch of one. As in training, an anchor whose centre
    lies in the padding does not count.

    Args:
        boxes: as ``input_boxes`` returns them.
        config: ``Config``, for its backbone.
        anchor_config: ``AnchorConfig``.
    """
    strides, multiple = _backbone(config.model)
    anchor_generator = AnchorGenerator(anchor_config, strides)

    @functools.lru_cache(maxsize=64)
    def anchors_of(height, width):
        padded = (-(-side // multiple) * multiple for side in (height, width))
        anchors = ops.convert_to_numpy(anchor_generator(*padded)[0])
        x, y = (anchors[:, :2] + anchors[:, 2:]).T / 2
        return anchors[(x >= 0) & (y >= 0) & (x < width) & (y < height)]

    best = compiled(lambda own, anchors: ops.max(iou(own, anchors), axis=-1), [(CHUNK, 4), (None, 4)])
    found = []
    with keras.device("cpu:0"):
        for own, _, size in tqdm(boxes, "anchors", unit="image", mininterval=1.0, leave=False):
            for start in range(0, len(own), CHUNK):
                chunk = own[start : start + CHUNK]
                padded = np.pad(chunk, ((0, CHUNK - len(chunk)), (0, 0)))
                found.append(ops.convert_to_numpy(best(padded, anchors_of(*size)))[: len(chunk)])
    return np.concatenate(found)


@functools.cache
def _backbone(model_config):
    """Return a backbone's strides and the multiple that image sides are padded to."""
    images = keras.Input((None, None, 3))
    backbone = BACKBONES[model_config.backbone].build(images, model_config)
    return backbone.strides, backbone.size_multiple


def choose(dataset, turned, count):
    """Return samples to look at: up to half of them turned by EXIF, the rest from all over the split."""
    by_name = {sample.name: sample for sample in dataset.samples}
    first = [by_name[name] for name in turned if name in by_name][: count // 2]
    rest = [sample for sample in dataset.samples if sample not in first]
    places = np.linspace(0, len(rest) - 1, min(len(rest), count - len(first)))
    return first + [rest[round(place)] for place in places]


def draw_boxes(sample, classes, config):
    """Return a Pillow image of what the network gets to see of an image, with all its boxes."""
    image, boxes = transforms.resize(transforms.load(sample.path), sample.boxes, config)
    return draw.draw(image, boxes, sample.labels, None, classes)
