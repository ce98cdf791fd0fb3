"""The house: imports go strictly down, inside functions too; units of one floor are blind to one another."""

import ast
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "atrous"

FLOORS = [
    {"errors", "files", "labels", "progress", "sample"},
    {"ops"},
    {"io", "layers", "losses", "metrics", "refine", "transforms", "visual"},
    {"compat", "datasets", "encoders", "volumes"},
    {"doctor", "inspect", "models"},
    {"bundle"},
    {"zoo"},
    {"predict"},
    {"evaluate"},
    {"export", "train"},
    {"plan"},
    {"report"},
    {"segmenter"},
    {"demo"},
    {"cli", "__init__"},
    {"__main__"},
]
FLOOR = {unit: number for number, units in enumerate(FLOORS) for unit in units}

ALLOWED = {
    ("files", "errors"): "vocabulary: every message is an AtrousError",
    ("labels", "errors"): "vocabulary: every message is an AtrousError",
    ("progress", "files"): "vocabulary: names in lines are written as in pages",
    ("labels", "files"): "vocabulary: classes.toml is written as every TOML file is",
}


def unit_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path) -> list[str]:
    """The units of atrous that a file imports, at any depth of the code."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import; write `from atrous...`"
            submodules = [f"{node.module}.{alias.name}" for alias in node.names]
            names = submodules if node.module == "atrous" else [node.module or ""]
        else:
            continue
        found += [name.split(".")[1] for name in names if name.startswith("atrous.")]
    return [name for name in found if name != "__version__"]


FILES = sorted(PACKAGE.rglob("*.py"))


def test_imports_go_down() -> None:
    lost = sorted({unit_of(path) for path in FILES} - FLOOR.keys())
    assert lost == [], "without a floor; give them one in tests/test_floors.py"
    upward = [
        f"{path.relative_to(PACKAGE)} (floor {FLOOR[unit_of(path)]}) imports {other} (floor {FLOOR[other]})"
        for path in FILES
        for other in imports(path)
        if other != unit_of(path) and (unit_of(path), other) not in ALLOWED
        if FLOOR[other] >= FLOOR[unit_of(path)]
    ]
    assert upward == []


def test_every_exception_is_used() -> None:
    used = {(unit_of(path), other) for path in FILES for other in imports(path)}
    assert set(ALLOWED) <= used
