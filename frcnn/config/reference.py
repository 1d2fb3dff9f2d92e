"""Writes ``docs/settings.md``: every setting with its default, its allowed values and its meaning.

After a change of a setting, write the page again::

    python -m frcnn.config.reference > docs/settings.md
"""

from __future__ import annotations

from frcnn.config.messages import allowed
from frcnn.config.old_names import OLD_NAMES
from frcnn.config.schema import SECTIONS, Config
from frcnn.config.text_format import shown

HEAD = """# Settings

<!-- Made by `python -m frcnn.config.reference > docs/settings.md`. -->

Set a setting with `--set KEY=VALUE`, with `settings={"KEY": VALUE}` in Python, or in a JSON file for
`--config`. A list has commas between its items: `--set anchors.sizes=32,64,128`. A file may hold some of
the settings:

```json
{"$schema": "frcnn.schema.json", "train": {"epochs": 4}, "anchors": {"sizes": [32, 64, 128]}}
```

`"$schema"` is optional. With it, an editor that knows JSON schemas completes and checks the file:

```
frcnn train --json-schema > frcnn.schema.json
```

Later sources override earlier ones: the defaults below, presets of the optimizer, the data set and the
backbone, the recipe, the network in a weight file, the `--config` file, options, `--set`. The presets
are the files in `frcnn/config/preset_files/`. `RUN/config.json` has the settings that were asked for,
and `RUN/resolved.json` all settings of the run.
"""


def markdown() -> str:
    """Return the page as Markdown."""
    lines = [HEAD]
    config = Config()
    for section in SECTIONS:
        model = type(getattr(config, section))
        lines += [f"## {section}", "", str(model.__doc__).replace("``", "`"), ""]
        lines += ["| key | default | allowed | meaning |", "|---|---|---|---|"]
        for name, field in model.model_fields.items():
            default = shown(field.default)
            default = f"`{default}`" if default else "(empty)"
            meaning = field.description
            lines.append(f"| `{section}.{name}` | {default} | {allowed(model, name)} | {meaning} |")
        lines.append("")
    lines += [
        "## Old names",
        "",
        "Files of earlier versions may have these names. `--set` refuses them.",
        "",
    ]
    lines += ["| old name | name |", "|---|---|"]
    lines += [f"| `{old}` | `{new}` |" for old, new in OLD_NAMES.items()]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(markdown(), end="")
