"""Packages that look their names up on first use: what type checkers see is what there is, in any order of imports."""

import ast
import json
import pkgutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

FACES = ("atrous", "atrous.ops", "atrous.refine")


def for_type_checkers(package: str) -> dict[str, str]:
    """name -> where the TYPE_CHECKING block of a package imports it from."""
    tree = ast.parse(Path(str(import_module(package).__file__)).read_text())
    blocks = [node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"]
    found = {}
    for node in (node for block in blocks for node in block.body):
        assert isinstance(node, ast.ImportFrom)
        for alias in node.names:
            assert alias.asname == alias.name, f"{alias.name}: only `import X as X` is exported"
            found[alias.name] = str(node.module)
    return found


@pytest.mark.parametrize("package", FACES)
def test_types_and_names_are_the_same(package: str) -> None:
    face = import_module(package)
    typed = for_type_checkers(package)
    assert set(typed) == set(face.__all__) - {"__version__"}
    assert set(face.__all__) <= set(dir(face))
    for name, home in typed.items():
        module = import_module(home)
        assert getattr(face, name) is (getattr(module, name, None) or import_module(f"{home}.{name}")), name
    with pytest.raises(AttributeError, match=f"'{package}' has no attribute 'nothing'"):
        face.nothing  # noqa: B018


ORDERS = {
    "names first": ("look()", "load()"),
    "modules first": ("load()", "look()"),
}
CODE = """
import importlib, json, types
face = importlib.import_module({package!r})
found = {{}}

def look():
    for name in face.__all__:
        found[name] = getattr(face, name)

def load():
    for module in {modules!r}:
        importlib.import_module(f"{package}.{{module}}")

{order}
for name in face.__all__:
    assert getattr(face, name) is found[name], f"{{name}} has become another thing"
kinds = {{name: isinstance(value, types.ModuleType) for name, value in found.items()}}
print(json.dumps(kinds))
"""


@pytest.mark.parametrize("package", FACES)
def test_no_name_depends_on_what_was_imported_before(package: str) -> None:
    """An import of a submodule sets the package's attribute of that name, over whatever a function of that name is."""
    modules = [module.name for module in pkgutil.iter_modules(import_module(package).__path__)]
    modules = [name for name in modules if name != "__main__"]
    kinds = []
    for order in ORDERS.values():
        code = CODE.format(package=package, modules=modules, order="\n".join(order))
        run = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True)
        assert run.returncode == 0, run.stderr
        kinds.append(json.loads(run.stdout))
    assert kinds[0] == kinds[1]
    assert {name for name, is_module in kinds[0].items() if is_module} == set(modules) & set(kinds[0])
