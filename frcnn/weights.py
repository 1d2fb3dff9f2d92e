"""Weights from a file into a model's layers, with an account of what was filled.

Three kinds of file are read, each to {layer name: arrays}: HDF5 as Keras 3 saves it (``.weights.h5``,
our own runs'), HDF5 as ``keras.applications`` and Keras 2 have it, and ``.npz`` with ``Conv_k/kernel``
(HWIO) and ``Conv_k/bias``, k counting the backbone's convolutions from 0. Nothing in a file is executed.
"""

import dataclasses
import os
import pathlib
import re

import h5py
import keras
import numpy as np
from keras import layers

from frcnn import saved_config, stored_arrays
from frcnn.backbones import BACKBONES
from frcnn.config import Config
from frcnn.errors import WeightsError

_APPLICATIONS = "https://storage.googleapis.com/tensorflow/keras-applications/"

# Official address and MD5 of each backbone's ImageNet weights, without the classifier on top.
IMAGENET = {
    "vgg16": (
        _APPLICATIONS + "vgg16/vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5",
        "6d6bbae143d832006294945121d1f1fc",
    ),
    "resnet50": (
        _APPLICATIONS + "resnet/resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5",
        "4d473c1dd8becc155b73f8504c6f6626",
    ),
    "mobilenet_v2": (
        _APPLICATIONS + "mobilenet_v2/mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224_no_top.h5",
        None,
    ),
}


@dataclasses.dataclass(frozen=True)
class Filled:
    """What ``fill`` did.

    Attributes:
        layers: names of the layers that were filled.
        weights: how many numbers that is.
        missing: names of the model's layers that have weights and found none.
        misfits: (layer name, shapes expected, shapes found) of those left alone because of their shapes.
        unused: names in the file that the model does not have.
    """

    layers: tuple[str, ...]
    weights: int
    missing: tuple[str, ...]
    misfits: tuple[tuple[str, list, list], ...]
    unused: tuple[str, ...]

    def summary(self):
        """Return the account as a few words and, where shapes differ, a line for each."""
        text = f"filled {len(self.layers)} layers, {self.weights:,} weights"
        if self.missing:
            text += f"; not in the file: {', '.join(self.missing)}"
        if self.unused:
            text += f"; {len(self.unused)} layers of the file not used"
        for name, expected, found in self.misfits:
            text += f"\n  {name} made anew: the model has {expected}, the file {found}"
        return text


def locate(weights, backbone):
    """Return the file that ``--weights`` names, downloading ImageNet's when asked for; None for "none".

    Raises:
        WeightsError: no such file, or it could not be downloaded.
    """
    if weights == "none":
        return None
    if weights != "imagenet":
        path = pathlib.Path(weights)
        if not path.is_file():
            raise WeightsError(f"there is no weight file {weights}")
        return path
    if backbone not in IMAGENET:
        raise WeightsError(f"there are no ImageNet weights for {backbone}: use --weights none or a file")
    url, md5 = IMAGENET[backbone]
    home = os.environ.get("KERAS_HOME") or os.path.expanduser("~/.keras")  # Keras' own rule
    try:
        return pathlib.Path(
            keras.utils.get_file(origin=url, file_hash=md5, cache_dir=home, cache_subdir="models")
        )
    except Exception as error:  # get_file raises a bare Exception when the address cannot be reached
        place = pathlib.Path(home) / "models" / url.rsplit("/", 1)[1]
        raise WeightsError(
            f"cannot download {url}: put that file at {place}, or name one with --weights FILE"
        ) from error


def preprocessing_for(path, backbone):
    """Return what a weight file was trained on.

    That is what the config in it says, if it is one of ours; torchvision's for ``.npz``; else the
    backbone's own.
    """
    text = saved_config.read(path) if path is not None else None
    if text is not None:
        return Config().updated_from_json(text, f"the config in {path}").model.preprocessing
    if path is not None and path.suffix == ".npz":
        return "torch"
    return BACKBONES[backbone].preprocessing


def read(path, model):
    """Return {layer name: arrays} of a weight file.

    Args:
        path: ``pathlib.Path``.
        model: whose convolutions an ``.npz`` counts, in order.

    Raises:
        WeightsError: the file is of none of the three kinds, or damaged.
    """
    try:
        if path.suffix == ".npz":
            return _read_npz(stored_arrays.from_npz(path), model)
        with stored_arrays.open_hdf5(path) as file:
            return _read_keras2(file) if "layer_names" in _root(file).attrs else _read_keras3(file)
    except Exception as error:  # whatever a damaged file makes h5py and zipfile raise
        raise WeightsError(f"cannot read weights from {path}: {error}") from error


