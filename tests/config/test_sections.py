"""The bounds of settings: each number and list has them, and an error says what is allowed."""

import pytest

from frcnn.config import messages, schema
from frcnn.config.schema import KEYS, Config
from frcnn.errors import ConfigError

SCHEMA = Config.json_schema()


def properties():
    """Return {key: JSON schema} of all settings."""
    found = {}
    for section in schema.SECTIONS:
        reference = SCHEMA["properties"][section]["$ref"].rpartition("/")[2]
        for name, one in SCHEMA["$defs"][reference]["properties"].items():
            found[f"{section}.{name}"] = one
    return found


def test_every_setting_has_a_meaning_and_what_sizes_memory_has_bounds():
    found = properties()
    assert tuple(found) == KEYS
    for key, one in found.items():
        assert one["description"] and one["default"] is not None, key
        if one["type"] == "array":
            assert "maxItems" in one, key
            one = one["items"]
        if one["type"] in ("integer", "number"):
            assert {"minimum", "exclusiveMinimum"} & one.keys(), key
            assert {"maximum", "exclusiveMaximum"} & one.keys(), key


def test_the_defaults_keep_their_bounds():
    config = Config()
    assert config.replace({key: config.get(key) for key in KEYS}) == config


@pytest.mark.parametrize("jitter", ["1", "2,1", "0,1", "1,20"])
def test_a_scale_jitter_is_two_factors_in_order(jitter):
    with pytest.raises(ConfigError, match="augment.scale_jitter must be LOW,HIGH"):
        Config().replace({"augment.scale_jitter": jitter})
    with pytest.raises(ConfigError, match="augment.short_sides must not be above data.long_side"):
        Config().replace({"augment.short_sides": "600,1001"})


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("data.batch_size", 0, "a whole number from 1 to 4096, not 0"),
        ("data.batch_size", True, "a whole number from 1 to 4096, not True"),
        ("train.epochs", "some", "a whole number of at least 1, not 'some'"),
        ("rpn.nms_iou", 1.5, "a number from 0 to 1, not 1.5"),
        ("detection.ap_iou", 0.0, "a number above 0 and at most 1, not 0.0"),
        ("optimizer.momentum", 1.0, "a number from 0 to below 1, not 1.0"),
        ("train.deterministic", "yes", "true or false, not 'yes'"),
        ("data.year", 2012, "text, not 2012"),
        ("train.schedule", "join", "one of alternating, joint, four-step, not 'join'"),
        (
            "anchors.sizes",
            (32.0, 0.0),
            "1 to 64 values, each a number above 0 and at most 1000000, not 32,0",
        ),
        ("anchors.sizes", (), "1 to 64 values, each a number above 0 and at most 1000000, not ()"),
        (
            "roi.delta_weights",
            (1.0, 2.0),
            "4 values, each a number above 0 and at most 1000000, not 1,2",
        ),
        ("data.classes", 3, "0 to 16384 values, each text, not 3"),
        # What a stranger's detector file may ask for: memory.
        ("detection.max_detections", 10**9, "a whole number from 1 to 65536, not 1000000000"),
        ("model.head_width", 10**9, "a whole number from 1 to 16384, not 1000000000"),
    ],
)
def test_a_value_out_of_bounds_is_named(key, value, says):
    with pytest.raises(ConfigError) as caught:
        Config().replace({key: value})
    assert str(caught.value) == f"{key} must be {says}"


def test_too_many_names_are_cut_in_the_message():
    with pytest.raises(ConfigError, match="data.classes must be 0 to 16384 values") as caught:
        Config().replace({"data.classes": tuple(map(str, range(20_000)))})
    assert len(str(caught.value)) < 200


def test_each_wrong_setting_has_a_line():
    with pytest.raises(ConfigError) as caught:
        Config().replace({"train.epochs": 0, "rpn.sample": 3, "model.backbone": "vgg", "data.flip": 0})
    assert sorted(str(caught.value).split("\n")) == [
        "model.backbone must be one of " + ", ".join(schema.BACKBONES) + ", not 'vgg'",
        "there is no setting 'rpn.sample'; did you mean rpn.samples?",
        "train.epochs must be a whole number of at least 1, not 0",
    ]


def test_settings_that_contradict_each_other_have_a_line_each():
    with pytest.raises(ConfigError) as caught:
        Config().replace({"rpn.negative_iou": 0.8, "data.long_side": 500})
    assert str(caught.value).split("\n") == [
        "rpn.negative_iou must not be above rpn.positive_iou",
        "data.short_side must not be above data.long_side",
    ]


def test_a_line_of_a_file_names_the_file():
    text = '{"train": {"epochs": 0, "seed": -1}}'
    with pytest.raises(ConfigError) as caught:
        Config().updated_from_json(text, "my.json")
    assert [line[:22] for line in str(caught.value).split("\n")] == [
        "my.json: train.epochs ",
        "my.json: train.seed mu",
    ]


def test_sections_may_be_given_as_dicts():
    config = Config(train={"epochs": "4"}, data=schema.DataConfig(flip=0))
    assert config == Config().replace({"train.epochs": 4, "data.flip": 0})
    for given, says in (
        ({"train": {"epoch": 4}}, "there is no setting 'train.epoch'; did you mean train.epochs?"),
        ({"train": {"epochs": 0}}, "train.epochs must be a whole number of at least 1, not 0"),
        ({"trian": {}}, f"there is no section 'trian' of settings, only {', '.join(schema.SECTIONS)}"),
        ({"train": 3}, "train must be a section: {'epochs': 4, ...}, not 3"),
    ):
        with pytest.raises(ConfigError) as caught:
            Config(**given)
        assert str(caught.value) == says


def test_a_section_cannot_be_changed_but_copied():
    config = Config()
    with pytest.raises(ValueError):
        config.train.epochs = 4
    assert config.train.replace(epochs=4) == Config().replace({"train.epochs": 4}).train
    with pytest.raises(ValueError):
        config.train.replace(epochs=0)
    assert hash(config) == hash(Config())


def test_the_json_schema_allows_what_it_names_and_no_more():
    assert SCHEMA["additionalProperties"] is False and "$schema" in SCHEMA["properties"]
    assert all(one["additionalProperties"] is False for one in SCHEMA["$defs"].values())
    found = properties()
    assert found["train.schedule"]["enum"] == list(schema.SCHEDULES)
    assert (found["data.batch_size"]["minimum"], found["data.batch_size"]["maximum"]) == (1, 4096)
    assert found["anchors.sizes"]["items"]["exclusiveMinimum"] == 0
    assert found["optimizer.momentum"]["exclusiveMaximum"] == 1
    config = Config().updated_from_json('{"$schema": "frcnn.schema.json", "train": {"epochs": 4}}')
    assert config.train.epochs == 4


def test_what_is_allowed_is_said_of_every_setting():
    for section in schema.SECTIONS:
        model = Config.model_fields[section].annotation
        for name in model.model_fields:
            assert messages.allowed(model, name).startswith(
                ("a whole number ", "a number ", "one of ", "true or false", "text")
            ) or " values, each " in messages.allowed(model, name)
