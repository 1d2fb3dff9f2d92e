"""From a run directory to boxes in a picture's own pixels."""

import json
import shutil
import subprocess
import sys
import types
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image

from frcnn.config import in_weights
from frcnn.config.presets import preset
from frcnn.detector import Detector
from frcnn.errors import ConfigError, DataError, OutputError, WeightsError
from frcnn.evaluation import evaluator
from frcnn.export import exporter
from frcnn.models.faster_rcnn import FasterRCNN


class FourBoxes:
    """Stands in for ``faster_rcnn.detector``: always two detections and two rows of padding."""

    def predict_on_batch(self, inputs):
        self.images, self.sizes = inputs
        batch = len(self.images)
        boxes = np.array([[0, 0, 120, 80], [30, 20, 60, 40], [0, 0, 0, 0], [0, 0, 0, 0]], "float32")
        scores, labels = np.array([0.9, 0.6, 0, 0], "float32"), np.array([1, 0, -1, -1], "int32")
        return [np.stack([one] * batch) for one in (boxes, scores, labels)]


@pytest.fixture
def network():
    return FourBoxes()


@pytest.fixture
def detector(network):
    """Return a detector that resizes to a short side of 80 and a long side of 120 at most."""
    config = preset("shapes").replace({"data.short_side": 80, "data.long_side": 120})
    return Detector(types.SimpleNamespace(detector=network, size_multiple=16), config, ["cat", "dog"])


def test_boxes_come_in_the_pixels_of_each_image(detector, network):
    wide = np.full((160, 240, 3), 7, "uint8")
    (result,) = detector.predict([wide])
    np.testing.assert_allclose(result["boxes"], [[0, 0, 240, 160], [60, 40, 120, 80]])
    np.testing.assert_allclose(result["scores"], [0.9, 0.6])
    assert result["labels"].tolist() == [1, 0] and result["names"] == ["dog", "cat"]
    # Resized by a half, then padded to the multiple.
    assert network.images.shape == (1, 80, 128, 3) and network.sizes.tolist() == [[80, 120]]


def test_both_axes_are_stretched_by_their_own_factor(detector, network):
    (result,) = detector.predict([np.zeros((100, 333, 3), "uint8")])
    assert network.sizes.tolist() == [[36, 120]]
    np.testing.assert_allclose(
        result["boxes"][1], [30 * 333 / 120, 20 * 100 / 36, 60 * 333 / 120, 40 * 100 / 36], rtol=1e-6
    )


def test_images_of_many_sizes_and_from_files(detector, tmp_path):
    Image.new("RGB", (60, 40)).save(tmp_path / "a.png")
    results = detector.predict(
        [np.zeros((160, 240, 3), "uint8"), str(tmp_path / "a.png"), tmp_path / "a.png"]
    )
    assert [result["boxes"][0].tolist() for result in results] == [
        [0, 0, 240, 160],
        [0, 0, 60, 40],
        [0, 0, 60, 40],
    ]
    assert detector.predict([]) == []
    with pytest.raises(DataError, match="missing.png"):
        detector.predict([tmp_path / "missing.png"])


def test_the_validations_batches_are_taken_as_they_are(detector):
    images, sizes = np.zeros((2, 80, 128, 3), "uint8"), np.array([[80, 120], [80, 60]], "float32")
    first, second = detector.detect(images, sizes, [(160, 240), (80, 60)])
    np.testing.assert_allclose(first["boxes"][0], [0, 0, 240, 160])
    np.testing.assert_allclose(second["boxes"][1], [30, 20, 60, 40])


# --- other kinds of image, batches -----------------------------------------------------------


def test_one_image_need_not_be_in_a_list(detector, tmp_path):
    Image.new("RGB", (60, 40), (9, 8, 7)).save(tmp_path / "a.png")
    pixels = np.full((40, 60, 3), (9, 8, 7), "uint8")
    kinds = [pixels, Image.open(tmp_path / "a.png"), str(tmp_path / "a.png"), tmp_path / "a.png"]
    for image in kinds:
        (result,) = detector.predict(image)
        np.testing.assert_allclose(result["boxes"][1], [15, 10, 30, 20])
        assert (detector.models.detector.images[0, :80, :120] == (9, 8, 7)).all()


