"""Measure once: calls that are timed in turn, and results that the user's cache keeps.

What a machine does fastest is measured the same way everywhere: in one process, all candidates in
turn, by their median. The result is kept as CACHE/KIND/HASH.json, where HASH stands for everything
that the result depends on, so that the next run on this machine takes the same choice without
measuring.
"""

import json
import platform
import statistics
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from hashlib import sha256
from time import perf_counter
from typing import Any, TypeVar

import torch

from atrous.errors import AtrousError
from atrous.files import in_cache, keep, parse_json, refuse_stream

Name = TypeVar("Name")


def interleaved(
    calls: Mapping[Name, Callable[[], object]],
    rounds: int,
    *,
    warm_up: int = 0,
    summary: Callable[[Sequence[float]], float] = statistics.median,
) -> dict[Name, float]:
    """Time calls in turn: each round calls every one of them once.

    A machine that slows down meanwhile slows all of them alike, so that their order stays right.
    Work that was sent to a GPU is waited for.

    Args:
        calls: what to time, by name.
        rounds: how often each call is timed, at least 1.
        warm_up: rounds before them that are not counted.
        summary: seconds of one call in all rounds -> one number; `min` suits calls of microseconds.

    Returns:
        Seconds of each call, by its name.

    Example:
        >>> seconds = interleaved({"sum": lambda: sum(range(9)), "none": lambda: None}, rounds=5)
        >>> sorted(seconds)
        ['none', 'sum']
    """
    taken: dict[Name, list[float]] = {name: [] for name in calls}
    for turn in range(warm_up + rounds):
        for name, call in calls.items():
            start = perf_counter()
            call()
            if torch.cuda.is_initialized():
                torch.cuda.synchronize()
            if turn >= warm_up:
                taken[name].append(perf_counter() - start)
    return {name: summary(seconds) for name, seconds in taken.items()}


def this_machine(device: torch.device | str) -> list[str]:
    """What tells machines apart: host, processor, device and number of threads."""
    return [platform.node(), platform.processor(), str(device), str(torch.get_num_threads())]


def remembered(
    kind: str,
    what: Sequence[str],
    measure: Callable[[], dict[str, Any]],
    usable: Callable[[dict[str, Any]], bool] = lambda kept: True,
) -> dict[str, Any]:
    """The result of `measure`, from the user's cache if it was kept there for the same `what`.

    Args:
        kind: name of the folder in the cache.
        what: everything that the result depends on, such as `this_machine(device)`, network, shape,
            versions.
        measure: is called if nothing usable is kept; returns plain data for JSON.
        usable: says whether a kept result still holds. KeyError, TypeError, ValueError and
            AtrousError count as no.

    Returns:
        The result; a file that cannot be read is measured anew and replaced.
    """
    path = in_cache(kind, f"{sha256('|'.join(what).encode()).hexdigest()[:16]}.json")
    with suppress(OSError, ValueError, KeyError, TypeError, AtrousError):
        refuse_stream(path)
        kept = parse_json(path.read_text())
        if isinstance(kept, dict) and usable(kept):
            return {key: value for key, value in kept.items() if key != "what"}
    found = measure()
    keep(path, json.dumps({**found, "what": list(what)}, indent=1).encode())
    return found
