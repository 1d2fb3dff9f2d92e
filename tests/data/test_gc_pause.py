"""The search for cyclic garbage is paused while labels are read, and goes on afterwards."""

import gc

import labelled
import pytest

from frcnn.data import gc_pause, sources
from frcnn.data.labels import Choice
from frcnn.data.sources import open_source
from frcnn.errors import DataError


def test_it_goes_on_after_an_error():
    with pytest.raises(ValueError), gc_pause.paused():
        assert not gc.isenabled()
        raise ValueError
    assert gc.isenabled()


def test_it_stays_off_where_it_was_off():
    gc.disable()
    try:
        with gc_pause.paused():
            assert not gc.isenabled()
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_labels_are_read_without_it(tmp_path, monkeypatch):
    labelled.coco(tmp_path)
    seen, own = [], sources.Source._read
    monkeypatch.setattr(
        sources.Source, "_read", lambda *given: (seen.append(gc.isenabled()), own(*given))[1]
    )
    open_source(tmp_path).collect("all", Choice())
    (tmp_path / "annotations.json").write_text('{"images": [], "annotations": 3}')
    with pytest.raises(DataError):
        open_source(tmp_path).collect("all", Choice())
    assert seen == [False, False] and gc.isenabled()
