"""What README and docs promise is there."""

import ast
import re
import sys
from pathlib import Path

import pytest
from typer.main import get_command

from atrous.cli import app

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "docs"))

from tables import PARITY, README, RECIPE, ZOO, with_fields, with_parity, with_tables, with_weights  # noqa: E402

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def test_the_tables_are_those_of_the_code() -> None:
    text = README.read_text()
    assert with_tables(text) == text, "run `make docs`"
    assert with_parity(PARITY.read_text()) == PARITY.read_text(), "run `make docs`"
    assert with_weights(ZOO.read_text()) == ZOO.read_text(), "run `make docs`"
    assert with_fields(RECIPE.read_text()) == RECIPE.read_text(), "run `make docs`"


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        if "://" not in link:
            assert (page.parent / link).exists(), f"{page}: {link}"


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
                known = {
                    name for option in group.commands[words[1]].params for name in option.opts + option.secondary_opts
                }  # type: ignore[attr-defined]
                used = {word for word in words[2:] if re.fullmatch(r"--?[a-z][a-z-]*", word)}
                assert used <= known, line
