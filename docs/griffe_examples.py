"""An extension of griffe, which reads the docstrings: it makes code blocks of their examples."""

import inspect
import re

import griffe

EXAMPLE = re.compile(r"^Example::?\n((?:    .*(?:\n|$)|\n)+)", re.MULTILINE)


def fence(docstring: str) -> str:
    """Return a docstring in which each section ``Example`` is a Markdown code block.

    griffe knows only ``Examples`` with ``>>>``. Without this, Markdown reads ``>>>`` as a quotation. A
    colon replaces the two that announce a code block elsewhere in a docstring.
    """

    def block(match):
        code = inspect.cleandoc(match[1])
        language = "pycon" if code.startswith(">>>") else "python"
        return f"**Example**\n\n```{language}\n{code}\n```\n\n"

    return re.sub(r"::\n\n(?=    )", ":\n\n", EXAMPLE.sub(block, docstring))


class Examples(griffe.Extension):
    """Applies ``fence`` to every docstring."""

    def on_object(self, *, obj: griffe.Object, **_: object) -> None:
        """Change the docstring of an object that griffe has read."""
        if obj.docstring:
            obj.docstring.value = fence(obj.docstring.value)
