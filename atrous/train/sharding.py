"""The network over several processes: wrapped by Fabric, its statistics kept equal, its shares gathered."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.distributed as dist
from lightning_fabric import Fabric
from lightning_fabric.strategies import ModelParallelStrategy
from timm.layers import convert_sync_batchnorm
from torch import nn
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.optim.swa_utils import AveragedModel

from atrous.layers.norm import safe_norms
from atrous.train import processes
from atrous.train.objective import Objective


def set_up(
    fabric: Fabric, objective: Objective, optimizer: torch.optim.Optimizer, average: AveragedModel | None
) -> tuple[Any, Any]:
    """Wrap the objective and its optimiser by Fabric, and put the moving average on the same device."""
    if processes.size() > 1 and fabric.device.type == "cuda":
        objective.model = synchronised(objective.model)
    if isinstance(fabric.strategy, ModelParallelStrategy):
        names = {id(parameter): name for name, parameter in objective.named_parameters()}
        module = fabric.setup_module(objective)  # from here on its parameters are new objects, shares of the old ones
        _share(optimizer, names, dict(objective.named_parameters()))
        follow(optimizer)
        if average is not None:
            fully_shard(average.module, mesh=fabric.strategy.device_mesh["data_parallel"])
        return module, fabric.setup_optimizers(optimizer)
    module, wrapped = fabric.setup(objective, optimizer)
    if average is not None:
        average.to(fabric.device)
    follow(optimizer)
    return module, wrapped


def follow(optimizer: torch.optim.Optimizer) -> None:
    """Move the optimiser's state to its parameters' device and memory format.

    Fused kernels go through parameter, gradient and moments in the order of memory and ignore strides, so
    all of them must lie alike.
    """
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            state = optimizer.state.get(parameter, {})
            for key, value in state.items():
                if key == "step":
                    state[key] = value.to(parameter.device) if group["fused"] else value
                elif isinstance(value, torch.Tensor) and not isinstance(value, DTensor):
                    state[key] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)


def _share(optimizer: torch.optim.Optimizer, names: dict[int, str], shares: dict[str, nn.Parameter]) -> None:
    """Give an optimiser this process's shares of its parameters and of their state."""
    states = {names[id(parameter)]: state for parameter, state in optimizer.state.items()}
    for group in optimizer.param_groups:
        group["params"] = [shares[names[id(parameter)]] for parameter in group["params"]]
        group["fused"] = None  # torch has no fused SGD for shares
    optimizer.state.clear()
    for name, state in states.items():
        new = shares[name]
        assert isinstance(new, DTensor)
        optimizer.state[new] = {
            key: distribute_tensor(value.to(new.device), new.device_mesh, new.placements) if value.ndim else value
            for key, value in state.items()
            if value is not None
        }


def lay_out(model: nn.Module, layout: torch.memory_format, fabric: Fabric) -> None:
    """Put the weights into a memory layout. Sharded ones stay contiguous, as torch has no other for them."""
    if not isinstance(fabric.strategy, ModelParallelStrategy):
        model.to(memory_format=layout)


def synchronised(model: nn.Module) -> nn.Module:
    """Make batch norms, timm's fused ones too, take their statistics over the pictures of all processes.

    Parameters, buffers and their names stay. It needs GPUs: torch's SyncBatchNorm has no CPU version.
    """
    return safe_norms(convert_sync_batchnorm(model))


def alike(buffers: Sequence[torch.Tensor], before: Sequence[torch.Tensor]) -> None:
    """Move buffers (running statistics) by the mean of how far those of all processes moved; alone: nothing.

    What did not move stays as it is, to the bit.
    """
    if processes.size() == 1:
        return
    pairs = [(now, old) for now, old in zip(buffers, before, strict=True) if now.is_floating_point()]
    if pairs:
        moves = torch.cat([(now - old).flatten() for now, old in pairs])
        dist.all_reduce(moves)
        moves /= processes.size()
        for (now, old), move in zip(pairs, moves.split([now.numel() for now, _ in pairs]), strict=True):
            now.copy_(old + move.view_as(old))


def gathered(tensor: torch.Tensor) -> torch.Tensor:
    """The whole tensor, where each process may hold a share of it. All must call this at the same line."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def own_share(tensor: torch.Tensor) -> torch.Tensor:
    """This process's share of a tensor."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def in_shares(model: nn.Module) -> bool:
    """Whether each process holds only a share of the model's parameters."""
    return any(isinstance(parameter, DTensor) for parameter in model.parameters())


def in_one_piece(model: nn.Module, build: Callable[[], nn.Module]) -> nn.Module:
    """The model itself, or, if it is sharded, a copy made by `build` with the whole tensors."""
    if not in_shares(model):
        return model
    copy = build()
    copy.load_state_dict({name: gathered(tensor) for name, tensor in model.state_dict().items()})
    return copy
