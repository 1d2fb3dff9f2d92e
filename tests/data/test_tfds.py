"""A builder of tensorflow_datasets as a source; most of it needs that package."""

import importlib.util
import sys

import numpy as np
import pytest
from PIL import Image

import frcnn
from frcnn.errors import ConfigError, DataError

needs_tfds = pytest.mark.skipif(
    importlib.util.find_spec("tensorflow_datasets") is None, reason="tensorflow_datasets is missing"
)
# Image -> (class, half-open box, difficult, crowd); images are 40x20.
OBJECTS = {
    "a": [("cat", (4, 5, 20, 15), False, False), ("dog", (0, 0, 40, 20), True, False)],
    "b": [("dog", (10, 5, 30, 10), False, True)],
    "c": [],
}


@pytest.fixture
def builder(tmp_path):
    """A prepared builder with a split ``train``, whose images are JPEG files."""
    import tensorflow_datasets as tfds

    class Pets(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        VERSION = tfds.core.Version("1.0.0")
        pkg_dir_path = tmp_path

        def _info(self):
            objects = {
                "bbox": tfds.features.BBoxFeature(),
                "label": tfds.features.ClassLabel(names=["dog", "cat"]),
                "is_difficult": np.bool_,
                "is_crowd": np.bool_,
            }
            features = {
                "image": tfds.features.Image(encoding_format="jpeg"),
                "image/filename": tfds.features.Text(),
                "objects": tfds.features.Sequence(objects),
            }
            return self.dataset_info_from_configs(features=tfds.features.FeaturesDict(features))

        def _split_generators(self, manager):
            return {"train": self._generate_examples()}

        def _generate_examples(self):
            for name, objects in OBJECTS.items():
                path = tmp_path / f"{name}.jpg"
                Image.new("RGB", (40, 20), (len(name), 90, 200)).save(path)
                rows = [
                    {
                        "bbox": tfds.features.BBox(y1 / 20, x1 / 40, y2 / 20, x2 / 40),
                        "label": label,
                        "is_difficult": difficult,
                        "is_crowd": crowd,
                    }
                    for label, (x1, y1, x2, y2), difficult, crowd in objects
                ]
                yield name, {"image": path, "image/filename": path.name, "objects": rows}

    made = Pets(data_dir=tmp_path / "tfds")
    made.download_and_prepare()
    return made


@needs_tfds
def test_a_split_is_read(builder, tmp_path):
    data = frcnn.dataset_from_tfds(builder, "train", tmp_path / "images")
    assert data.classes == ("dog", "cat") and data.name == "pets train"
    found = {}
    for sample in data.samples:
        crowd = [False] * len(sample.boxes) if sample.crowd is None else sample.crowd.tolist()
        names = [data.classes[label] for label in sample.labels]
        boxes = [tuple(box) for box in sample.boxes.tolist()]
        flags = [(own or one, one) for own, one in zip(sample.difficult.tolist(), crowd)]
        found[sample.name] = [(name, box, *own) for name, box, own in zip(names, boxes, flags)]
        assert open(sample.path, "rb").read() == (tmp_path / sample.name).read_bytes()
    crowds = {"b.jpg": [("dog", (10, 5, 30, 10), True, True)]}  # crowds are difficult, too
    assert found == {f"{name}.jpg": own for name, own in OBJECTS.items()} | crowds


@needs_tfds
def test_classes_are_chosen_and_parts_of_a_split_named(builder, tmp_path):
    data = frcnn.dataset_from_tfds(builder, "train[:2]", tmp_path / "images", classes=["cat"])
    again = frcnn.dataset_from_tfds(builder, "train[:2]", tmp_path / "images", classes=["cat"])
    assert len(data) == 2 and data.classes == ("cat",) and data.fingerprint() == again.fingerprint()
    assert sum(len(sample.boxes) for sample in data.samples) <= 1


@needs_tfds
def test_errors_are_one_line(builder, tmp_path):
    import tensorflow_datasets as tfds

    with pytest.raises(DataError, match="pets has no split 'nope'; the splits are: train"):
        frcnn.dataset_from_tfds(builder, "nope", tmp_path / "images")
    with pytest.raises(ConfigError, match="has no builder 'no_such_builder'"):
        frcnn.dataset_from_tfds("no_such_builder", "train", tmp_path / "images")
    unprepared = type(builder)(data_dir=tmp_path / "other")
    with pytest.raises(DataError, match="the data of pets are not prepared: run builder.download"):
        frcnn.dataset_from_tfds(unprepared, "train", tmp_path / "images")
    numbers = tfds.testing.DummyDataset(data_dir=tmp_path / "numbers")
    numbers.data_path.mkdir(parents=True)
    with pytest.raises(DataError, match="has no image with a sequence of boxes"):
        frcnn.dataset_from_tfds(numbers, "train", tmp_path / "images")


@needs_tfds
@pytest.mark.slow
def test_a_builder_is_trained_on(builder, tmp_path):
    data = frcnn.dataset_from_tfds(builder, "train", tmp_path / "images")
    settings = {"data.short_side": 64, "data.long_side": 64, "model.rpn_channels": 16}
    options = {"backbone": "tiny", "weights": "none", "epochs": 1, "settings": settings}
    result = frcnn.train((data, data), out=tmp_path / "run", **options)
    assert result.classes == ("dog", "cat") and np.isfinite(result.mean_ap)


def test_without_the_package_the_error_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    with pytest.raises(ConfigError, match="is not installed: pip install tensorflow_datasets"):
        frcnn.dataset_from_tfds("voc/2007", "train", tmp_path)
