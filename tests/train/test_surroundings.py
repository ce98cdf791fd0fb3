"""A training leaves the caller's process as it was."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from make_pairs import make_pairs
from runs import SMALL

import atrous
from atrous.errors import RecipeError
from atrous.train import surroundings
from atrous.train.surroundings import freed_memory_kept, left_as_found


def seed(number: int) -> None:
    random.seed(number)
    np.random.seed(number)  # noqa: NPY002 - the global generator is what a caller may use
    torch.manual_seed(number)


def drawn() -> tuple[float, float, float]:
    return random.random(), float(np.random.rand()), float(torch.rand(1))  # noqa: NPY002


def draws() -> list[tuple[float, float, float]]:
    seed(1)
    return [drawn(), drawn()]


def test_fit_leaves_generators_threads_and_flags(tmp_path: Path) -> None:
    expected = draws()
    seed(1)
    first = drawn()
    before = torch.are_deterministic_algorithms_enabled(), torch.get_num_threads(), torch.is_grad_enabled()
    atrous.Segmenter(**SMALL, steps=2).fit(make_pairs(tmp_path / "data"), tmp_path / "run")
    assert [first, drawn()] == expected
    assert (torch.are_deterministic_algorithms_enabled(), torch.get_num_threads(), torch.is_grad_enabled()) == before


def test_they_are_put_back_after_an_error() -> None:
    expected = draws()
    seed(1)
    first = drawn()

    @left_as_found()
    def failing() -> None:
        seed(99)
        raise RecipeError

    with pytest.raises(RecipeError):
        failing()
    assert [first, drawn()] == expected


def test_malloc_is_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[Any, ...]] = []

    class Library:
        def __getattr__(self, name: str) -> Callable[..., int]:
            return lambda *arguments: calls.append((name, *arguments)) or 1

    monkeypatch.setattr(surroundings.ctypes, "CDLL", lambda _: Library())
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "1000")
    with freed_memory_kept():
        assert calls == [("mallopt", -1, 2**31 - 1), ("mallopt", -3, 2**31 - 1)]
        calls.clear()
    assert calls == [("mallopt", -1, 1000), ("mallopt", -3, 2**25), ("malloc_trim", 0)]


def test_without_glibc_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(surroundings.ctypes, "CDLL", lambda _: object())
    with freed_memory_kept():
        pass
