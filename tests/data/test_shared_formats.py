"""Real labels in all formats: converted without loss, scored alike, trained on alike.

Skipped without the folder of shared data.
"""

import csv
import json
import posixpath
from pathlib import Path

import numpy as np
import pytest

import frcnn
from frcnn.cli import convert, predict
from frcnn.data.labels import Choice
from frcnn.data.sources import open_source
from frcnn.evaluation import coco_ap, evaluator
from frcnn.text import shown

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
SOURCES = {
    "coco": "coco/instances_v1.json",
    "coco-2": "coco/instances_v2.json",
    "yolo": "yolo_darknet",
    "openimages": "openimages",
    "cvat": "cvat",
    "voc": "voc_xml",
    "labelme": "labelme",  # of five of the images
}

# A network that trains and validates in seconds.
SMALL = {"data.short_side": 96, "data.long_side": 128, "model.rpn_channels": 16}
SMALL |= {"model.head_width": 64, "rpn.post_nms_train": 200, "rpn.post_nms_test": 50, "roi.samples": 32}


def shared(name):
    if not (SHARED / name).is_dir():
        pytest.skip(f"the shared data {name} are not in {SHARED}")
    return SHARED / name


def linked(root, source):
    """Make a data set of the shared images and the label files of one format."""
    folder = shared("formats")
    root.mkdir()
    (root / "images").symlink_to(folder / "images")
    for path in sorted((folder / source).iterdir()) if (folder / source).is_dir() else [folder / source]:
        (root / path.name).symlink_to(path)
    return root


def whole(root, **choice):
    """Return the one split of a folder, undivided."""
    source = open_source(root)
    (split,) = source.splits()
    dataset, faults = source.collect(split or "all", Choice(**choice), divide=False)
    assert not faults
    return dataset


def objects_of(dataset):
    """Return {image: sorted [(class, box)]}, of images with objects."""
    return {
        posixpath.basename(sample.name): sorted(
            (dataset.classes[label], *(round(value, 3) for value in box))
            for label, box in zip(sample.labels, sample.boxes.tolist())
        )
        for sample in dataset.samples
        if len(sample.boxes)
    }


def converted(source, out, target, *options):
    convert.main([str(source), str(out), "--to", target, "--images", "link", *options])
    return out


def test_through_all_formats_and_back(tmp_path):
    root = linked(tmp_path / "start", SOURCES["coco"])
    expected = objects_of(whole(root))
    assert sum(map(len, expected.values())) == 273
    for target in ("voc", "yolo", "csv", "cvat", "openimages", "labelme", "coco"):
        root = converted(root, tmp_path / target, target)
        assert objects_of(whole(root)) == expected, target


@pytest.mark.parametrize("source", SOURCES)
def test_each_format_to_each_other_and_back(tmp_path, source):
    root = linked(tmp_path / "start", SOURCES[source])
    expected = objects_of(whole(root))
    assert len(expected) == (5 if source == "labelme" else 100)
    for target in convert.TARGETS:
        there = converted(root, tmp_path / target, target)
        assert objects_of(whole(there)) == expected, target
        if target != source:
            back = converted(there, tmp_path / f"{target}-back", source.removesuffix("-2"))
            assert objects_of(whole(back)) == expected, target


