"""Which 3x3 convolutions go by tiles (``frcnn.layers.winograd``), and which by the library's kernel.

Tiles need a quarter of the multiplications, but what a tile becomes has to go through memory. Which way
is faster depends on the processor, on the channels and on the number of tiles in the batch. A choice is
a table ((channels, tiles), ...): a convolution whose smaller number of channels, in or out, is at least
``channels`` goes by tiles where the batch has at least ``tiles`` of them.

A layer takes the choice that is in effect when the layer is made. So a network keeps its choice, and its
numbers to the last bit.
"""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Iterator

from frcnn.layers import processor

Tiles = tuple[tuple[int, int], ...]

NEVER: Tiles = ()
# Measured on two cores with AVX-512 (``scripts/benchmark.py conv``). float16 has no fast product.
DEFAULTS: dict[str, Tiles] = {"float32": ((128, 64),), "bfloat16": ((256, 256),)}
# On processors without AVX-512, oneDNN's sliding kernel is slower, and its matrix products are not.
DEFAULTS_AVX2: dict[str, Tiles] = {"float32": ((64, 256), (128, 64)), "bfloat16": ((256, 256),)}

_current: contextvars.ContextVar[Tiles | None] = contextvars.ContextVar("conv_ways", default=None)


@contextlib.contextmanager
def using(tiles: Tiles | None) -> Iterator[None]:
    """Make the layers within the ``with`` statement with a choice; None: ``default`` for their dtype."""
    token = _current.set(tiles)
    try:
        yield
    finally:
        _current.reset(token)


def current() -> Tiles | None:
    """Return the choice that is in effect."""
    return _current.get()


def default(dtype: str) -> Tiles:
    """Return the choice for this kind of processor where none was measured."""
    table = DEFAULTS if processor.has_avx512() else DEFAULTS_AVX2
    return table.get(dtype, NEVER)


def least_tiles(tiles: Tiles, channels: int) -> int | None:
    """Return from how many tiles on a convolution goes by tiles; None: never.

    Args:
        tiles: the choice.
        channels: the smaller number of channels, in or out.

    Example:
        >>> least_tiles(((64, 256), (128, 64)), 100)
        256
    """
    fitting = [entry for entry in tiles if entry[0] <= channels]
    return max(fitting)[1] if fitting else None