def test_pillow_images_of_any_mode_are_rgb_to_the_network(detector, network):
    detector.predict(Image.new("L", (60, 40), 7))
    assert (network.images[0, :80, :120] == 7).all()
    detector.predict(Image.new("RGBA", (60, 40), (1, 2, 3, 255)))
    assert (network.images[0, :80, :120] == (1, 2, 3)).all()
    detector.predict(Image.fromarray(np.full((40, 60), 9 * 257, "uint16")))
    assert (network.images[0, :80, :120] == 9).all()
    with pytest.raises(DataError, match="image 0 is a Pillow image of mode F"):
        detector.predict(Image.new("F", (60, 40)))


def test_a_file_is_turned_upright_as_in_training(detector, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (40, 60)).save(tmp_path / "a.jpg", exif=exif)  # shown as 60x40
    (result,) = detector.predict(tmp_path / "a.jpg")
    np.testing.assert_allclose(result["boxes"][1], [15, 10, 30, 20])


def test_float_images_keep_their_fractions(detector, network):
    detector.predict(np.full((40, 60, 3), 7.25))
    assert network.images.dtype == "float32" and (network.images[0, :80, :120] == 7.25).all()


@pytest.mark.parametrize("batch_size", [1, 2])
def test_batch_arrays_and_generators_are_images_one_by_one(detector, network, batch_size):
    batch = np.stack([np.full((40, 60, 3), grey, "uint8") for grey in (1, 2, 3, 4, 5)])
    for images in (batch, batch / 255.0, tuple(batch), (image for image in batch)):
        results = detector.predict(images, batch_size)
        assert len(results) == 5 and (network.images[-1, :80, :120].round() == 5).all()
        np.testing.assert_allclose(results[4]["boxes"][1], [15, 10, 30, 20])


def test_a_bad_image_is_named_by_its_number(detector):
    with pytest.raises(DataError, match="image 1 must be .*RGB"):
        detector.predict([np.zeros((40, 60, 3), "uint8"), None])


def test_a_stream_takes_no_more_images_than_it_needs(detector):
    taken = []

    def endless():
        while True:
            taken.append(1)
            yield np.zeros((40, 60, 3), "uint8")

    stream = detector.stream(endless())
    assert [next(stream)["names"] for _ in range(3)] == [["dog", "cat"]] * 3 and len(taken) == 3
    next(detector.stream(endless(), batch_size=2))
    assert len(taken) == 3 + 2 * 4


def test_tiles_are_predicted_in_batches_and_merged(detector, network):
    shapes, original = [], FourBoxes.predict_on_batch

    def counting(inputs):
        shapes.append(inputs[0].shape)
        return original(network, inputs)

    network.predict_on_batch = counting
    (found,) = detector.predict(np.zeros((80, 216, 3), "uint8"), 2, tile=120, overlap=0.2)
    assert shapes == [(1, 48, 128, 3), (2, 80, 128, 3)]  # the whole, and two tiles of 120x80
    # The fake network's small box is in each tile; its large one is in the image and cut in the tiles.
    small = found["boxes"][[name == "cat" for name in found["names"]]].tolist()
    assert [30, 20, 60, 40] in small and [126, 20, 156, 40] in small
    assert [name for name in found["names"]].count("dog") == 1
    assert (np.diff(found["scores"]) <= 0).all()


def test_a_batch_has_at_least_one_image(detector):
    with pytest.raises(ConfigError, match="batch_size must be 1 or more, not 0"):
        detector.predict(np.zeros((40, 60, 3), "uint8"), batch_size=0)


def test_images_of_one_padded_size_share_batches_and_come_back_in_order(detector, network):
    shapes, original = [], FourBoxes.predict_on_batch

    def counting(inputs):
        shapes.append(inputs[0].shape)
        return original(network, inputs)

    network.predict_on_batch = counting
    # Wide and upright ones by turns; the wide ones' sizes differ but not when padded.
    sizes = [(160, 240), (240, 160), (160, 238), (240, 160), (80, 120), (160, 240)]
    results = detector.predict([np.zeros((*size, 3), "uint8") for size in sizes], batch_size=3)
    assert sorted(shapes) == [(1, 80, 128, 3), (2, 128, 80, 3), (3, 80, 128, 3)]
    for result, (height, width) in zip(results, sizes):
        # The resized image is (120, 80) for an upright one, and boxes are of (80, 120).
        stretch = np.array([width, height] * 2) / ([120, 80] * 2 if width > height else [80, 120] * 2)
        if width == 238:
            stretch = np.array([238 / 119, 2] * 2)
        np.testing.assert_allclose(result["boxes"][1], stretch * [30, 20, 60, 40], rtol=1e-6)


