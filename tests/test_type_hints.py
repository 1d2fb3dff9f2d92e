"""Every public function and method of frcnn has complete type hints."""

import ast
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "frcnn"
# Methods whose signatures Keras gives.
OF_KERAS = {
    *("build", "call", "compute_output_shape", "compute_output_spec", "convolution_op", "get_config"),
    *("apply", "stateless_apply", "update_step"),
}
# Their result is always None or the object itself.
WITHOUT_RESULT = {"__init__", "__post_init__"}


def public_functions(tree):
    """Yield (name, function) of the public functions of a module and the public methods in it."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            yield node.name, node
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            for method in node.body:
                if isinstance(method, ast.FunctionDef) and (
                    not method.name.startswith("_") or method.name.startswith("__")
                ):
                    yield f"{node.name}.{method.name}", method


def missing_hints(function):
    """Return the names of the arguments without a hint, and "return" without a hint of the result."""
    arguments = function.args
    named = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    named += [one for one in (arguments.vararg, arguments.kwarg) if one]
    missing = [one.arg for one in named if one.annotation is None and one.arg not in ("self", "cls")]
    if function.returns is None and function.name not in WITHOUT_RESULT:
        missing.append("return")
    return [name for name in missing if not name.startswith("_")]


def test_public_functions_have_complete_type_hints():
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        for name, function in public_functions(ast.parse(path.read_text(encoding="utf-8"))):
            if name.rpartition(".")[2] not in OF_KERAS and (missing := missing_hints(function)):
                found.append(
                    f"{path.relative_to(PACKAGE)}:{function.lineno} {name}: {', '.join(missing)}"
                )
    assert not found, "\n".join(found)
