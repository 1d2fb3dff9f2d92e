"""``backend.OpenShapeFunction``: one graph for all sizes, another one for other arguments."""

import numpy as np
import pytest

from frcnn import backend

pytestmark = pytest.mark.skipif(not backend.IS_TENSORFLOW, reason="TensorFlow's")


@pytest.fixture
def traces():
    return []


@pytest.fixture
def step(traces):
    """Return an ``OpenShapeFunction`` of (x, (weights, bias)) that notes when it is traced."""

    def function(x, others):
        traces.append([other is not None for other in others])
        weights, bias = others
        return (x if weights is None else x * weights) + (0.0 if bias is None else bias)

    return backend.OpenShapeFunction(function, lambda leaves: [(None,)] * len(leaves))


def test_other_sizes_are_no_reason_to_trace_again(step, traces):
    for size in (2, 3, 1):
        x = np.full(size, 3.0, "float32")
        np.testing.assert_array_equal(step(x, (x, x)), 12.0 * np.ones(size))
    assert len(traces) == 1


def test_none_in_another_place_is_another_graph(step, traces):
    """The arrays that are there are of the same kinds each time."""
    x, other = np.full(2, 3.0, "float32"), np.full(2, 5.0, "float32")
    for _ in range(2):
        np.testing.assert_array_equal(step(x, (other, None)), [15.0, 15.0])
        np.testing.assert_array_equal(step(x, (None, other)), [8.0, 8.0])
    assert traces == [[True, False], [False, True]]


def test_numbers_of_another_kind_are_another_graph(step, traces):
    for kind in ("float32", "float64", "float32"):
        x = np.full(2, 3.0, kind)
        assert step(x, (None, None)).dtype == kind
    assert len(traces) == 2