# --- files -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def saved(small_config, tmp_path_factory):
    """Return a detector with weights that find something, and the file that it was saved in."""
    config = small_config.replace(
        {"data.classes": "circle,square,triangle", "detection.score_threshold": 0.01}
    )
    built = Detector(FasterRCNN.from_config(config, 4), config, config.data.classes)
    path = tmp_path_factory.mktemp("saved") / "shapes.detector"
    built.save(path)
    return built, path


def test_a_run_is_loaded_with_its_classes_and_weights(saved, tmp_path):
    built, path = saved
    shutil.copy(path, tmp_path / "best.weights.h5")
    for place in (tmp_path, path, str(path)):
        loaded = Detector.load(place)
        assert loaded.classes == ("circle", "square", "triangle") and loaded.config == built.config
        weights = (one.models.detector.get_weights() for one in (built, loaded))
        for ours, theirs in zip(*weights):
            np.testing.assert_array_equal(theirs, ours)
    with pytest.raises(WeightsError, match="last.weights.h5"):
        Detector.load(tmp_path, "last.weights.h5")


def test_a_fresh_process_predicts_the_same_to_the_last_bit(saved, tmp_path):
    """Bits of float32 survive in an .npz; nothing but the file goes over."""
    detector, path = saved
    image = np.random.default_rng(0).integers(0, 256, (70, 90, 3)).astype("uint8")
    np.save(tmp_path / "image.npy", image)
    code = (
        "import sys, numpy, frcnn\n"
        "(found,) = frcnn.Detector.load(sys.argv[1]).predict(numpy.load(sys.argv[2]))\n"
        "numpy.savez(sys.argv[3], **found)\n"
    )
    files = [str(path), str(tmp_path / "image.npy"), str(tmp_path / "found.npz")]
    root = Path(__file__).resolve().parents[1]
    subprocess.run([sys.executable, "-c", code, *files], cwd=root, check=True, capture_output=True)
    (expected,) = detector.predict(image)
    assert len(expected["scores"]) > 3
    with np.load(tmp_path / "found.npz") as found:
        assert set(found) == set(expected)
        for name in ("boxes", "scores", "labels"):
            assert found[name].dtype == expected[name].dtype
            np.testing.assert_array_equal(found[name], expected[name])
        assert found["names"].tolist() == expected["names"]


def test_a_saved_detector_is_hdf5_without_a_pickle(saved):
    with h5py.File(saved[1]) as file:
        kinds = set()
        file.visititems(lambda _, item: kinds.add(item.dtype.kind) if hasattr(item, "dtype") else None)
        assert kinds <= set("fi")  # numbers and no objects
        assert json.loads(file.attrs["frcnn_config"])["model"]["backbone"] == "tiny"


def test_a_folder_that_is_not_there_is_named_before_anything_is_written(saved, tmp_path):
    with pytest.raises(OutputError, match=f"cannot write .*: there is no folder {tmp_path}/none"):
        saved[0].save(tmp_path / "none" / "a.detector")


def test_a_file_that_is_there_is_kept_unless_it_is_to_be_replaced(saved, tmp_path):
    path = tmp_path / "a.detector"
    path.write_text("mine")
    with pytest.raises(OutputError, match="a.detector exists already"):
        saved[0].save(path)
    assert path.read_text() == "mine"
    saved[0].save(path, overwrite=True)
    assert h5py.is_hdf5(path)


def test_settings_change_what_is_detected_and_nothing_else(saved):
    built, path = saved
    image = np.random.default_rng(0).integers(0, 256, (70, 90, 3)).astype("uint8")
    (found,) = built.predict(image)
    name = found["names"][-1]
    one = Detector.load(path, settings={"detection.classes": name, "detection.max_detections": 1})
    (changed,) = one.predict(image)
    place = found["names"].index(name)
    assert changed["names"] == [name] and one.classes == built.classes
    np.testing.assert_allclose(changed["boxes"][0], found["boxes"][place], rtol=1e-5)
    with pytest.raises(ConfigError, match="rpn.samples is fixed by the weights"):
        Detector.load(path, settings={"rpn.samples": 3})
    with pytest.raises(ConfigError, match="detection.classes names 'circel', .*did you mean 'circle'"):
        Detector.load(path, settings={"detection.classes": "circel"})


