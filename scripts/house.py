"""Count the house: loose files, rooms, floors, arrows, and the way of a recipe through a training.

    python scripts/house.py

A room is a folder or a loose file of atrous/. A room's floor is one above the highest room that it imports.
The way of a recipe is watched: a training of one step runs on six small pictures, and every call that gets
the recipe, or the run that holds it, is a visit of its file and room.
"""

import ast
import sys
import tempfile
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "atrous"
FACES = ("__init__", "__main__")


def room_of(file: Path) -> str:
    """atrous/train/loop.py -> train; atrous/bundle.py -> bundle."""
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(file: Path) -> Iterator[str]:
    """The rooms that a file imports, inside functions too."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "atrous":
            whole = [f"atrous.{alias.name}" for alias in node.names] if node.module == "atrous" else [str(node.module)]
            yield from (name.split(".")[1] for name in whole)


def arrows() -> dict[str, set[str]]:
    """Room -> the rooms that it imports. The face of the package imports by name, and is left out."""
    found: dict[str, set[str]] = {room_of(file): set() for file in PACKAGE.rglob("*.py")}
    for file in PACKAGE.rglob("*.py"):
        found[room_of(file)] |= {room for room in imported(file) if room in found} - {room_of(file)}
    return {room: others - set(FACES) for room, others in found.items() if room not in FACES}


def floors(graph: dict[str, set[str]]) -> dict[str, int]:
    """Room -> its floor, from 1 on; ValueError where rooms import one another in a circle."""
    floor: dict[str, int] = {}

    def of(room: str, above: tuple[str, ...]) -> int:
        if room in above:
            raise ValueError(f"rooms import one another in a circle: {' -> '.join([*above, room])}")
        if room not in floor:
            floor[room] = 1 + max((of(other, (*above, room)) for other in graph[room]), default=0)
        return floor[room]

    for room in graph:
        of(room, ())
    return floor


def way_of_a_recipe() -> list[Path]:
    """The files that a recipe passes from `train()` to the weights, in order, each stay once."""
    from atrous.datasets import open_dataset
    from atrous.plan import draft
    from atrous.train.loop import train
    from atrous.train.recipe import Recipe
    from atrous.train.run import Run

    stays: list[Path] = []

    def watch(frame: FrameType, event: str, _: Any) -> None:
        file = frame.f_code.co_filename
        if event != "call" or not file.startswith(str(PACKAGE)) or (stays and str(stays[-1]) == file):
            return
        if any(isinstance(value, (Recipe, Run)) for value in frame.f_locals.values()):
            stays.append(Path(file))

    with tempfile.TemporaryDirectory() as folder:
        world, rng = Path(folder), np.random.default_rng(0)
        for split in ("train", "val"):
            for kind in ("images", "masks"):
                (world / split / kind).mkdir(parents=True)
            for index in range(3):
                mask = rng.integers(0, 2, (32, 32), np.uint8)
                Image.fromarray(np.repeat(mask[..., None] * 200, 3, 2)).save(world / split / "images" / f"{index}.png")
                Image.fromarray(mask).save(world / split / "masks" / f"{index}.png")
        data = open_dataset(world)
        recipe = draft(data, model="unet", encoder="test_resnet", pretrained=False, steps=1, batch=2, crop=(32, 32))
        sys.setprofile(watch)
        try:
            train(recipe, data, world / "run")
        finally:
            sys.setprofile(None)
    return stays


if __name__ == "__main__":
    graph = arrows()
    floor = floors(graph)
    loose = sorted(path.stem for path in PACKAGE.glob("*.py") if path.stem not in FACES)
    print(f"loose files   {len(loose)}: {', '.join(loose)}")
    print(f"rooms         {len(graph)}, on {max(floor.values())} floors, {sum(map(len, graph.values()))} arrows")
    stays = way_of_a_recipe()
    rooms = [room_of(file) for file in stays]
    moves = [(a, b) for a, b in pairwise(rooms) if a != b]
    climbs = sum(floor[b] > floor[a] for a, b in moves)
    print(f"a recipe, from train() to the weights: {len(set(rooms))} rooms ({', '.join(dict.fromkeys(rooms))}), "
          f"{len(moves)} moves between rooms, {climbs} of them up")  # fmt: skip
    files = dict.fromkeys(str(file.relative_to(PACKAGE)) for file in stays)
    print(f"              {len(files)} files: {', '.join(files)}")
