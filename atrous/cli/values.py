"""Typed words as values: times, sizes, numbers, NAME=VALUE. And what a verb says at its end."""

import re
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from atrous.errors import AtrousError
from atrous.progress import say

if TYPE_CHECKING:
    from rich.console import Console


def seconds(text: str) -> float:
    """'90s', '30m', '1h30m' -> seconds."""
    match = re.fullmatch(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s)?", text.strip())
    if not match or not any(match.groups()):
        raise AtrousError(f"--time {text}: not a time; expected for example 90s, 30m or 1h30m")
    hours, minutes, rest = (float(part or 0) for part in match.groups())
    return hours * 3600 + minutes * 60 + rest


def crop_size(text: str | None) -> tuple[int, ...] | None:
    """'320' or '256x512' -> (height, width); '64x96x96' -> (depth, height, width)."""
    if text is None:
        return None
    sides = re.split("[x,]", text.strip())
    if not 1 <= len(sides) <= 3 or not all(side.isdecimal() and int(side) for side in sides):
        raise AtrousError(
            f"--crop {text}: not a size; expected one side (320), HEIGHTxWIDTH (256x512), or of volumes "
            "DEPTHxHEIGHTxWIDTH (64x96x96)"
        )
    return tuple(map(int, sides * 2 if len(sides) == 1 else sides))


def numbers(option: str, text: str) -> tuple[float, ...]:
    """'0.75,1,1.25' -> (0.75, 1.0, 1.25)."""
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise AtrousError(f"{option} {text}: expected numbers between commas, such as 0.75,1,1.25") from None


def named_values(texts: Sequence[str], example: str = "option stride=8") -> dict[str, Any]:
    """Texts NAME=VALUE as a dict. Values are written as in TOML, but plain words need no quotes."""
    options = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name.isidentifier():
            raise AtrousError(f"option {text!r}: give a name and a value, as in --{example}")
        try:
            options[name] = tomllib.loads(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError:
            options[name] = value
    return options


def share_of(paths: Sequence[Path], text: str | None) -> list[Path]:
    """Every n-th path from the i-th on, for the text "i/n" with i from 1; all paths for None."""
    if text is None:
        return list(paths)
    match = re.fullmatch(r"(\d+)/(\d+)", text.strip())
    if not match or not 1 <= int(match[1]) <= int(match[2]):
        raise AtrousError(f"--shard {text}: expected I/N, such as 1/4 for the first of four shares")
    return list(paths[int(match[1]) - 1 :: int(match[2])])


def warn(remarks: Sequence[str]) -> None:
    """Print each remark as a line of stderr; "" is none."""
    for remark in remarks:
        if remark:
            say(f"warning: {remark}", sys.stderr)


def conclude(done: int, failed: Sequence[str], out: Path) -> None:
    """Name what failed, and say what was done. Exit code 1 if some pictures failed, 2 if all did."""
    for sentence in failed:
        say(f"failed: {sentence}", sys.stderr)
    say(f"{done} of {done + len(failed)} label maps in {out}")
    if failed:
        raise typer.Exit(1 if done else 2)


def console_of(stderr: bool = False) -> "Console":
    from rich.console import Console

    return Console(soft_wrap=True, stderr=stderr)
