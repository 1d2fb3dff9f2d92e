"""Initial weights: find or download the weight file, recognise its network, and load its weights.

A weight file holds either a detector of frcnn or a classification network, one of those in
``frcnn.weights.imagenet``. ``frcnn.weights.entries`` reads the file.
"""

from __future__ import annotations

import os
import pathlib
from collections.abc import Iterable, Sequence
from typing import Any

import keras

from frcnn.config import in_weights
from frcnn.config.schema import Config, ModelConfig
from frcnn.errors import ConfigError, WeightsError
from frcnn.models.backbones import BACKBONES
from frcnn.models.cascade import LATER_STAGE
from frcnn.models.freezing import weighted_layers
from frcnn.ops.box_kinds import BOX_KINDS
from frcnn.text import listed
from frcnn.weights import imagenet, imagenet_layers
from frcnn.weights.by_name import LoadReport, fill_layers
from frcnn.weights.entries import STATE_SUFFIXES, read, read_names

OUTPUT_LAYERS = ("class_logits", "box_deltas")


def check_weights(model_config: ModelConfig) -> None:
    """Check, without a download, that the weights that ``model.weights`` names can be used.

    Args:
        model_config: the section ``model`` of the settings.

    Raises:
        WeightsError: there is no such file, its network is not for this backbone, or there are no
            ImageNet weights for this backbone.
        ConfigError: ``model.variant`` is not the variant that the weights are for.
    """
    if model_config.weights == "imagenet":
        _download_of(model_config)
        _check_variant(model_config, imagenet.KERAS, "ImageNet's weights of keras.applications")
    elif model_config.weights != "none":
        path = _file(model_config.weights)
        _check_variant(model_config, _needed_settings(path, model_config.backbone)[1], path)


def find_or_download(model_config: ModelConfig) -> pathlib.Path | None:
    """Return the weight file that ``model.weights`` names. The file of "imagenet" is downloaded.

    Args:
        model_config: the section ``model`` of the settings. For VGG16 the file with dense layers is
            taken if they fit the head (``pool_size`` and ``head_width``), otherwise the file without
            them.

    Returns:
        The path; None for "none".

    Raises:
        WeightsError: there is no such file, or it cannot be downloaded.
    """
    if model_config.weights == "none":
        return None
    if model_config.weights != "imagenet":
        return _file(model_config.weights)
    url, md5 = _download_of(model_config)
    home = os.environ.get("KERAS_HOME") or os.path.expanduser("~/.keras")  # Keras' own rule
    try:
        return pathlib.Path(
            keras.utils.get_file(origin=url, file_hash=md5, cache_dir=home, cache_subdir="models")
        )
    except Exception as error:  # get_file raises a bare Exception when the address cannot be reached
        path = pathlib.Path(home) / "models" / url.rsplit("/", 1)[1]
        raise WeightsError(
            f"cannot download {url}: save that file as {path}, or name a file with --weights FILE"
        ) from error


def _file(weights: str) -> pathlib.Path:
    """Return the weight file that a path or a run directory stands for."""
    path = in_weights.file_of(weights)
    if path.is_file():
        return path
    if path != pathlib.Path(weights):
        raise WeightsError(f"{weights} is not a training run with weights: there is no {path}")
    raise WeightsError(f"there is no weight file {weights}")


def _download_of(model_config: ModelConfig) -> tuple[str, str | None]:
    """Return the address and the MD5 checksum of a backbone's ImageNet weights."""
    backbone = model_config.backbone
    if backbone not in imagenet.DOWNLOADS:
        raise WeightsError(f"there are no ImageNet weights for {backbone}: use --weights none or a file")
    takes_dense = (model_config.pool_size, model_config.head_width) == (
        imagenet_layers.VGG16_POOL_SIZE,
        imagenet_layers.VGG16_WIDTH,
    )
    if backbone == "vgg16" and not takes_dense:
        return imagenet.VGG16_CONVOLUTIONS
    return imagenet.DOWNLOADS[backbone]


