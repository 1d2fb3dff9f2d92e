"""Initial weights: find the file, recognise what it holds, and load it into a model's layers.

A file (``frcnn.weights.entries`` reads it) holds either a detector of frcnn, with the names of its
layers, or a classification network that is listed in ``frcnn.weights.imagenet``.
"""

import os
import pathlib

import keras

from frcnn.config import in_weights
from frcnn.config.schema import Config
from frcnn.errors import ConfigError, WeightsError
from frcnn.models.backbones import BACKBONES
from frcnn.models.freezing import weighted_layers
from frcnn.text import listed
from frcnn.weights import imagenet, imagenet_layers
from frcnn.weights.by_name import fill_layers
from frcnn.weights.entries import STATE_SUFFIXES, read, read_names


def check_weights(model_config):
    """Refuse weights that cannot be used, as far as that is known without a download.

    Args:
        model_config: ``ModelConfig``.

    Raises:
        WeightsError: no such file, one of a kind that is not for this backbone, or there are no ImageNet
            weights for it.
        ConfigError: the variant that is asked for is not the file's.
    """
    if model_config.weights == "imagenet":
        _download_of(model_config)
        _check_variant(model_config, imagenet.KERAS, "ImageNet's weights of keras.applications")
    elif model_config.weights != "none":
        path = _file(model_config.weights)
        _check_variant(model_config, _wanted(path, model_config.backbone)[1], path)


def find_or_download(model_config):
    """Return the file that ``model.weights`` names, and download it for "imagenet"; None for "none".

    Args:
        model_config: ``ModelConfig``. VGG16's file has its dense layers where they fit the head.

    Raises:
        WeightsError: no such file, or it could not be downloaded.
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
        place = pathlib.Path(home) / "models" / url.rsplit("/", 1)[1]
        raise WeightsError(
            f"cannot download {url}: put that file at {place}, or name one with --weights FILE"
        ) from error


def _file(weights):
    path = in_weights.file_of(weights)
    if path.is_file():
        return path
    if path != pathlib.Path(weights):
        raise WeightsError(f"{weights} is not a training run with weights: there is no {path}")
    raise WeightsError(f"there is no weight file {weights}")


def _download_of(model_config):
    """Return address and MD5 of a backbone's ImageNet weights."""
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


def preprocessing_for(path, backbone):
    """Return the preprocessing that a weight file was trained with, a mode of ``Preprocess``.

    A file of frcnn has it in its config. For a classification network, it is that of the network's
    training. Without a file, it is that of the backbone's ImageNet weights.

    Args:
        path: the file; None: no weights.
        backbone: name of the backbone.

    Returns:
        The mode; None if the file gives no answer.

    Raises:
        WeightsError: the file cannot be read, or holds a network that is not for this backbone.
    """
    return _wanted(path, backbone)[0]


def resolve_auto_settings(config, path):
    """Replace "auto" in ``model.preprocessing`` and ``model.variant`` by what a weight file needs.

    The variant stays "auto" unless the file needs that of ``keras.applications``.

    Args:
        config: ``Config``.
        path: the file; None: no weights.

    Raises:
        ConfigError: the config asks for another preprocessing or variant than the file's.
        WeightsError: as ``preprocessing_for``.
    """
    preprocessing, variant = _wanted(path, config.model.backbone)
    _check_variant(config.model, variant, path)
    asked = config.model.preprocessing
    if path is not None and asked != "auto" and preprocessing not in (None, asked):
        raise ConfigError(
            f"model.preprocessing is {asked}, but {path} was trained with {preprocessing}: "
            "set model.preprocessing=auto, which takes what the weights want"
        )
    values = {}
    if asked == "auto":
        values["model.preprocessing"] = preprocessing or BACKBONES[config.model.backbone].preprocessing
    if config.model.variant == "auto" and variant == imagenet.KERAS:  # torchvision's is what auto means
        values["model.variant"] = variant
    return config.replace(values)


def _wanted(path, backbone):
    """Return the preprocessing and the variant that a file needs, each None if unknown."""
    if path is None:
        return BACKBONES[backbone].preprocessing, None
    text = in_weights.read(path)
    if text is not None:
        saved = Config().updated_from_json(text, f"the config in {path}").model
        return saved.preprocessing, _built_variant(saved)
    network = _network_for(path, read_names(path), backbone)
    if network is None:
        return None, None
    return network.preprocessing, network.variant if backbone in imagenet.VARIANT_BACKBONES else None


