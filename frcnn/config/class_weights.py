"""The setting ``loss.class_weights``: weights of classes in the classifier's class loss, by name.

``frcnn.ops.losses.weighted_class_loss_cls`` takes them as numbers, one per class.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Sequence

from frcnn.config import class_names
from frcnn.errors import ConfigError

KEY = "loss.class_weights"
BACKGROUND = "background"
MOST = 1e6  # the limit of loss.rpn and loss.classifier, too; larger values overflow in float32


def parse(pairs: Iterable[str]) -> dict[str, float]:
    """Return {name: weight} of ``("NAME=WEIGHT", ...)``.

    Raises:
        ConfigError: a text is not NAME=WEIGHT, a weight is not from 0 to ``MOST``, or a name is there
            twice.
        DataError: a name is refused by ``class_names.clean``.
    """
    weights: dict[str, float] = {}
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


def of_classes(pairs: Iterable[str], classes: Sequence[str]) -> tuple[float, ...] | None:
    """Return the weight of each class, background last; None if ``pairs`` is empty.

    Args:
        pairs: ``("NAME=WEIGHT", ...)``. All other classes have weight 1. ``background`` is the
            background, unless an object class has that name.
        classes: names of the object classes.

    Raises:
        ConfigError: as ``parse``; or no class has one of the names.
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
