"""RoIAlign, by its two ways of sampling: by hand, by a plain loop, and another implementation's numbers.

``crop`` is TensorFlow's kernel, ``gather`` takes each sample's four cells; the first is left out on
other backends.
"""

import keras
import numpy as np
import pytest
from keras import ops
from support import at_once

from frcnn.backend import IS_TENSORFLOW
from frcnn.layers import roi_align
from frcnn.layers.roi_align import RoIAlign

needs_tensorflow = pytest.mark.skipif(not IS_TENSORFLOW, reason="a kernel of TensorFlow's")


@pytest.fixture(params=[pytest.param("crop", marks=needs_tensorflow), "gather"])
def way(request, monkeypatch):
    """Have ``RoIAlign`` sample in one way, then in the other."""
    monkeypatch.setattr(roi_align, "has_native_crop", lambda: request.param == "crop")
    return request.param


def pooled(features, rois, stride=1, **options):
    """RoIs, numpy, pooled from features of one level."""
    return pooled_of_levels([features], rois, strides=(stride,), **options)


def pooled_of_levels(features, rois, **options):
    features = [np.asarray(level, "float32") for level in features]
    return np.asarray(at_once(RoIAlign(**options))(features, np.asarray(rois, "float32")))


def five_by_five():
    """One channel whose value at row y and column x is 5 y + x: linear, so interpolation is exact."""
    return np.arange(25.0).reshape(1, 5, 5, 1)


def test_samples_lie_in_the_middle_of_bins(way):
    """A RoI from 1 to 3 in bins of 1 x 1: their middles are at 1.5 and 2.5 pixels.

    A cell's value sits at its middle, so these are the cells 1 and 2 themselves, half a cell less.
    """
    result = pooled(five_by_five(), [[[1, 1, 3, 3]]], pool_size=2, samples=1)
    np.testing.assert_allclose(result[0, 0, :, :, 0], [[6, 7], [11, 12]], rtol=1e-5)


def test_without_the_shift_a_value_sits_at_its_cells_corner(way):
    # The same middles now lie between cells 1, 2 and 3: half a row and half a column further, 5/2 + 1/2.
    result = pooled(five_by_five(), [[[1, 1, 3, 3]]], pool_size=2, samples=1, aligned=False)
    np.testing.assert_allclose(result[0, 0, :, :, 0], [[9, 10], [14, 15]], rtol=1e-5)


def test_a_bin_is_the_mean_of_its_samples(way):
    """Linear features have the same mean whatever the number of samples; squares tell."""
    np.testing.assert_allclose(
        pooled(five_by_five(), [[[0.5, 1, 4, 4.5]]], pool_size=2, samples=1),
        pooled(five_by_five(), [[[0.5, 1, 4, 4.5]]], pool_size=2, samples=3),
        rtol=1e-5,
    )
    # Columns with the values 0, 1, 4, 9. One bin from 0.5 to 3.5 with two samples: their places are 1.25
    # and 2.75 pixels, cells 0.75 and 2.25; between the cells lies 0.75 of 1, and 4 + 0.25 of 5.
    squares = np.broadcast_to(np.arange(4.0)[None, None, :, None] ** 2, (1, 4, 4, 1))
    result = pooled(squares, [[[0.5, 0.5, 3.5, 3.5]]], pool_size=1, samples=2)
    np.testing.assert_allclose(result.item(), (0.75 + 5.25) / 2, rtol=1e-5)


def test_pixels_are_divided_by_the_stride(way):
    fine = pooled(five_by_five(), [[[1, 1, 4, 3]]], pool_size=3)
    coarse = pooled(five_by_five(), [[[16, 16, 64, 48]]], pool_size=3, stride=16)
    np.testing.assert_allclose(fine, coarse, rtol=1e-5)


def test_beyond_the_map(way):
    """Up to one cell outside, the edge's value; farther out, 0."""
    ones = np.ones((1, 4, 4, 1))
    # Eight bins of 1 x 1 from 2.1 pixels left of the map, a sample in the middle of each: in cells,
    # -2.1, -1.1, -0.1, ... 3.9, 4.9. The map has the cells 0 to 3.
    result = pooled(ones, [[[-2.1, 1, 5.9, 2]]], pool_size=8, samples=1)
    np.testing.assert_allclose(result[0, 0, 4, :, 0], [0, 0, 1, 1, 1, 1, 1, 0], atol=1e-5)
    # And -1.9, -0.9, ... 3.1, 4.1, 5.1.
    result = pooled(ones, [[[-1.9, 1, 6.1, 2]]], pool_size=8, samples=1)
    np.testing.assert_allclose(result[0, 0, 4, :, 0], [0, 1, 1, 1, 1, 1, 0, 0], atol=1e-5)
    outside = pooled(ones, [[[100, 100, 120, 120], [-50, -50, -20, -20]]])
    assert not outside.any()


