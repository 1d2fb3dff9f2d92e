"""Old names of settings: files of earlier versions are read, a command line is told the new name."""

import json

import h5py
import pytest

from frcnn.config import in_weights, precedence, presets
from frcnn.config.old_names import FORMER_DEFAULTS, OLD_NAMES
from frcnn.config.schema import KEYS, Config
from frcnn.errors import ConfigError
from frcnn.runs import run_directory

# Each old name with a value that is not the default of the new one.
OLD_VALUES = {
    "data.workers": 5,
    "data.whole_levels": False,
    "optimizer.bias_rate": 3.0,
    "optimizer.worker_scaling": "none",
    "optimizer.worker_warmup": 0.25,
    "train.best": "last",
}
NEW_VALUES = {OLD_NAMES[key]: value for key, value in OLD_VALUES.items()}


def old_json():
    sections = {}
    for key, value in OLD_VALUES.items():
        section, name = key.split(".")
        sections.setdefault(section, {})[name] = value
    return json.dumps(sections)


def test_the_tables_name_settings_that_exist():
    assert OLD_VALUES.keys() == OLD_NAMES.keys()
    assert {*OLD_NAMES.values(), *FORMER_DEFAULTS} <= set(KEYS) and not OLD_NAMES.keys() & set(KEYS)


@pytest.mark.parametrize("name", ["config.json", "resolved.json"])
def test_a_run_s_files_are_read_with_old_names(tmp_path, name):
    (tmp_path / name).write_text(old_json())
    assert run_directory.read_config(tmp_path) == Config().replace(FORMER_DEFAULTS | NEW_VALUES)
    if name == "config.json":
        assert run_directory.read_asked(tmp_path) == NEW_VALUES


def test_a_file_for_config_is_read_with_old_names(tmp_path):
    (tmp_path / "my.json").write_text(old_json())
    found = precedence.gather({}, {}, tmp_path / "my.json")
    assert found.config == Config().replace(NEW_VALUES) and found.asked == NEW_VALUES


def test_the_config_in_a_weight_file_is_read_with_old_names(tmp_path):
    path = tmp_path / "detector.h5"
    h5py.File(path, "w").close()
    in_weights.write(path, old_json())
    text = in_weights.read(path)
    assert Config().updated_from_json(text) == Config().replace(NEW_VALUES)
    assert presets.network_settings(text) == {"data.uint8_images": False}


def test_a_file_with_an_old_and_a_new_name_is_refused():
    text = '{"data": {"workers": 1, "loader_threads": 2}}'
    with pytest.raises(
        ConfigError, match="my.json has both data.loader_threads and its old name data.workers"
    ):
        Config().updated_from_json(text, "my.json")


@pytest.mark.parametrize("key", OLD_NAMES)
def test_a_command_line_is_told_the_new_name(key):
    with pytest.raises(ConfigError, match=f"^the setting {key} is now called {OLD_NAMES[key]}$"):
        precedence.gather({}, {key: str(OLD_VALUES[key])})
