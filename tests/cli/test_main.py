"""The command ``frcnn``: its subcommands, their help, and what a mistyped word gets."""

import argparse
import json
import subprocess
import sys

import pytest

import frcnn
from frcnn.cli import (
    compare,
    convert,
    download,
    evaluate,
    export,
    import_weights,
    inspect,
    main,
    options,
    predict,
    train,
)
from frcnn.config import Config

MODULES = {
    "train": train,
    "evaluate": evaluate,
    "compare": compare,
    "predict": predict,
    "export": export,
    "inspect": inspect,
    "convert": convert,
    "import": import_weights,
    "download": download,
}
HELPS = [*([name] for name in MODULES), ["import", "torchvision"], ["import", "keras-frcnn"]]


def output_of(arguments, capsys):
    """Return (status, stdout, stderr) of a command line that ends before it does anything."""
    with pytest.raises(SystemExit) as end:
        main.main(arguments)
    return end.value.code, *capsys.readouterr()


def run_all_parsers(monkeypatch, capsys):
    """Return every ``Parser`` that the helps make."""
    made = []
    own = options.Parser.__init__
    monkeypatch.setattr(
        options.Parser, "__init__", lambda self, *given: (made.append(self), own(self, *given))[1]
    )
    for arguments in HELPS:
        output_of([*arguments, "--help"], capsys)
    return made


def test_each_subcommand_has_its_module():
    assert {name: module for name, (module, _) in main.COMMANDS.items()} == {
        name: module.__name__.removeprefix("frcnn.cli.") for name, module in MODULES.items()
    }


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"], ["help"]])
def test_frcnn_alone_prints_the_help(arguments, capsys):
    assert main.main(arguments) is None
    text = capsys.readouterr().out
    assert all(f"\n  {name} " in text for name in MODULES)


@pytest.mark.parametrize("arguments", [["--version"], ["-V"]])
def test_version(arguments, capsys):
    assert main.main(arguments) is None
    assert capsys.readouterr().out == f"frcnn {frcnn.__version__}\n"


@pytest.mark.parametrize("arguments", HELPS, ids=" ".join)
def test_help_ends_with_three_examples(arguments, capsys):
    status, text, _ = output_of([*arguments, "--help"], capsys)
    head, examples = text.split("\nexamples:\n")
    assert status == 0 and f"usage: frcnn {' '.join(arguments)} " in head
    lines = examples.rstrip("\n").split("\n")
    assert len(lines) == 3 and all(line.startswith("  frcnn ") for line in lines)


@pytest.mark.parametrize("arguments", HELPS, ids=" ".join)
def test_the_examples_are_command_lines_that_parse(arguments, capsys):
    text = output_of([*arguments, "--help"], capsys)[1]
    for line in text.split("\nexamples:\n")[1].strip().split("\n"):
        _, name, *rest = line.split()
        if name != "download":  # its parser is within main, which downloads
            MODULES[name].parse(rest)


def test_every_option_shows_its_default(monkeypatch, capsys):
    parsers = run_all_parsers(monkeypatch, capsys)
    assert len(parsers) >= len(HELPS)
    for parser in parsers:
        for action in parser._actions:
            if action.option_strings and not isinstance(action, argparse._HelpAction):
                assert "(default: " in action.help, (parser.prog, action.option_strings)


def test_the_help_shows_the_default_of_the_settings(capsys):
    text = " ".join(output_of(["train", "--help"], capsys)[1].split())
    for words in ("(default: 0.001)", "(default: vgg16)", "(default: data)", "(default: trainval; see"):
        assert words in text


def test_help_of_a_subcommand_by_its_name(capsys):
    assert output_of(["help", "predict"], capsys) == output_of(["predict", "--help"], capsys)


@pytest.mark.parametrize(
    "word, text",
    [
        ("trian", "there is no command 'trian', did you mean 'train'?"),
        ("eval", "there is no command 'eval', did you mean 'evaluate'?"),
        (
            "zzz",
            "there is no command 'zzz'; the commands are train, evaluate, compare, predict, export, ",
        ),
        ("a\x1b[2J", "there is no command 'a\\x1b[2J'; the commands are "),
    ],
)
def test_an_unknown_subcommand_gets_the_nearest(word, text):
    with pytest.raises(frcnn.errors.ConfigError) as error:
        main.main([word])
    assert str(error.value).startswith(text)


@pytest.mark.parametrize(
    "line, text",
    [
        ("train --epoch 3", "there is no option --epoch, did you mean --epochs?"),
        ("train --epoch=3", "there is no option --epoch, did you mean --epochs?"),
        ("train images --backbne tiny", "there is no option --backbne, did you mean --backbone?"),
        ("train --zzzzzz", "there is no option --zzzzzz"),
        ("train one two", "unexpected argument two"),
        ("train --epochs", "argument --epochs: expected one argument"),
        ("train --workers-per-node x", "argument --workers-per-node: invalid int value: 'x'"),
        ("inspect --imgs 3", "there is no option --imgs, did you mean --images?"),
        ("evaluate RUN --metric cocoo", "--metric is 'cocoo', did you mean 'coco'?"),
        ("evaluate RUN --metric x", "--metric is 'x'; expected voc07, voc12, coco, oriented"),
        ("predict RUN", "the following arguments are required: SOURCE"),
        ("download voc2008", "NAME is 'voc2008', did you mean 'voc2007'?"),
        ("download imagenet", "NAME is 'imagenet'; expected voc2007, voc2012"),
        ("import", "the following arguments are required: KIND"),
        ("import torchvsion a b c", "KIND is 'torchvsion', did you mean 'torchvision'?"),
        ("import keras-frcnn a b --clases x", "there is no option --clases, did you mean --classes?"),
        ("import torchvision a b", "the following arguments are required: OUT"),
    ],
)
def test_a_mistake_is_one_line_that_names_the_nearest(line, text, capsys):
    status, out, err = output_of(line.split(), capsys)
    command = " ".join(line.split()[: 2 if line.startswith(("import t", "import k")) else 1])
    command = "import" if "torchvsion" in line else command
    assert (status, out) == (2, "")
    assert err == f"error: {text} (frcnn {command} --help lists the options)\n"


def test_neither_help_nor_a_mistake_waits_for_keras():
    lines = [["--help"], ["train", "--epoch", "3"], *([name, "--help"] for name in main.COMMANDS)]
    code = (
        "import sys; from frcnn.cli.main import entry\n"
        f"for line in {lines!r}:\n"
        "    sys.argv = ['frcnn', *line]\n"
        "    try: entry()\n"
        "    except SystemExit: pass\n"
        "print(sorted({'keras', 'tensorflow', 'cv2'} & {*sys.modules}), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stderr.endswith("[]\n"), done.stderr


def test_the_json_schema_of_the_settings(capsys):
    assert main.main(["train", "--json-schema"]) is None
    assert json.loads(capsys.readouterr().out) == json.loads(json.dumps(Config.json_schema()))