def fill(model, path):
    """Put the weights of a file into the layers of the same name, and return the account.

    A layer whose shapes differ keeps its own weights and is listed.

    Raises:
        WeightsError: nothing at all fits, or the file cannot be read.
    """
    return fill_layers(model, read(path, model), path)


def fill_layers(model, arrays, source):
    """Put arrays into the layers they are named after, and return the account, as ``fill`` does.

    Args:
        model: whose layers are filled, with those of models inside it.
        arrays: {layer name: arrays in the order of the layer's weights}.
        source: what the error message calls their origin: a file's name.
    """
    filled, numbers, missing, misfits = [], 0, [], []
    own = weighted_layers(model)
    for layer in own:
        expected = [tuple(weight.shape) for weight in layer.weights]
        if layer.name not in arrays:
            missing.append(layer.name)
            continue
        found = [tuple(array.shape) for array in arrays[layer.name]]
        if found != expected:
            misfits.append((layer.name, expected, found))
            continue
        layer.set_weights([np.asarray(array, "float32") for array in arrays[layer.name]])
        filled.append(layer.name)
        numbers += sum(array.size for array in arrays[layer.name])
    if not filled:
        names = _few(layer.name for layer in own)
        raise WeightsError(f"no layer of {source} fits: it has {_few(arrays)}, the model {names}")
    unused = tuple(name for name in arrays if name not in {layer.name for layer in own})
    return Filled(tuple(filled), numbers, tuple(missing), tuple(misfits), unused)


def weighted_layers(model):
    """Return the layers of a model, and of models inside it, that have weights of their own."""
    found = []
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            found += weighted_layers(layer)
        elif layer.weights:
            found.append(layer)
    return list({id(layer): layer for layer in found}.values())


def refuse_misfits(what, missing, left_over, misfits):
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
            ("of wrong shape", misfits),
        )
        if entries
    ]
    if faults:
        raise WeightsError(f"{what}; {'; '.join(faults)}")


def _read_npz(entries, model):
    convolutions = [
        layer.name
        for layer in weighted_layers(model)
        if isinstance(layer, layers.Conv2D) and not layer.name.startswith("rpn_")
    ]
    arrays, number = {}, 0
    while f"Conv_{number}/kernel" in entries:
        name = convolutions[number] if number < len(convolutions) else f"Conv_{number}"
        arrays[name] = [entries[f"Conv_{number}/kernel"], entries[f"Conv_{number}/bias"]]
        number += 1
    return arrays


def _root(file):
    # Whole models saved by Keras 2 hold their weights one level down.
    return stored_arrays.member(file, "model_weights") if "model_weights" in file else file


def _read_keras2(file):
    root, arrays = _root(file), {}
    for name in root.attrs["layer_names"]:
        name = _text(name)
        layer = stored_arrays.member(root, name)
        paths = [_text(path) for path in layer.attrs["weight_names"]]
        values = [stored_arrays.from_hdf5(layer, path) for path in paths]
        if values:
            arrays[_current_name(name)] = values
    return arrays


def _text(name):
    return name.decode() if isinstance(name, bytes) else name


def _current_name(name):
    """Return what Keras calls a layer now: MobileNetV2 was published with older names."""
    match = re.fullmatch(r"(mobl|bn)(\d+)_conv_\2_(?:bn_)?(expand|depthwise|project)", name)
    if not match:
        return name
    kind, number, part = match.groups()
    block = "expanded_conv" if number == "0" else f"block_{number}"
    return f"{block}_{part}" + ("_BN" if kind == "bn" else "")


def _read_keras3(file):
    arrays = {}

    def visit(path, group):
        if path.startswith("optimizer"):
            return
        if isinstance(group, h5py.Group) and "name" in group.attrs and len(group):
            values = [stored_arrays.from_hdf5(group, str(number)) for number in range(len(group))]
            arrays[_text(group.attrs["name"])] = values

    file.visititems(visit)
    return arrays


def _few(names):
    names = list(names)
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "") if names else "none"
