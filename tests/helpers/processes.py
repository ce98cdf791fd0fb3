"""Several processes that train together, as a launcher would start them, on one core each and a tiny world."""

import multiprocessing
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

SMALL = {
    "model": "unet", "encoder": "test_resnet", "channels": (16, 8, 8, 8), "pretrained": False, "batch": 4,
    "crop": (32, 32), "steps": 6, "validate_every": 3, "precision": "fp32", "channels_last": False,
    "fused": True,
}  # fmt: skip
PATIENCE = 200.0
"""Seconds until processes that wait for one another are called hung."""


class End(NamedTuple):
    """How a process ended: its exit code as of the command line (minus a signal's number), and what it printed."""

    code: int
    said: str


def together(
    run: Callable[..., object], *arguments: Any, size: int = 2, launcher: str = "torchrun", **options: Any
) -> list[End]:
    """`run(*arguments, **options)` in so many processes at once; in the order of ranks how they ended."""
    server = multiprocessing.get_context("forkserver")
    server.set_forkserver_preload(["processes", "atrous.plan", "atrous.train.loop"])
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder = Path(os.environ["XDG_CACHE_HOME"])
    files = [folder / f"{port}-rank{rank}.txt" for rank in range(size)]
    kept = {"XDG_CACHE_HOME": str(folder), "HF_HUB_OFFLINE": "1"}
    processes = [
        server.Process(
            target=_one, args=(environment(launcher, rank, size, port) | kept, file, run, arguments, options)
        )
        for rank, file in enumerate(files)
    ]
    end = time.monotonic() + PATIENCE
    try:
        for process in processes:
            process.start()
        for process in processes:
            process.join(max(0.0, end - time.monotonic()))
        hung = [rank for rank, process in enumerate(processes) if process.is_alive()]
    finally:
        for process in processes:
            if process.pid:
                process.kill()
    assert not hung, f"processes {hung} did not end: {[file.read_text() for file in files]}"
    return [End(process.exitcode or 0, file.read_text()) for process, file in zip(processes, files, strict=True)]


def environment(launcher: str, rank: int, size: int, port: int) -> dict[str, str]:
    """What torchrun, or srun on one machine, tells a process."""
    meet = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    if launcher == "torchrun":
        names = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": size, "LOCAL_WORLD_SIZE": size, "GROUP_RANK": 0}
        return meet | {"TORCHELASTIC_RUN_ID": "test"} | {name: str(value) for name, value in names.items()}
    names = {"PROCID": rank, "LOCALID": rank, "NTASKS": size, "NTASKS_PER_NODE": size, "NODEID": 0, "NNODES": 1,
             "STEP_ID": 0, "JOB_ID": 12345}  # fmt: skip
    return meet | {"SLURM_JOB_NAME": "train"} | {f"SLURM_{name}": str(value) for name, value in names.items()}


def _one(
    environment: dict[str, str], file: Path, run: Any, arguments: tuple[Any, ...], options: dict[str, Any]
) -> None:
    import cv2
    import torch

    from atrous.cli import explain

    os.environ.update(environment)
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    sys.stdout = sys.stderr = file.open("w", buffering=1)
    try:
        run(*arguments, **options)
        code = 0
    except BaseException as error:
        code = explain(error)
    sys.stdout.flush()
    os._exit(code)


def fit(
    world: Path,
    run: Path,
    *,
    fault: str = "",
    rank: int = 1,
    after: int = 2,
    damage: Sequence[Path] = (),
    **options: Any,
) -> Path:
    """Train by SMALL and the options; with a fault (`FAULTS`) in one of the processes after so many steps.

    damage: files that are cut off once they were found whole.
    """
    from rich.console import Console

    from atrous.datasets import open_dataset
    from atrous.plan import draft
    from atrous.train import processes
    from atrous.train.loop import train
    from atrous.train.recipe import Recipe

    how = {key: options.pop(key) for key in ("strategy", "workers") if key in options}
    if fault and processes.rank() == rank:
        FAULTS[fault](after)
    if damage and processes.first():
        _before(
            "atrous.train.loop", "build", 0, lambda _: [file.write_bytes(file.read_bytes()[:100]) for file in damage]
        )
    data = open_dataset(world, cache_mb=0)
    held = Recipe.load(run / "recipe.toml") if (run / "recipe.toml").exists() else None
    return train(draft(data, held=held, **{**SMALL, **options}), data, run, console=Console(soft_wrap=True), **how)


def facade(world: Path, run: Path, **options: Any) -> None:
    """What the command line calls."""
    from rich.console import Console

    from atrous.segmenter import Segmenter

    Segmenter(**SMALL | {"steps": 3}).fit(world, run, console=Console(soft_wrap=True), **options)


def _before(module: str, name: str, after: int, do: Callable[[Any], object]) -> None:
    """Do something, once, before the call of a function that follows so many others."""
    owner = sys.modules[module]
    original, calls = getattr(owner, name), iter(range(after))

    def faulty(*arguments: Any, **options: Any) -> Any:
        if next(calls, None) is None:
            setattr(owner, name, original)
            do(arguments)
        return original(*arguments, **options)

    setattr(owner, name, faulty)


def _signal(number: int, name: str = "take_step") -> Callable[[int], None]:
    return lambda after: _before("atrous.train.loop", name, after, lambda _: os.kill(os.getpid(), number))


def _fail(_: Any) -> None:
    raise RuntimeError("a defect in one process")


def _poison(_: Any) -> None:
    from atrous.train.objective import Normalise

    original = Normalise.forward

    def once(self: Any, image: Any) -> Any:
        Normalise.forward = original  # type: ignore[method-assign]
        return original(self, image) * float("nan")

    Normalise.forward = once  # type: ignore[method-assign]


FAULTS: dict[str, Callable[[int], None]] = {
    "SIGTERM": _signal(signal.SIGTERM),
    "SIGUSR1": _signal(getattr(signal, "SIGUSR1", signal.SIGTERM)),
    "SIGKILL": _signal(getattr(signal, "SIGKILL", signal.SIGTERM)),
    "SIGTERM amid a validation": lambda after: _before(
        "atrous.train.validation", "overlay", after, lambda _: os.kill(os.getpid(), signal.SIGTERM)
    ),
    "defect": lambda after: _before("atrous.train.loop", "take_step", after, _fail),
    "not a number": lambda after: _before("atrous.train.loop", "take_step", after, _poison),
}
