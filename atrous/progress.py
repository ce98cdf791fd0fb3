"""What is said while work goes on: lines, and how far it is (a bar in a terminal, a line every half minute else)."""

import shlex
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, TextIO, TypeVar

from atrous.files import printable

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


def say(text: str, to: "Console | TextIO | None" = None, style: str = "") -> None:
    """Print one line. Names in it are data: what a terminal or rich would obey is printed as it is written.

    Every line of the package is printed here.

    Args:
        text: The line; "" is an empty one.
        to: A console or a stream; default the standard output.
        style: How a console shows it, such as "yellow".
    """
    if to is None or hasattr(to, "write"):
        print(printable(text), file=to)
    else:
        from rich.text import Text  # here: it takes a while to import

        to.print(Text(printable(text), style))


def command(*words: object) -> str:
    """Write a command so that it can be copied into a shell, whatever its names hold.

    Example:
        >>> command("atrous", "eval", "runs/street [v2]", "DATA")
        "atrous eval 'runs/street [v2]' DATA"
    """
    return shlex.join(map(str, words))


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
            say(f"{self.title} {done}/{self.total} {text} {left:.0f} s left", self.console)
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
