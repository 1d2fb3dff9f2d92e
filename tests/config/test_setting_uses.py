"""That settings are read where they are used: with other values than the defaults, the right results.

What a setting does is tested beside the function that does it. Here is whether the config's value gets
there, for settings that no other test gives another value. All of it is worked out by hand, on a few
boxes, outside any training.
"""

import concurrent.futures
import contextlib
import inspect
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from support import found, truth

from frcnn import rng
from frcnn.config.presets import preset
from frcnn.config.schema import Config
from frcnn.data.anchor_targets import AnchorTargetCreator
from frcnn.data.loader import DataLoader
from frcnn.errors import RunError
from frcnn.layers import proposals
from frcnn.layers.proposals import PostprocessLayer, ProposalLayer, ProposalTargetLayer
from frcnn.layers.roi_align import RoIAlign
from frcnn.layers.roi_pool import RoIPool
from frcnn.models.faster_rcnn import FasterRCNN
from frcnn.ops.anchors import AnchorGenerator
from frcnn.ops.box_kinds import AXIS_ALIGNED
from frcnn.runs import checkpoints, writer
from frcnn.training import learning_rate, loss_terms, train, trainer, validation
from frcnn.training import schedule as schedule_module
from frcnn.training.step_scalars import StepLogs


def changed(**values):
    """Return the default config with other values, ``section__name=value``."""
    return Config().replace({key.replace("__", "."): value for key, value in values.items()})


# --- the network -----------------------------------------------------------------------------


def built(**values):
    made = {"model.preprocessing": "tf", "model.head_width": 8, "model.rpn_channels": 8}
    other = {key.replace("__", "."): value for key, value in values.items()}
    return FasterRCNN.from_config(preset("shapes").replace(made | other), 3)


def test_layers_are_as_wide_and_deep_as_configured():
    network = built(
        model__rpn_channels=24,
        model__head_width=40,
        model__head_dropout=0.25,
        model__pool_size=5,
        model__pool_samples=3,
        model__pool_aligned=False,
        anchors__ratios="0.5,1",
        rpn__pre_nms_train=70,
        rpn__post_nms_train=60,
        rpn__pre_nms_test=50,
        rpn__post_nms_test=40,
        detection__max_detections=30,
        roi__samples=20,
    )
    assert network.rpn.get_layer("rpn_conv").filters == 24
    layers = {layer.name: layer for layer in network.classifier.layers}
    assert [layers[f"head_dense{number}"].units for number in (1, 2)] == [40, 40]
    assert [layers[f"head_dropout{number}"].rate for number in (1, 2)] == [0.25, 0.25]
    pooling = layers["roi_align"]
    assert type(pooling) is RoIAlign
    assert (pooling.pool_size, pooling.samples, pooling.aligned) == (5, 3, False)
    assert network.num_anchors == 3 * 2
    (training,) = (
        layer for layer in network.proposal_targets.layers if isinstance(layer, ProposalLayer)
    )
    (testing,) = (layer for layer in network.detector.layers if isinstance(layer, ProposalLayer))
    assert (training.pre_nms, training.post_nms) == (70, 60)
    assert (testing.pre_nms, testing.post_nms) == (50, 40)
    assert network.detector.output[0].shape[1] == 30
    assert network.proposal_targets.output["rois"].shape[1] == 20


def test_the_papers_pooling_can_be_had():
    pooling = built(model__pooling="roi_pool", model__pool_size=4).classifier.get_layer("roi_pool")
    assert type(pooling) is RoIPool and pooling.pool_size == 4


# --- anchors and proposals -------------------------------------------------------------------


def test_anchors_have_the_sizes_and_places_configured():
    config = changed(anchors__sizes="10", anchors__ratios="4", anchors__offset=0.25)
    anchors, _ = AnchorGenerator(strides=(32,), **vars(config.anchors))(32, 64)
    # 5 wide and 20 high, a quarter of the way into each cell.
    expected = [[8 - 2.5, 8 - 10, 8 + 2.5, 8 + 10], [40 - 2.5, 8 - 10, 40 + 2.5, 8 + 10]]
    np.testing.assert_allclose(anchors, expected)
    rounded = config.anchors.replace(rounded=True)
    anchors, _ = AnchorGenerator(strides=(32,), **vars(rounded))(32, 64)
    assert (np.asarray(anchors) % 1 == 0).all()
    levels = changed(anchors__sizes="10,20", anchors__ratios="1", anchors__size_per_level=True)
    assert AnchorGenerator(strides=(16, 32), **vars(levels.anchors)).num_anchors == 1