def preprocessing_for(path: str | os.PathLike | None, backbone: str) -> str | None:
    """Return the preprocessing that the weights of a file were trained with.

    A file of frcnn has it in its config. A classification network has that of
    ``frcnn.weights.imagenet``. Without a file, it is that of the backbone's ImageNet weights.

    Args:
        path: the weight file; None: no pretrained weights.
        backbone: name of the backbone.

    Returns:
        A mode of ``Preprocess``; None if the file's network is unknown.

    Raises:
        WeightsError: the file cannot be read, or its network is not for this backbone.
    """
    return _needed_settings(path, backbone)[0]


def resolve_auto_settings(config: Config, path: str | os.PathLike | None) -> Config:
    """Replace "auto" in ``model.preprocessing`` and ``model.variant`` by what a weight file needs.

    The variant stays "auto" unless the file needs the variant of ``keras.applications``.

    Args:
        config: the settings.
        path: the weight file; None: no pretrained weights.

    Returns:
        The settings with both values.

    Raises:
        ConfigError: the config names a preprocessing or variant that is not the file's.
        WeightsError: as ``preprocessing_for``.
    """
    preprocessing, variant = _needed_settings(path, config.model.backbone)
    _check_variant(config.model, variant, path)
    asked = config.model.preprocessing
    if path is not None and asked != "auto" and preprocessing not in (None, asked):
        raise ConfigError(
            f"model.preprocessing is {asked}, but {path} was trained with {preprocessing}: "
            "set model.preprocessing=auto, which takes that of the weights"
        )
    values = {}
    if asked == "auto":
        values["model.preprocessing"] = preprocessing or BACKBONES[config.model.backbone].preprocessing
    if config.model.variant == "auto" and variant == imagenet.KERAS:  # "auto" builds torchvision's
        values["model.variant"] = variant
    return config.replace(values)


def _needed_settings(path: str | os.PathLike | None, backbone: str) -> tuple[str | None, str | None]:
    """Return the preprocessing and the variant that a weight file needs, each None if unknown."""
    if path is None:
        return BACKBONES[backbone].preprocessing, None
    text = in_weights.read(path)
    if text is not None:
        saved = Config().updated_from_json(text, f"the config in {path}").model
        return saved.preprocessing, _built_variant(saved)
    network = _network_for(path, read_names(pathlib.Path(path)), backbone)
    if network is None:
        return None, None
    return network.preprocessing, network.variant if backbone in imagenet.VARIANT_BACKBONES else None


def _built_variant(model_config: ModelConfig) -> str | None:
    """Return the variant of the backbone that a config builds; None if the backbone has no variants."""
    if model_config.backbone not in imagenet.VARIANT_BACKBONES:
        return None
    return imagenet.KERAS if model_config.variant == imagenet.KERAS else imagenet.TORCHVISION


def _check_variant(
    model_config: ModelConfig, needed: str | None, source: str | os.PathLike | None
) -> None:
    """Raise ``ConfigError`` if ``model.variant`` builds another variant than ``source`` needs."""
    asked, built = model_config.variant, _built_variant(model_config)
    if asked != "auto" and needed and built and needed != built:
        raise ConfigError(
            f"model.variant is {asked}, but the weights {source} are for the variant of {needed}, which "
            "has other strides and padding: set model.variant=auto, or give other weights"
        )


def load_weights(
    model: keras.Model, path: pathlib.Path, classes: Sequence[str] | None = None
) -> LoadReport:
    """Load the weights of a file into the layers of a model, by the names of the layers.

    A layer whose shapes differ from the file's keeps its weights and is listed in the report.

    Args:
        model: Keras model.
        path: the weight file.
        classes: names of the model's object classes. The two output layers, ``class_logits`` and
            ``box_deltas``, are loaded only if the file is a detector of the same classes. If the order
            of the classes differs, their weights are put in the model's order. None: the output layers
            are loaded without this check.

    Raises:
        WeightsError: no layer of the file fits the model, or the file cannot be read.
    """
    entries, notes = read(path), []
    network = _network_for(path, entries)
    if network is not None:
        try:
            own = [layer for layer in weighted_layers(model) if not LATER_STAGE.search(layer.name)]
            entries = network.convert(entries, own)
        except Exception as error:  # an array is missing or has an impossible shape
            raise WeightsError(f"cannot read weights from {path}: {error}") from error
        notes.append(f"the file holds {network.title}")
    elif path.suffix in STATE_SUFFIXES:
        entries = {name: [value] for name, value in entries.items()}
    if classes is not None and "class_logits" in entries:
        entries, class_notes = _for_classes(entries, path, tuple(classes))
        notes += class_notes
    return fill_layers(model, _for_later_stages(entries, model), path, notes)


