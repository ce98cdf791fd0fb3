"""Multiply-adds and memory against torch's own counters, real runs, and by hand."""

import warnings

import pytest
import torch
from forms import VOLUMES, build
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from atrous.inspect import inspect_model
from atrous.inspect.inspection import kept_for_backward
from atrous.inspect.walk import walk


class Chain(nn.Sequential):
    """A chain of layers as a network on images of three channels."""

    in_channels = 3


def by_hand() -> Chain:
    return Chain(
        nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 4, 3, stride=2, padding=1, groups=2, bias=False)
    )


def test_multiply_adds_by_hand() -> None:
    walked = walk(by_hand(), (1, 3, 10, 20))
    first, second = 10 * 20 * 8 * 3 * 9, 5 * 10 * 4 * (8 // 2) * 9
    assert [stage.extra["multiply_adds"] for stage in walked.stages] == [first, second]
    assert walked.multiply_adds == first + second
    up = Chain(nn.ConvTranspose2d(3, 5, 4, stride=2, padding=1))
    assert walk(up, (1, 3, 10, 20)).multiply_adds == 10 * 20 * 3 * 5 * 16


@pytest.mark.parametrize(
    "name",
    ["fcn8s", "unet", "unet2015", "segnet", "deeplabv3plus", "segformer", "danet", "ccnet", "vnet", "reseg", "encnet"],
)
def test_multiply_adds_are_half_of_torchs_flops(name: str) -> None:
    device = "meta" if name == "segformer" else "cpu"  # the CPU's fused attention is not among torch's counts
    model = build(name, {}).eval().to(device)
    image = torch.randn(1, 3, *((16, 32, 16) if name in VOLUMES else (48, 64)), device=device)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(image)
    assert 2 * walk(model, image.shape).multiply_adds == counter.get_total_flops()


def test_bytes_kept_for_the_backward_pass_by_hand() -> None:
    # the image and the ReLU's output, which it keeps itself and which the second convolution reads
    kept, between = kept_for_backward(by_hand(), (1, 3, 10, 20))
    assert sum(kept.values()) + between == 4 * 10 * 20 * (3 + 8)


@pytest.mark.parametrize("name", ["unet", "segnet", "deeplabv3", "fcn8s", "unet2015", "enet"])
def test_bytes_kept_are_those_of_a_real_training_pass(name: str) -> None:
    model, seen = build(name, {}).train(), {}
    weights = {tensor.untyped_storage().data_ptr() for tensor in (*model.parameters(), *model.buffers())}
    image = torch.randn(1, 3, 64, 96)

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            seen[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        logits = model(image)
    kept, between = kept_for_backward(model, image.shape)
    assert logits.shape[2:] == image.shape[2:]
    # DeepLab to a thousandth: a batch norm of a single value keeps two statistics without values
    assert sum(kept.values()) + between == pytest.approx(sum(seen.values()), rel=1e-3 if name == "deeplabv3" else 0)


def test_most_activations_at_once_by_hand() -> None:
    # image and first map, then the ReLU's copy beside both, since the caller holds the image
    assert walk(by_hand(), (1, 3, 10, 20)).peak == 4 * 10 * 20 * (3 + 8 + 8)
    inplace = Chain(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(inplace=True), nn.Conv2d(8, 4, 3, padding=1))
    assert walk(inplace, (1, 3, 10, 20)).peak == 4 * 10 * 20 * (3 + 8 + 4)


@pytest.mark.parametrize("name", ["unet", "fcn", "segnet_basic"])
def test_most_activations_at_once_are_what_the_allocator_counts(name: str) -> None:
    model, image = build(name, {}).eval(), torch.randn(1, 3, 128, 192)
    with torch.no_grad():
        model(image)  # whatever is made once
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with torch.profiler.profile(
                profile_memory=True, activities=[torch.profiler.ProfilerActivity.CPU]
            ) as profile:
                model(image)
    events = profile.profiler.kineto_results.events()
    changes = [(event.start_ns(), event.nbytes()) for event in events if event.name() == "[memory]"]
    calls = [(event.start_ns(), event.duration_ns()) for event in events if event.name().startswith("aten::")]
    ends, last = [], -1
    for start, duration in sorted(calls):
        if start >= last:  # not within another one: a kernel's own buffers are gone when it returns
            last = start + duration
            ends.append(last)
    held = max(sum(size for when, size in changes if when <= end) for end in ends)
    assert walk(model, image.shape).peak - 4 * image.numel() == held


def test_the_rows_and_what_is_between_them_add_up() -> None:
    model = build("hrnet_ocr", {})
    found = inspect_model(model, (64, 96), measure=False)
    for key, total in (("parameters", found.parameters), ("multiply_adds", found.multiply_adds), ("kept", found.kept)):
        assert sum(getattr(row, key) for row in found.stages) + found.between[key] == total
    assert found.parameters == sum(parameter.numel() for parameter in model.parameters())
