"""The table that says which 3x3 convolutions use Winograd tiles (``frcnn.layers.winograd``).

All others use the library's kernel. Tiles need a quarter of the multiplications, but the transformed
tiles are written to memory and read again. Which way is faster depends on the processor, the number of
channels and the number of tiles in the batch. The table is ((channels, tiles), ...). A convolution uses
tiles if its number of channels, the smaller of input and output, is at least ``channels``, and the batch
has at least ``tiles`` tiles.

A layer takes the table that is in effect when the layer is created, and keeps it. So a network returns
bit-identical numbers wherever it runs.
"""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Iterator

from frcnn.config.conv_tiles import Tiles
from frcnn.layers import processor

NEVER: Tiles = ()
# Measured on two cores with AVX-512 (``scripts/benchmark.py conv``). float16 has no fast matrix product.
DEFAULTS: dict[str, Tiles] = {"float32": ((128, 64),), "bfloat16": ((256, 256),)}
# On processors without AVX-512, oneDNN's sliding kernel is slower, and its matrix products are not.
DEFAULTS_AVX2: dict[str, Tiles] = {"float32": ((64, 256), (128, 64)), "bfloat16": ((256, 256),)}

_current: contextvars.ContextVar[Tiles | None] = contextvars.ContextVar("conv_ways", default=None)


@contextlib.contextmanager
def using(tiles: Tiles | None) -> Iterator[None]:
    """Set the table for layers that are created in this context; None: ``default`` of their dtype."""
    token = _current.set(tiles)
    try:
        yield
    finally:
        _current.reset(token)


def current() -> Tiles | None:
    """Return the table that is in effect."""
    return _current.get()


def default(dtype: str) -> Tiles:
    """Return the table for this kind of processor, for use without a measurement."""
    table = DEFAULTS if processor.has_avx512() else DEFAULTS_AVX2
    return table.get(dtype, NEVER)


def least_tiles(tiles: Tiles, channels: int) -> int | None:
    """Return the least number of tiles in the batch with which a convolution uses tiles; None: never.

    Args:
        tiles: the table.
        channels: number of channels of the convolution, the smaller of input and output.

    Example:
        >>> least_tiles(((64, 256), (128, 64)), 100)
        256
    """
    fitting = [entry for entry in tiles if entry[0] <= channels]
    return max(fitting)[1] if fitting else None
