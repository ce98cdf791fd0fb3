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


CODE = """
import importlib, json, types
homes = {homes!r}
found = {{package: {{}} for package in homes}}

def look():
    for package in homes:
        face = importlib.import_module(package)
        found[package] = {{name: getattr(face, name) for name in face.__all__ if name != "__version__"}}

def load():
    for package, modules in homes.items():
        for module in modules:
            importlib.import_module(f"{{package}}.{{module}}")

{order}
for package, names in found.items():
    for name, value in names.items():
        now = getattr(importlib.import_module(package), name)
        assert now is value, f"{{package}}.{{name}} has become another thing"
kinds = {{
    package: {{name: isinstance(value, types.ModuleType) for name, value in names.items()}}
    for package, names in found.items()
}}
print(json.dumps(kinds))
"""


def modules_of(package: str) -> list[str]:
    found = [module.name for module in pkgutil.iter_modules(import_module(package).__path__)]
    return [name for name in found if name != "__main__"]


@pytest.mark.parametrize(
    "order",
    [pytest.param("look() load()", marks=pytest.mark.slow), "load() look()"],
    ids=["names first", "modules first"],
)
def test_no_name_depends_on_what_was_imported_before(order: str) -> None:
    """An import of a submodule sets the package's attribute of that name, over whatever a function of that name is."""
    homes = {package: modules_of(package) for package in FACES}
    code = CODE.format(homes=homes, order=order.replace(" ", "\n"))
    run = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout) == {
        package: {name: home == package for name, home in for_type_checkers(package).items()} for package in FACES
    }
