"""Lists the public names that two or more modules of atrous define, with the modules.

    python scripts/twins.py [--in ROOM ...]

A reader who searches for a name should find one place. Functions and classes at the top level
count. Names with a leading underscore, and names that are only imported, do not. --in lists only
the names that these rooms define, such as `atrous.io`.
"""

import argparse
import ast
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
EXPECTED: dict[str, str] = {
    "recognise": "atrous.datasets",
    "read": "atrous.datasets",
}
"""Name -> the package in which each module defines it by contract; these modules count as one."""


def module_of(file: Path) -> str:
    """Name the module of a file: atrous/io/png.py -> atrous.io.png."""
    return ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def public_names(file: Path) -> Iterator[str]:
    """Yield the functions and classes at the top level, and in an `if` or `try` there."""
    waiting: list[ast.stmt] = ast.parse(file.read_text(encoding="utf-8")).body[::-1]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            if not node.name.startswith("_"):
                yield node.name
        elif isinstance(node, ast.If | ast.Try):
            waiting += [*node.body, *node.orelse, *getattr(node, "finalbody", [])][::-1]


def twins(package: Path = ROOT / "atrous") -> dict[str, list[str]]:
    """Return name -> modules, for each name that two or more modules define."""
    found = defaultdict[str, set[str]](set)
    for file in sorted(package.rglob("*.py")):
        for name in public_names(file):
            found[name].add(module_of(file))
    return {name: sorted(modules) for name, modules in sorted(found.items()) if _places(name, modules) > 1}


def _places(name: str, modules: set[str]) -> int:
    """Count the places that define a name; the modules of an EXPECTED name are one place."""
    package = EXPECTED.get(name)
    return len({package if package and is_in(module, [package]) else module for module in modules})


def is_in(module: str, packages: Sequence[str]) -> bool:
    """Tell whether a module is one of these packages or lies in one."""
    return any(f"{module}.".startswith(f"{package}.") for package in packages)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--in", dest="rooms", nargs="+", default=["atrous"], metavar="ROOM")
    rooms = parser.parse_args().rooms
    listed = {name: modules for name, modules in twins().items() if any(is_in(module, rooms) for module in modules)}
    for name, modules in listed.items():
        print(f"{name:24} {', '.join(module.removeprefix('atrous.') for module in modules)}")
    print(f"{len(listed)} names are defined in two or more modules")


if __name__ == "__main__":
    main()
