"""Where a run writes what happens: log.jsonl for programs, a progress bar for people."""

import json
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

T = TypeVar("T")
LINE_EVERY = 30.0
"""Seconds between progress lines where the output is no terminal."""


class JsonLines:
    """An append-only log of one JSON object a line; entries after `step` are dropped when a run resumes there."""

    def __init__(self, path: Path, step: int = 0) -> None:
        self.path = path
        kept = [line for line in read_log(path) if line.get("step", 0) <= step]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps(line) + "\n" for line in kept))

    def write(self, **entry: Any) -> None:
        """Append one entry."""
        with self.path.open("a") as file:
            file.write(json.dumps(entry) + "\n")


def read_log(path: Path) -> list[dict[str, Any]]:
    """All whole entries of a log; a line cut off by a crash is left out."""
    entries = []
    for line in path.read_text().splitlines() if path.exists() else []:
        try:
            entries.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return entries


class Bar:
    """A progress bar with a text of current numbers; on a pipe, a line every half minute instead."""

    def __init__(self, console: Console, title: str, total: int, done: int = 0) -> None:
        self.console, self.title, self.total, self.done = console, title, total, done
        self._began, self._first, self._last = time.perf_counter(), done, time.perf_counter()
        self._progress: Progress | None = None
        if console.is_terminal:
            self._progress = Progress(
                TextColumn("{task.description}"),
                BarColumn(bar_width=24),
                MofNCompleteColumn(),
                TextColumn("{task.fields[text]}"),
                TimeRemainingColumn(compact=True),
                TextColumn("left"),
                console=console,
            )
            self._task = self._progress.add_task(title, total=total, completed=done, text="")

    def __enter__(self) -> "Bar":
        if self._progress:
            self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._progress:
            self._progress.stop()

    def update(self, done: int, text: str = "") -> None:
        """Say how far it is, and the numbers to show."""
        self.done = done
        now = time.perf_counter()
        if self._progress:
            self._progress.update(self._task, completed=done, text=text)
        elif now - self._last > LINE_EVERY or done == self.total:
            left = (now - self._began) / max(done - self._first, 1) * (self.total - done)
            self.console.print(f"{self.title} {done}/{self.total} {text} {left:.0f} s left", highlight=False)
            self._last = now

    def over(self, items: Iterable[T], total: int) -> Iterator[T]:
        """Iterate with this bar; `total` is accepted for the progress callbacks of other floors."""
        self.total = total
        if self._progress:
            self._progress.update(self._task, total=total)
        for done, item in enumerate(items, 1):
            yield item
            self.update(done)
