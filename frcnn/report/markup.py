"""Builds HTML and SVG from Python, with all text escaped.

Class names, file names and paths are untrusted input. ``tag`` escapes every text that is not ``Markup``,
so that none of them can become a tag or a script.
"""

from __future__ import annotations

import html
import importlib.resources
import json
import string
from collections.abc import Iterable, Sequence
from typing import Any

from frcnn.text import shown


class Markup(str):
    """Text that is HTML already."""


def text(value: Any) -> Markup:
    """Return any value as escaped text; control characters become visible."""
    return value if isinstance(value, Markup) else Markup(html.escape(shown(value, 1000)))


def tag(name: str, *children: Any, **attributes: Any) -> Markup:
    """Return an element.

    Args:
        name: name of the element.
        children: ``Markup``, or text, which is escaped.
        attributes: ``_`` in a name stands for ``-``, and one at its end is dropped; None and False are
            left out, True has no value.

    Example:
        >>> tag("p", "a < b", class_="note")
        '<p class="note">a &lt; b</p>'
    """
    parts = [name]
    for key, value in attributes.items():
        key = key.rstrip("_").replace("_", "-")
        if value is True:
            parts.append(key)
        elif value is not None and value is not False:
            parts.append(f'{key}="{text(value)}"')
    return Markup(f"<{' '.join(parts)}>{''.join(map(text, children))}</{name}>")


def join(parts: Iterable[Any]) -> Markup:
    """Return the parts joined; those that are text are escaped."""
    return Markup("".join(map(text, parts)))


def table(head: Sequence[Any], rows: Iterable[Sequence[Any]], caption: str) -> Markup:
    """Return a table that scrolls in a narrow window. The first column names the rows.

    Args:
        head: names of the columns.
        rows: cells of each row; ``Markup`` of a ``<td>`` is used as it is.
        caption: what the table shows.
    """

    def cell(value):
        return value if isinstance(value, Markup) and value.startswith("<td") else tag("td", value)

    body = (tag("tr", tag("th", row[0], scope="row"), *map(cell, row[1:])) for row in rows)
    columns = tag("tr", *(tag("th", name, scope="col") for name in head))
    inner = tag("table", tag("thead", columns), tag("tbody", *body))
    # A tabindex lets the arrow keys scroll it.
    scroll = tag("div", inner, class_="scroll", tabindex="0", role="region", aria_label=caption)
    return tag("figure", tag("figcaption", caption), scroll)


def data(identifier: str, value: Any) -> Markup:
    """Return a ``<script>`` that holds a value as JSON, for the page's script and other programs.

    ``<`` is written as its escape, so that no text can end the element.
    """
    content = json.dumps(value, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    return Markup(f'<script type="application/json" id="{identifier}">{content}</script>')


def page(title: str, subtitle: str, tabs: Sequence[tuple[str, str, Markup]], embedded: Markup) -> str:
    """Return a whole page.

    Args:
        title: title of the window, and the first heading.
        subtitle: a line below the heading.
        tabs: (identifier, name, content) of each part.
        embedded: elements of ``data``.
    """
    files = importlib.resources.files("frcnn.report")
    buttons = (
        tag(
            "a",
            name,
            href=f"#{identifier}",
            id=f"tab-{identifier}",
            role="tab",
            aria_controls=f"part-{identifier}",
        )
        for identifier, name, _ in tabs
    )
    parts = (
        tag(
            "section",
            tag("h2", name),
            content,
            id=f"part-{identifier}",
            role="tabpanel",
            aria_labelledby=f"tab-{identifier}",
        )
        for identifier, name, content in tabs
    )
    return string.Template(files.joinpath("page.html").read_text("utf-8")).substitute(
        title=text(title),
        subtitle=text(subtitle),
        style=files.joinpath("page.css").read_text("utf-8"),
        script=files.joinpath("page.js").read_text("utf-8"),
        tabs=join(buttons),
        parts=join(parts),
        embedded=embedded,
    )
