"""The ``schema.pickle`` that a keras-frcnn training left beside its weights, read as settings.

A pickle is a program: whatever it names is imported and called. This one needs a single name, the
class of the settings (``Config`` in ``keras_frcnn.config``, or in the ``__main__`` of a notebook), which
here becomes an empty class made for the occasion. Every other name is an error, and nothing is called.

Pickles of protocol 0 and 1, which Python 2 wrote by default, name two things besides: the function
``copyreg._reconstructor`` and the class ``object``. The first becomes one of ours that makes an empty
object of that empty class whatever it is given, the second a mark that cannot be called.
"""

import io
import math
import pathlib
import pickle

from frcnn import text
from frcnn.errors import ConfigError
from frcnn.files import untrusted
from frcnn.text import shown_value

CLASSES = (("keras_frcnn.config", "Config"), ("__main__", "Config"))
LARGEST = 1_000_000  # bytes of a file; theirs have some thousand

# What our network does in the one way that nearly all of theirs do. A file that lacks one is older.
FIXED = {
    "rpn_stride": 16,
    "std_scaling": 4.0,
    "classifier_regr_std": [8.0, 8.0, 4.0, 4.0],
    "img_channel_mean": [103.939, 116.779, 123.68],
    "img_scaling_factor": 1.0,
}


def read_config(path):
    """Return the arguments of ``import_keras_frcnn`` that a ``schema.pickle`` holds.

    Args:
        path: the file.

    Returns:
        {"classes": names without ``bg``, "short_side": pixels, "sizes": pixels, "ratios": (width,
        height) factors}.

    Raises:
        ConfigError: no such file, damaged, with anything in it but settings, or with settings that
            the import does not serve.
    """
    path = pathlib.Path(path)
    try:
        content = untrusted.read_bytes(path, LARGEST)
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    try:
        settings = _unpickle(content)
    except Exception as error:  # whatever a damaged or hostile pickle makes the reader raise
        reason = text.shown(error)
        raise ConfigError(f"{path} is no config.pickle of keras-frcnn: {reason}") from error
    try:
        return _arguments(settings)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def _unpickle(content):
    """Return {name: value} of the settings object that a pickle consists of."""
    reader = _Unpickler(content)
    settings = reader.load()
    if type(settings) is not reader.holder:
        raise pickle.UnpicklingError(f"it holds a {type(settings).__name__}, not their Config")
    return dict(vars(settings))


# Python's own and not the one in C, which fills memory up to any place that a pickle notes an object at.
class _Unpickler(pickle._Unpickler):
    """Makes plain values, and of classes only a holder of attributes."""

    def __init__(self, content):
        # Python 2's text is bytes to Python 3.
        super().__init__(io.BytesIO(content), encoding="utf-8")
        # Made anew for each file: a pickle can also set attributes of what it is given.
        self.holder = type("Config", (), {})

    def find_class(self, module, name):
        if (module, name) in CLASSES:
            return self.holder
        if (module, name) in (("copy_reg", "_reconstructor"), ("copyreg", "_reconstructor")):
            holder = self.holder
            return lambda *_: holder()
        if (module, name) in (("__builtin__", "object"), ("builtins", "object")):
            return "object"
        raise pickle.UnpicklingError(f"it asks for {module}.{name}, which settings do not need")


def _arguments(settings):
    network = settings.get("network", "vgg")
    if network not in ("vgg", "vgg16"):
        raise ConfigError(f"network is {shown_value(network)}; only keras-frcnn's 'vgg' can be imported")
    for name, wanted in FIXED.items():
        found = settings.get(name, wanted)
        if found != wanted:
            raise ConfigError(f"{name} is {shown_value(found)}; only {wanted} can be imported")
    sizes, ratios, side = (
        _required(settings, name) for name in ("anchor_box_scales", "anchor_box_ratios", "im_size")
    )
    if not _positive_numbers(sizes):
        raise ConfigError(f"anchor_box_scales must be numbers above 0, not {shown_value(sizes)}")
    pairs = ratios if isinstance(ratios, (list, tuple)) and ratios else [None]
    if not all(_positive_numbers(pair) and len(pair) == 2 for pair in pairs):
        raise ConfigError(
            f"anchor_box_ratios must be pairs of numbers above 0, not {shown_value(ratios)}"
        )
    if not _positive_numbers([side]) or side % 1:
        raise ConfigError(f"im_size must be a whole number above 0, not {shown_value(side)}")
    return {
        "classes": _class_names(_required(settings, "class_mapping")),
        "short_side": int(side),
        "sizes": tuple(sizes),
        "ratios": tuple(tuple(pair) for pair in ratios),
    }


def _required(settings, name):
    if settings.get(name) is None:
        raise ConfigError(f"{name} is missing, so it is not the config of a finished training")
    return settings[name]


def _class_names(mapping):
    """Return the names in the order of their indices, without the last, ``bg``."""
    if (
        not isinstance(mapping, dict)
        or not all(isinstance(name, str) for name in mapping)
        or not all(type(index) is int for index in mapping.values())
        or sorted(mapping.values()) != list(range(len(mapping)))
    ):
        raise ConfigError(f"class_mapping must number the classes from 0, not be {shown_value(mapping)}")
    names = sorted(mapping, key=mapping.get)
    if len(names) < 2 or names[-1] != "bg":
        raise ConfigError(
            f"class_mapping must end with 'bg', the background, not be {shown_value(mapping)}"
        )
    return names[:-1]


def _positive_numbers(values):
    return (
        isinstance(values, (list, tuple))
        and len(values) > 0
        and all(type(value) in (int, float) and 0 < value < math.inf for value in values)
    )