def _built_variant(model_config):
    """Return the variant in which a config's backbone is built; None if it has only one."""
    if model_config.backbone not in imagenet.VARIANT_BACKBONES:
        return None
    return imagenet.KERAS if model_config.variant == imagenet.KERAS else imagenet.TORCHVISION


def _check_variant(model_config, wanted, source):
    asked = model_config.variant
    if (
        asked != "auto"
        and None not in (wanted, built := _built_variant(model_config))
        and wanted != built
    ):
        raise ConfigError(
            f"model.variant is {asked}, but {source} is for {wanted}'s, whose strides and padding are "
            "elsewhere: leave it at auto, or give weights of that variant"
        )


def load_weights(model, path, classes=None):
    """Load the weights of a file into the layers of a model, and return the load report.

    A layer whose shapes differ keeps its own weights and is listed in the report.

    Args:
        model: Keras model.
        path: ``pathlib.Path``.
        classes: the model's object classes. The last layers of a detector's file are loaded only if the
            file names the same classes; if their order differs, the weights are reordered. None: they
            are loaded as they are.

    Raises:
        WeightsError: nothing in the file fits the model, or the file cannot be read.
    """
    entries, notes = read(path), []
    network = _network_for(path, entries)
    if network is not None:
        try:
            entries = network.convert(entries, weighted_layers(model))
        except Exception as error:  # a part is missing, or of a shape that cannot be
            raise WeightsError(f"cannot read weights from {path}: {error}") from error
        notes.append(f"the file holds {network.title}")
    elif path.suffix in STATE_SUFFIXES:
        entries = {name: [value] for name, value in entries.items()}
    if classes is not None and "class_logits" in entries:
        entries, said = _for_classes(entries, path, tuple(classes))
        notes += said
    return fill_layers(model, entries, path, notes)


def _network_for(path, names, backbone=None):
    """Return the classification network that a file holds; None if it is a detector or unknown.

    Raises:
        WeightsError: it is a detector of another program, or the network is not for this backbone.
    """
    names = set(names)
    script = "python scripts/import_weights.py"
    if {"rpn_out_class", "rpn_out_regress"} & names:
        raise WeightsError(
            f"{path} is a detector of keras-frcnn, whose channels are in another order: make it "
            f"one of ours by `{script} keras-frcnn {path} OUT.h5 --classes ...`, then "
            "give --weights OUT.h5"
        )
    if any(name.startswith(("backbone.body.", "roi_heads.")) for name in names):
        raise WeightsError(
            f"{path} is a detector of torchvision: make it one of ours by "
            f"`{script} torchvision {path} NAME OUT.h5`, with its builder's NAME, such as "
            "fasterrcnn_resnet50_fpn, then give --weights OUT.h5"
        )
    network = imagenet.recognise(names)
    if network is None or backbone is None or network.backbones is None:
        return network
    if backbone not in network.backbones:
        served = imagenet.titles_for(backbone)
        wanted = f"{backbone} takes {' or '.join(served)}" if served else f"none is for {backbone}"
        serves = f"; this one is for {', '.join(network.backbones)}" if network.backbones else ""
        raise WeightsError(f"{path} holds {network.title}, which has other layers: {wanted}{serves}")
    return network


def _for_classes(entries, path, classes):
    """Return the entries with the last layers for these classes, or without them, and what was done."""
    text = in_weights.read(path)
    config = None if text is None else Config().updated_from_json(text, f"the config in {path}")
    theirs = config.data.classes if config else ()
    if theirs == classes:
        return entries, []
    order = [theirs.index(name) for name in classes if name in theirs]
    logits, deltas = entries["class_logits"], entries.get("box_deltas", [])
    fits = logits[0].shape[-1] == len(theirs) + 1 and all(d.shape[-1] == 4 * len(theirs) for d in deltas)
    if len(order) == len(classes) == len(theirs) and fits:
        columns = [*order, len(classes)]  # background is last
        corners = [4 * number + corner for number in order for corner in range(4)]
        moved = {
            "class_logits": [array[..., columns] for array in logits],
            "box_deltas": [array[..., corners] for array in deltas],
        }
        return entries | moved, ["class_logits and box_deltas: the file's classes, put in our order"]
    if logits[0].shape[-1] != len(classes) + 1:
        return entries, []  # mismatched: the load report shows the shapes
    why = f"the file is of {listed(theirs)}" if theirs else "the file does not name its classes"
    kept = {name: v for name, v in entries.items() if name not in ("class_logits", "box_deltas")}
    return kept, [f"class_logits, box_deltas made anew: {why}, this run of {listed(classes)}"]
