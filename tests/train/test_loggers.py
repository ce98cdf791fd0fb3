import csv
import io
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from rich.console import Console

from atrous.errors import MissingExtra
from atrous.progress import Bar
from atrous.train.loggers import CsvLines, JsonLines, Logger, Loggers, TensorBoard, read_log


def test_a_resumed_log_drops_what_came_after_the_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    log = JsonLines(path)
    for step in (10, 20, 30):
        log.write(step=step, loss=1 / step)
    with path.open("a") as file:
        file.write('{"step": 40, "lo')  # cut off by a crash
    assert [entry["step"] for entry in read_log(path)] == [10, 20, 30]
    JsonLines(path, 20).write(step=30, loss=0.5)
    assert [(entry["step"], entry["loss"]) for entry in read_log(path)] == [(10, 0.1), (20, 0.05), (30, 0.5)]


STRAY = [b"5\n", b"null\n", b'"text"\n', b"[1]\n", b'{"step": "x"}\n', b"\xff\xfe\n", b"\0\0\0\n", b"[" * 5000 + b"\n"]


@pytest.mark.parametrize("stray", STRAY, ids=lambda stray: repr(stray[:9]))
def test_stray_lines_never_stop_a_resume(tmp_path: Path, stray: bytes) -> None:
    for name, kind in (("log.jsonl", JsonLines), ("log.csv", CsvLines)):
        path = tmp_path / name
        kind(path).write(step=10, loss=0.5)
        with path.open("ab") as file:
            file.write(stray)
        kind(path, 10).write(step=20, loss=0.25)
        assert b"20" in path.read_bytes()
    assert [entry["step"] for entry in read_log(tmp_path / "log.jsonl")] == [10, 20]


def test_what_is_no_number_is_null_and_no_name_is_a_formula(tmp_path: Path) -> None:
    JsonLines(tmp_path / "log.jsonl").write(step=1, loss=float("nan"), lr=float("inf"))
    assert (tmp_path / "log.jsonl").read_text() == '{"step": 1, "loss": null, "lr": null}\n'
    table = CsvLines(tmp_path / "log.csv")
    for name in ("=cmd|' /C calc'!A0.png", "+1.png", "-1.png", "@x.png", "a=b.png"):
        table.write(step=1, bad_picture=name, loss=-0.5)
    rows = list(csv.DictReader((tmp_path / "log.csv").read_text().splitlines()))
    assert [row["bad_picture"][0] for row in rows] == ["'", "'", "'", "'", "a"]
    assert {row["loss"] for row in rows} == {"-0.5"}


def test_a_bar_on_a_pipe_prints_its_last_line() -> None:
    out = io.StringIO()
    with Bar(Console(file=out), "train", 3) as bar:
        assert list(bar.over("abc", 3)) == ["a", "b", "c"]
    assert "train 3/3" in out.getvalue()
    assert out.getvalue().count("\n") == 1


def test_a_resumed_table_drops_what_came_after_the_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "run" / "log.csv"
    log = CsvLines(path)
    log.write(step=10, loss=0.5, lr=0.1, pictures=["a", "b"])
    log.write(step=10, val_miou=0.25)
    log.write(step=20, loss=0.4)
    with path.open("a") as file:
        file.write("2")  # cut off by a crash
    again = CsvLines(path, 10)
    again.write(step=20, bad_picture="a, b.png")
    lines = path.read_text().splitlines()
    assert lines[1:] == ["10,,0.5,0.1,,,,,,", "10,,,,,,,0.25,,", '20,,,,,,,,,"a, b.png"']
    assert lines[0].split(",")[:3] == ["step", "seconds", "loss"]


def test_a_validation_that_is_made_again_stands_there_once(tmp_path: Path) -> None:
    """Killed between its line and its checkpoint."""
    for kind, name in ((JsonLines, "log.jsonl"), (CsvLines, "log.csv")):
        log = kind(tmp_path / name)
        for step in 4, 8:
            log.write(step=step, loss=0.5)
            log.write(step=step, val_miou=0.25)
        again = kind(tmp_path / name, 8, 4)
        again.resume(8)
        again.write(step=8, val_miou=0.25)
        text = (tmp_path / name).read_text()
        assert text.count("0.25") == 2
        assert text.count("0.5") == 2


def test_tensorboard_gets_the_numbers_or_says_how_to_install_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(MissingExtra, match=r"pip install 'atrous\[tensorboard\]'"):
        TensorBoard(tmp_path)
    heard: list[Any] = []

    class SummaryWriter:
        def __init__(self, folder: str, purge_step: int | None) -> None:
            heard.append((folder, purge_step))

        def add_scalar(self, name: str, value: float, step: int) -> None:
            heard.append((name, value, step))

        def close(self) -> None:
            heard.append("closed")

    module = ModuleType("torch.utils.tensorboard")
    module.SummaryWriter = SummaryWriter  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
    board = Loggers([TensorBoard(tmp_path)])
    assert isinstance(board, Logger)
    board.resume(30)
    board.write(step=40, loss=0.5, why="words")
    board.close()
    assert heard == [(str(tmp_path), 31), ("loss", 0.5, 40), "closed"]
