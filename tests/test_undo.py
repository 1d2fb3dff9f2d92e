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


def test_no_variables_are_no_work():
    undo = backend.Undo([])
    undo.keep()
    undo.restore_unless(keras.ops.convert_to_tensor(0.0))
