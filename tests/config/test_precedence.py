"""Which source of settings goes over which; what other data on the command line means for a config."""

import json

import h5py
import pytest

from frcnn.config import in_weights, precedence, presets, text_format
from frcnn.config.presets import preset
from frcnn.config.schema import Config
from frcnn.errors import ConfigError


@pytest.fixture
def file(tmp_path):
    """Return a function from {key: value} to the path of a config file that says so."""

    def write(values, name="my.json"):
        (tmp_path / name).write_text(text_format.to_json(values), encoding="utf-8")
        return tmp_path / name

    return write


def gather(file=None, base=None, assignments=None, **options):
    """Return ``Settings``; an option's name has its dot as two underscores."""
    options = {key.replace("__", "."): value for key, value in options.items()}
    return precedence.gather(options, assignments or {}, file, base)


# Presets, file, options, --set.


def test_each_source_goes_over_those_before_it(file):
    said = {"data.dataset": "shapes", "train.epochs": 2, "train.seed": 2, "train.log_every": 2}
    found = gather(file(said), train__epochs="3", train__seed="3", assignments={"train.seed": "4"})
    assert found.config == preset("shapes").replace(
        {"train.log_every": 2, "train.epochs": 3, "train.seed": 4}
    )
    assert found.asked == said | {"train.epochs": 3, "train.seed": 4}
    assert found.by_source["options"] == {"train.epochs": 3}
    assert found.by_source["--set"] == {"train.seed": 4}
    assert found.by_source[str(file(said))] == {"data.dataset": "shapes", "train.log_every": 2}
    assert "train.epochs" not in found.by_source["preset shapes"]


def test_a_backbone_leaves_the_file_s_anchors_and_head(file):
    said = {"anchors.sizes": (8.0, 16.0, 32.0, 64.0, 96.0), "model.head_width": 256}
    config = gather(file(said), model__backbone="resnet50_fpn").config
    assert config == preset("voc").replace(presets.backbone_preset("resnet50_fpn") | said)


@pytest.mark.parametrize("by", ["file", "option", "--set"])
def test_whoever_names_a_backbone_or_an_optimizer_its_preset_comes_along(file, by):
    names = {"model.backbone": "resnet50_fpn", "optimizer.name": "adam"}
    found = precedence.gather(
        names if by == "option" else {},
        names if by == "--set" else {},
        file(names) if by == "file" else None,
    )
    expected = presets.backbone_preset("resnet50_fpn") | presets.OPTIMIZER_PRESETS["adam"]
    assert found.config == preset("voc").replace(expected)


@pytest.mark.parametrize(
    "dataset, in_file, rate",
    [
        ("voc", {}, 1e-5),  # the preset of adam
        ("shapes", {}, 1e-3),  # the data set's own
        ("shapes", {"optimizer.learning_rate": 2e-3}, 2e-3),
        ("voc", {"optimizer.learning_rate": 2e-3}, 2e-3),
        ("voc", {"optimizer.learning_rate": 1e-3}, 1e-3),  # said, though it is the default
    ],
)
def test_adam_s_rate_goes_over_none_that_was_said(file, dataset, in_file, rate):
    found = gather(file(in_file), data__dataset=dataset, optimizer__name="adam")
    assert found.config.optimizer.learning_rate == rate


def test_to_name_what_is_there_anyway_changes_nothing():
    named = gather(data__dataset="shapes", optimizer__name="adam", model__backbone="tiny")
    assert named.config == preset("shapes")


def test_a_fault_names_the_file_that_it_is_in(file):
    for values, says in (
        ({"train.epochs": 0}, "my.json: train.epochs must be a whole number of at least 1"),
        ({"data.short_side": 1200}, "my.json: data.short_side must not be above data.long_side"),
    ):
        with pytest.raises(ConfigError, match=says):
            gather(file(values))
    assert gather(file({"data.short_side": 1200}), data__long_side="2000").config.data.long_side == 2000
    with pytest.raises(ConfigError, match="^train.epochs must be a whole number of at least 1"):
        gather(file({}), train__epochs="0")


def test_a_byte_order_mark_is_no_fault(tmp_path):
    (tmp_path / "c.json").write_text('{"train": {"epochs": 3}}', encoding="utf-8-sig")
    assert gather(tmp_path / "c.json").config.train.epochs == 3


