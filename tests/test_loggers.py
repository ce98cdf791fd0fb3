import io
from pathlib import Path

from rich.console import Console

from atrous.loggers import Bar, JsonLines, read_log


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
