"""Who decides which convolutions of a run go by tiles."""

from types import SimpleNamespace

import pytest

from frcnn.config.schema import Config
from frcnn.layers import conv, conv_timing
from frcnn.models.faster_rcnn import FasterRCNN
from frcnn.training import train

GROUP = SimpleNamespace(is_main=True, gather_json=lambda value: [list(value)])


@pytest.fixture
def measured(monkeypatch):
    monkeypatch.setattr(conv_timing, "choose", lambda dtype: (((64, 256),), f"measured {dtype}"))


def test_a_new_run_measures(measured, capsys):
    config = train._with_conv_tiles(Config().replace({"train.precision": "mixed_bfloat16"}), None, GROUP)
    assert config.train.conv_tiles == ("64:256",)
    assert capsys.readouterr().out == "measured bfloat16\n"


def test_what_is_asked_for_is_taken(measured):
    asked = Config().replace({"train.conv_tiles": "128:9"})
    assert train._with_conv_tiles(asked, None, GROUP) == asked


def test_a_run_that_goes_on_keeps_its_choice(measured):
    before = Config().replace({"train.conv_tiles": "128:9"})
    assert train._with_conv_tiles(Config(), before, GROUP).train.conv_tiles == ("128:9",)


def test_other_processes_take_the_firsts_choice(monkeypatch):
    monkeypatch.setattr(conv_timing, "choose", lambda dtype: pytest.fail("measured"))
    group = SimpleNamespace(is_main=False, gather_json=lambda value: [["64:5"], list(value)])
    assert train._with_conv_tiles(Config(), None, group).train.conv_tiles == ("64:5",)


def test_the_networks_layers_get_the_runs_choice():
    config = Config().replace(
        {"model.backbone": "tiny", "model.preprocessing": "tf", "model.head_width": 8}
        | {"train.conv_tiles": "64:33"}
    )
    network = FasterRCNN.from_config(config, 3)
    layers = [layer for layer in network.rpn.layers if isinstance(layer, conv.Conv2D)]
    assert layers and {layer.tiles_from for layer in layers} == {((64, 33),)}