def test_a_folder_is_no_config_file(tmp_path):
    with pytest.raises(
        ConfigError, match=f"cannot read the config file {tmp_path}: is a folder, not a file"
    ):
        gather(tmp_path)


# The network that a weight file brings.


@pytest.fixture
def detector(tmp_path):
    """Return the path of a weight file that holds a config as our own do."""
    path = tmp_path / "detector.h5"
    values = presets.backbone_preset("mobilenet_v2_fpn") | {"rpn.min_size": 0.5, "data.short_side": 320}
    h5py.File(path, "w").close()
    in_weights.write(path, preset("voc").replace(values).to_json())
    return str(path)


def test_a_weight_file_s_network_stands_below_the_config_file(file, detector):
    found = gather(file({"anchors.sizes": (8, 16, 32, 64, 96)}), model__weights=detector)
    assert found.config.model.backbone == "mobilenet_v2_fpn" and found.config.rpn.min_size == 0.5
    assert found.config.anchors.sizes == (8, 16, 32, 64, 96)
    assert found.notes == (
        f"anchors.sizes is 8,16,32,64,96 as asked, though {detector} was trained with 32,64,128,256,512",
    )
    assert "anchors.sizes" not in found.by_source[detector]


def test_weights_that_a_file_names_bring_their_network_too(file, detector):
    assert gather(file({"model.weights": detector})).config == gather(model__weights=detector).config


def test_another_backbone_than_the_weight_file_s_is_said(file, detector):
    found = gather(file({"model.backbone": "resnet50_fpn"}), model__weights=detector)
    expected = presets.backbone_preset("resnet50_fpn") | {"model.weights": detector}
    assert found.config == preset("voc").replace(expected)
    (note,) = found.notes
    assert "detector.h5 has a mobilenet_v2_fpn, so its settings are not used for a resnet50_fpn" in note


def test_a_setting_in_a_weight_file_that_there_is_not(detector):
    in_weights.write(detector, '{"rpn": {"sample": 3}}')
    with pytest.raises(ConfigError, match="detector.h5: there is no setting 'rpn.sample'"):
        gather(model__weights=detector)


# Other data than a config's own.

OWN = {
    "data.dataset": "voc",
    "data.dir": "own",
    "data.year": "2012",
    "data.classes": ("cat", "dog"),
    "data.train_split": "mine",
    "data.val_split": "yours",
}


@pytest.mark.parametrize(
    "own, said, skipped_images",
    [
        (OWN, {}, set()),
        (OWN, {"data.dir": "own"}, set()),
        (OWN, {"data.dir": "./own/../own"}, set()),
        (OWN, {"data.dataset": "voc"}, set()),
        (OWN, {"data.dir": "other"}, {"data.classes", "data.year"}),
        (OWN, {"data.dir": "other", "data.classes": ("ox",)}, {"data.year"}),
        (
            OWN,
            {"data.dataset": "shapes"},
            {"data.classes", "data.year", "data.train_split", "data.val_split"},
        ),
        # A file that names no folder means its classes for whichever folder is named.
        ({"data.classes": ("cat", "dog")}, {"data.dir": "other"}, set()),
        ({"data.dataset": "shapes", "data.classes": ("a",)}, {"data.dir": "data"}, set()),
    ],
)
def test_what_other_data_leaves_of_a_config(own, said, skipped_images):
    kept, notes = precedence.drop_other_data(own, said, "c.json")
    assert own.keys() - kept.keys() == skipped_images and kept.items() <= own.items()
    assert len(notes) == bool(skipped_images)
    for key in skipped_images:
        assert f"{key}=" in notes[0] and "c.json" in notes[0]