def test_an_image_has_its_own_rois(way):
    features = np.stack([np.full((4, 4, 2), [1, 10]), np.full((4, 4, 2), [2, 20])])
    result = pooled(
        features, np.tile([[[0, 0, 4, 4], [1, 1, 3, 2], [2, 1, 4, 4]]], (2, 1, 1)), pool_size=2
    )
    assert result.shape == (2, 3, 2, 2, 2)
    np.testing.assert_allclose(result[0], np.broadcast_to([1, 10], (3, 2, 2, 2)), rtol=1e-5)
    np.testing.assert_allclose(result[1], np.broadcast_to([2, 20], (3, 2, 2, 2)), rtol=1e-5)


def test_padding_rois_are_finite(way):
    """An empty RoI is one point, sampled again and again."""
    assert np.isfinite(pooled(five_by_five(), [[[0, 0, 0, 0], [2, 2, 2, 2]]])).all()


def bilinear(image, y, x):
    """The plain words: 0 if more than a cell outside; else to the edge; then mix four cells."""
    height, width = image.shape[:2]
    if not (-1 <= y <= height and -1 <= x <= width):
        return np.zeros(image.shape[-1])
    y, x = np.clip(y, 0, height - 1), np.clip(x, 0, width - 1)
    top, left = int(y), int(x)
    bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
    y, x = y - top, x - left
    return (1 - y) * ((1 - x) * image[top, left] + x * image[top, right]) + y * (
        (1 - x) * image[bottom, left] + x * image[bottom, right]
    )


@pytest.mark.parametrize("aligned", [True, False])
def test_the_plain_loop_says_the_same(way, aligned):
    rng = np.random.default_rng(0)
    features = rng.normal(size=(1, 5, 7, 2))
    corner = rng.uniform(-30, 90, (6, 2))
    rois = np.concatenate([corner, corner + rng.uniform(1, 60, (6, 2))], axis=1)
    size, samples, stride = 3, 2, 16
    expected = np.zeros((6, size, size, 2))
    for roi, bins in zip(rois / stride, expected):
        x1, y1 = roi[:2] - (0.5 if aligned else 0)
        width, height = roi[2:] - roi[:2]
        if not aligned:
            width, height = max(width, 1), max(height, 1)
        for row, column in np.ndindex(size, size):
            for i, j in np.ndindex(samples, samples):
                y = y1 + height * (row + (i + 0.5) / samples) / size
                x = x1 + width * (column + (j + 0.5) / samples) / size
                bins[row, column] += bilinear(features[0], y, x) / samples**2
    result = pooled(
        features, rois[None], stride=stride, pool_size=size, samples=samples, aligned=aligned
    )
    np.testing.assert_allclose(result[0], expected, atol=1e-4)


