"""``frcnn evaluate``: which data a detector is evaluated on."""

from frcnn.cli import evaluate
from frcnn.config.schema import Config
from frcnn.data import build


def test_a_run_on_python_objects_is_evaluated_on_a_folder(shapes_folder):
    of_run = Config().replace({"data.dataset": "python", "data.classes": "circle,square,triangle"})
    arguments = evaluate.parse(["run", "--data-dir", str(shapes_folder)])
    config, _ = evaluate.make_config(of_run, arguments)
    assert (config.data.dataset, config.data.val_split) == ("voc", "val")
    dataset = build.load_split(config.data, config.data.val_split, of_run.data.classes)
    assert len(dataset) == 4
