"""Whatever kernels are given: an answer of the promised form, or an error with words of ours; every index in bounds.

`ATROUS_TORTURE=docs/records/torture.json pytest -m torture tests/ops/test_kernel_fuzz.py` keeps the full result.
"""

import ast
import json
import os
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import kernel_fuzz
import pytest
from kernel_fuzz import NAMES, REACHES
from records import keep

SCRIPT, PACKAGE = Path(kernel_fuzz.__file__), Path(__file__).parents[2] / "atrous"
PATIENCE = 600
"""Seconds for a chunk of calls, in which kernels may be compiled."""


def test_some_calls() -> None:
    found = kernel_fuzz.make_calls(0, 0, 320)
    assert not found["wrong"], "\n".join(found["wrong"])
    for name, outcomes in found["tally"].items():
        assert outcomes["answer"] > 3, (name, outcomes)


def checked(seed: int, first: int, end: int, folder: Path) -> dict[str, Any]:
    """Calls FIRST..END-1 in a process whose kernels check every index; if it dies or hangs, the call is told."""
    place = folder / f"{first}.txt"
    environment = {
        **os.environ, "NUMBA_BOUNDSCHECK": "1", "NUMBA_CACHE_DIR": str(folder / "kernels"), "OMP_NUM_THREADS": "1",
        "NUMBA_NUM_THREADS": "1",
    }  # fmt: skip
    command = [sys.executable, "-W", "ignore", str(SCRIPT), *map(str, (seed, first, end)), str(place)]
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        return {"tally": {}, "wrong": [f"seed {seed}, call {place.read_text()}: no end after {PATIENCE} s"]}
    if done.returncode:
        why = (done.stderr.strip().splitlines() or [""])[-1]
        return {"tally": {}, "wrong": [f"seed {seed}, call {place.read_text()}: died with {done.returncode} {why}"]}
    return dict(json.loads(done.stdout))


@pytest.mark.torture
@pytest.mark.timeout(14400)
def test_a_million_calls_with_every_index_checked(tmp_path: Path) -> None:
    count, step, seed = 1_000_000, 10_000, 0
    checked(seed, 0, 10 * len(NAMES), tmp_path)  # compiles
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda first: checked(seed, first, first + step, tmp_path), range(0, count, step)))
    wrong = [text for one in found for text in one["wrong"]]
    tally = sum((Counter(outcomes) for one in found for outcomes in one["tally"].values()), Counter[str]())
    assert not wrong, "\n".join(wrong[:20])
    assert sum(tally.values()) == count
    keep("kernels", {"calls": count, "seed": seed, "kinds": len(NAMES), **tally, "wrong": 0})


def kernels() -> set[tuple[str, str]]:
    """(file, name) of every function of the package that numba compiles."""
    found = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef) and any("njit" in ast.unparse(one) for one in node.decorator_list):
                found.add((path.relative_to(PACKAGE).as_posix(), node.name))
    return found


def test_every_kernel_is_reached() -> None:
    told = {(file, name) for files in REACHES.values() for file, names in files.items() for name in names}
    assert told == kernels(), "tests/helpers/kernel_fuzz.py: REACHES says which call reaches a kernel"
    assert set(REACHES) == set(NAMES)
