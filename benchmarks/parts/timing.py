"""Timing several ways of one thing fairly: in turn, in one process, compared by the ratio of their medians."""

import importlib.util
import time
from collections.abc import Callable, Mapping
from statistics import median


def interleaved(ways: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Seconds of each way, the median over rounds in each of which every way ran once; a first round is not counted."""
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(rounds + 1):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            if turn:
                taken[name].append(time.perf_counter() - start)
    return {name: median(times) for name, times in taken.items()}


def print_ratios(seconds: Mapping[str, float], targets: Mapping[str, float]) -> None:
    """A line for each way: milliseconds, and how many times the first one's that is, beside the target."""
    first = next(iter(seconds))
    for name, taken in seconds.items():
        line = f"  {name:30}{1000 * taken:10.2f} ms"
        if name != first:
            line += f"{taken / seconds[first]:9.1f} x"
        if name in targets:
            reached = taken / seconds[first] >= targets[name]
            line += f"  target {targets[name]:g}: {'reached' if reached else 'MISSED'}"
        print(line)


def there(module: str, package: str) -> bool:
    """Whether a peer can be imported; says so where not."""
    found = importlib.util.find_spec(module) is not None
    if not found:
        print(f"  {package} is not compared with; install it, `make bench` brings most of them")
    return found
