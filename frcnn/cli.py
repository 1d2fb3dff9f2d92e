"""What the command lines share: a config from options, and errors that a person can mend in one line."""

import contextlib
import os
import pathlib
import sys
import tempfile

from frcnn import presets, saved_config
from frcnn.config import SECTIONS
from frcnn.config_text import parse_assignments, parse_json
from frcnn.errors import ConfigError, FrcnnError


@contextlib.contextmanager
def quiet_import():
    """Keep what is written to stderr within this context to itself, unless an exception leaves it.

    TensorFlow's libraries greet there before they look at any setting; an error that is one line
    should not have to be looked for among six others.
    """
    sys.stderr.flush()
    shown = os.dup(2)
    with tempfile.TemporaryFile() as kept:
        os.dup2(kept.fileno(), 2)
        try:
            yield
        except BaseException:
            kept.seek(0)
            os.write(shown, kept.read())
            raise
        finally:
            sys.stderr.flush()
            os.dup2(shown, 2)
            os.close(shown)


def run(main):
    """Call ``main()`` and end the process with its status.

    An ``FrcnnError`` becomes one line on stderr and exit status 2; an interrupt, 130. Anything else
    is a bug and keeps its traceback.
    """
    try:
        status = main()
    except FrcnnError as error:
        print(f"error: {error}", file=sys.stderr)
        status = 2
    except KeyboardInterrupt:
        status = 130
    sys.exit(status)


def config_of(arguments, options, base=None):
    """Return a command line's config: the data set's preset, then --config, then options, then --set.

    Before the options come the network that a weight file brings, the backbone's settings and the
    optimizer's, where the parser has such options.

    Args:
        arguments: of argparse; it has ``dataset``, ``backbone``, ``config`` and ``set``.
        options: {name of an argument: the setting it changes}.
        base: ``Config`` to start from instead of a preset.

    Raises:
        ConfigError: an unknown setting, a value that does not fit, a file that does not serve.
    """
    dataset, text = arguments.dataset, "{}"
    if arguments.config:
        path = pathlib.Path(arguments.config)
        if not path.is_file():
            raise ConfigError(f"there is no config file {path}")
        text = path.read_text(encoding="utf-8", errors="replace")
        dataset = dataset or parse_json(text, SECTIONS, str(path)).get("data.dataset")
    config = base or presets.preset(dataset or "voc")
    config = config.updated_from_json(text, arguments.config)
    weights = getattr(arguments, "weights", None)
    if weights and (saved := saved_config.read(weights)):
        config = config.replace(presets.network_settings(saved, weights))
    if arguments.backbone and arguments.backbone != config.model.backbone:
        config = config.replace(presets.backbone_preset(arguments.backbone))
    if getattr(arguments, "optimizer", None):
        config = config.replace(presets.optimizer_preset(arguments.optimizer))
    values = {key: getattr(arguments, name) for name, key in options.items()}
    values = {key: value for key, value in values.items() if value is not None}
    return config.replace(values | parse_assignments(arguments.set))