ONE_ANCHOR = {"anchors__sizes": "10", "anchors__ratios": "1"}


def layer_of(kind, model="detector", **values):
    """Return the layer of a class in a network of changed settings."""
    (layer,) = (one for one in getattr(built(**values), model).layers if isinstance(one, kind))
    return layer


def recorded(monkeypatch, module, name):
    """Have a function note what it is given, in the dict {argument: value} that is returned."""
    function, given = getattr(module, name), {}

    def noting(*arguments, **options):
        given.update(inspect.signature(function).bind(*arguments, **options).arguments)
        return function(*arguments, **options)

    monkeypatch.setattr(module, name, noting)
    return given


def test_proposals_are_chosen_as_configured(monkeypatch):
    given = recorded(monkeypatch, proposals, "propose")
    values = {"rpn__score_threshold": 0.5, "rpn__min_size": 8.25, "rpn__nms_iou": 0.1}
    counts = {"rpn__pre_nms_test": 3, "rpn__post_nms_test": 2}
    layer = layer_of(ProposalLayer, **ONE_ANCHOR, **values, **counts)
    images, sizes = np.zeros((1, 16, 16, 3), "float32"), np.array([[16.0, 16.0]], "float32")
    scores = np.array([0.9, 0.8, 0.6, 0.2])
    logits = np.log(scores / (1 - scores)).astype("float32").reshape(1, 4, 1)
    boxes = np.asarray(layer(images, logits, np.zeros((1, 4, 4), "float32"), sizes))
    assert {name: given[name] for name in ("score_threshold", "min_size", "nms_iou")} == {
        "score_threshold": 0.5,
        "min_size": 8.25,
        "nms_iou": 0.1,
    }
    assert (given["pre_nms"], given["post_nms"]) == (3, 2)
    # Squares of 9 pixels; the second best overlaps the best by 1/8, and the third the best as much.
    np.testing.assert_array_equal(boxes, [[[0, 0, 9, 9], [0, 0, 0, 0]]])


def targets(**values):
    """Return how many anchors are positive and negative, of four: IoUs of 1, 1/2, 1/5 and 0."""
    layer = AnchorTargetCreator(
        AnchorGenerator(
            strides=(16,), **vars(changed(anchors__sizes="16", anchors__ratios="1").anchors)
        ),
        None,
    )
    layer._config = changed(**values).rpn
    boxes = [[0, 0, 16, 16], [16, 0, 24, 16], [32, 0, 35.2, 16]]
    batch = SimpleNamespace(
        images=np.zeros((1, 16, 64, 3)),
        image_sizes=np.array([[16, 64]], "float32"),
        gt_boxes=np.array([boxes], "float32"),
        gt_labels=np.zeros((1, 3), "int32"),
    )
    y_class, _ = layer.full_maps(batch, np.random.default_rng(0))
    valid, positive = y_class[0, :, 0], y_class[0, :, 1]
    return int(positive.sum()), int((valid - positive).sum())


def test_anchors_are_assigned_and_sampled_as_configured(monkeypatch):
    assert targets() == (3, 1)  # each box has its best anchor
    assert targets(rpn__samples=3, rpn__positive_fraction=0.67) == (2, 1)
    assert targets(rpn__samples=4, rpn__positive_fraction=0.25) == (1, 1)
    thresholds = []
    monkeypatch.setattr(
        "frcnn.data.anchor_targets.match_anchors",
        lambda anchors, boxes, *rest: thresholds.append(rest[-2:]) or (np.zeros((1, 4), "int32"),) * 2,
    )
    targets(rpn__positive_iou=0.45, rpn__negative_iou=0.15)
    assert thresholds == [(0.45, 0.15)]


# --- RoIs and detections ---------------------------------------------------------------------

GT = np.array([[[0, 0, 40, 40]]], "float32")
# IoUs with it: 1, 0.6, 0.3, 0.05 and 0.
PROPOSALS = np.array(
    [[[0, 0, 40, 40], [0, 0, 40, 24], [0, 0, 40, 12], [0, 0, 40, 2], [50, 50, 90, 90]]], "float32"
)


def sampled(**values):
    """Return what ``ProposalTargetLayer`` makes of five proposals and the box itself, for 16 places."""
    order = np.arange(6, dtype="int32")[None]
    sizes, labels = np.array([[100.0, 100.0]], "float32"), np.zeros((1, 1), "int32")
    layer = layer_of(ProposalTargetLayer, "proposal_targets", **{"roi__samples": 16, **values})
    made = layer(PROPOSALS, sizes, GT, labels, order)
    made = {name: np.asarray(value) for name, value in made.items()}
    positive, negative = made["y_class"][0, :, 0].sum(), made["y_class"][0, :, 2].sum()
    return int(positive), int(negative), made


