"""Names of variables that are equal in all processes, and in a run and its resumption."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import keras


def numbered(group: str, variables: Sequence[keras.Variable]) -> Iterator[tuple[str, keras.Variable]]:
    """Yield (name, variable), with names that are equal in all processes that build the same network.

    Args:
        group: first part of the names.
        variables: Keras variables.
    """
    for number, variable in enumerate(variables):
        # Keras appends a number to the names of optimizers and random generators. It depends on what the
        # process built before, so it is removed.
        yield f"{group}/{number:04d}/{re.sub(r'_[0-9]+/', '/', variable.path)}", variable
