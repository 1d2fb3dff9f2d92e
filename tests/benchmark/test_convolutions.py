import pytest

pytest.importorskip("tensorflow")

from benchmark import convolutions  # noqa: E402


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_times_both_ways_forward_and_with_gradients(dtype):
    found = convolutions.measure((9, 12, 4, 5), dtype, times=2)
    assert list(found) == ["forward", "with gradients"]
    assert all(seconds > 0 for pair in found.values() for seconds in pair)
