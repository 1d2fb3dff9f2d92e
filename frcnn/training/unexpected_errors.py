"""Errors after an epoch was trained: what is saved, and how the run goes on."""

from __future__ import annotations

import contextlib
import pathlib
import traceback
from collections.abc import Iterator

from frcnn.errors import RunError, message_of
from frcnn.runs.run_state import RunState


@contextlib.contextmanager
def explained(run_dir: pathlib.Path, state: RunState) -> Iterator[None]:
    """Print the traceback of an unexpected error in this context, and raise one that says what is saved.

    Args:
        run_dir: the run directory, which has the weights and a checkpoint of the epoch.
        state: of the run.

    Raises:
        RunError: in place of an error that is not meant for the user.
    """
    try:
        yield
    except Exception as error:
        if message_of(error) is not None:
            raise
        traceback.print_exc()
        raise RunError(
            f"validation or logging failed after step {state.step} ({type(error).__name__}, traceback "
            f"above). The weights are kept in {run_dir / 'last.weights.h5'}; --resume goes on from the "
            "checkpoint of this step and validates again"
        ) from error
