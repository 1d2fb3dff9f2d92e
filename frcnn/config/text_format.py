"""Settings as text: JSON, ``KEY=VALUE``, and the value that a text stands for.

Nothing here knows what settings there are; ``frcnn.config.schema`` does.
"""

import json
import math
import types
import typing

from frcnn import text
from frcnn.config.old_names import OLD_NAMES, with_new_names
from frcnn.errors import ConfigError
from frcnn.files import untrusted
from frcnn.text import nearest

WHOLE_LIMIT = 2**53  # from there on, a float stands for several whole numbers
NOUNS = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}


def read_text(path):
    """Return the text of a JSON file, without the byte order mark that some editors write.

    Raises:
        ConfigError: there is no such file, or it cannot be read.
    """
    try:
        return untrusted.read_text(path)
    except FileNotFoundError:
        raise ConfigError(f"there is no config file {path}") from None
    except OSError as error:
        raise ConfigError(f"cannot read the config file {path}: {error.strerror}") from error


def parse_json(text, sections, source="JSON"):
    """Return {dotted key: value} of JSON text, {section: {name: value}}, for ``Config.replace``.

    Args:
        text: of a config, which may be a part of one.
        sections: the names that sections may have.
        source: what error messages call the text.

    Raises:
        ConfigError: it is not JSON, holds a key twice, or holds other things than these sections.
    """
    try:
        found = json.loads(text, object_pairs_hook=_once_each)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{source} is not JSON: {error}") from error
    if not isinstance(found, dict) or not all(isinstance(s, dict) for s in found.values()):
        raise ConfigError(f"{source} must hold sections: {{'train': {{'epochs': 4}}, ...}}")
    for name in found:
        if name not in sections:
            raise ConfigError(f"{source}: there is no section {name!r}, only {', '.join(sections)}")
    values = {f"{s}.{name}": value for s, fields in found.items() for name, value in fields.items()}
    return with_new_names(values, source)


def _once_each(pairs):
    """Return the dict of a JSON object, in which a key that is there twice would lose a value."""
    found = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"the key {key!r} stands there twice")
        found[key] = value
    return found


def parse_assignments(assignments):
    """Return {key: text} of ``["KEY=VALUE", ...]``, for ``Config.replace``."""
    pairs = {}
    for assignment in assignments:
        key, equals, value = assignment.partition("=")
        if not equals:
            raise ConfigError(f"--set takes KEY=VALUE, not {assignment!r}")
        pairs[key.strip()] = value.strip()
    return pairs


def to_json(values):
    """Return JSON text, {section: {name: value}}, of {dotted key: value}."""
    sections = {}
    for key, value in values.items():
        section, name = key.split(".")
        sections.setdefault(section, {})[name] = value
    return json.dumps(sections, indent=2) + "\n"


def shown(value, most=80):
    """Return a value as ``--set`` takes it, in one line of a length that can be read."""
    if isinstance(value, (list, tuple)):
        return text.shown(",".join(shown(item) for item in value), most)
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else text.shown(value, most)


def convert_all(values, kinds):
    """Return {key: value} with each value as its setting wants it.

    Args:
        values: {dotted key: value}; a value may be text, as a command line gives it.
        kinds: {dotted key: what ``convert`` is to make of it} of all settings.

    Raises:
        ConfigError: an unknown key, or a value that does not fit.
    """
    for key in values:
        if key in OLD_NAMES:
            raise ConfigError(f"the setting {key} is called {OLD_NAMES[key]} now")
        if key not in kinds:
            near = _near_key(key, kinds)
            hint = f"; did you mean {near}?" if near else ""
            raise ConfigError(f"there is no setting {key!r}{hint}")
    return {key: convert(key, value, kinds[key]) for key, value in values.items()}


def _near_key(key, kinds):
    """Return the key that an unknown one was probably meant to be, or None."""
    section, _, name = key.rpartition(".")
    if section and section not in {known.partition(".")[0] for known in kinds}:
        return nearest(key, kinds)
    # What the keys of a section share says nothing about how near two of them are.
    names = {known.partition(".")[2]: known for known in kinds if known.startswith(section)}
    return names.get(nearest(name, names, 0.6 if section else 0.7))


def convert(key, value, wanted):
    """Return a value as what a setting wants.

    Args:
        key: the setting's, for the error message.
        value: text as a command line gives it, or what JSON holds.
        wanted: int, float, str, bool or ``tuple[one of these, ...]``.

    Raises:
        ConfigError: it does not fit.
    """
    if isinstance(wanted, types.GenericAlias):
        item = typing.get_args(wanted)[0]
        values = value.split(",") if isinstance(value, str) else value
        if not isinstance(values, (list, tuple)):
            raise ConfigError(f"{key} needs a list, not {value!r}")
        return tuple(convert(key, value, item) for value in values if value != "")
    try:
        if wanted is str:
            if not isinstance(value, str) or "\0" in value:  # which no path may have
                raise ValueError
            value.encode("utf-8")  # not so with half of a surrogate pair
            return value.strip()
        if wanted is bool:
            return {"true": True, "false": False}[str(value).strip().lower()]
        number = float(value)
        if isinstance(value, bool) or not math.isfinite(number):
            raise ValueError
        if wanted is int and (number % 1 or abs(number) >= WHOLE_LIMIT):
            raise ValueError
        return wanted(number)
    except (TypeError, ValueError, KeyError, OverflowError):
        raise ConfigError(f"{key} needs {NOUNS[wanted]}, not {value!r}") from None
