"""The RPN at a few cells is the whole RPN there, in value and in gradient."""

import keras
import numpy as np
import pytest
from keras import ops

from frcnn.layers.sparse_rpn import SparseRpnHead, surroundings
from frcnn.models import heads

SIZES = ((5, 7), (3, 4))
CELLS = sum(height * width for height, width in SIZES)


@pytest.fixture(params=[1, 2])
def networks(request):
    """Return the whole RPN and the one at cells, on two levels, of one or two convolutions."""
    features = [keras.Input((None, None, 4)) for _ in SIZES]
    whole = keras.Model(features, heads.rpn(features, 3, 8, conv_depth=request.param))
    names = ("rpn_conv", "rpn_conv2")[: request.param]
    last = [whole.get_layer(name) for name in ("rpn_class_logits", "rpn_deltas")]
    rng = np.random.default_rng(0)
    for variable in whole.weights:
        variable.assign(rng.normal(0, 0.3, variable.shape))
    return whole, SparseRpnHead([whole.get_layer(name) for name in names], *last)


def maps(seed=1):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=(2, *size, 4)).astype("float32") for size in SIZES]


def test_every_cell_of_every_level_borders_among_them(networks):
    whole, at_cells = networks
    cells = np.stack([np.arange(CELLS), np.arange(CELLS)[::-1]]).astype("int32")
    scores, deltas = (np.asarray(part) for part in at_cells(maps(), cells))
    for found, expected in zip((scores, deltas), whole(maps())):
        expected = np.asarray(expected)
        np.testing.assert_allclose(found[0], expected[0], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(found[1], expected[1, ::-1], rtol=1e-4, atol=1e-5)


def test_the_gradient_is_that_of_the_whole(networks, gradient):
    whole, at_cells = networks
    cells = np.array([[0, 6, 20, 35, 46, -1], [3, 3, 34, 36, 40, -1]], "int32")
    rng = np.random.default_rng(2)
    upstream = rng.normal(size=(2, 6, 3)).astype("float32") * (cells >= 0)[..., None]
    fine, coarse = maps()
    coarse = ops.convert_to_tensor(coarse)

    def few(x):
        return ops.sum(at_cells([x, coarse], cells)[0] * upstream)

    def all_(x):
        scores = whole([x, coarse])[0]
        return ops.sum(ops.take_along_axis(scores, np.maximum(cells, 0)[..., None], axis=1) * upstream)

    expected = gradient(all_, fine)
    np.testing.assert_allclose(gradient(few, fine), expected, rtol=1e-3, atol=1e-5)
    assert np.abs(expected).max() > 1e-3


def test_padding_is_finite_and_looks_at_nothing(networks):
    _, at_cells = networks
    scores, deltas = at_cells(maps(), np.full((2, 3), -1, "int32"))
    assert np.isfinite(scores).all() and np.isfinite(deltas).all()
    found, inside = surroundings(maps(), np.full((2, 3), -1, "int32"), 1)
    assert not np.asarray(found).any() and not np.asarray(inside).any()


def test_surroundings_by_hand():
    """The upper left cell of a 2 x 3 map: nothing above, nothing to the left."""
    found, inside = surroundings([np.arange(1.0, 7.0).reshape(1, 2, 3, 1)], np.array([[0]]), 1)
    np.testing.assert_array_equal(np.asarray(found)[0, :, :, 0], [[0, 0, 0], [0, 1, 2], [0, 4, 5]])
    np.testing.assert_array_equal(np.asarray(inside)[0], [[0, 0, 0], [0, 1, 1], [0, 1, 1]])
