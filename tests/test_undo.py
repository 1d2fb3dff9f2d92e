"""``backend.Undo``: variables get their earlier values back unless a step was applied."""

import keras
import numpy as np
import pytest

from frcnn import backend


@pytest.mark.parametrize("applied", [1.0, 0.0])
def test_variables_get_their_values_back_unless_the_step_was_applied(applied):
    kernel, count = keras.Variable(np.ones((2, 3), "float32")), keras.Variable(5, dtype="int32")
    undo = backend.Undo([kernel, count])
    for _ in range(3):
        before = keras.ops.convert_to_numpy(kernel).copy(), int(count)
        undo.keep()
        kernel.assign(kernel + (1.0 if applied else float("nan")))
        count.assign(count + 1)
        undo.restore_unless(keras.ops.convert_to_tensor(applied))
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(kernel), before[0] + applied)
        assert int(count) == before[1] + applied


@pytest.mark.skipif(not backend.IS_TENSORFLOW, reason="JAX has no variables in a graph")
@pytest.mark.parametrize("applied", [1.0, 0.0])
def test_a_compiled_step_keeps_and_restores(applied):
    kernel = keras.Variable(np.ones((2, 3), "float32"))
    undo = backend.Undo([kernel])

    def step(flag):
        undo.keep_in_graph()
        kernel.assign(kernel + 1.0)
        kernel.assign(kernel * 2.0)
        undo.restore_in_graph(flag)
        return keras.ops.convert_to_tensor(kernel) + 0.0

    run, expected = backend.compiled(step, [()]), 1.0
    for _ in range(3):
        result = run(np.float32(applied))
        expected = 2.0 * (expected + 1.0) if applied else expected
        np.testing.assert_array_equal(result, np.full((2, 3), expected))


def test_no_variables_are_no_work():
    undo = backend.Undo([])
    undo.keep()
    undo.restore_unless(keras.ops.convert_to_tensor(0.0))
