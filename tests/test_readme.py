"""What README and docs promise is there."""

import ast
import re
import shlex
import sys
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import pytest
from typer.main import get_command

from atrous.cli import app

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "docs"))

from tables import MODELS, PARITY, RECIPE, ZOO, with_fields, with_models, with_parity, with_weights  # noqa: E402

README = ROOT / "README.md"
PAGES = [README, ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def test_the_tables_are_those_of_the_code() -> None:
    assert with_models(MODELS.read_text()) == MODELS.read_text(), "run `make docs`"
    assert with_parity(PARITY.read_text()) == PARITY.read_text(), "run `make docs`"
    assert with_weights(ZOO.read_text()) == ZOO.read_text(), "run `make docs`"
    assert with_fields(RECIPE.read_text()) == RECIPE.read_text(), "run `make docs`"


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_links_lead_somewhere(page: Path) -> None:
    for link, anchor in re.findall(r"\]\(([^)#]+)(?:#([^)]+))?\)", page.read_text()):
        if "://" not in link:
            target = page.parent / link
            assert target.exists(), f"{page}: {link}"
            heads = re.findall(r"^#+ (.+)", target.read_text(), re.M) if anchor else []
            assert not anchor or anchor in [re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in heads], (
                f"{page}: {link}#{anchor}"
            )


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_commands_and_code_are_real(page: Path) -> None:
    group = get_command(app)
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    for language, block in re.findall(r"```(\w*)\n(.*?)```", page.read_text(), re.S):
        if language == "python":
            ast.parse(block)
        for line in block.splitlines() if not language else ():
            words = line.split("#")[0].split()
            if words[:1] == ["make"]:
                assert set(words[1:]) <= targets, line
            if words[:1] == ["atrous"]:
                assert words[1] in group.commands, line  # type: ignore[attr-defined]
                parse(group.commands[words[1]], line)  # type: ignore[attr-defined]


def parse(command: Any, line: str) -> None:
    """As the command line does, without running it: unknown options, missing ones and values that do not fit fail."""
    words = ["1" if word == "N" else word for word in shlex.split(line.split(" > ")[0], comments=True)]
    if "--help" not in words:
        try:
            command.make_context(words[1], words[2:])
        except Exception as error:
            pytest.fail(f"{line}: {type(error).__name__}: {error}")


def test_the_tree_in_the_readme_is_that_of_the_package() -> None:
    blocks = [block for _, block in re.findall(r"```(\w*)\n(.*?)```", README.read_text(), re.S)]
    tree = next(block for block in blocks if block.startswith("atrous/\n"))
    told = set()
    for line in tree.splitlines()[1:]:
        rooms, about = re.split(r"\s{2,}", line.strip(), maxsplit=1)
        told |= {room.removesuffix("/") for room in rooms.split(", ")}
        for file in re.findall(r"[\w/]+\.(?:py|html)\b", about) + re.findall(r"\b\w+/(?=\W|$)", about):
            assert (ROOT / "atrous" / rooms / file).exists(), f"{line}: {file}"
    rooms_now = {path.name for path in (ROOT / "atrous").iterdir() if not path.name.startswith((".", "_"))}
    assert told == rooms_now - {"py.typed"}


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_files_that_are_named_exist(page: Path) -> None:
    if page.parent.name == "records":
        return  # a log tells what was
    for name in re.findall(r"\b(?:atrous|tests|benchmarks|scripts|recipes|docs)/[\w/.-]+\.\w+", page.read_text()):
        assert "NAME" in name or (ROOT / name).exists(), f"{page}: {name}"


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_python_names_exist(page: Path) -> None:
    text = page.read_text()
    names = set(re.findall(r"(?<![\w/.-])atrous(?:\.[A-Za-z_]\w*)+(?!\.)", text)) - {"atrous.json"}
    for language, block in re.findall(r"```(\w*)\n(.*?)```", text, re.S):
        for node in ast.walk(ast.parse(block)) if language == "python" else ():
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "atrous":
                names |= {f"{node.module}.{alias.name}" for alias in node.names}
    for name in sorted(names) if page.parent.name != "records" else ():
        resolve_name(name)
