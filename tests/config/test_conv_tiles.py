"""The setting train.conv_tiles."""

import pytest

from frcnn.config import conv_tiles
from frcnn.config.schema import Config
from frcnn.errors import ConfigError


def test_text_and_numbers_are_each_others_inverse():
    assert conv_tiles.parse(("128:64", "64:256")) == ((64, 256), (128, 64))
    assert conv_tiles.to_text(((64, 256), (128, 64))) == ("64:256", "128:64")
    assert conv_tiles.parse(("auto",)) is None and conv_tiles.parse(()) == ()


@pytest.mark.parametrize(
    "text", ["64", "64:", ":4", "a:4", "64:0", "64:-1", "64:1e9", "auto,64:4", "64:²"]
)
def test_what_is_no_pair_of_counts_is_refused(text):
    with pytest.raises(ConfigError, match="train.conv_tiles takes auto, or CHANNELS:TILES"):
        Config().replace({"train.conv_tiles": text})


def test_channels_are_named_once():
    with pytest.raises(ConfigError, match="has 64 channels twice"):
        Config().replace({"train.conv_tiles": "64:1,64:2"})
