"""The order of the packages: each imports only from those before it, and there is no circle."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1] / "frcnn"

# From the bottom up. A package or module may import from itself and from those before it.
ORDER = (
    "text",
    "errors",
    "rng",
    "files",
    "backend",
    "collectives",
    "ops",
    "config",
    "layers",
    "models",
    "weights",
    "data",
    "logging",
    "runs",
    "evaluation",
    "export",
    "detector",
    "convert",
    "inspection",
    "report",
    "prediction",
    "distributed",
    "training",
    "api",
    "cli",
    "__main__",
)
MODULES = sorted(path for path in ROOT.rglob("*.py") if path != ROOT / "__init__.py")


def room_of(path):
    """Return the package, or the module of the top level, that a file belongs to."""
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imported(path):
    """Return the dotted names of all that a file imports from frcnn, lazy imports included."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "frcnn":
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names if alias.name.split(".")[0] == "frcnn"}
    return {name for name in names if name != "frcnn"}


def test_the_order_names_every_package_and_no_other():
    assert {room_of(path) for path in MODULES} == set(ORDER)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_is_imported_from_above(path):
    allowed = ORDER[: ORDER.index(room_of(path)) + 1]
    wrong = [name for name in imported(path) if name.split(".")[1] not in allowed]
    assert not wrong, f"{path.relative_to(ROOT)} imports from above: {wrong}"


def test_no_module_is_in_a_circle():
    of_path = {
        ".".join(("frcnn", *path.relative_to(ROOT).with_suffix("").parts)).removesuffix(
            ".__init__"
        ): path
        for path in MODULES
    }

    def targets(path):
        for name in imported(path):
            while name and name not in of_path:
                name = name.rpartition(".")[0]
            if name:
                yield name

    graph = {name: set(targets(path)) - {name} for name, path in of_path.items()}
    while graph:
        leaves = {name for name, needs in graph.items() if not needs & graph.keys()}
        assert leaves, f"a circle of imports among {sorted(graph)}"
        graph = {name: needs for name, needs in graph.items() if name not in leaves}


@pytest.mark.parametrize(
    "room", sorted({path.parent for path in MODULES} - {ROOT}), ids=lambda p: p.name
)
def test_every_package_says_what_it_may_import(room):
    text = ast.get_docstring(ast.parse((room / "__init__.py").read_text()))
    assert "May import:" in text
