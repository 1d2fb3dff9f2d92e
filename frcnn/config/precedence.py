"""The settings that a command line asks for, and the source of each: one order for all commands.

Each source goes over those before it:

1. the defaults of ``frcnn.config.schema``;
2. presets: the optimizer's, the data set's, the backbone's, then the network that a weight file holds;
3. the file of ``--config``;
4. options;
5. ``--set``.

Presets belong to names. It makes no difference whether a file, an option or ``--set`` gives the name. A
run that is resumed has its own settings in the place of 1 and 2.
"""

import dataclasses
import pathlib

from frcnn.config import in_weights, presets
from frcnn.config.messages import naming
from frcnn.config.schema import KEYS, SECTIONS, Config, typed
from frcnn.config.text_format import parse_json, read_text, shown
from frcnn.errors import ConfigError

DEFAULTS = Config()
DATASET, DIR, BACKBONE, OPTIMIZER = "data.dataset", "data.dir", "model.backbone", "optimizer.name"


@dataclasses.dataclass(frozen=True)
class Settings:
    """What ``gather`` found.

    Attributes:
        config: ``Config``.
        asked: {key: value} of all that file, options and ``--set`` say: as a file for ``--config``, it
            asks for the same again.
        by_source: {source: {key: value}} of the settings that differ from the defaults, each under the
            source that it was taken from.
        notes: lines about what the sources say and is not used.
    """

    config: Config
    asked: dict
    by_source: dict
    notes: tuple

    def summary(self):
        """Return lines for a person: the settings that are no default by source, and the notes."""
        lines = ["settings that are no default, each source over those before it:"]
        for source, values in self.by_source.items():
            pairs = " ".join(f"{key}={shown(value)}" for key, value in values.items())
            lines.append(f"  {source}: {pairs}")
        return "\n".join([*(lines if self.by_source else ["settings: the defaults"]), *self.notes])


def gather(options, assignments, file=None, base=None, base_name="the run"):
    """Return the ``Settings`` of a command line.

    Args:
        options: {key: text or value} of the options that were given.
        assignments: the same of ``--set``.
        file: path of a JSON file with settings, None without.
        base: ``Config`` of the run to go on with, None for a new run.
        base_name: what the summary calls that run.

    Raises:
        ConfigError: an unknown setting, a value that does not fit, a file that cannot be read.
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
        layers = [(base_name, {key: base.get(key) for key in KEYS})]
    layers += [(str(file), used), ("options", options), ("--set", assignments)]
    source_of = {key: source for source, values in layers for key in values}
    values = {key: value for _, values in layers for key, value in values.items()}
    try:
        config = DEFAULTS.replace(values)
    except ConfigError as error:
        in_file = [key for key, source in source_of.items() if source == str(file)]
        lines = [
            f"{file}: {line}" if any(key in line for key in in_file) else line
            for line in str(error).split("\n")
        ]
        raise ConfigError("\n".join(lines)) from error
    by_source = {}
    for source, _ in layers:
        own = {key: config.get(key) for key in values if source_of[key] == source}
        own = {key: value for key, value in own.items() if value != DEFAULTS.get(key)}
        by_source |= {source: own} if own else {}
    if base is None and config.get(DATASET) != dataset:
        # The presets are of a data set that is not read: its name cannot ask for them again.
        asked = {key: config.get(key) for key in KEYS}
    return Settings(config, {key: asked[key] for key in KEYS if key in asked}, by_source, tuple(notes))


def read_file(path):
    """Return {key: value} of a JSON file with settings.

    Raises:
        ConfigError: there is no such file, or it is not of this kind.
    """
    values = parse_json(read_text(path), SECTIONS, str(path))
    with naming(str(path)):
        return typed(values)


def preset_layers(dataset, asked):
    """Return [(source, {key: value}), ...] of the presets that belong to what is asked, and notes.

    A preset whose optimizer or backbone is the data set's own anyway is left out: to name what is there
    already changes nothing.

    Args:
        dataset: whose preset comes first.
        asked: {key: value} of file, options and ``--set``.
    """
    of_dataset = presets.preset(dataset)
    backbone, optimizer = asked.get(BACKBONE), asked.get(OPTIMIZER)
    layers, notes, network = [], [], {}
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
        notes.append(f"{weights} holds a {own_backbone}: a {backbone} uses none of its settings")
        network = {}
    backbone = backbone or network.get(BACKBONE)
    if backbone not in (None, of_dataset.get(BACKBONE)):
        layers.append((f"preset {backbone}", presets.backbone_preset(backbone)))
    layers += [(weights, network)] if network else []
    for key in network.keys() & asked.keys():
        if asked[key] != network[key]:
            trained = f"{weights} was trained with {shown(network[key])}"
            notes.append(f"{key} is {shown(asked[key])} as asked, though {trained}")
    return layers, sorted(notes)


def drop_other_data(values, said, source):
    """Return settings without what they say of their own data where the command line names other data.

    Classes, renames, format and year go with a data set and a folder, splits with a data set. Shapes go
    with the folder in which they were drawn: in another one without shapes, ``data.dataset`` is voc.

    Args:
        values: {key: value} of a config.
        said: {key: value} of the command line, with ``data.dataset`` or ``data.dir`` if it names data.
        source: what the notes call the config: its file's name.

    Returns:
        The settings, and a list of notes about those that were left out.
    """
    kind, folder = values.get(DATASET), said.get(DIR, "")
    moved = folder and not _same(folder, values.get(DIR, DEFAULTS.get(DIR)))
    is_other_kind = bool(kind) and said.get(DATASET, kind) != kind
    drawn = pathlib.Path(folder, "shapes", "shapes.json").is_file()
    is_undrawn = kind == "shapes" and moved and not drawn and DATASET not in said
    dropped = ["data.train_split", "data.val_split"] if is_other_kind else []
    if is_other_kind or is_undrawn or (moved and DIR in values):
        dropped += ["data.classes", "data.rename", "data.format", "data.year"]
    dropped = {key: values[key] for key in dropped if values.get(key) and key not in said}
    kept = {key: value for key, value in values.items() if key not in dropped}
    if is_undrawn:
        kept[DATASET], dropped[DATASET] = "voc", kind
    if not dropped:
        return kept, []
    pairs = " ".join(f"{key}={shown(value)}" for key, value in dropped.items())
    note = f"not used, as the command line names other data than {source}: {pairs}"
    return kept, [note + (" (--dataset shapes draws them there)" if is_undrawn else "")]


def _same(folder, other):
    return pathlib.Path(folder).resolve() == pathlib.Path(other).resolve()
