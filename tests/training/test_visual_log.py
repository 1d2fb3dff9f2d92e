"""When pictures and curves are written, and that a fault in them costs nothing else."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from frcnn.config.schema import Config
from frcnn.training import pictures
from frcnn.training.visual_log import VisualLog


def made(is_main=True, **values):
    config = Config().replace({key.replace("__", "."): value for key, value in values.items()})
    return VisualLog(config, None, ("cat",), SimpleNamespace(run_dir=Path("no run")), 5, is_main)


@pytest.mark.parametrize(
    "values, epochs",
    [
        ({"log__every": 1}, [1, 2, 3, 4, 5, 6, 7]),
        ({"log__every": 3}, [3, 6, 7]),  # the last epoch is the seventh
        ({"log__every": 2, "train__validate_every": 2}, [4, 7]),
        ({"is_main": False}, []),
    ],
)
def test_pictures_are_due_as_configured(values, epochs):
    log = made(train__epochs=7, **values)
    due = []
    every = log.config.train.validate_every
    for epoch in range(1, 8):
        if epoch % every == 0 or epoch == 7:
            log.begin(epoch, step=epoch)
            due += [epoch] if log.is_due else []
    assert due == epochs


def test_as_many_images_are_drawn_as_configured():
    assert sum(made(log__pictures=3).chosen.values()) == 3
    assert made(log__pictures=0).chosen == {}


def test_a_fault_is_said_once_and_does_not_end_the_run(capsys):
    log = made()
    log.begin(1, 1)
    for _ in range(2):
        log.finish([], [], None)  # there is no result
    log.add(SimpleNamespace(position=(0, 0), samples=[1]), {})
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("warning: pictures and curves cannot be logged: AttributeError")


def test_pictures_are_as_many_and_as_large_as_configured(monkeypatch):
    drawn = []
    monkeypatch.setattr(pictures, "draw_stages", lambda *given: drawn.append(given[-1]))
    monkeypatch.setattr(pictures, "draw_training", lambda *given: drawn.append(given[-1]))
    log = made(log__train_pictures=3, log__picture_side=123)
    log.models = SimpleNamespace(anchor_generator=None)
    written = []
    log.writer.write_images = lambda run, step, images: written.append((run, step, list(images)))
    log.draw_training(SimpleNamespace(samples=[1, 2, 3, 4]), {}, 1, 7)
    log.begin(1, 7)
    log.stages = ["first"]
    log._write_pictures(0.5)
    assert drawn == [123] * 4
    assert written == [
        ("train", 7, ["pictures/1", "pictures/2", "pictures/3"]),
        ("validation", 7, ["pictures/1"]),
    ]