def test_rois_are_sampled_as_configured(monkeypatch):
    given = recorded(monkeypatch, proposals, "sample_rois")
    values = {"roi__samples": 5, "roi__positive_fraction": 0.4, "roi__positive_iou": 0.25}
    positive, negative, made = sampled(**values, roi__negative_iou_low=0.04)
    assert {name: given[name] for name in ("samples", "positive_fraction", "positive_iou")} == {
        "samples": 5,
        "positive_fraction": 0.4,
        "positive_iou": 0.25,
    }
    # Of five at most two are positive, and the RoI that overlaps nothing is no hard negative.
    assert given["negative_iou_low"] == 0.04 and (positive, negative) == (2, 1)
    # The statistics of proposals use the same IoU: three of five proposals overlap the box by it.
    assert made["overlapping_boxes"] == 3


def test_deltas_are_weighted_as_configured_in_training_and_detection():
    weights = "1,2,3,4"
    _, _, made = sampled(roi__delta_weights=weights)
    # The second RoI, 24 of 40 high: dy = (20 - 12) / 24, dh = log(40 / 24).
    expected = [0.0, 2 * 8 / 24, 0.0, 4 * np.log(40 / 24)]
    np.testing.assert_allclose(made["y_regress"][0, 1, 8:12], expected, rtol=1e-5, atol=1e-6)
    layer = layer_of(PostprocessLayer, roi__delta_weights=weights)
    scores = np.array([[[0.9, 0.1]]], "float32")
    deltas = np.array([[expected]], "float32")
    boxes, *_ = layer(PROPOSALS[:, 1:2], scores, deltas, np.array([[100.0, 100.0]], "float32"))
    np.testing.assert_allclose(np.asarray(boxes)[0, 0], GT[0, 0], atol=1e-4)


def test_the_box_loss_is_the_one_configured():
    network = built()
    deltas = np.zeros((1, 2, 2 * 4), "float32")
    mask = np.zeros((1, 2, 2 * 4), "float32")
    mask[0, 0, :4] = 0.5
    y_true = np.concatenate([mask, deltas + 1.0], axis=-1)
    values = {}
    for name in ("smooth_l1", "giou"):
        config = preset("shapes").replace({"loss.box": name, "roi.delta_weights": "1,1,1,1"})
        terms = loss_terms.classifier_terms(network, config)
        values[name] = float(terms[1].loss(y_true, deltas))
    assert values["smooth_l1"] == pytest.approx(0.5 * 4 * (1 - 0.5 / 9))
    # Decoded from a unit square, the true box has the side e about (1.5, 1.5).
    low, high = 1.5 - np.e / 2, 1.5 + np.e / 2
    shared = (1 - low) ** 2
    union = 1 + np.e**2 - shared
    hull = high**2
    assert values["giou"] == pytest.approx(0.5 * (1 - shared / union + (hull - union) / hull), rel=1e-4)


def test_detections_are_chosen_as_configured():
    of_class = np.array([0.9, 0.7, 0.6, 0.5, 0.1], "float32")
    scores = np.stack([of_class, 1 - of_class], axis=-1)[None]
    values = {"score_threshold": 0.4, "nms_iou": 0.65, "min_size": 20, "max_detections": 3}
    layer = layer_of(PostprocessLayer, **{f"detection__{key}": value for key, value in values.items()})
    sizes = np.array([[100.0, 100.0]], "float32")
    _, found, _ = layer(PROPOSALS, scores, np.zeros((1, 5, 4), "float32"), sizes)
    # The second overlaps the first by 0.6. The third and fourth are too low, the last scores too low.
    np.testing.assert_allclose(found, [[0.9, 0.7, 0]])
    layer = layer_of(PostprocessLayer, data__classes="cat,dog", detection__classes="dog")
    scores = np.array([[[0.6, 0.3, 0.1]] * 5], "float32")
    _, found, labels = layer(PROPOSALS, scores, np.zeros((1, 5, 8), "float32"), sizes)
    np.testing.assert_allclose(found[0, :2], [0.3, 0.3])
    assert set(np.asarray(labels)[0]) == {1, -1}


# --- scores ----------------------------------------------------------------------------------


