"""Public names that two or more modules of atrous define at their top level, with the modules.

    python scripts/twins.py [--in ROOM ...]

A name that a reader searches for should lead to one place. Functions and classes count; names with a leading
underscore and names that are only imported do not. --in: list only names with a definition in these modules, such as
`atrous.io`. Names in EXPECTED are left out: a layout, a loss or a model is looked up by its module there.
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
"""Name -> the package whose modules each define it by contract; there it counts as one name."""


def module_of(file: Path) -> str:
    """atrous/io/png.py -> atrous.io.png; a package is named by its folder."""
    return ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def public_names(file: Path) -> Iterator[str]:
    """The functions and classes at the top level of a file, also those inside an `if` or a `try`."""
    waiting: list[ast.stmt] = ast.parse(file.read_text(encoding="utf-8")).body[::-1]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            if not node.name.startswith("_"):
                yield node.name
        elif isinstance(node, ast.If | ast.Try):
            waiting += [*node.body, *node.orelse, *getattr(node, "finalbody", [])][::-1]


def twins(package: Path = ROOT / "atrous") -> dict[str, list[str]]:
    """Name -> the modules that define it, for each name that two or more modules define."""
    found = defaultdict[str, set[str]](set)
    for file in sorted(package.rglob("*.py")):
        for name in public_names(file):
            found[name].add(module_of(file))
    return {name: sorted(modules) for name, modules in sorted(found.items()) if _places(name, modules) > 1}


def _places(name: str, modules: set[str]) -> int:
    """How many places define a name; the modules of EXPECTED are one."""
    package = EXPECTED.get(name)
    return len({package if package and is_in(module, [package]) else module for module in modules})


def is_in(module: str, packages: Sequence[str]) -> bool:
    """Whether a module is one of these or lies in one."""
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
