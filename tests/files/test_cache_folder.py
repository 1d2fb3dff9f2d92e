"""Where caches lie."""

from pathlib import Path

from frcnn.files.cache_folder import cache_folder


def test_the_users_choice_comes_first(monkeypatch):
    monkeypatch.setenv("HOME", "/home/somebody")
    monkeypatch.setenv("XDG_CACHE_HOME", "/var/somebody")
    monkeypatch.setenv("FRCNN_CACHE", "/scratch")
    assert cache_folder() == Path("/scratch")
    monkeypatch.delenv("FRCNN_CACHE")
    assert cache_folder() == Path("/var/somebody/frcnn")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path("/home/somebody/.cache/frcnn")