def _for_later_stages(entries, model):
    """Add to a file's entries the head of the later stages of a cascade: that of the first stage.

    Only where the file has no weights for them, and not their two output layers, which predict other
    deltas than those of the first stage.
    """
    added = {}
    for layer in weighted_layers(model):
        name = LATER_STAGE.sub("", layer.name)
        if layer.name not in entries and name in entries and name not in OUTPUT_LAYERS:
            added[layer.name] = entries[name]
    return entries | added


def _network_for(path: str | os.PathLike, names: Iterable[str], backbone: str | None = None) -> Any:
    """Return the classification network of a weight file, as ``imagenet.recognise`` does.

    Args:
        path: the file, for messages.
        names: the names of the arrays or layers in the file.
        backbone: name of the backbone that the weights are for; None: any.

    Returns:
        The network; None for a detector of frcnn or an unknown network.

    Raises:
        WeightsError: it is a detector of another program, or the network is not for this backbone.
    """
    names = set(names)
    command = "frcnn import"
    if {"rpn_out_class", "rpn_out_regress"} & names:
        raise WeightsError(
            f"{path} is a detector of keras-frcnn, whose channels are in another order: import it by "
            f"`{command} keras-frcnn {path} OUT.h5 --classes ...`, then give --weights OUT.h5"
        )
    if any(name.startswith(("backbone.body.", "roi_heads.")) for name in names):
        raise WeightsError(
            f"{path} is a detector of torchvision: import it by "
            f"`{command} torchvision {path} NAME OUT.h5`, where NAME is torchvision's function, such as "
            "fasterrcnn_resnet50_fpn, then give --weights OUT.h5"
        )
    network = imagenet.recognise(names)
    if network is None or backbone is None or network.backbones is None:
        return network
    if backbone not in network.backbones:
        fitting = imagenet.titles_for(backbone)
        needed = f"{backbone} takes {' or '.join(fitting)}" if fitting else f"none is for {backbone}"
        other = f"; this one is for {', '.join(network.backbones)}" if network.backbones else ""
        raise WeightsError(f"{path} holds {network.title}, which has other layers: {needed}{other}")
    return network


def _for_classes(entries, path, classes):
    """Fit the weights of the two output layers to the model's classes.

    Args:
        entries: {layer name: arrays} of the file.
        path: the file.
        classes: names of the model's object classes.

    Returns:
        The entries, with the output layers in the order of ``classes``, or without these layers if the
        classes differ; and notes for the load report.
    """
    text = in_weights.read(path)
    config = None if text is None else Config().updated_from_json(text, f"the config in {path}")
    theirs = config.data.classes if config else ()
    if theirs == classes:
        return entries, []
    order = [theirs.index(name) for name in classes if name in theirs]
    logits, deltas = entries["class_logits"], entries.get("box_deltas", [])
    one_box = config is not None and config.model.one_box_per_roi
    boxes = 1 if one_box else len(theirs)
    dim = BOX_KINDS[(config or Config()).box.kind].head_dim
    fits = logits[0].shape[-1] == len(theirs) + 1 and all(d.shape[-1] == dim * boxes for d in deltas)
    if len(order) == len(classes) == len(theirs) and fits:
        columns = [*order, len(classes)]  # background is last
        numbers = [dim * place + number for place in order for number in range(dim)]
        moved = {}
        for name, arrays in entries.items():
            first_name = LATER_STAGE.sub("", name)
            if first_name == "class_logits":
                moved[name] = [array[..., columns] for array in arrays]
            elif first_name == "box_deltas" and not one_box:
                moved[name] = [array[..., numbers] for array in arrays]
        return entries | moved, ["class_logits and box_deltas: put in the order of this run's classes"]
    if logits[0].shape[-1] != len(classes) + 1:
        return entries, []  # the shapes differ, which the load report shows
    why = f"the file has {listed(theirs)}" if theirs else "the file does not name its classes"
    kept = {name: v for name, v in entries.items() if LATER_STAGE.sub("", name) not in OUTPUT_LAYERS}
    return kept, [f"class_logits, box_deltas not loaded: {why}, this run has {listed(classes)}"]
