"""The setting ``train.conv_tiles``: which 3x3 convolutions use Winograd tiles on a CPU.

``frcnn.layers.conv_ways`` explains the table.
"""

from __future__ import annotations

from collections.abc import Sequence

from frcnn.errors import ConfigError

KEY = "train.conv_tiles"
AUTO = ("auto",)
MOST = 2**24  # channels or tiles

Tiles = tuple[tuple[int, int], ...]


def parse(pairs: Sequence[str]) -> Tiles | None:
    """Return ((channels, tiles), ...) of ``("CHANNELS:TILES", ...)``, sorted; None for ``("auto",)``.

    Raises:
        ConfigError: a text is not two whole numbers, or a number of channels is there twice.

    Example:
        >>> parse(("128:64", "64:256"))
        ((64, 256), (128, 64))
    """
    if tuple(pairs) == AUTO:
        return None
    found: dict[int, int] = {}
    for pair in pairs:
        channels, _, tiles = pair.partition(":")
        if not (_is_count(channels) and _is_count(tiles)):
            raise ConfigError(f"{KEY} takes auto, or CHANNELS:TILES such as 64:256, not {pair!r}")
        if int(channels) in found:
            raise ConfigError(f"{KEY} has {int(channels)} channels twice")
        found[int(channels)] = int(tiles)
    return tuple(sorted(found.items()))


def to_text(tiles: Tiles) -> tuple[str, ...]:
    """Return the setting's value for ((channels, tiles), ...): the inverse of ``parse``."""
    return tuple(f"{channels}:{count}" for channels, count in tiles)


def _is_count(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 8 and 1 <= int(text) <= MOST
