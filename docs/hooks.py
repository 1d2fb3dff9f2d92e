"""Hooks of mkdocs: reference pages from the packages, and links to files outside ``docs/``."""

import os
import re
from pathlib import Path

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parents[1]
ROW = re.compile(r"^\| `(\w+)` \|", re.MULTILINE)
LINK = re.compile(r"(?<!!)\[([^\]]+)\]\((\.\./[^)#]+)[^)]*\)")


def packages() -> list[str]:
    """Return the packages and modules of frcnn in the order of ``docs/architecture.md``."""
    return ROW.findall((ROOT / "docs" / "architecture.md").read_text(encoding="utf-8"))


def on_config(config):
    """Fill the navigation's entry ``Reference`` with a page per package."""
    for entry in config.nav:
        if "Reference" in entry:
            entry["Reference"] = [{name: f"reference/{name}.md"} for name in packages()]
    return config


def on_files(files, config):
    """Add a page per package; mkdocstrings fills it from the docstrings."""
    for name in packages():
        page = f"# frcnn.{name}\n\n::: frcnn.{name}\n"
        files.append(File.generated(config, f"reference/{name}.md", content=page))
    return files


def on_page_markdown(markdown, page, config, files):
    """Replace links that leave ``docs/`` by their text, as the site does not have these files.

    Raises:
        PluginError: if such a file does not exist.
    """
    folder = (ROOT / "docs" / page.file.src_uri).parent

    def text(match):
        target = Path(os.path.normpath(folder / match[2]))
        if target.is_relative_to(ROOT / "docs"):
            return match[0]
        if not target.exists():
            raise PluginError(f"{page.file.src_uri}: the link to {match[2]} leads nowhere")
        return match[1]

    return LINK.sub(text, markdown)
