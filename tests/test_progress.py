"""Lines of output: names in them are data, in every line that the package prints."""

import ast
import io
import shlex
from pathlib import Path

import pytest
from command_line import SMALL, run
from rich.console import Console

from atrous.files import UNSAFE, printable
from atrous.progress import command, say

PACKAGE = Path(__file__).parents[1] / "atrous"
HOSTILE = [
    "street [v2]", "out[/bold]", "[red]x[/red]", "a[/b].png", "[link=https://x.org]y[/link]", ":smile: 1234 'x' True",
    "a\x1b]0;OWNED\a\x1b[2Jb.png", "gnp.\u202etxt", "one\ntwo", "a\rb", "back\b\b", "\x9b31m", "\u2066a\u2069",
    "\udcff.png", "line\u2028line", "\x7f", "tab\tname",
]  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("terminal", [False, True, None])
def test_names_are_printed_as_they_are_written(name: str, terminal: bool | None) -> None:
    stream = io.StringIO()
    to = stream if terminal is None else Console(file=stream, force_terminal=terminal, width=200, color_system=None)
    say(f"wrote {name}", to)
    (line,) = stream.getvalue().split("\n")[:-1]
    assert line == f"wrote {printable(name)}"
    assert not UNSAFE.search(line)


def test_letters_of_all_scripts_stay_as_they_are() -> None:
    for name in ("Straße", "한국어", "שלום", "مرحبا", "👩‍🚀", "नमस्ते", "a b", "C:\\x"):
        assert printable(name) == name
    assert printable("a\nb\tc\x1b", keep="\n\t") == "a\nb\tc\\x1b"


@pytest.mark.parametrize("name", HOSTILE)
def test_commands_can_be_copied_into_a_shell(name: str) -> None:
    assert shlex.split(command("atrous", "eval", name)) == ["atrous", "eval", name]


def test_every_line_is_printed_at_one_place() -> None:
    """`print` and `Console.print` obey what a name holds; JSON alone has escapes of its own."""
    found = []
    for path in PACKAGE.rglob("*.py"):
        if path.relative_to(PACKAGE).as_posix() in ("progress.py", "export/runner.py"):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if name == "print" and not ast.unparse(node).startswith(("print(json.dumps(", "print(printable(")):
                found.append(f"{path.relative_to(PACKAGE)}:{node.lineno}")
    assert found == []


@pytest.mark.parametrize("name", ["street [v2]", "out[/bold]"])
def test_a_training_prints_commands_that_work(
    trained: tuple[Path, Path], tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    world, folder = trained[0], tmp_path / name
    assert run("train", world, "-o", folder, *SMALL) == 0
    lines = capsys.readouterr().out.splitlines()
    assert f"model  {folder / 'model.safetensors'}" in lines
    assert shlex.split(next(line for line in lines if line.startswith("next"))) == [
        "next", "atrous", "eval", str(folder), str(world)
    ]  # fmt: skip
    assert run("train", world, "-o", folder, *SMALL) == 0  # finished: says so, and does not fall over the name


@pytest.mark.parametrize("name", ["a\x1b]0;OWNED\a\x1b[2Jb.png", "x\nerror: fine.png", "\u202egnp.png"])
def test_a_damaged_picture_is_named_in_one_safe_line(
    trained: tuple[Path, Path], tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / name).write_bytes(b"\x89PNG\r\n\x1a\ncut")
    assert run("predict", tmp_path / "in", "--model", trained[1], "-o", tmp_path / "out") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("failed: ")
    assert printable(name) in line
