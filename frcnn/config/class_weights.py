"""Weights of classes in the classifier's class loss, given by name: ``loss.class_weights``.

``losses.weighted_class_loss_cls`` takes them as numbers, one per class.
"""

import difflib
import math

from frcnn.config import class_names
from frcnn.errors import ConfigError

KEY = "loss.class_weights"
BACKGROUND = "background"
MOST = 1e6  # as of loss.rpn and loss.classifier; more overflows in float32


def parse(pairs):
    """Return {name: weight} of ``("NAME=WEIGHT", ...)``.

    Raises:
        ConfigError: a pair is none, its weight is not from 0 to ``MOST``, or a name is there twice.
        DataError: a name is refused by ``class_names.clean``.
    """
    weights = {}
    for pair in pairs:
        name, equals, text = pair.rpartition("=")
        name = class_names.clean(name)
        try:
            weight = float(text)
        except ValueError:
            weight = math.nan
        if not (equals and name and 0.0 <= weight <= MOST):
            raise ConfigError(f"{KEY} takes NAME=WEIGHT with a weight from 0 to {MOST:g}, not {pair!r}")
        if name in weights:
            raise ConfigError(f"{KEY} has {name!r} twice")
        weights[name] = weight
    return weights


def of_classes(pairs, classes):
    """Return the weight of each class, background last, or None if no class has one.

    Args:
        pairs: ``("NAME=WEIGHT", ...)``; a class that is not named has weight 1. ``background`` names
            the background, unless an object class has that name.
        classes: the object classes' names.

    Raises:
        ConfigError: as ``parse``; or a name that no class has.
    """
    weights = parse(pairs)
    if not weights:
        return None
    names = [*classes] if BACKGROUND in classes else [*classes, BACKGROUND]
    for name in weights:
        if name not in names:
            near = difflib.get_close_matches(name, names, n=1)
            hint = f"did you mean {near[0]!r}?" if near else "data.classes has the names"
            if not classes:
                hint = "data.classes is empty; set it to the names of the classes"
            raise ConfigError(f"{KEY} names {name!r}, which is not a class: {hint}")
    found = [weights.get(name, 1.0) for name in names]
    return tuple(found + [1.0] * (len(classes) + 1 - len(found)))
