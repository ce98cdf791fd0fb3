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
