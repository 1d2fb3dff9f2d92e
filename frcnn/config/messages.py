"""Messages for wrong settings, one line each: the key, the allowed values, and the given value."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

from frcnn.config.old_names import OLD_NAMES
from frcnn.config.text_format import shown
from frcnn.config.values import WHOLE_LIMIT
from frcnn.errors import ConfigError, FrcnnError
from frcnn.text import nearest, shown_value

NOUNS = {"integer": "whole number", "number": "number"}


def unknown_key(key: str, known: Collection[str]) -> str:
    """Return the line for a key that does not exist, with its new name or the nearest known key."""
    if key in OLD_NAMES:
        return f"the setting {key} is now called {OLD_NAMES[key]}"
    near = _near_key(key, known)
    return f"there is no setting {shown_value(key)}" + (f"; did you mean {near}?" if near else "")


def _near_key(key: str, known: Collection[str]) -> str | None:
    section, _, name = key.rpartition(".")
    if section and section not in {other.partition(".")[0] for other in known}:
        return nearest(key, known)
    # Compare only the names: the common section would make all its keys look similar.
    names = {other.partition(".")[2]: other for other in known if other.startswith(section)}
    near = nearest(name, names, 0.6 if section else 0.7)
    return names[near] if near else None


def lines(error: ValidationError, model: type[BaseModel], given: Mapping[str, Any]) -> list[str]:
    """Return a line for each setting that pydantic refused.

    Args:
        error: the error of pydantic.
        model: the model of all sections.
        given: {section: {name: value}}, the values that were checked.
    """
    found: dict[str, str] = {}
    for problem in error.errors(include_url=False):
        key = ".".join(str(part) for part in problem["loc"][:2])
        reason = problem.get("ctx", {}).get("error")
        if not key:  # a check of several settings together: the reason names them
            found[key] = str(reason)
        elif key in model.model_fields:
            found[key] = f"{key} must be a section: {{'epochs': 4, ...}}, not {shown_value(given[key])}"
        elif "." not in key:
            known = ", ".join(model.model_fields)
            found[key] = f"there is no section {shown_value(key)} of settings, only {known}"
        elif problem["type"] == "extra_forbidden":
            found[key] = unknown_key(key, keys_of(model))
        elif isinstance(reason, FrcnnError):
            found[key] = f"{key}: {reason}"
        else:
            section, name = key.split(".")
            value = given[section][name]
            value = shown(value) if value and isinstance(value, (list, tuple)) else shown_value(value)
            wanted = allowed(sections_of(model)[section], name)
            found[key] = f"{key} must be {wanted}, not {value}"
    return list(found.values())


@contextlib.contextmanager
def naming(source: str) -> Iterator[None]:
    """Add the name of the settings' file to each line of a ``ConfigError`` in this context."""
    try:
        yield
    except ConfigError as error:
        raise ConfigError("\n".join(f"{source}: {line}" for line in str(error).split("\n"))) from error


def keys_of(model: type[BaseModel]) -> tuple[str, ...]:
    """Return the dotted keys of all settings."""
    return tuple(
        f"{section}.{name}"
        for section, fields in sections_of(model).items()
        for name in fields.model_fields
    )


def sections_of(model: type[BaseModel]) -> dict[str, type[BaseModel]]:
    """Return {name: model} of the sections of the model of all settings."""
    return {name: field.annotation for name, field in model.model_fields.items()}  # type: ignore[misc]


@functools.cache
def _schema(section: type[BaseModel]) -> dict[str, Any]:
    return section.model_json_schema()["properties"]


def allowed(section: type[BaseModel], name: str) -> str:
    """Return the values that a setting may have, as text.

    Example:
        >>> from frcnn.config.schema import DataConfig
        >>> allowed(DataConfig, "batch_size")
        'a whole number from 1 to 4096'
    """
    return _allowed(_schema(section)[name])


def _allowed(schema: Mapping[str, Any]) -> str:
    """Return the values that a JSON schema allows, as text."""
    if "enum" in schema:
        return f"one of {', '.join(schema['enum'])}"
    if schema["type"] in NOUNS:
        return f"a {NOUNS[schema['type']]} {_range(schema)}"
    if schema["type"] == "array":
        fewest, most = schema.get("minItems", 0), schema["maxItems"]
        count = str(most) if fewest == most else f"{fewest} to {most}"
        return f"{count} values, each {_allowed(schema['items'])}"
    return {"boolean": "true or false", "string": "text"}[schema["type"]]


def _range(schema: Mapping[str, Any]) -> str:
    above, below = schema.get("exclusiveMinimum"), schema.get("exclusiveMaximum")
    lowest = f"above {_plain(above)}" if above is not None else _plain(schema["minimum"])
    if below is None and schema["maximum"] >= WHOLE_LIMIT - 1:
        return lowest if above is not None else f"of at least {lowest}"
    highest = f"below {_plain(below)}" if below is not None else _plain(schema["maximum"])
    if above is None:
        return f"from {lowest} to {highest}"
    return f"{lowest} and {highest if below is not None else f'at most {highest}'}"


def _plain(number: float) -> str:
    return str(int(number)) if number == int(number) else str(number)
