"""Arrays into a model's layers by name, with an account of what was filled and what was not."""

import dataclasses

import numpy as np

from frcnn.errors import WeightsError
from frcnn.models.freezing import weighted_layers
from frcnn.text import listed


@dataclasses.dataclass(frozen=True)
class LoadReport:
    """What ``fill_layers`` did.

    Attributes:
        layers: names of the layers that were filled.
        weights: how many numbers that is.
        missing: names of the model's layers that have weights and found none.
        misfits: (layer name, shapes expected, shapes found) of those left alone because of their shapes.
        unused: names in the file that the model does not have.
        notes: what else was done or left out, a sentence each.
    """

    layers: tuple[str, ...]
    weights: int
    missing: tuple[str, ...]
    mismatched: tuple[tuple[str, list, list], ...]
    unused: tuple[str, ...]
    notes: tuple[str, ...] = ()

    def summary(self, parts=None):
        """Return the account as a few words, and a line for each part, wrong shape and note.

        Args:
            parts: {name of a part of the network: its layers}, such as backbone, RPN and head; None: the
                layers that the file lacks are listed for the whole model.
        """
        text = f"filled {len(self.layers)} layers, {self.weights:,} weights"
        if self.missing and parts is None:
            text += f"; not in the file: {', '.join(self.missing)}"
        if self.unused:
            text += f"; {len(self.unused)} layers of the file not used"
        lines = [text]
        for part, layers in (parts or {}).items():
            lines.append(f"  {part}: {self._part(layers)}")
        for name, expected, found in self.mismatched:
            lines.append(f"  {name} made anew: the model has {expected}, the file {found}")
        return "\n".join([*lines, *(f"  {note}" for note in self.notes)])

    def _part(self, layers):
        filled = [layer for layer in layers if layer.name in self.layers]
        text = (
            f"{len(filled)} of {len(layers)} layers pretrained, "
            f"{_count(filled):,} of {_count(layers):,} weights"
        )
        anew = [layer.name for layer in layers if layer.name not in self.layers]
        return f"{text}; {listed(anew)} start anew" if anew else text


def _count(layers):
    return sum(int(np.prod(weight.shape)) for layer in layers for weight in layer.weights)


def fill_layers(model, arrays, source, notes=()):
    """Put arrays into the layers they are named after, and return the account.

    A layer whose shapes differ keeps its own weights and is listed.

    Args:
        model: whose layers are filled, with those of models inside it.
        arrays: {layer name: arrays in the order of the layer's weights}.
        source: what the error message calls their origin: a file's name.
        notes: sentences for the account.

    Raises:
        WeightsError: nothing at all fits, or an array holds numbers that are not finite.
    """
    filled, numbers, missing, mismatched = [], 0, [], []
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
            raise WeightsError(f"{source} holds numbers that are not finite, in layer {layer.name}")
        layer.set_weights(values)
        filled.append(layer.name)
        numbers += sum(array.size for array in arrays[layer.name])
    if not filled:
        names = listed(layer.name for layer in own)
        raise WeightsError(f"no layer of {source} fits: it has {listed(arrays)}, the model {names}")
    unused = tuple(name for name in arrays if name not in {layer.name for layer in own})
    return LoadReport(tuple(filled), numbers, tuple(missing), tuple(mismatched), unused, tuple(notes))


def refuse_mismatched(what, missing, left_over, mismatched):
    """Raise the ``WeightsError`` that names all entries of imported weights that do not fit, if any.

    Args:
        what: the start of the message, such as "the state does not fit fasterrcnn_resnet50_fpn".
        missing, left_over: names of entries.
        misfits: what each entry of a wrong shape is and should be.
    """
    faults = [
        f"{title}: {', '.join(entries)}"
        for title, entries in (
            ("missing", missing),
            ("left over", left_over),
            ("of wrong shape", mismatched),
        )
        if entries
    ]
    if faults:
        raise WeightsError(f"{what}; {'; '.join(faults)}")