def test_what_is_no_run_and_no_detector_is_named(saved, tmp_path):
    for place in (tmp_path, tmp_path / "nothing"):
        with pytest.raises(WeightsError, match=f"{place} is not a training run or a saved detector"):
            Detector.load(place)
    saved[0].models.detector.save_weights(tmp_path / "a.weights.h5")
    with pytest.raises(ConfigError, match="a.weights.h5 is not a file of a detector: it has no config"):
        Detector.load(tmp_path / "a.weights.h5")
    for text, says in (("{", "is not JSON"), ('{"rpn": {"size": 3}}', "no setting 'rpn.size'")):
        in_weights.write(tmp_path / "a.weights.h5", text)
        with pytest.raises(ConfigError, match=f"the config in .*a.weights.h5.*{says}"):
            Detector.load(tmp_path / "a.weights.h5")


# --- several views of an image -----------------------------------------------------------------


class FindsTheBrightPart:
    """Stands in for ``faster_rcnn.detector``: one box around the pixels that are 255."""

    def predict_on_batch(self, inputs):
        images, self.sizes = inputs
        boxes, scores = np.zeros((len(images), 2, 4), "float32"), np.zeros((len(images), 2), "float32")
        for row, image in enumerate(images):
            y, x = np.nonzero((image == 255).all(axis=-1))
            if len(x):
                boxes[row, 0] = x.min(), y.min(), x.max() + 1, y.max() + 1
                # The smaller the view, and the further left the part, the higher the score.
                scores[row, 0] = 0.9 - 0.001 * (image.shape[0] + x.min())
        return boxes, scores, np.where(scores > 0, 0, -1).astype("int32")


def of_views(**settings):
    values = {f"detection.{name}": value for name, value in settings.items()}
    config = preset("shapes").replace(
        {"data.short_side": 80, "data.long_side": 200, "data.interpolation": "bilinear"} | values
    )
    network = types.SimpleNamespace(detector=FindsTheBrightPart(), size_multiple=16)
    return Detector(network, config, ["bright"])


def with_bright_part(height=80, width=120):
    image = np.zeros((height, width, 3), "uint8")
    image[height // 4 : height // 2, width // 2 : width * 3 // 4] = 255
    return image


@pytest.mark.parametrize("width", [120, 128, 113])  # with padding and without
def test_a_mirrored_view_s_boxes_come_back_exactly(width):
    image = with_bright_part(width=width)
    expected = [width // 2, 20, width * 3 // 4, 40]
    (plain,), (both,) = of_views().predict(image), of_views(flip=True).predict(image)
    assert plain["boxes"].tolist() == both["boxes"].tolist() == [expected]
    # The mirrored view has the better score, as the part is further left in it.
    np.testing.assert_allclose(both["scores"], [0.9 - 0.001 * (80 + width - width * 3 // 4)], rtol=1e-5)


def test_views_of_other_sizes_come_back_to_the_image():
    (found,) = of_views(short_sides=[80, 40, 160]).predict(with_bright_part())
    assert found["boxes"].tolist() == [[60, 20, 90, 40]] and found["names"] == ["bright"]
    np.testing.assert_allclose(found["scores"], [0.9 - 0.001 * (48 + 30)], rtol=1e-5)  # of the smallest
    # A wide image is limited by a long side that is scaled along: 500 at 160 pixels.
    of_views(short_sides=[200]).predict(np.zeros((10, 100, 3), "uint8"))
    assert [view.long_side for view in evaluator.views_of(of_views(short_sides=[200]).config)] == [500]


def test_views_have_no_part_in_what_is_exported(tmp_path):
    for name, value in (("flip", True), ("short_sides", [80]), ("soft_nms_sigma", 0.5)):
        with pytest.raises(ConfigError, match=f"detection.{name} is no part of .* without it"):
            exporter.export(of_views(**{name: value}), "onnx", tmp_path / "a.onnx", [with_bright_part()])