def test_shapes_are_read_in_another_folder_only_if_they_are_there(tmp_path, file):
    path = file({"data.dataset": "shapes", "data.classes": ("circle",), "train.epochs": 3})
    (tmp_path / "other").mkdir()
    found = gather(path, data__dir=str(tmp_path / "other"))
    # The config's own settings stay, those of its data set's preset among them.
    expected = {"data.dataset": "voc", "data.dir": str(tmp_path / "other"), "train.epochs": 3}
    assert found.config == preset("shapes").replace(expected)
    (note,) = found.notes
    assert "data.classes=circle data.dataset=shapes (--dataset shapes draws them there)" in note
    assert gather(file(found.asked, "again.json")).config == found.config

    (tmp_path / "other" / "shapes").mkdir()
    (tmp_path / "other" / "shapes" / "shapes.json").touch()
    assert gather(path, data__dir=str(tmp_path / "other")).config.data.dataset == "shapes"


def test_a_run_s_settings_on_other_data_are_not_its_classes(tmp_path, file):
    """The config of a run of an earlier version holds everything, also what it found in its data."""
    run = preset("voc").replace({"data.classes": "cat,dog", "data.year": "2007", "rpn.samples": 64})
    path = tmp_path / "config.json"
    path.write_text(run.to_json())
    found = gather(path, data__dir=str(tmp_path)).config
    assert found == run.replace({"data.classes": "", "data.year": "", "data.dir": str(tmp_path)})


# The same again.

COMMANDS = [
    {},
    {"data.dataset": "shapes"},
    {"data.dataset": "shapes", "model.backbone": "mobilenet_v2_fpn", "optimizer.name": "sgd"},
    {"model.backbone": "resnet50_fpn", "anchors.sizes": "128,256,512,600,700", "anchors.ratios": "1"},
    {"optimizer.name": "adam", "optimizer.learning_rate": "1e-3", "data.dir": "elsewhere"},
]


@pytest.mark.parametrize("options", COMMANDS)
def test_what_was_asked_asks_for_the_same_as_a_file(file, options):
    found = precedence.gather(options, {})
    again = gather(file(found.asked))
    assert again.config == found.config and again.asked == found.asked


@pytest.mark.parametrize("options", COMMANDS)
def test_the_same_command_goes_on_with_the_same_settings(file, options):
    """Also with a file that says something else than the presets, and classes found in its own data."""
    own = {"data.dir": "own", "data.classes": ("cat",), "model.head_width": 77, "rpn.min_size": 2.0}
    first = precedence.gather(options, {}, file(own)).config
    run = first.replace({"data.classes": "ox,yak", "model.preprocessing": "torch"})  # as resolved
    if "data.dir" not in options:
        run = run.replace({"data.classes": "cat"})
    assert precedence.gather(options, {}, file(own), run).config == run
    assert precedence.gather({}, {}, None, run).config == run


def test_a_run_that_goes_on_keeps_what_the_command_does_not_name():
    run = preset("shapes").replace({"optimizer.learning_rate": 5e-3})
    found = gather(base=run, optimizer__name="sgd", train__epochs="9")
    assert found.config == run.replace({"optimizer.name": "sgd", "train.epochs": 9})
    assert found.asked == {"optimizer.name": "sgd", "train.epochs": 9}


# What is shown.


def test_the_summary_has_a_line_for_each_source(file):
    path = file({"anchors.sizes": [8, 16.5], "data.flip": 0.5})
    found = gather(path, optimizer__name="adam", assignments={"anchors.rounded": "true"})
    assert found.summary().splitlines() == [
        "settings that differ from the defaults (a later source overrides an earlier one):",
        "  preset adam: optimizer.learning_rate=1e-05 optimizer.weight_decay=0",
        f"  {path}: anchors.sizes=8,16.5",
        "  options: optimizer.name=adam",
        "  --set: anchors.rounded=true",
    ]
    assert gather().summary() == "settings: the defaults"


def test_many_names_are_cut():
    names = [f"class {number}" for number in range(91)]
    found = gather(assignments={"data.classes": names})
    assert found.summary().splitlines()[1].endswith("...") and len(found.summary()) < 250
    assert json.loads(text_format.to_json(found.asked))["data"]["classes"] == names
    assert found.config == Config().replace({"data.classes": names})


def test_the_format_of_other_data_is_not_the_run_s(tmp_path, file):
    own = {"data.dir": "own", "data.format": "coco", "data.rename": ("a=b",)}
    found = precedence.gather({"data.dir": str(tmp_path)}, {}, file(own)).config
    assert found.data.format == "auto" and found.data.rename == ()
