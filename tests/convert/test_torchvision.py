"""torchvision's detectors as ours: the same boxes, settings by their names, and training on from them.

``golden/detectors.npz`` holds what torchvision gave; the networks are tested
part by part in ``weights/test_torchvision_state.py``.
"""

import csv
import functools
import json
from pathlib import Path

import keras
import numpy as np
import pytest
from golden.fill import fill

import frcnn
from frcnn.cli import train
from frcnn.config import in_weights
from frcnn.config.schema import Config
from frcnn.data import transforms
from frcnn.errors import ConfigError, WeightsError
from frcnn.layers.proposals import ProposalLayer
from frcnn.models.faster_rcnn import FasterRCNN
from frcnn.models.freezing import weighted_layers
from frcnn.weights import torchvision_state

GOLDEN = Path(__file__).parents[1] / "golden"
SHARED = Path(__file__).parents[3] / "shared" / "golden"
CARDS = SHARED.parent / "data" / "cards"
V1, V2, MOBILE, MOBILE_320 = torchvision_state.NAMES
# The networks of golden/detectors.npz; the large ones take long.
NETWORKS = (MOBILE_320, *(pytest.param(name, marks=pytest.mark.slow) for name in (V1, V2)))


def of_name(file, name):
    """Return the arrays of one network in a golden file."""
    with np.load(GOLDEN / file) as arrays:
        start = f"{name}/"
        return {key.removeprefix(start): arrays[key] for key in arrays if key.startswith(start)}


def shapes_in(table):
    """Return {entry: shape} of a state."""
    lines = (line.split(" ") for line in str(table["entries"]).splitlines())
    return {entry: tuple(map(int, filter(None, shape.split(",")))) for entry, shape in lines}


def golden_image(table):
    """Return the (H, W, 3) image of 0 to 255, drawn again as ``golden/README.md`` says."""
    shape = tuple(table["image_shape"])
    start = int(table["image_start"])
    drawn = np.random.default_rng(1).random(start + np.prod(shape))[start:]
    return np.moveaxis(drawn.astype("float32").reshape(shape), 0, -1) * np.float32(255)


@functools.cache
def golden_detector(name):
    """Return the detector of a golden table, and the table."""
    table = of_name("detectors.npz", name)
    return frcnn.import_torchvision(
        name,
        fill(shapes_in(table)),
        # These states were never published weights.
        batch_norm_epsilon=1e-5,
        num_classes=91,
        min_size=int(table["min_size"]),
        max_size=int(table["max_size"]),
        box_score_thresh=float(table["score_thresh"]),
        rpn_pre_nms_top_n_test=int(table["pre_nms_top_n"]),
        rpn_post_nms_top_n_test=int(table["post_nms_top_n"]),
        rpn_score_thresh=float(table["rpn_score_thresh"]),
    ), table


def network_input(detector, image):
    """Return the padded (1, H, W, 3) input and (1, 2) size without padding of an image."""
    resized, _ = transforms.resize(image, np.zeros((0, 4), "float32"), detector.config.data)
    padded = transforms.pad([resized], detector.models.size_multiple)
    return padded, np.array([resized.shape[:2]], "float32")


def partners(boxes, others):
    """Return for each of ``others`` the index of the nearest box, and their largest difference."""
    distance = np.abs(boxes[:, None] - others[None]).max(axis=-1)
    return distance.argmin(axis=0), distance.min(axis=0)


# --- the same numbers ------------------------------------------------------------------------


@pytest.mark.parametrize("name", NETWORKS)
def test_detections_are_torchvision_s(name):
    detector, table = golden_detector(name)
    (found,) = detector.predict(golden_image(table))
    assert len(found["scores"]) == len(table["scores"]) == 100
    assert (np.diff(found["scores"]) <= 0).all()
    assert found["boxes"].dtype == found["scores"].dtype == "float32"
    # Scores may be so close that two change places; so boxes are compared as sets, class by class.
    # There background is class 0.
    for label in np.unique(table["labels"]):
        ours, theirs = found["labels"] == label - 1, table["labels"] == label
        assert ours.sum() == theirs.sum(), label
        index, distance = partners(found["boxes"][ours], table["boxes"][theirs])
        assert sorted(index) == list(range(ours.sum()))
        assert distance.max() < 0.05
        scores = found["scores"][ours][index]
        np.testing.assert_allclose(scores, table["scores"][theirs], rtol=0, atol=1e-4)
    assert found["names"] == [torchvision_state.COCO_CLASSES[label] for label in found["labels"]]


