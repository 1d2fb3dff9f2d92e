"""``frcnn export --set``: the detector is loaded with these settings, before it is exported."""

import pytest

from frcnn.cli import export
from frcnn.detector import Detector
from frcnn.errors import ConfigError


class Loaded(Exception):
    pass


def test_settings_of_detection_reach_the_detector(tmp_path, monkeypatch):
    def load(run, weights, settings):
        raise Loaded(settings)

    monkeypatch.setattr(Detector, "load", load)
    options = ["--format", "saved_model", "--out", str(tmp_path / "out")]
    with pytest.raises(Loaded) as error:
        export.main([str(tmp_path), *options, "--set", "detection.flip=false"])
    assert error.value.args == ({"detection.flip": False},)
    with pytest.raises(ConfigError, match="there is no setting 'detection.flop'"):
        export.main([str(tmp_path), *options, "--set", "detection.flop=false"])
