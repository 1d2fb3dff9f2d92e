"""The settings of a command line, and the precedence of their sources. It is the same for all commands.

Each source overrides those before it:

1. the defaults of ``frcnn.config.schema``;
2. presets: of the optimizer, of the data set, of the backbone, the recipe; then the network of a weight
   file;
3. the file of ``--config``;
4. options;
5. ``--set``.

The names of optimizer, data set, backbone and recipe choose the presets. It does not matter which of the
sources 3, 4 and 5 gives the name. For a resumed run, the run's own settings take the place of 1 and 2.
So its recipe cannot be changed.
"""

from __future__ import annotations

import dataclasses
import os
import pathlib
from collections.abc import Mapping
from typing import Any

from frcnn.config import in_weights, presets
from frcnn.config.messages import naming
from frcnn.config.schema import KEYS, SECTIONS, Config, typed
from frcnn.config.text_format import parse_json, read_text, shown
from frcnn.errors import ConfigError

DEFAULTS = Config()
DATASET, DIR, BACKBONE, OPTIMIZER = "data.dataset", "data.dir", "model.backbone", "optimizer.name"
RECIPE = "train.recipe"
# Settings of a recipe that suit its own optimizer only.
RATE = (OPTIMIZER, "optimizer.learning_rate", "optimizer.lr_images", "optimizer.weight_decay")


@dataclasses.dataclass(frozen=True)
class Settings:
    """The result of ``gather``.

    Attributes:
        config: all settings.
        asked: {key: value} of the settings that file, options and ``--set`` give. As a file for
            ``--config`` they give the same settings again.
        by_source: {source: {key: value}} of the settings that differ from the defaults, each under the
            source that its value comes from.
        notes: lines about settings that are not used.
    """

    config: Config
    asked: dict[str, Any]
    by_source: dict[str, dict[str, Any]]
    notes: tuple[str, ...]

    def summary(self) -> str:
        """Return lines of text: by source the settings that differ from the defaults, and the notes."""
        lines = ["settings that differ from the defaults (a later source overrides an earlier one):"]
        for source, values in self.by_source.items():
            pairs = " ".join(f"{key}={shown(value)}" for key, value in values.items())
            lines.append(f"  {source}: {pairs}")
        return "\n".join([*(lines if self.by_source else ["settings: the defaults"]), *self.notes])


def gather(
    options: Mapping[str, Any],
    assignments: Mapping[str, Any],
    file: str | os.PathLike | None = None,
    base: Config | None = None,
    base_name: str = "the run",
) -> Settings:
    """Return the ``Settings`` of a command line.

    Args:
        options: {key: text or value} of the given options.
        assignments: {key: text or value} of ``--set``.
        file: path of a JSON file with settings (``--config``); None: no file.
        base: all settings of the run to resume; None: a new run.
        base_name: name of that run in the summary.

    Raises:
        ConfigError: a setting is unknown, a value is not allowed, the file cannot be read, or a run is
            resumed with another recipe.
    """
    options, assignments = typed(options), typed(assignments)
    said = options | assignments
    in_file = read_file(file) if file else {}
    dataset = said.get(DATASET) or in_file.get(DATASET) or "voc"
    used, notes = drop_other_data(in_file, said, str(file))
    asked = used | said
    if base is None:
        layers, more = preset_layers(dataset, asked)
        notes += more
    else:
        if asked.get(RECIPE, base.get(RECIPE)) != base.get(RECIPE):
            raise ConfigError(
                f"{base_name} has the recipe {base.get(RECIPE)}, which cannot become {asked[RECIPE]}: "
                "give its settings with --config or --set, or start a new run"
            )
        layers = [(base_name, {key: base.get(key) for key in KEYS})]
    layers += [(str(file), used), ("options", options), ("--set", assignments)]
    source_of = {key: source for source, values in layers for key in values}
    values = {key: value for _, values in layers for key, value in values.items()}
    try:
        config = DEFAULTS.replace(values)
    except ConfigError as error:
        of_file = [key for key, source in source_of.items() if source == str(file)]
        lines = [
            f"{file}: {line}" if any(key in line for key in of_file) else line
            for line in str(error).split("\n")
        ]
        raise ConfigError("\n".join(lines)) from error
    by_source: dict[str, dict[str, Any]] = {}
    for source, _ in layers:
        own = {key: config.get(key) for key in values if source_of[key] == source}
        own = {key: value for key, value in own.items() if value != DEFAULTS.get(key)}
        by_source |= {source: own} if own else {}
    if base is None and config.get(DATASET) != dataset:
        # The presets belong to another data set than the one that is read. The name of the data set
        # would not choose them again, so all settings are kept.
        asked = {key: config.get(key) for key in KEYS}
    return Settings(config, {key: asked[key] for key in KEYS if key in asked}, by_source, tuple(notes))


