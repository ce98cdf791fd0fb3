"""How far long work is: a bar in a terminal, a line every half minute on a pipe."""

import time
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

T = TypeVar("T")

Over = Callable[[Iterable[Any], int], Iterable[Any]]
"""A progress callback: (items, how many) -> the same items. `Bar.over` is one."""

At = Callable[[int, int], object]
"""A progress callback: called with how many are done, and of how many. `Bar.at` is one."""

LINE_EVERY = 30.0
"""Seconds between progress lines where the output is not a terminal."""


class Bar:
    """A progress bar with a text of current numbers; on a pipe, a line every half minute instead."""

    def __init__(self, console: "Console", title: str, total: int, done: int = 0) -> None:
        self.console, self.title, self.total, self.done = console, title, total, done
        self._began, self._first, self._last = time.perf_counter(), done, time.perf_counter()
        self._progress: Progress | None = None
        if console.is_terminal:
            from rich import progress as parts

            self._progress = parts.Progress(
                parts.TextColumn("{task.description}"),
                parts.BarColumn(bar_width=24),
                parts.MofNCompleteColumn(),
                parts.TextColumn("{task.fields[text]}"),
                parts.TimeRemainingColumn(compact=True),
                parts.TextColumn("left"),
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

    def at(self, done: int, total: int) -> None:
        """Say how far it is, of how many: for progress callbacks of two numbers."""
        self.total = total
        if self._progress:
            self._progress.update(self._task, total=total)
        self.update(done)

    def over(self, items: Iterable[T], total: int) -> Iterator[T]:
        """Iterate with this bar; `total` is accepted for the progress callbacks of other floors."""
        self.total = total
        if self._progress:
            self._progress.update(self._task, total=total)
        for done, item in enumerate(items, 1):
            yield item
            self.update(done)
