"""Two commands at once on one folder, one perhaps killed: nothing is mixed, and who ends well gave its own result.

What a command makes is compared with what it makes alone. A command may also refuse, in one sentence.
"""

import hashlib
import json
import os
import random
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from records import keep
from runs import COMMAND, fit
from safetensors import safe_open
from worlds import make_world
from zygote import Zygote

from atrous.io.marks import is_marked

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")

Seen = Callable[[Path, str], Any]
"""The folder and what was printed -> what a command made, to be compared."""


def files(*places: str) -> Seen:
    """The bytes of files and folders; a folder's hidden files do not count."""

    def seen(base: Path, said: str) -> Any:
        found = {}
        for place in places:
            paths = [base / place] if (base / place).is_file() else sorted((base / place).rglob("*"))
            for path in paths:
                if path.is_file() and not path.name.startswith("."):
                    data = path.read_bytes().replace(os.fsencode(base), b"")
                    found[path.relative_to(base).as_posix()] = hashlib.sha256(data).hexdigest()
        return found

    return seen


def card(key: str) -> Seen:
    def seen(base: Path, said: str) -> Any:
        with safe_open(base / "run" / "model.safetensors", "np") as file:
            return json.loads(file.metadata()["atrous"]).get(key)

    return seen


def trained(base: Path, said: str) -> Any:
    """Weights, recipe and steps; losses in the log are means since a resume."""
    tensors = hashlib.sha256()
    with safe_open(base / "new" / "model.safetensors", "np") as file:
        for name in sorted(file.keys()):
            tensors.update(file.get_tensor(name).tobytes())
    steps = [json.loads(line) for line in (base / "new" / "log.jsonl").read_text().splitlines()]
    recipe = (base / "new" / "recipe.toml").read_text().replace(str(base), "")
    return tensors.hexdigest(), recipe, [(row["step"], row.get("val_miou")) for row in steps]


def judged(base: Path, said: str) -> Any:
    found = json.loads(said)
    return found["miou"], found["images"]


def whole(place: str) -> Seen:
    """A page has times in it: only that it is whole."""
    return lambda base, said: is_marked(base / place)


@dataclass(frozen=True)
class Command:
    """What is typed, what it makes, and where: commands of one place may replace each other's results."""

    words: str
    seen: Seen
    place: str


TRAIN = " ".join(["train world -o new --steps 12", *COMMAND])
COMMANDS = {
    "train": Command(f"{TRAIN} --seed 0", trained, "new"),
    "train again": Command(f"{TRAIN} --seed 0", trained, "new"),
    "train otherwise": Command(f"{TRAIN} --seed 5", trained, "new"),
    "calibrate": Command("calibrate run", card("decoding"), "decoding"),
    "tune-crf": Command("tune-crf run", card("refinement"), "refinement"),
    "eval": Command("eval run world --json", judged, ""),
    "report": Command("report run", whole("run/report.html"), "run/report.html"),
    "report elsewhere": Command("report other -o page.html", whole("page.html"), "page.html"),
    "check": Command("check world --html page.html", whole("page.html"), "page.html"),
    "check --write": Command("check world --write copy", files("copy"), "copy"),
    "check --to": Command("check world --to pairs -o copy", files("copy"), "copy"),
    "plan": Command("plan world --no-measure --no-pretrained --set seed=1 -o plan.toml", files("plan.toml"), "plan"),
    "plan otherwise": Command("plan world --no-measure --no-pretrained -o plan.toml", files("plan.toml"), "plan"),
    "predict": Command("predict world/test/images world/val/images --model run -o out", files("out"), "out"),
    "predict again": Command("predict world/test/images world/val/images --model run -o out", files("out"), "out"),
    "predict otherwise": Command("predict world/test/images --model other -o out", files("out"), "out"),
    "refine": Command("refine probabilities world/test/images --crf icm -o out", files("out"), "out"),
    "export": Command("export run -o net.onnx", files("net.onnx", "net_run.py"), "net"),
    "export otherwise": Command("export other -o net.onnx", files("net.onnx", "net_run.py"), "net"),
    "inspect": Command("inspect enet --no-measure --size 64 64 --plot plots", files("plots"), "plots"),
}


class Runner:
    """Runs commands by name in a folder."""

    def __init__(self, logs: Path) -> None:
        self._zygote, self._logs, self._count = Zygote(), logs, 0
        self.close = self._zygote.close

    def start(self, name: str, folder: Path) -> tuple[int, Path]:
        self._count += 1
        log = self._logs / str(self._count)
        return self._zygote.start(COMMANDS[name].words.split(), folder, log), log

    def end(self, process: tuple[int, Path]) -> tuple[int, str, str]:
        """Exit code, what was printed, and what was printed on stderr."""
        number, log = process
        code = self._zygote.wait(number)
        return code, *(
            log.with_suffix(suffix).read_text() if log.with_suffix(suffix).exists() else ""
            for suffix in (".out", ".err")
        )

    def run(self, name: str, folder: Path) -> tuple[int, str, str]:
        return self.end(self.start(name, folder))