@pytest.mark.parametrize("name", NETWORKS)
def test_proposals_are_torchvision_s(name):
    detector, table = golden_detector(name)
    padded, size = network_input(detector, golden_image(table))
    assert (1, 3, *padded.shape[1:3]) == tuple(table["input_shape"])
    (layer,) = [one for one in detector.models.detector.layers if isinstance(one, ProposalLayer)]
    model = keras.Model(detector.models.detector.inputs, layer.output)
    (proposals,) = np.asarray(model([padded, size]))
    exists = proposals.any(axis=1)
    assert exists.sum() == len(table["proposals"])
    index, distance = partners(proposals[exists], table["proposals"])
    assert len(set(index)) == len(index) and distance.max() < 0.05


@pytest.mark.parametrize("name", NETWORKS)
def test_logits_and_deltas_of_regions_are_torchvision_s(name):
    """Pooled from the levels that their sizes belong to, at torchvision's own proposals."""
    detector, table = golden_detector(name)
    padded, _ = network_input(detector, golden_image(table))
    classifier = detector.models.classifier
    outputs = [classifier.get_layer(layer).output for layer in ("class_logits", "box_deltas")]
    model = keras.Model(classifier.inputs, outputs)
    logits, deltas = (np.asarray(part) for part in model([padded, table["proposals"][None]]))
    found = {
        "class_logits": np.roll(logits, 1, axis=1),
        # There with four columns for background, first.
        "box_deltas": np.concatenate([np.full((len(deltas), 4), np.nan), deltas], axis=1),
    }
    for key, array in found.items():
        thinned = array.ravel()[::101]
        known = ~np.isnan(thinned)
        assert known.sum() > 100
        theirs = table[key][known]
        np.testing.assert_allclose(thinned[known], theirs, rtol=0, atol=1e-3 * theirs.std(), err_msg=key)


@pytest.mark.skipif(not SHARED.is_dir(), reason="the larger tables are not beside the repository")
@pytest.mark.parametrize("name", [V1, V2, MOBILE_320])
def test_the_golden_tables_are_parts_of_the_larger_ones(name):
    table, larger = of_name("detectors.npz", name), np.load(SHARED / f"model_{name}.npz")
    np.testing.assert_array_equal(golden_image(table), np.moveaxis(larger["image"], 0, -1) * 255)
    shapes = json.loads((SHARED / f"model_{name}_shapes.json").read_text())
    assert shapes_in(table) == {entry: tuple(shape) for entry, shape in shapes.items()}
    for key in table.keys() - {"entries", "image_start", "image_shape", "class_logits", "box_deltas"}:
        np.testing.assert_array_equal(table[key], larger[key], err_msg=key)
    for key in ("class_logits", "box_deltas"):
        np.testing.assert_array_equal(table[key], larger[key].ravel()[::101])


# --- settings --------------------------------------------------------------------------------


def state_of(num_classes=7, **changes):
    """Return a state of MobileNetV3's detector."""
    shapes = shapes_in(of_name("pyramids.npz", MOBILE))
    state = fill({entry: shape for entry, shape in shapes.items() if "predictor" not in entry})
    for layer, count in (("cls_score", num_classes), ("bbox_pred", 4 * num_classes)):
        entry = f"roi_heads.box_predictor.{layer}"
        state |= fill({f"{entry}.weight": (count, 1024), f"{entry}.bias": (count,)})
    return state | changes


@pytest.fixture(scope="module")
def state():
    return state_of()


@pytest.fixture
def config_of(state, monkeypatch):
    """Return a function from the importer's arguments to the config and the class count it builds."""

    class Asked(Exception):
        pass

    def from_config(config, num_classes, allow_random_frozen):
        raise Asked(config, num_classes)

    def config(name=MOBILE, given=state, **arguments):
        with pytest.raises(Asked) as asked:
            frcnn.import_torchvision(name, given, **arguments)
        return asked.value.args

    monkeypatch.setattr(FasterRCNN, "from_config", from_config)
    return config


def test_settings_have_torchvision_s_names(config_of):
    config, num_classes = config_of(
        num_classes=7,
        min_size=300,
        max_size=500,
        box_score_thresh=0.25,
        box_nms_thresh=0.375,
        box_detections_per_img=17,
        rpn_pre_nms_top_n_test=70,
        rpn_post_nms_top_n_test=35,
        rpn_nms_thresh=0.625,
        rpn_score_thresh=0.125,
    )
    assert num_classes == 7
    assert (config.data.short_side, config.data.long_side) == (300, 500)
    detection, rpn = config.detection, config.rpn
    assert (detection.score_threshold, detection.nms_iou, detection.max_detections) == (0.25, 0.375, 17)
    assert (rpn.pre_nms_test, rpn.post_nms_test) == (70, 35)
    assert (rpn.nms_iou, rpn.score_threshold) == (0.625, 0.125)