def validated(monkeypatch, **values):
    """Return the mAP of validating one image with two objects, found first and last of three."""
    boxes = [[0, 0, 10, 10], [50, 50, 60, 60], [20, 0, 30, 6]]  # the last overlaps by 0.6
    objects = truth([[0, 0, 10, 10], [20, 0, 30, 10]])
    monkeypatch.setattr(validation, "to_image_pixels", lambda *_: [found(boxes)])
    monkeypatch.setattr(validation.evaluator, "gather", lambda *_: ([found(boxes)], [objects]))
    generators = []

    class Batches(list):
        share, dataset = 0, SimpleNamespace(name="own val")

        def epoch(self):
            return iter(self)

    schedule = SimpleNamespace(
        validation_step=lambda _, rng: (generators.append(rng) or {}, ()),
        averaged_weights=contextlib.nullcontext,
    )
    batch = SimpleNamespace(total=1, indices=(0,), samples=(), image_sizes=None)
    batches = Batches([batch])
    config = changed(**values)
    _, result = validation.validate(schedule, batches, config, ("thing",))
    expected = rng.generator(config.train.seed, rng.VALIDATION_ROIS).random()
    assert generators[0].random() == expected
    return result.mean_ap


def test_validation_scores_as_configured(monkeypatch):
    # Precision is 1 up to a recall of 1/2 and 2/3 up to 1: that is the area, or eleven points of it.
    all_points = validated(monkeypatch, detection__ap_interpolation="all-point")
    assert all_points == pytest.approx((1 + 2 / 3) / 2)
    eleven = validated(monkeypatch, detection__ap_interpolation="11-point")
    assert eleven == pytest.approx((6 * 1 + 5 * 2 / 3) / 11)
    strict = validated(monkeypatch, detection__ap_interpolation="all-point", detection__ap_iou=0.7)
    assert strict == pytest.approx(1 / 2)
    validated(monkeypatch, train__seed=7)


# --- training --------------------------------------------------------------------------------


def test_the_rate_falls_as_configured():
    values = {"learning_rate": 1, "warmup_steps": 4, "decay_at": "0.25,0.5", "decay_factor": 0.5}
    config = changed(**{f"optimizer__{name}": value for name, value in values.items()})
    rate = learning_rate.of_config(config, 100)
    found = [float(rate(step)) for step in (0, 4, 24, 25, 49, 50, 99)]
    assert found == [0.25, 1, 1, 0.5, 0.5, 0.25, 0.25]


def test_the_rate_with_several_workers_rises_as_configured(monkeypatch):
    monkeypatch.setattr(learning_rate, "num_processes", lambda: 4)

    def rates(**values):
        plain = {"optimizer__warmup_steps": 0, "optimizer__decay_at": (), "optimizer__learning_rate": 1}
        rate = learning_rate.of_config(changed(**plain, **values), 100)
        return [float(rate(step)) for step in (0, 9, 50)]

    assert rates(optimizer__lr_scaling_warmup=0.2) == pytest.approx([1 + 3 / 20, 2.5, 4])
    assert rates(optimizer__lr_scaling_warmup=0.1) == pytest.approx([1 + 3 / 10, 4, 4])
    assert rates(optimizer__lr_scaling="none") == [1, 1, 1]


def test_a_steps_chance_comes_of_the_seed():
    drawn = []

    class Drawing(schedule_module.Schedule):
        def _build(self):
            pass

        def _train(self, batch, rng):
            drawn.append(rng.random())
            return {"joint": StepLogs(("applied",), [1.0], 1.0)}, {}

    no_layers = SimpleNamespace(detector=SimpleNamespace(layers=()))
    schedule = Drawing(no_layers, changed(train__seed=7), 10)
    for _ in range(2):
        schedule.train_step(SimpleNamespace(images=0.0))
    assert drawn == [rng.generator(7, rng.ROIS, step).random() for step in (0, 1)]


def test_the_seed_and_determinism_are_set_before_anything_is_drawn(small_config, monkeypatch, tmp_path):
    class Stop(Exception):
        pass

    def stop(value, *_):
        asked.append(value)
        raise Stop

    asked = []
    monkeypatch.setattr(keras.utils, "set_random_seed", stop)
    with pytest.raises(Stop):
        train.train(small_config.replace({"train.seed": 7}), tmp_path / "run")
    monkeypatch.setattr(train.backend, "prepare_device", stop)
    with pytest.raises(Stop):
        train.train(small_config.replace({"train.deterministic": "true"}), tmp_path / "run")
    assert asked == [7, True]


