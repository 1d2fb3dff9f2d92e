"""Load arrays into the layers of a model by name, with a load report."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from frcnn.errors import WeightsError
from frcnn.models.freezing import weighted_layers
from frcnn.text import listed


@dataclasses.dataclass(frozen=True)
class LoadReport:
    """The load report: what ``fill_layers`` has loaded, and what it has not.

    Attributes:
        layers: names of the layers that were loaded.
        weights: number of weights in these layers.
        missing: names of the model's layers with weights that the file does not have.
        mismatched: (layer name, shapes in the model, shapes in the file) of the layers that were not
            loaded because the shapes differ.
        unused: names in the file that the model does not have.
        notes: one sentence for each other thing that was done or not loaded.
    """

    layers: tuple[str, ...]
    weights: int
    missing: tuple[str, ...]
    mismatched: tuple[tuple[str, list, list], ...]
    unused: tuple[str, ...]
    notes: tuple[str, ...] = ()

    def summary(self, parts: Mapping[str, Sequence[keras.layers.Layer]] | None = None) -> str:
        """Return the report as text: one line in all, and a line for each part, mismatch and note.

        Args:
            parts: {name of a part of the network: its layers}, such as backbone, RPN and head; None: the
                missing layers of the whole model are listed.
        """
        text = f"loaded {len(self.layers)} layers, {self.weights:,} weights"
        if self.missing and parts is None:
            text += f"; not in the file: {', '.join(self.missing)}"
        if self.unused:
            text += f"; {len(self.unused)} layers of the file not used"
        lines = [text]
        for part, layers in (parts or {}).items():
            lines.append(f"  {part}: {self._part(layers)}")
        for name, expected, found in self.mismatched:
            lines.append(f"  {name} not loaded: the model has {expected}, the file {found}")
        return "\n".join([*lines, *(f"  {note}" for note in self.notes)])

    def _part(self, layers):
        loaded = [layer for layer in layers if layer.name in self.layers]
        text = (
            f"{len(loaded)} of {len(layers)} layers pretrained, "
            f"{_count(loaded):,} of {_count(layers):,} weights"
        )
        others = [layer.name for layer in layers if layer.name not in self.layers]
        return f"{text}; {listed(others)}: random weights" if others else text


def _count(layers):
    """Return the number of weights of some layers."""
    return sum(int(np.prod(weight.shape)) for layer in layers for weight in layer.weights)


def fill_layers(
    model: keras.Model,
    arrays: Mapping[str, Sequence[Any]],
    source: str | os.PathLike,
    notes: Sequence[str] = (),
) -> LoadReport:
    """Load arrays into the layers with their names.

    A layer whose shapes differ keeps its weights and is listed in the report.

    Args:
        model: the model. Layers of models inside it are loaded as well.
        arrays: {layer name: arrays in the order of the layer's weights}.
        source: name of the file, for messages.
        notes: sentences for the report.

    Raises:
        WeightsError: no layer fits, or an array has numbers that are not finite.
    """
    filled: list[str] = []
    numbers, missing, mismatched = 0, [], []
    own = weighted_layers(model)
    for layer in own:
        expected = [tuple(weight.shape) for weight in layer.weights]
        if layer.name not in arrays:
            missing.append(layer.name)
            continue
        found = [tuple(array.shape) for array in arrays[layer.name]]
        if found != expected:
            mismatched.append((layer.name, expected, found))
            continue
        values = [np.asarray(array, "float32") for array in arrays[layer.name]]
        if not all(np.isfinite(value).all() for value in values):
            raise WeightsError(f"{source} has numbers that are not finite in the layer {layer.name}")
        layer.set_weights(values)
        filled.append(layer.name)
        numbers += sum(array.size for array in arrays[layer.name])
    if not filled:
        names = listed(layer.name for layer in own)
        raise WeightsError(f"no layer of {source} fits: it has {listed(arrays)}, the model has {names}")
    unused = tuple(name for name in arrays if name not in {layer.name for layer in own})
    return LoadReport(tuple(filled), numbers, tuple(missing), tuple(mismatched), unused, tuple(notes))


def refuse_mismatched(
    what: str, missing: Collection[str], left_over: Collection[str], mismatched: Collection[str]
) -> None:
    """Raise ``WeightsError`` if some entries of imported weights do not fit. It names all of them.

    Args:
        what: start of the message, such as "the state does not fit fasterrcnn_resnet50_fpn".
        missing: names of the entries that the file does not have.
        left_over: names of the entries that no layer needs.
        mismatched: texts that say which shape an entry has and which it must have.
    """
    faults = [
        f"{title}: {', '.join(entries)}"
        for title, entries in (
            ("missing", missing),
            ("left over", left_over),
            ("wrong shape", mismatched),
        )
        if entries
    ]
    if faults:
        raise WeightsError(f"{what}; {'; '.join(faults)}")