@pytest.mark.parametrize(
    "name, expected",
    [
        (V1, {"data.short_side": 800, "rpn.post_nms_test": 1000, "rpn.score_threshold": 0.0}),
        (V2, {"data.short_side": 800, "model.backbone": "resnet50_fpn_v2"}),
        (MOBILE, {"data.short_side": 800, "rpn.pre_nms_test": 1000, "rpn.score_threshold": 0.05}),
        (MOBILE_320, {"data.short_side": 320, "data.long_side": 640, "rpn.pre_nms_test": 150}),
    ],
)
def test_without_settings_they_are_torchvision_s(config_of, name, expected):
    config, _ = config_of(name)
    common = {
        "detection.score_threshold": 0.05,
        "detection.nms_iou": 0.5,
        "detection.max_detections": 100,
        "rpn.nms_iou": 0.7,
        "model.pool_aligned": False,
        "anchors.offset": 0.0,
        "anchors.rounded": True,
        "data.uint8_images": False,
    }
    assert {key: config.get(key) for key in common | expected} == common | expected
    assert Config().updated_from_json(config.to_json()) == config


def test_classes_are_coco_s_or_numbers_or_those_given(config_of):
    assert config_of()[0].data.classes == ("1", "2", "3", "4", "5", "6")
    names = ("a", "b", "c", "d", "e", "f")
    assert config_of(classes=names)[0].data.classes == names
    coco = {"roi_heads.box_predictor.cls_score.weight": np.zeros((91, 1024))}
    config, num_classes = config_of(given=coco)
    assert (config.data.classes, num_classes) == (torchvision_state.COCO_CLASSES, 91)


def test_the_variance_s_addend_is_that_of_the_published_weights_unless_given(config_of, state):
    frozen = {entry: value for entry, value in state.items() if "num_batches" not in entry}
    assert config_of(V1, frozen)[0].model.batch_norm_epsilon == 0.0
    assert config_of(V1, frozen, batch_norm_epsilon=1e-5)[0].model.batch_norm_epsilon == 1e-5
    assert config_of(V1, state)[0].model.batch_norm_epsilon == 1e-5
    assert config_of(MOBILE, frozen)[0].model.batch_norm_epsilon == 1e-5


def test_an_unknown_setting_is_named_with_those_there_are(state):
    with pytest.raises(
        ConfigError, match="there is no setting box_thresh; there are num_classes, min_size, max"
    ):
        frcnn.import_torchvision(MOBILE, state, box_thresh=0.5)


def test_a_number_of_classes_that_the_state_does_not_have(state):
    with pytest.raises(ConfigError, match="num_classes is 91, but the state has 7 with background"):
        frcnn.import_torchvision(MOBILE, state, num_classes=91)


@pytest.mark.parametrize("classes", [("a", "b"), tuple("abcdefg")])
def test_class_names_must_be_as_many_as_the_classes(state, classes):
    with pytest.raises(ConfigError, match=f"classes has {len(classes)} names, but the state has 6"):
        frcnn.import_torchvision(MOBILE, state, classes=classes)


def test_a_value_that_does_not_fit_is_named(state):
    with pytest.raises(ConfigError, match="detection.score_threshold must be a number from 0 to 1"):
        frcnn.import_torchvision(MOBILE, state, box_score_thresh=5)


def test_an_unknown_name_is_an_error(state):
    with pytest.raises(WeightsError, match="no import for 'fasterrcnn_vgg16', only for fasterrcnn_res"):
        frcnn.import_torchvision("fasterrcnn_vgg16", state)


# --- entries ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def build_once():
    return functools.cache(FasterRCNN.from_config)


@pytest.mark.parametrize(
    "without, added, says",
    [
        ("backbone.body.0.0.weight", {}, "missing: backbone.body.0.0.weight$"),
        ("", {"roi_heads.extra": np.zeros(1)}, "left over: roi_heads.extra$"),
        ("", {"rpn.head.cls_logits.bias": np.zeros(3)}, r"cls_logits.bias is \(3,\) and .* \(15,\)$"),
    ],
)
def test_entries_that_do_not_fit_are_named(state, build_once, monkeypatch, without, added, says):
    monkeypatch.setattr(FasterRCNN, "from_config", build_once)
    given = {entry: value for entry, value in (state | added).items() if entry != without}
    with pytest.raises(WeightsError, match=f"the state does not fit {MOBILE}; .*{says}"):
        frcnn.import_torchvision(MOBILE, given)