@pytest.fixture
def looped(monkeypatch, tmp_path):
    """Return a function from settings to a ``Trainer`` with a schedule that does nothing."""
    monkeypatch.setattr(writer, "RunLogger", lambda *_, **__: None, raising=False)
    names = ("alternating", "joint", "four-step")
    monkeypatch.setattr(
        trainer, "SCHEDULES", {name: lambda *given, name=name: (name, given) for name in names}
    )

    def make(**values):
        box = {"boxes": np.array([[0, 0, 64, 64]]), "difficult": np.zeros(1, bool)}
        samples = tuple(SimpleNamespace(width=64, height=64, **box) for _ in range(10))

        class Images(SimpleNamespace):
            def __len__(self):
                return len(samples)

        images = Images(samples=samples, classes=("a",), name="images")
        generator = AnchorGenerator((40.0,), (1.0,), strides=(32,))
        network = SimpleNamespace(anchor_generator=generator, size_multiple=32, kind=AXIS_ALIGNED)
        return trainer.Trainer(network, changed(**values), images, images, tmp_path)

    return make


def test_a_run_is_as_long_as_configured(looped):
    made = looped(train__epochs=3, data__batch_size=4, train__schedule="joint", train__seed=7)
    name, (_, _, total) = made.schedule
    assert (name, total, made.steps_per_epoch) == ("joint", 3 * 3, 3)
    assert (made.batches.seed, made.val_batches.seed) == (7, 7)
    made = looped(train__epochs=3, train__steps_per_epoch=5, train__schedule="four-step")
    assert made.schedule[0] == "four-step" and made.schedule[1][2] == 15
    assert looped(data__cache_mib=3).cache.limit == 3 * 2**20 and not looped().cache.limit


def test_as_many_threads_prepare_batches_as_configured(looped, monkeypatch):
    asked = []

    class Pool(concurrent.futures.ThreadPoolExecutor):
        def __init__(self, max_workers, **options):
            asked.append(max_workers)
            super().__init__(max_workers, **options)

    monkeypatch.setattr(concurrent.futures, "ThreadPoolExecutor", Pool)
    monkeypatch.setattr(DataLoader, "_batch", lambda *_: (SimpleNamespace(samples=(1,)), {}))
    made = looped(data__loader_threads=3, data__batch_size=5)
    assert len([*made.batches.epoch()]) == 2 and asked == [3]


def test_checkpoints_are_due_as_configured(looped):
    def due(minutes, **values):
        made, saved = looped(**values), []
        made.checkpointer.saved_at -= 60 * minutes
        for step in range(1, 7):
            made.progress.step = step
            if made.checkpointer.is_due():
                saved.append(step)
        return saved

    assert due(9.9) == [] and due(10.1) == [1, 2, 3, 4, 5, 6]
    assert due(1.9, checkpoint__every_minutes=2) == [] and due(2.1, checkpoint__every_minutes=2) != []
    assert due(1e6, checkpoint__every_minutes=0) == []
    assert due(0, checkpoint__every_steps=3) == [3, 6]


def test_profiler_and_pictures_are_as_configured(looped):
    assert looped(log__profile_steps=7).profiler._steps == 7
    assert sum(looped(log__pictures=3).visual_log.chosen.values()) == 3


def test_as_many_checkpoints_are_kept_as_configured(looped, monkeypatch):
    kept = []
    monkeypatch.setattr(checkpoints, "save", lambda *given: kept.append(given[5]))
    made = looped(checkpoint__keep=5)
    made.writer.logger, made.writer.texts = SimpleNamespace(flush=lambda: None), {}
    made.writer.save_checkpoint(made.progress, {}, {})
    assert kept == [5]


def test_steps_that_are_not_finite_end_the_run_as_configured(looped):
    made = looped(train__max_nonfinite_steps=3, train__log_every=4)
    logged = []
    made.step_log.writer = SimpleNamespace(
        run_dir=made.run_dir,
        write_scalars=lambda run, step, _: logged.append(step),
        record_nonfinite_step=lambda *_: None,
    )

    class Scalars(dict):
        applied = True

    def log(step, applied):
        scalars = Scalars(total_loss=1.0)
        scalars.applied = applied
        made.step_log.add(step, SimpleNamespace(samples=()), scalars)
        made.step_log.read(made.progress)

    for step in range(1, 10):
        log(step, True)
    assert logged == [1, 4, 8]
    for step in (10, 11):
        log(step, False)
    with pytest.raises(RunError, match="3 steps in a row"):
        log(12, False)
