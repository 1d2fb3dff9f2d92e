"""What several test files need that is not a fixture."""

import functools

from frcnn.backend import IS_TENSORFLOW, compiled


@functools.cache
def at_once(function, **options):
    """Return ``function`` with some options set, compiled as a whole where the backend is JAX.

    Outside a compiled function JAX compiles every operation for every shape, which takes longer than all
    that is tested. TensorFlow runs it op by op, which shows faults where they are.
    """
    function = functools.partial(function, **options)
    return function if IS_TENSORFLOW else compiled(function)