@dataclass
class Alone:
    """What each command makes alone, found when it is first asked for."""

    base: Path
    runner: Runner
    known: dict[tuple[str, ...], Any] = field(default_factory=dict)

    def of(self, *names: str) -> Any:
        """What the last one of commands makes that are run one after another."""
        if names not in self.known:
            folder = self.base.with_name("alone")
            shutil.copytree(self.base, folder)
            for name in names:
                code, said, told = self.runner.run(name, folder)
                assert code == 0, told
            self.known[names] = COMMANDS[name].seen(folder, said)
            shutil.rmtree(folder)
        return self.known[names]


def agrees(made: Any, own: Any, theirs: Any, *, ended: bool) -> bool:
    """Whether what is there is one command's whole result. Files that it does not write may be the other's.

    ended: the other one ended well, so that it may be its.
    """
    if not all(isinstance(value, str) for value in (made.values() if isinstance(made, dict) else [None])):  # no files
        return bool(made == own or (ended and made == theirs))
    if not made.items() <= own.items() | theirs.items():
        return False
    return own.items() <= made.items() or (ended and theirs.items() <= made.items())


def try_pair(names: tuple[str, str], alone: Alone, folder: Path, dice: random.Random, kill: bool) -> str:
    """What went wrong with two commands at once; "" if nothing did."""
    shutil.copytree(alone.base, folder)
    for name in names:
        alone.of(name)
    runner = alone.runner
    processes = [runner.start(names[0], folder)]
    time.sleep(dice.choice((0.1, 1)) * dice.uniform(0, 1))
    processes.append(runner.start(names[1], folder))
    shot = dice.randrange(2) if kill else None
    if shot is not None:
        time.sleep(dice.uniform(0, 2))
        os.kill(processes[shot][0], signal.SIGKILL)
    ends = [runner.end(process) for process in processes]
    for place, (name, (code, said, told)) in enumerate(zip(names, ends, strict=True)):
        other = names[1 - place]
        if code == -9 and place == shot:
            if ends[1 - place][0] == 0 and COMMANDS[other].place == COMMANDS[name].place:
                continue  # what is there is the other one's
            code, said, told = runner.run(name, folder)
        if code == 2:
            if not told.splitlines()[-1].startswith("error: ") or told.count("error") > 1:  # bars may come before
                return f"{name}: refused with {told!r}"
            continue
        if code != 0:
            return f"{name}: ended with {code}: {told!r}"
        made, own = COMMANDS[name].seen(folder, said), alone.of(name)
        theirs = alone.of(other) if COMMANDS[other].place == COMMANDS[name].place else own
        ended = ends[1 - place][0] == 0
        if ended and COMMANDS[other].place in ("decoding", "refinement"):  # the card of the run is another one then
            theirs = alone.of(other, name)
        if not agrees(made, own, theirs, ended=ended):
            return f"{name}: made {made}, alone {own}, the other {theirs}"
    if all(code == 2 for code, _, _ in ends):
        return f"both refused: {ends}"
    shutil.rmtree(folder)
    return ""


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pairs") / "base"
    world = make_world(folder / "world", val=4)
    fit(world, folder / "run")
    fit(world, folder / "other", seed=9)
    (folder / "probabilities").mkdir()
    for path in (world / "test" / "images").iterdir():
        np.save(folder / "probabilities" / f"{path.stem}.npy", np.full((3, 48, 64), 1 / 3, np.float32))
    return folder


@pytest.mark.parametrize(
    "count",
    [
        pytest.param(6, marks=[pytest.mark.slow, pytest.mark.timeout(900)]),
        pytest.param(200, marks=[pytest.mark.torture, pytest.mark.timeout(14400)]),
    ],
)
def test_pairs_of_commands_at_once(count: int, base: Path, tmp_path: Path) -> None:
    runner = Runner(tmp_path)
    dice, alone, faults = random.Random(count), Alone(base, runner), []
    sharing = [(a, b) for a in COMMANDS for b in COMMANDS if COMMANDS[a].place == COMMANDS[b].place != ""]
    for turn in range(count):
        names = dice.choice(sharing) if turn % 2 else (dice.choice(list(COMMANDS)), dice.choice(list(COMMANDS)))
        if fault := try_pair(names, alone, tmp_path / f"pair{turn}", dice, kill=turn % 3 > 0):
            faults.append(f"{turn}: {names}: {fault}")
    runner.close()
    print(f"{count} pairs of {len(COMMANDS)} commands, {len(faults)} faults")
    assert not faults, "\n".join(faults)
    if count >= 200:
        keep("pairs", {"pairs": count, "commands": len(COMMANDS), "faults": 0})
