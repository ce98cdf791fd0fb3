"""Several processes that train together: started by torchrun or Slurm's srun, joined by Fabric. One alone is rank 0.

All run the same lines, each with its share of the pictures. The first one writes files, prints, and
decides what depends on a clock. What all must know goes through `everyones`, `from_first` and `summed`,
which all call at the same line. A process that fails ends; the others notice it when they next wait
for it, and end too. The one that failed first says why, and none hangs.
"""

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from functools import cache
from inspect import signature
from typing import Any, Literal, NamedTuple, TypeVar, get_args

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
"""ddp: every process holds the whole network. fsdp: each holds a share of weights, gradients, average and moments."""
PATIENCE = timedelta(hours=1)
"""How long a process waits for another one that is alive."""
LAUNCHERS = {
    "TORCHELASTIC_RUN_ID": ("RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE"),
    "SLURM_STEP_ID": ("SLURM_PROCID", "SLURM_NTASKS", "SLURM_NTASKS_PER_NODE"),
}
"""A variable that only this launcher sets -> where it puts rank, size, and size on this machine.

A Slurm script sees SLURM_PROCID too; only what srun starts has the number of a step.
"""
GONE = ("gloo", "nccl", "tcpstore", "connection closed", "connection reset", "broken pipe")
"""Words in the RuntimeError of a process that waits for one that has ended."""

PARAMETERS = signature(DistributedDataParallel).parameters
OWN_BUFFERS = "forward_sync_buffers" if "forward_sync_buffers" in PARAMETERS else "broadcast_buffers"
"""DDP's option, named anew in torch 2.14, that replaces all statistics by the first process's. It is turned off."""


class Place(NamedTuple):
    """Which of how many processes this is, and how many there are on each machine."""

    rank: int = 0
    size: int = 1
    local: int = 1


def place() -> Place:
    """Read from the launcher's variables. Without a launcher, and in an interactive job of Slurm, it is one process."""
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
    """The number of this process, from 0 on."""
    return place().rank


def first() -> bool:
    """Whether this is the first process, which writes and prints."""
    return rank() == 0


def voice(console: Console) -> Console:
    """The console, silent in all processes but the first."""
    return console if first() else Console(quiet=True)


def mine(items: SequenceT) -> SequenceT:
    """This process's share of the items. The shares in the order of ranks are all items, each once."""
    here, many = rank(), size()
    return items[len(items) * here // many : len(items) * (here + 1) // many]  # type: ignore[return-value]


def check_batch(batch: int, parts: int) -> None:
    """Raise RecipeError where a batch cannot be divided evenly, or a process's share of it not cut into `parts`."""
    many = size()
    if batch % many:
        near = " or ".join(f"--batch {many * times}" for times in (batch // many, batch // many + 1) if times)
        raise RecipeError(f"batch={batch} pictures cannot be divided evenly among {many} processes; take {near}")
    if parts > batch // many:
        raise RecipeError(
            f"batch={batch} gives each of {many} processes {batch // many} pictures, too few for accumulate={parts} "
            "parts; take a smaller accumulate"
        )


def check_strategy(strategy: str) -> None:
    """Raise RecipeError for a strategy that does not exist."""
    if strategy not in get_args(Strategy):
        raise RecipeError(f"unknown strategy {strategy!r}; expected {' or '.join(get_args(Strategy))}")


def fabric(device: torch.device, precision: Any, *, strategy: str = "ddp", thaws: bool = False) -> Fabric:
    """Fabric for this process: one device, or this process's device of several.

    Args:
        thaws: some parameters have no gradient at first (`freeze_steps`), which DDP must know.
    """
    here = place()
    check_strategy(strategy)
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
    """One device for each process on this machine. Under srun each process may see only its own GPU."""
    if kind == "cpu":
        return [torch.device("cpu")] * local
    seen = torch.cuda.device_count()
    if seen > 1 and local > seen:
        raise RecipeError(f"{local} processes on a machine with {seen} GPUs; start one for each GPU")
    return [torch.device(kind, number % seen) for number in range(local)]


def _shard(module: nn.Module, mesh: Any) -> nn.Module:
    """Shard the module that is trained as one unit: whole while a step runs, in shares between steps."""
    fully_shard(module, mesh=mesh["data_parallel"])
    return module


@contextmanager
def joined() -> Iterator[None]:
    """Join the other processes. An error in one is raised in all: itself in the first, Elsewhere in the others."""
    if size() > 1 and not dist.is_initialized():
        logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # it announces every process
        fabric(torch.device("cuda" if torch.cuda.is_available() else "cpu"), "32-true")
        _wire()
    try:
        yield
    except Exception as error:  # whatever it is: it goes on, in all processes
        if size() == 1 or isinstance(error, Elsewhere):
            raise
        speaks = first() if isinstance(error, Interrupted) else _speaks()
        if isinstance(error, RuntimeError) and any(word in str(error).lower() for word in GONE):
            error = AtrousError(
                "another process of this run has ended; the same command resumes from the last checkpoint"
            )
        raise (error if speaks else Elsewhere(error)) from error.__cause__


@cache
def _speaks() -> bool:
    """Whether this process is the first to call this, so that only one says what failed."""
    try:
        return dist.distributed_c10d._get_default_store().add("failed", 1) == 1
    except RuntimeError:  # the store is in the first process, which has ended
        return False


@cache
def _wire() -> Any:
    """The connection for objects and single numbers, apart from that for gradients."""
    return dist.new_group(backend="gloo", timeout=PATIENCE)


def everyones(value: T) -> list[T]:
    """The values of all processes at this line, in the order of ranks."""
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