def read_file(path: str | os.PathLike) -> dict[str, Any]:
    """Return {key: value} of a JSON file with settings.

    Raises:
        ConfigError: there is no such file, or it is not a file with settings.
    """
    values = parse_json(read_text(pathlib.Path(path)), SECTIONS, str(path))
    with naming(str(path)):
        return typed(values)


def preset_layers(
    dataset: str, asked: Mapping[str, Any]
) -> tuple[list[tuple[str, dict[str, Any]]], list[str]]:
    """Return [(source, {key: value}), ...] of the presets, and notes about settings that are not used.

    A preset of the optimizer or backbone is not used if the preset of the data set already has the same
    optimizer or backbone. So naming it changes nothing.

    Args:
        dataset: name of the data set.
        asked: {key: value} of file, options and ``--set``.
    """
    of_dataset = presets.preset(dataset)
    recipe = asked.get(RECIPE, DEFAULTS.get(RECIPE))
    of_recipe = presets.RECIPE_PRESETS[recipe]
    layers, notes, network = [], [], {}
    backbone, optimizer = asked.get(BACKBONE), asked.get(OPTIMIZER, of_recipe.get(OPTIMIZER))
    if of_recipe.get(OPTIMIZER) not in (None, optimizer):
        notes.append(
            f"the recipe {recipe} is for {of_recipe[OPTIMIZER]}: its rate is not used for {optimizer}"
        )
        of_recipe = {key: value for key, value in of_recipe.items() if key not in RATE}
    if optimizer not in (None, of_dataset.get(OPTIMIZER)):
        layers.append((f"preset {optimizer}", presets.OPTIMIZER_PRESETS[optimizer]))
    layers.append((f"preset {dataset}", presets.PRESETS[dataset]))
    weights = asked.get("model.weights")
    if weights and (saved := in_weights.read(weights)):
        network = presets.network_settings(saved, weights)
        with naming(weights):
            network = typed(network)
    own_backbone = network.get(BACKBONE, DEFAULTS.get(BACKBONE))
    if network and backbone not in (None, own_backbone):
        notes.append(f"{weights} has a {own_backbone}, so its settings are not used for a {backbone}")
        network = {}
    backbone = backbone or network.get(BACKBONE)
    if backbone not in (None, of_dataset.get(BACKBONE)):
        layers.append((f"preset {backbone}", presets.backbone_preset(backbone)))
    if of_recipe:
        layers.append((f"recipe {recipe}", of_recipe))
    if weights and network:
        layers.append((weights, network))
    for key in network.keys() & asked.keys():
        if asked[key] != network[key]:
            trained = f"{weights} was trained with {shown(network[key])}"
            notes.append(f"{key} is {shown(asked[key])} as asked, though {trained}")
    return layers, sorted(notes)


def drop_other_data(
    values: Mapping[str, Any], said: Mapping[str, Any], source: str
) -> tuple[dict[str, Any], list[str]]:
    """Drop the settings of a config that belong to its data, if the command line names other data.

    Classes, renames, format and year belong to a data set and a folder; splits belong to a data set. The
    data set ``shapes`` belongs to the folder in which the shapes were drawn: for another folder without
    shapes, ``data.dataset`` becomes voc.

    Args:
        values: {key: value} of the config.
        said: {key: value} of the command line, with ``data.dataset`` or ``data.dir`` if it names data.
        source: name of the config's file, for the notes.

    Returns:
        The settings that remain, and a list of notes about those that were dropped.
    """
    kind, folder = values.get(DATASET), said.get(DIR, "")
    moved = folder and not _same(folder, values.get(DIR, DEFAULTS.get(DIR)))
    is_other_kind = bool(kind) and said.get(DATASET, kind) != kind
    drawn = pathlib.Path(folder, "shapes", "shapes.json").is_file()
    is_undrawn = kind == "shapes" and moved and not drawn and DATASET not in said
    keys = ["data.train_split", "data.val_split"] if is_other_kind else []
    if is_other_kind or is_undrawn or (moved and DIR in values):
        keys += ["data.classes", "data.rename", "data.format", "data.year"]
    dropped = {key: values[key] for key in keys if values.get(key) and key not in said}
    kept = {key: value for key, value in values.items() if key not in dropped}
    if is_undrawn:
        kept[DATASET], dropped[DATASET] = "voc", kind
    if not dropped:
        return kept, []
    pairs = " ".join(f"{key}={shown(value)}" for key, value in dropped.items())
    note = f"not used, as the command line names other data than {source}: {pairs}"
    return kept, [note + (" (--dataset shapes draws them there)" if is_undrawn else "")]


def _same(folder: str, other: str) -> bool:
    """Return whether two paths are the same folder."""
    return pathlib.Path(folder).resolve() == pathlib.Path(other).resolve()
