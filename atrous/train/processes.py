"""Several processes that train as one: started by torchrun or Slurm's srun, joined by Fabric; alone, rank 0 of 1.

All go through the same lines, each with its share of the pictures. Files, words and what depends on a clock are the
first one's; what all must know goes through `everyones`, `from_first` and `summed`, at the same lines of all. One that
fails ends; the others notice when they next wait for it and end too: whoever failed first says why, nobody hangs.
"""

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from functools import cache
from inspect import signature
from typing import Any, Literal, NamedTuple, TypeVar

import torch
import torch.distributed as dist
from lightning_fabric import Fabric
from lightning_fabric.strategies import DDPStrategy, ModelParallelStrategy
from rich.console import Console
from torch import nn
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel

from atrous.errors import AtrousError, Elsewhere, RecipeError
from atrous.train.signals import Interrupted

T = TypeVar("T")
SequenceT = TypeVar("SequenceT", bound=Sequence[Any])
Strategy = Literal["ddp", "fsdp"]
"""Whether every process keeps the whole network (ddp), or a share of weights, gradients, averages, moments (fsdp)."""
PATIENCE = timedelta(hours=1)
"""How long one that is alive is waited for."""
LAUNCHERS = {
    "TORCHELASTIC_RUN_ID": ("RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE"),
    "SLURM_STEP_ID": ("SLURM_PROCID", "SLURM_NTASKS", "SLURM_NTASKS_PER_NODE"),
}
"""What tells that a launcher started this process, and where it put rank, size and size on this machine.

A Slurm script has the second's variables too; but only what srun starts has the number of a step.
"""
GONE = ("gloo", "nccl", "tcpstore", "connection closed", "connection reset", "broken pipe")
"""Words in the RuntimeError of somebody who waits for a process that is gone."""

PARAMETERS = signature(DistributedDataParallel).parameters
OWN_BUFFERS = "forward_sync_buffers" if "forward_sync_buffers" in PARAMETERS else "broadcast_buffers"
"""What to turn off (from torch 2.14 on by the first name) lest the first one's statistics replace everybody's."""


class Place(NamedTuple):
    """Which of how many processes this is, and how many there are on each machine."""

    rank: int = 0
    size: int = 1
    local: int = 1


def place() -> Place:
    """As the launcher's environment says; alone without one, and in an interactive job of Slurm, as Fabric has it."""
    names = next((names for sign, names in LAUNCHERS.items() if sign in os.environ), None)
    if names is None or (names[0] == "SLURM_PROCID" and os.environ.get("SLURM_JOB_NAME") in ("bash", "interactive")):
        return Place()
    rank, size = (int(os.environ.get(name, default)) for name, default in zip(names, "01", strict=False))
    if size > 1 and names[2] not in os.environ:
        raise RecipeError(f"{names[2]} is not set; start the processes by --ntasks-per-node, not by --ntasks")
    return Place(rank, size, int(os.environ.get(names[2], 1)))


def size() -> int:
    """How many processes train together."""
    return place().size


def rank() -> int:
    """Which of them this is, from 0 on."""
    return place().rank


def first() -> bool:
    """Whether this one writes and speaks."""
    return rank() == 0


def voice(console: Console) -> Console:
    """The console, silent in all processes but the first."""
    return console if first() else Console(quiet=True)