@pytest.mark.parametrize("aligned", [0, 1])
@pytest.mark.parametrize("samples", [1, 2])
def test_roi_align_golden(golden, gradient, way, aligned, samples):
    table = golden("roi_align")
    features = np.moveaxis(table["features"], 1, -1)
    upstream = np.moveaxis(table["upstream"], 1, -1)
    image, rois = table["rois"][:, 0].astype(int), table["rois"][:, 1:]
    # There a RoI names its image; here each image has a row of RoIs. So every RoI is pooled from both,
    # and the one that is not asked for has no upstream gradient.
    wanted = np.eye(2, dtype="float32")[image].T
    layer = RoIAlign((16,), pool_size=7, samples=samples, aligned=bool(aligned))
    both = np.stack([rois, rois])

    result = np.asarray(layer([features], both))[image, np.arange(24)]
    name = f"aligned{aligned}_sr{samples}"
    np.testing.assert_allclose(result, np.moveaxis(table[f"out_{name}"], 1, -1), rtol=1e-4, atol=1e-4)

    weights = wanted[..., None, None, None] * upstream
    slope = gradient(lambda x: ops.sum(layer([x], both) * weights), features)
    expected = np.moveaxis(table[f"grad_{name}"], 1, -1)
    np.testing.assert_allclose(slope, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


def test_rois_keep_their_precision_under_float16(way):
    """float16 knows 1000.3 only as 1000.5; features may be halves, places may not."""
    rng = np.random.default_rng(0)
    features = rng.normal(size=(1, 40, 65, 3)).astype("float16")
    rois = np.array([[[1000.3, 301.2, 1021.7, 333.6]]], "float32")
    half = RoIAlign((16,), dtype="mixed_float16")([features], rois)
    assert keras.backend.standardize_dtype(half.dtype) == "float16"
    full = RoIAlign((16,))([features.astype("float32")], rois)
    np.testing.assert_allclose(np.asarray(half, "float32"), full, atol=4e-3)


def test_layer_is_saved_with_its_settings(way):
    layer = RoIAlign((8, 16), pool_size=5, samples=3, aligned=False, name="align")
    again = keras.layers.deserialize(keras.layers.serialize(layer))
    assert again.get_config() == layer.get_config()
    assert (again.strides, again.pool_size, again.samples, again.aligned) == ((8, 16), 5, 3, False)


def test_symbolic_shape():
    features, rois = [keras.Input((None, None, 7))] * 2, keras.Input((None, 4))
    assert RoIAlign((16, 32), pool_size=5)(features, rois).shape == (None, None, 5, 5, 7)


# --- several levels --------------------------------------------------------------------------


def levels(rois, strides):
    return np.asarray(roi_align.roi_levels(np.asarray(rois, "float32"), strides)).tolist()


@pytest.mark.parametrize("left", [0.0, 3.3, 700.1])
def test_the_level_changes_at_112_224_and_448_pixels(left):
    """A RoI as large as ImageNet's images, 224 x 224, belongs to stride 16; half of that to 8."""
    sides = np.array([10, 111.9, 112, 223.9, 224, 447.9, 448, 2000])
    rois = np.stack([np.full(8, left), np.zeros(8), left + sides, sides], axis=1)
    assert levels(rois, (4, 8, 16, 32)) == [0, 0, 1, 1, 2, 2, 3, 3]
    # Levels that are not there: the nearest is taken.
    assert levels(rois, (8, 16)) == [0, 0, 0, 0, 1, 1, 1, 1]
    assert levels(rois, (16,)) == [0] * 8


def test_the_area_decides_the_level_and_padding_has_one():
    rois = [[0, 0, 448, 112], [0, 0, 112, 448], [0, 0, 448, 111], [0, 0, 0, 0], [9, 9, 5, 5]]
    assert levels(rois, (4, 8, 16, 32)) == [2, 2, 1, 0, 0]


def test_of_levels_of_one_stride_only_the_first_is_pooled(way):
    """Those of MobileNetV3: both have a stride of 32, so no size tells them apart."""
    rois = [[[0, 0, 30, 30], [10, 0, 130, 120], [0, 0, 500, 400]]]
    assert levels(rois[0], (32, 32)) == [0, 0, 0]
    first, second = np.random.default_rng(0).normal(size=(2, 1, 13, 16, 3))
    both = pooled_of_levels([first, second], rois, strides=(32, 32))
    np.testing.assert_allclose(both, pooled(first, rois, stride=32), rtol=1e-5, atol=1e-6)


def scattered_rois(rng, images, count):
    """RoIs of all sizes, some of them empty or partly outside 300 x 400 pixels."""
    corner = rng.uniform(-20, 300, (images, count, 2))
    rois = np.concatenate([corner, corner + 2 ** rng.uniform(2, 9, (images, count, 2))], axis=-1)
    rois[0, 3] = 0
    return rois.astype("float32")


@pytest.mark.parametrize("aligned", [True, False])
def test_a_roi_of_several_levels_is_that_of_its_own_level_alone(way, aligned):
    rng = np.random.default_rng(0)
    strides = (4, 8, 16)
    features = [rng.normal(size=(2, -(-300 // s), -(-400 // s), 3)) for s in strides]
    rois = scattered_rois(rng, 2, 20)
    options = {"pool_size": 3, "aligned": aligned}
    result = pooled_of_levels(features, rois, strides=strides, **options)
    level = np.reshape(levels(rois.reshape(-1, 4), strides), (2, 20))
    assert set(level.ravel()) == {0, 1, 2}
    for number, stride in enumerate(strides):
        alone = pooled(features[number], rois, stride=stride, **options)
        of_level = level == number
        np.testing.assert_allclose(result[of_level], alone[of_level], rtol=1e-4, atol=1e-5)


@needs_tensorflow
@pytest.mark.parametrize("points", [1, 4])
def test_both_ways_have_the_same_samples_and_gradients(gradient, points):
    rng = np.random.default_rng(points)
    sizes = ((9, 12), (5, 6))
    features = [rng.normal(size=(2, *size, 3)).astype("float32") for size in sizes]
    count = 40
    level, image = rng.integers(0, 2, (2, count)).astype("int32")
    # In the map, on its edge, up to a cell outside and farther out.
    first = rng.uniform(-2.5, 8, (count, 2)).astype("float32")
    step = rng.uniform(0, 2, (count, 2)).astype("float32")
    grid = (level, image, first, step, points)
    ways = (roi_align.crop_samples, roi_align.gather_samples)
    crop, gather = (np.asarray(sample(features, *grid)) for sample in ways)
    assert crop.shape == (count, points, points, 3)
    np.testing.assert_allclose(gather, crop, atol=1e-5)
    assert (crop == 0).any() and crop.any()
    upstream = rng.normal(size=crop.shape).astype("float32")
    for number, own in enumerate(features):

        def loss(x, sample, number=number):
            given = [x if other == number else map_ for other, map_ in enumerate(features)]
            return ops.sum(sample(given, *grid) * upstream)

        crop, gather = (gradient(lambda x, s=sample: loss(x, s), own) for sample in ways)
        np.testing.assert_allclose(gather, crop, atol=1e-4)
        assert np.abs(crop).max() > 0.1


def test_a_level_without_rois_is_no_trouble(way):
    features = [np.ones((1, 8, 8, 2)), np.full((1, 4, 4, 2), 2.0)]
    result = pooled_of_levels(features, [[[0, 0, 20, 20], [4, 4, 30, 30]]], strides=(8, 16))
    np.testing.assert_allclose(result, 1, rtol=1e-5)
    result = pooled_of_levels(features, np.zeros((1, 0, 4)), strides=(8, 16))
    assert result.shape == (1, 0, 7, 7, 2)
