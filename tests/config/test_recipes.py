"""Recipes: their files, and what a recipe's name does in a command, a file and a resumed run."""

import pytest

from frcnn.config import precedence, presets, text_format
from frcnn.config.presets import RECIPE_PRESETS, preset
from frcnn.config.schema import KEYS, RECIPES, Config
from frcnn.errors import ConfigError


def test_each_name_is_a_file_that_begins_with_its_command():
    folder = presets.pathlib.Path(presets.__file__).parent / "preset_files" / "recipes"
    assert {path.stem for path in folder.glob("*.toml")} == set(RECIPES)
    for path in folder.glob("*.toml"):
        head = path.read_text("utf-8").split("\n[")[0]
        for part in ("# Command:  frcnn train", "# Time:", "# Expected:"):
            assert part in head, path


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("dataset", ["voc", "shapes"])
def test_its_settings_fit_each_other_and_name_no_data_or_backbone(name, dataset):
    values = RECIPE_PRESETS[name]
    assert not {"data.dataset", "model.backbone", "train.recipe"} & values.keys()
    found = precedence.gather({"train.recipe": name, "data.dataset": dataset}, {})
    assert found.config.replace(values | {"train.recipe": name}) == found.config
    others = {key for key in KEYS if found.config.get(key) != preset(dataset).get(key)}
    optimizer = presets.OPTIMIZER_PRESETS[values["optimizer.name"]] if "optimizer.name" in values else {}
    assert others <= values.keys() | optimizer.keys() | {"train.recipe"}


def test_the_rate_of_another_optimizer_is_not_used(monkeypatch):
    of_adam = {"optimizer.name": "adam", "optimizer.learning_rate": 7.0, "train.ema": 0.5}
    monkeypatch.setitem(RECIPE_PRESETS, "fast", of_adam)
    found = precedence.gather({"train.recipe": "fast"}, {})
    assert (found.config.optimizer.name, found.config.optimizer.learning_rate) == ("adam", 7.0)
    assert found.config.optimizer.weight_decay == 0.0  # of the optimizer's preset
    found = precedence.gather({"train.recipe": "fast", "optimizer.name": "sgd"}, {})
    assert found.config.optimizer == Config().optimizer and found.config.train.ema == 0.5
    assert "the recipe fast is for adam: its rate is not used for sgd" in found.notes


def test_it_stands_between_the_presets_and_the_config_file(tmp_path):
    file = tmp_path / "my.json"
    file.write_text(text_format.to_json({"train.ema": 0.9, "train.epochs": 3}), encoding="utf-8")
    options = {"train.recipe": "fast", "data.dataset": "shapes", "train.epochs": "4"}
    found = precedence.gather(options, {}, file)
    assert found.config.data.short_side == 320  # the data set's preset says 160
    assert (found.config.train.ema, found.config.train.epochs) == (0.9, 4)
    assert found.by_source["recipe fast"]["data.short_side"] == 320
    assert "train.recipe=fast" in found.summary()


def test_the_stored_name_gives_the_same_settings_again(tmp_path):
    first = precedence.gather({"train.recipe": "small-data"}, {})
    assert first.asked == {"train.recipe": "small-data"}
    file = tmp_path / "config.json"
    file.write_text(text_format.to_json(first.asked), encoding="utf-8")
    assert precedence.gather({}, {}, file).config == first.config


def test_a_resumed_run_keeps_its_recipe_and_takes_no_other():
    run = precedence.gather({"train.recipe": "long"}, {}).config.replace({"train.epochs": 5})
    assert precedence.gather({}, {}, None, run).config == run
    assert precedence.gather({"train.recipe": "long"}, {}, None, run).config == run
    with pytest.raises(ConfigError, match="^runs/a has the recipe long, which cannot become fast: give"):
        precedence.gather({"train.recipe": "fast"}, {}, None, run, "runs/a")


def test_an_unknown_name_is_one_line_with_the_names():
    with pytest.raises(ConfigError) as caught:
        precedence.gather({"train.recipe": "paper"}, {})
    (line,) = str(caught.value).splitlines()
    assert all(name in line for name in RECIPES)


def test_no_recipe_is_the_default_one():
    assert precedence.gather({}, {}).config == Config() == Config().replace(RECIPE_PRESETS["default"])