def mine(items: SequenceT) -> SequenceT:
    """This process's share: all shares in the order of ranks are all items, each once."""
    here, many = rank(), size()
    return items[len(items) * here // many : len(items) * (here + 1) // many]  # type: ignore[return-value]


def check_batch(batch: int, parts: int) -> None:
    """RecipeError where a step's pictures cannot be dealt out evenly, or no process's share be cut into parts."""
    many = size()
    if batch % many:
        near = " or ".join(f"--batch {many * times}" for times in (batch // many, batch // many + 1) if times)
        raise RecipeError(f"batch={batch} pictures cannot be dealt out evenly to {many} processes; take {near}")
    if parts > batch // many:
        raise RecipeError(
            f"batch={batch} gives each of {many} processes {batch // many} pictures, of which accumulate={parts} parts "
            "cannot be made; take a smaller accumulate"
        )


def fabric(device: torch.device, precision: Any, *, strategy: str = "ddp", thaws: bool = False) -> Fabric:
    """The engine: one device alone, else this process's one of many.

    thaws: some parameters have no gradient for a while.
    """
    here = place()
    if strategy not in ("ddp", "fsdp"):
        raise RecipeError(f"unknown strategy {strategy!r}; ddp or fsdp")
    if here.size == 1:
        return Fabric(accelerator=device.type, devices=1, precision=precision)
    spread: Any
    if strategy == "fsdp":
        spread = ModelParallelStrategy(_shard, data_parallel_size=here.size, tensor_parallel_size=1, timeout=PATIENCE)
    else:
        own: dict[str, Any] = {OWN_BUFFERS: False}
        spread = DDPStrategy(find_unused_parameters=thaws, timeout=PATIENCE, **own)
    spread.parallel_devices = _devices(device.type, here.local)
    made = Fabric(
        accelerator=device.type, num_nodes=here.size // here.local, devices=1, strategy=spread, precision=precision
    )
    made.launch()
    return made


def _devices(kind: str, local: int) -> list[torch.device]:
    """One for each process on this machine; srun may show every process its own GPU alone."""
    if kind == "cpu":
        return [torch.device("cpu")] * local
    seen = torch.cuda.device_count()
    if seen > 1 and local > seen:
        raise RecipeError(f"{local} processes on a machine with {seen} GPUs; start one for each GPU")
    return [torch.device(kind, number % seen) for number in range(local)]


def _shard(module: nn.Module, mesh: Any) -> nn.Module:
    """What `fsdp` does to the module that is trained: one unit, whole while a step runs and in shares between."""
    fully_shard(module, mesh=mesh["data_parallel"])
    return module


@contextmanager
def joined() -> Iterator[None]:
    """Meet the others first; an error is then raised in all, as itself where it was first and as Elsewhere after."""
    if size() > 1 and not dist.is_initialized():
        logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # it announces every process
        fabric(torch.device("cuda" if torch.cuda.is_available() else "cpu"), "32-true")
        _wire()
    try:
        yield
    except Exception as error:
        if size() == 1 or isinstance(error, Elsewhere):
            raise
        speaks = first() if isinstance(error, Interrupted) else _speaks()
        if isinstance(error, RuntimeError) and any(word in str(error).lower() for word in GONE):
            error = AtrousError(
                "another process of this run is gone; the same command goes on from the last checkpoint"
            )
        raise (error if speaks else Elsewhere(error)) from error.__cause__


@cache
def _speaks() -> bool:
    """Whether this process was the first to ask."""
    try:
        return dist.distributed_c10d._get_default_store().add("failed", 1) == 1
    except RuntimeError:  # the store was the first process's, which is gone
        return False


@cache
def _wire() -> Any:
    """The connection for words and small numbers, beside that for gradients."""
    return dist.new_group(backend="gloo", timeout=PATIENCE)


def everyones(value: T) -> list[T]:
    """The values that all processes have at this line, in the order of ranks."""
    if size() == 1:
        return [value]
    found: list[Any] = [None] * size()
    dist.all_gather_object(found, value, group=_wire())
    return found


def from_first(make: Callable[[], T]) -> T:
    """What the first process makes here; the others wait for it."""
    if size() == 1:
        return make()
    box: list[Any] = [make() if first() else None]
    dist.broadcast_object_list(box, src=0, group=_wire())
    return box[0]


def summed(value: float) -> float:
    """The sum over all processes."""
    if size() == 1:
        return value
    total = torch.tensor(value, dtype=torch.float64)
    dist.all_reduce(total, group=_wire())
    return float(total)
