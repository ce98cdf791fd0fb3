"""Where a run writes what happens: log.jsonl, log.csv, and other services such as TensorBoard."""

import csv
import json
import math
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from io import StringIO
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from atrous.errors import MissingExtra
from atrous.files import parse_json, refuse_stream, write_atomically

COLUMNS = (
    "step", "seconds", "loss", "lr", "images_per_second", "waiting", "val_loss", "val_miou", "skipped", "bad_picture",
)  # fmt: skip
"""Of log.csv."""


@runtime_checkable
class Logger(Protocol):
    """What is told of a run. Write a class of your own for W&B, MLflow or any other service.

    A run that resumes after step s calls `resume(s)`; then entries of later steps come again.
    """

    def resume(self, step: int) -> None:
        """The run starts (0), or resumes after this step."""

    def write(self, **entry: Any) -> None:
        """One entry: `step`, and values under the names that docs/training.md lists."""

    def close(self) -> None:
        """The run has finished, or was stopped."""


class Loggers:
    """Several loggers as one."""

    def __init__(self, loggers: Sequence[Logger]) -> None:
        self.loggers = loggers

    def resume(self, step: int) -> None:
        """See `Logger`."""
        for logger in self.loggers:
            logger.resume(step)

    def write(self, **entry: Any) -> None:
        """See `Logger`."""
        for logger in self.loggers:
            logger.write(**entry)

    def close(self) -> None:
        """See `Logger`."""
        for logger in self.loggers:
            logger.close()


class JsonLines:
    """A log with one JSON object a line. When a run resumes after `step`, later entries are dropped.

    validated: The step whose validation the run holds; one that was killed after a later one makes it again.
    """

    def __init__(self, path: Path, step: int = 0, validated: int | None = None) -> None:
        self.path, self.validated = path, validated
        self.resume(step)

    def resume(self, step: int) -> None:
        """Keep the entries up to this step."""
        refuse_stream(self.path)
        last = step if self.validated is None else self.validated
        kept = [line for line in read_log(self.path) if line.get("step", 0) <= (last if "val_miou" in line else step)]
        write_atomically(self.path, "".join(map(json_line, kept)).encode())

    def write(self, **entry: Any) -> None:
        """Append one entry."""
        with self.path.open("a") as file:
            file.write(json_line(entry))

    def close(self) -> None:
        """Every entry is in the file already."""


class CsvLines:
    """The same numbers as a table for spreadsheets: the columns `COLUMNS`, a row for each entry. See `JsonLines`."""

    def __init__(self, path: Path, step: int = 0, validated: int | None = None) -> None:
        self.path, self.validated = path, validated
        self.resume(step)

    def resume(self, step: int) -> None:
        """Keep the rows up to this step."""
        refuse_stream(self.path)
        kept = []
        if self.path.exists():
            text = self.path.read_text(encoding="utf-8", errors="replace").replace("\0", "")
            whole, _, _ = text.rpartition("\n")  # what follows was cut off
            kept = [row for row in _rows(whole.splitlines()) if re.fullmatch("[0-9]{1,12}", row.get("step") or "")]
        last = step if self.validated is None else self.validated
        table = StringIO(newline="")
        writer = csv.DictWriter(table, COLUMNS, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        for row in kept:
            if None not in row and int(row["step"]) <= (last if row.get("val_miou") else step):
                writer.writerow(row)
        write_atomically(self.path, table.getvalue().encode("utf-8", "backslashreplace"))

    def write(self, **entry: Any) -> None:
        """Append one row."""
        row = {name: plain_cell(value) for name, value in entry.items()}
        with self.path.open("a", newline="", encoding="utf-8", errors="backslashreplace") as file:
            csv.DictWriter(file, COLUMNS, extrasaction="ignore", lineterminator="\n").writerow(row)

    def close(self) -> None:
        """Every row is in the file already."""


def _rows(lines: Sequence[str]) -> Iterator[dict[str, str]]:
    """The rows of a table, without those that cannot be read."""
    table = csv.DictReader(lines)
    while True:
        try:
            yield next(table)
        except csv.Error:
            continue
        except StopIteration:
            return


class TensorBoard:
    """Curves for TensorBoard, in `folder`. Raises MissingExtra if it is not installed."""

    def __init__(self, folder: Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise MissingExtra("TensorBoard is not installed: pip install 'atrous[tensorboard]'") from error
        self._open: Callable[[int | None], Any] = lambda step: SummaryWriter(str(folder), purge_step=step)
        self._writer: Any = None

    def resume(self, step: int) -> None:
        """Open the file. What it holds of later steps is hidden."""
        self._writer = self._open(step + 1 if step else None)

    def write(self, **entry: Any) -> None:
        """Every number as a curve over the steps."""
        for name, value in entry.items():
            if name != "step" and isinstance(value, int | float) and self._writer is not None:
                self._writer.add_scalar(name, value, entry["step"])

    def close(self) -> None:
        """Write out what is left."""
        if self._writer is not None:
            self._writer.close()


def read_log(path: Path) -> list[dict[str, Any]]:
    """All entries of a log. A line that a crash cut off, or that is no entry, is left out."""
    entries = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else []:
        with suppress(ValueError):
            entry = parse_json(line)
            if isinstance(entry, dict) and all(type(entry.get(key, 0)) in (int, float) for key in ("step", "seconds")):
                entries.append(entry)
    return entries


def json_line(entry: dict[str, Any]) -> str:
    """An entry as a line of JSON, which has no word for nan and infinity: they become null."""
    plain = {
        name: None if isinstance(value, float) and not math.isfinite(value) else value for name, value in entry.items()
    }
    return json.dumps(plain) + "\n"


def plain_cell(value: Any) -> Any:
    """A value of a table; a text that a spreadsheet would take for a formula begins with an apostrophe."""
    return f"'{value}" if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")) else value