def test_a_state_without_its_class_predictor_is_an_error():
    with pytest.raises(WeightsError, match="the state has no roi_heads.box_predictor.cls_score.weight"):
        frcnn.import_torchvision(MOBILE, {})


# --- files, and training on ------------------------------------------------------------------


@pytest.fixture(scope="module")
def saved(state, tmp_path_factory):
    """Return an imported detector and the file that it was saved in."""
    settings = {"min_size": 96, "max_size": 160, "rpn_post_nms_top_n_test": 50}
    detector = frcnn.import_torchvision(MOBILE, state, box_score_thresh=0.1, **settings)
    path = tmp_path_factory.mktemp("saved") / "mobile.detector"
    detector.save(path)
    return detector, path


def test_an_imported_detector_is_saved_and_loaded_whole(saved):
    detector, path = saved
    again = frcnn.Detector.load(path)
    assert (again.config, again.classes) == (detector.config, detector.classes)
    image = np.random.default_rng(0).integers(0, 256, (100, 120, 3)).astype("uint8")
    (expected,), (found,) = detector.predict(image), again.predict(image)
    assert len(expected["scores"]) > 3
    for name in ("boxes", "scores", "labels"):
        np.testing.assert_array_equal(found[name], expected[name])


def fine_tune(line):
    """Run ``frcnn train`` and return the mean total loss of each epoch."""
    options = (
        "--batch-size 2 --optimizer adam --lr 3e-4 --set optimizer.lr_images=2 "
        "--set optimizer.warmup_steps=0 --set data.flip=0 --set roi.samples=32 "
        "--set rpn.pre_nms_train=200 --set rpn.post_nms_train=100"
    )
    train.main([*line.split(), *options.split()])
    run = Path(line.split("--out ")[1].split()[0])
    with open(run / "metrics.csv", newline="", encoding="utf-8") as file:
        return [float(row["train/total_loss"]) for row in csv.DictReader(file)]


@pytest.mark.slow
@pytest.mark.skipif(not CARDS.is_dir(), reason="no photographs beside the repository")
def test_training_on_from_an_imported_detector_lowers_the_loss_on_photographs(saved, tmp_path):
    _, path = saved
    first, *_, last = fine_tune(
        f"--data-dir {CARDS} --weights {path} --out {tmp_path / 'run'} --epochs 3 --steps-per-epoch 10 "
        "--set train.validate_every=3"
    )
    assert last < 0.9 * first
    assert frcnn.Detector.load(tmp_path / "run").classes == tuple("ace jack king nine queen ten".split())


@pytest.mark.slow
def test_frcnn_train_goes_on_from_an_imported_detector(saved, shapes_folder, tmp_path, capsys):
    """On three classes instead of six: the predictors are new, all else is the file's; losses fall."""
    detector, path = saved
    run = tmp_path / "run"
    first, last = fine_tune(
        f"--data-dir {shapes_folder} --train-split val --val-split val --weights {path} --out {run} "
        "--epochs 2 --steps-per-epoch 6"
    )
    assert last < 0.9 * first
    printed = capsys.readouterr().out
    not_loaded = [one.split()[0] for one in printed.splitlines() if "not loaded" in one]
    assert not_loaded == ["class_logits", "box_deltas"]
    assert "(1024, 7)" in printed and "(1024, 4)" in printed

    config = Config().updated_from_json((run / "resolved.json").read_text())
    assert config.data.classes == ("circle", "square", "triangle")
    assert (config.anchors, config.data.short_side) == (detector.config.anchors, 96)
    assert config.model.backbone == "mobilenet_v3_large_fpn" and not config.model.pool_aligned

    # What was frozen is still the imported detector's, and the run holds a whole detector again.
    tuned = frcnn.Detector.load(run, "last.weights.h5")
    assert tuned.classes == config.data.classes
    before, after = (
        {layer.name: layer.get_weights() for layer in weighted_layers(one.models.detector)}
        for one in (detector, tuned)
    )
    assert before.keys() == after.keys()
    changed = {
        name
        for name in before
        if any(a.shape != b.shape or (a != b).any() for a, b in zip(before[name], after[name]))
    }
    assert {"features_0_0", "features_0_1", "features_2_block_0_0"} & changed == set()
    assert {"features_16_0", "fpn_output0", "rpn_conv", "head_dense1", "class_logits"} <= changed
    assert "features_16_1" not in changed  # batch normalization
    assert Config().updated_from_json(in_weights.read(run / "last.weights.h5")) == config