def pycocotools_numbers(truth, detections, tmp_path):
    """Return the numbers that pycocotools gives for two JSON contents, and the boxes it was given."""
    COCO, COCOeval = coco_ap.import_pycocotools()
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    known = COCO(str(tmp_path / "truth.json"))
    evaluation = COCOeval(known, known.loadRes(detections), "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return [None if value < 0 else value for value in evaluation.stats.tolist()]


def our_numbers(dataset, detections, names):
    """Return our COCO AP of detections given as COCO results.

    Args:
        dataset: the ``Dataset``.
        detections: COCO results.
        names: ({image id: stem}, {category id: class name}).
    """
    of_image = {posixpath.basename(sample.name): [] for sample in dataset.samples}
    for entry in detections:
        of_image[names[0][entry["image_id"]]].append(entry)
    found = []
    for own in of_image.values():
        boxes = np.array([one["bbox"] for one in own], "float64").reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        labels = [dataset.classes.index(names[1][one["category_id"]]) for one in own]
        scores = np.array([one["score"] for one in own])
        found.append({"boxes": boxes, "scores": scores, "labels": np.array(labels, int)})
    truths = [sample.truth() for sample in dataset.samples]
    scores = evaluator.score(found, truths, dataset.classes, "coco")
    return [scores.values["summary"][name] for name in coco_ap.NAMES]


def names_of(content):
    """Return the names of ``our_numbers`` of a COCO content."""
    images = {one["id"]: posixpath.splitext(one["file_name"])[0] for one in content["images"]}
    return images, {one["id"]: one["name"] for one in content["categories"]}


def test_detections_score_as_by_pycocotools_from_every_format(tmp_path):
    pytest.importorskip("pycocotools")
    truth = json.loads((shared("formats") / SOURCES["coco"]).read_text())
    given = json.loads((SHARED / "formats/detections_coco/coco_dets.json").read_text())
    images, classes = names_of(given)
    image_ids = {name: number for number, name in names_of(truth)[0].items()}
    class_ids = {name: number for number, name in names_of(truth)[1].items()}
    detections = [
        {
            "image_id": image_ids[images[one["image_id"]]],
            "category_id": class_ids[classes[one["category_id"]]],
            "bbox": one["bbox"],
            "score": one["score"],
        }
        for one in given["annotations"]
    ]
    expected = pycocotools_numbers(truth, detections, tmp_path)
    assert expected[0] > 0.1
    names = names_of(truth)
    for source, path in SOURCES.items():
        root = linked(tmp_path / source, path)
        if source == "voc":  # these exporters' VOC corners are a pixel off: VOC of our own
            root = converted(tmp_path / "coco", tmp_path / "own-voc", "voc")
        dataset, own, wanted = whole(root), detections, expected
        if source == "labelme":
            stems = {posixpath.basename(sample.name) for sample in dataset.samples}
            own = [one for one in detections if names[0][one["image_id"]] in stems]
            wanted = pycocotools_numbers(only(truth, stems), own, tmp_path)
        numbers = our_numbers(dataset, own, names)
        np.testing.assert_allclose(
            np.array(numbers, float), np.array(wanted, float), atol=1e-6, err_msg=source
        )


def only(content, stems):
    """Return a COCO content with the images of some stems and their objects alone."""
    images = [one for one in content["images"] if posixpath.splitext(one["file_name"])[0] in stems]
    ids = {one["id"] for one in images}
    objects = [one for one in content["annotations"] if one["image_id"] in ids]
    return content | {"images": images, "annotations": objects}


def test_coco_ap_of_coco_files_with_crowds_is_pycocotools(tmp_path):
    pytest.importorskip("pycocotools")
    root = shared("coco_tiny")
    truth = json.loads((root / "annotations/instances_val2017.json").read_text())
    rng = np.random.default_rng(0)
    detections = []
    for one in truth["annotations"]:  # also in crowds, where detections do not count
        for score in (0.9, 0.5):
            box = np.array(one["bbox"]) + rng.normal(0, 4, 4)
            detections.append(
                {
                    "image_id": one["image_id"],
                    "category_id": one["category_id"],
                    "bbox": [*box[:2].tolist(), *np.maximum(box[2:], 1).tolist()],
                    "score": score * float(rng.random()),
                }
            )
    dataset, faults = open_source(root).collect("val2017", Choice())
    assert (
        not faults
        and sum(int(one.crowd.sum()) for one in dataset.samples if one.crowd is not None) == 11
    )
    expected = pycocotools_numbers(truth, detections, tmp_path)
    numbers = our_numbers(dataset, detections, names_of(truth))
    np.testing.assert_allclose(np.array(numbers, float), np.array(expected, float), atol=1e-6)
    assert expected[0] > 0.1


def scalars_of(run):
    """Return the rows of a run's ``metrics.csv`` without the times."""
    with (run / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert rows
    return [
        {key: value for key, value in row.items() if "time" not in key and "seconds" not in key}
        for row in rows
    ]


@pytest.mark.slow
def test_copies_in_four_formats_train_to_the_same_scalars(tmp_path):
    options = ["--split", "val=train", "--split", "test=val", "--on-bad-data", "skip"]
    found = {}
    for target in ("voc", "coco", "yolo", "csv"):
        folder = converted(shared("bccd"), tmp_path / target, target, *options)
        settings = SMALL | {"data.train_split": "train", "data.val_split": "val", "train.log_every": 1}
        frcnn.train(
            folder,
            out=tmp_path / f"run-{target}",
            backbone="tiny",
            weights="none",
            epochs=1,
            steps_per_epoch=3,
            settings=settings,
        )
        found[target] = scalars_of(tmp_path / f"run-{target}")
    assert found["voc"] == found["coco"] == found["yolo"] == found["csv"], shown(found)


@pytest.mark.slow
def test_coco_tiny_trains_validates_and_predicts(tmp_path):
    COCO, COCOeval = coco_ap.import_pycocotools()
    settings = SMALL | {"detection.score_threshold": 0.001}  # such a detector is sure of nothing
    result = frcnn.train(
        shared("coco_tiny"),
        out=tmp_path / "run",
        backbone="tiny",
        weights="none",
        epochs=1,
        steps_per_epoch=3,
        settings=settings,
    )
    assert len(result.classes) == 80 and result.scores is not None
    scores = result.detector().evaluate(shared("coco_tiny"), metric="coco")
    assert scores.values["images"] == 80
    ids, out = shared("coco_tiny") / "annotations/instances_val2017.json", tmp_path / "found"
    arguments = [str(tmp_path / "run"), str(shared("coco_tiny") / "val2017"), "--score", "0.001"]
    predict.main([*arguments, "--save", "coco", "--coco-ids", str(ids), "--out", str(out)])
    truth = COCO(str(ids))
    found = truth.loadRes(str(out / "coco_results.json"))
    assert len(found.anns) > 1000
    evaluation = COCOeval(truth, found, "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    ours = [scores.values["summary"][name] for name in coco_ap.NAMES]
    np.testing.assert_allclose(np.array(ours, float), evaluation.stats, atol=1e-6)


def test_polygons_of_coco_go_through_each_format_and_back(tmp_path):
    def polygons(root):
        found = []
        for split in ("train", "val"):
            dataset, _ = open_source(root).collect(split, Choice(outlines=True), divide=False)
            for sample in dataset.samples:
                for outline, label in zip(sample.outlines or (), sample.labels):
                    # YOLO's boxes come back as polygons of four corners.
                    if outline and len(outline.rings) == 1 and len(outline.rings[0]) != 4:
                        ring = outline.rings[0].round(3).tolist()
                        found.append((sample.name.rpartition("/")[2], dataset.classes[label], ring))
        return sorted(found)

    expected = polygons(shared("coco_tiny"))
    assert len(expected) > 1300
    for target in ("coco", "voc", "yolo", "cvat", "labelme"):
        there = converted(shared("coco_tiny"), tmp_path / target, target)
        assert polygons(there) == expected, target
        assert polygons(converted(there, tmp_path / f"{target}-back", "coco")) == expected, target
