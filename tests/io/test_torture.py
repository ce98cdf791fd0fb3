"""Mutated files and bombs end in an answer or an AtrousError of one sentence that names the file.

No crash, no hang, no other exception, no large memory, nothing from outside of a data folder. They are read in
processes of their own (tests/helpers/torture.py, tests/helpers/mutants.py). docs/records/torture.json has the last full
result; `ATROUS_TORTURE=docs/records/torture.json pytest -m torture tests/io/test_torture.py` writes it.
"""

import json
import select
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from mutants import FORMS
from records import keep
from torture import KINDS, MUTATIONS, SLOW

SCRIPT, DOCS = Path(__file__).parents[1] / "helpers" / "torture.py", Path(__file__).parents[2] / "docs"
PATIENCE = 30
"""Seconds of silence after which a process counts as hanging; the machine may be busy."""


def read_mutants(verb: str, kinds: list[str], count: int, start: int = 0, seed: int = 0) -> dict[str, Any]:
    """Read that many mutants from `start` on, in two processes at a time. verb: `pictures` or `files`."""
    step = max(100, -(-count // 20))

    def read(first: int) -> tuple[Counter[str], float, float, list[str]]:
        return read_some(verb, seed, first, min(first + step, start + count))

    with ThreadPoolExecutor(2) as pool:
        parts = list(pool.map(read, range(start, start + count, step)))
    tally = sum((part[0] for part in parts), Counter[str]())
    return {
        "mutants": count, "seed": seed, "kinds": kinds,
        "mutations": [*MUTATIONS, *["structure"] * (verb == "files")],
        "answers": tally["answer"], "refused": tally["refused"], "wrong_errors": tally["wrong error"],
        "crashes": tally["crash"], "hangs": tally["hang"], "slowest_s": round(max(part[1] for part in parts), 3),
        "peak_mb": round(max(part[2] for part in parts)), "examples": [text for part in parts for text in part[3]][:20],
    }  # fmt: skip


def read_some(verb: str, seed: int, first: int, end: int) -> tuple[Counter[str], float, float, list[str]]:
    """Read the mutants first..end - 1; return outcomes, slowest second, peak memory in MB, faults.

    A process that dies or hangs is replaced by one that goes on with the next mutant.
    """
    tally, wrong, slowest, peak = Counter[str](), list[str](), 0.0, 0.0
    while first < end:
        command = [sys.executable, "-W", "ignore", str(SCRIPT), verb, str(seed), str(first), str(end)]
        current: dict[str, Any] = {}
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, bufsize=1) as run:
            for line in lines(run):
                if not line.startswith("{"):  # a library speaks
                    continue
                told = json.loads(line)
                if "begin" in told:
                    current = told
                elif "end" in told:
                    outcome = told["outcome"].partition(":")[0]
                    tally[outcome] += 1
                    tally["hang"] += told["seconds"] > SLOW
                    slowest = max(slowest, told["seconds"])
                    first = told["end"] + 1
                    peak = max(peak, told["peak_mb"])
                    if outcome == "wrong error" or told["seconds"] > SLOW:
                        wrong.append(f"{current}: {told}")
            if run.poll() is None:
                run.kill()
        if first < end:  # the process died or hung on the mutant after the last that ended
            kind = "hang" if run.returncode == -9 else "crash"
            tally[kind] += 1
            wrong.append(f"{kind}: {current}")
            first += 1
    return tally, slowest, peak, wrong


def lines(run: subprocess.Popen[str]) -> Any:
    """Yield the lines that a process prints, until it ends or is silent for PATIENCE seconds."""
    assert run.stdout
    while select.select([run.stdout], [], [], PATIENCE)[0]:
        if not (line := run.stdout.readline()):
            run.wait()
            return
        yield line


def read_bombs(whole: bool) -> list[dict[str, Any]]:
    command = [sys.executable, "-W", "ignore", str(SCRIPT), "bombs", *(["--whole"] if whole else [])]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


FULL = [pytest.mark.torture, pytest.mark.timeout(7200)]


@pytest.mark.parametrize(
    "verb, kinds, count, start",
    [
        ("pictures", list(KINDS), 140, 0),
        ("files", list(FORMS), 2 * len(FORMS), 3 * len(FORMS)),  # a splice and a fault of structure in each form
        pytest.param("pictures", list(KINDS), 20_000, 0, marks=FULL),
        pytest.param("files", list(FORMS), 20_000, 0, marks=FULL),
    ],
)
def test_mutants_are_answers_or_sentences(verb: str, kinds: list[str], count: int, start: int) -> None:
    found = read_mutants(verb, kinds, count, start)
    assert (found["crashes"], found["hangs"], found["wrong_errors"]) == (0, 0, 0), found["examples"]
    assert found["answers"] + found["refused"] == count
    # both happen: the mutants are neither all sound nor all junk
    assert min(found["answers"], found["refused"]) > count / 20
    assert found["peak_mb"] < 2000
    if count >= 20_000:
        keep(verb, found)


@pytest.mark.parametrize("whole", [False, pytest.param(True, marks=[pytest.mark.torture, pytest.mark.timeout(1800)])])
def test_bombs_are_refused_at_once(whole: bool) -> None:
    found = read_bombs(whole)
    assert len(found) >= 12
    for bomb in found:
        assert bomb["outcome"] == "refused", bomb
        assert bomb["seconds"] < 0.05, bomb  # of the processor
        assert bomb["growth_mb"] < 50, bomb
    if whole:
        times = [{key: round(bomb[key], 4) for key in ("seconds", "wall")} for bomb in found]
        keep("bombs", [bomb | time for bomb, time in zip(found, times, strict=True)])


def test_the_last_full_result_is_kept_and_clean() -> None:
    last = json.loads((DOCS / "records" / "torture.json").read_text())
    page = (DOCS / "check.md").read_text()
    for verb in ("pictures", "files"):
        found = last[verb]
        assert found["mutants"] >= 20_000
        assert (found["crashes"], found["hangs"], found["wrong_errors"]) == (0, 0, 0)
        assert f"| {verb} | {found['answers']:,} | {found['refused']:,} | {found['slowest_s']} |" in page
        assert f" {found['peak_mb']} |" in page
    for bomb in last["bombs"]:
        assert bomb["outcome"] == "refused"
        row = f"| {bomb['bomb']} | {bomb['bytes']:,} | {1000 * bomb['seconds']:.1f} | {bomb['growth_mb']:.1f} |"
        assert row in page, row
