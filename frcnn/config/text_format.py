"""Settings as text: JSON files, ``KEY=VALUE``, and the form of values in messages.

The settings themselves are in ``frcnn.config.sections``.
"""

from __future__ import annotations

import json
import pathlib
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from frcnn import text
from frcnn.config.old_names import with_new_names
from frcnn.errors import ConfigError
from frcnn.files import untrusted

SCHEMA_KEY = "$schema"  # where editors look for the JSON schema of a file


def read_text(path: pathlib.Path | str) -> str:
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


def parse_json(text: str, sections: Collection[str], source: str = "JSON") -> dict[str, Any]:
    """Return {dotted key: value} of JSON text, {section: {name: value}}, for ``Config.replace``.

    Args:
        text: some or all settings as JSON.
        sections: the known names of sections.
        source: name of the text, for messages.

    Raises:
        ConfigError: it is not JSON, has a key twice, or has anything but sections.
    """
    try:
        found = json.loads(text, object_pairs_hook=_once_each)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{source} is not JSON: {error}") from error
    if isinstance(found, dict) and isinstance(found.get(SCHEMA_KEY), str):
        del found[SCHEMA_KEY]
    if not isinstance(found, dict) or not all(isinstance(s, dict) for s in found.values()):
        raise ConfigError(f"{source} must have sections: {{'train': {{'epochs': 4}}, ...}}")
    for name in found:
        if name not in sections:
            raise ConfigError(f"{source}: there is no section {name!r}, only {', '.join(sections)}")
    values = {f"{s}.{name}": value for s, fields in found.items() for name, value in fields.items()}
    return with_new_names(values, source)


def _once_each(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Return the dict of a JSON object. A key that is there twice is an error."""
    found = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"the key {key!r} is there twice")
        found[key] = value
    return found


def parse_assignments(assignments: Iterable[str]) -> dict[str, str]:
    """Return {key: text} of ``["KEY=VALUE", ...]``, for ``Config.replace``."""
    pairs = {}
    for assignment in assignments:
        key, equals, value = assignment.partition("=")
        if not equals:
            raise ConfigError(f"--set takes KEY=VALUE, not {assignment!r}")
        pairs[key.strip()] = value.strip()
    return pairs


def to_json(values: Mapping[str, Any]) -> str:
    """Return JSON text, {section: {name: value}}, of {dotted key: value}."""
    sections: dict[str, dict[str, Any]] = {}
    for key, value in values.items():
        section, name = key.split(".")
        sections.setdefault(section, {})[name] = value
    return json.dumps(sections, indent=2) + "\n"


def shown(value: Any, most: int = 80) -> str:
    """Return a value in the form that ``--set`` takes, in one short line."""
    if isinstance(value, (list, tuple)):
        return text.shown(",".join(shown(item) for item in value), most)
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else text.shown(value, most)
