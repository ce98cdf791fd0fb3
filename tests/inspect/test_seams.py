"""Tiles with the halo equal the whole image, with a step less they do not; why some have none."""

import dataclasses
from itertools import pairwise

import pytest
import torch
from forms import build

from atrous.errors import ModelError
from atrous.inspect import Halo, NoHalo, halo

SEAMLESS = [
    ("fcn8s", {"padding": "same", "width": 2}),
    ("fcn8s", {"width": 2}),
    ("fcn32s", {"width": 2}),
    ("unet2015", {"width": 2}),
    ("segnet", {}),
    ("segnet_basic", {}),
    ("unet", {}),
    ("fcn", {}),
    ("deeplabv1", {"width": 2}),
    ("deeplabv2", {}),
    ("unetpp", {}),
    ("attention_unet", {}),
    ("deconvnet", {}),
    ("enet", {}),
    ("unet3d", {}),
    ("vnet", {"left": (1, 1, 1), "right": (1, 1)}),
]
SLOW = {"attention_unet", "deconvnet", "deeplabv2", "enet", "fcn32s", "unet3d", "unetpp", "vnet"}


def pixels(found: Halo, side: int) -> torch.Tensor:
    """A random image, long along the first axis."""
    short = 64 if found.multiple[0] > 1 else 24 if len(found.align) == 2 else 5
    return torch.randn(1, 3, side, *(short,) * (len(found.align) - 1), dtype=torch.float64)


@torch.no_grad()
def seam(model: torch.nn.Module, found: Halo, side: int) -> float:
    """Largest difference between logits of tiles along the first axis and of the whole image."""
    image, align, worst = pixels(found, side), found.align[0], 0.0
    whole = model(image)
    cuts = sorted({0, align, found.before[0] + align, side // 2 // align * align, side // align * align, side})
    for start, stop in pairwise(cuts):
        first, end = found.tile(start, stop, side)
        part = model(image[:, :, first:end])[:, :, start - first : stop - first]
        worst = max(worst, float((part - whole[:, :, start:stop]).abs().max()))
    return worst


@torch.no_grad()
def far(model: torch.nn.Module, found: Halo, side: int) -> float:
    """The same for one tile in the middle; what it leaves out is enormous, so it would show."""
    image, align = pixels(found, side), found.align[0]
    start = side // 2 // align * align
    first, end = found.tile(start, start + align, side)
    image[:, :, :first] *= 1e40
    image[:, :, end:] *= 1e40
    whole = model(image)[:, :, start : start + align]
    return float((model(image[:, :, first:end])[:, :, start - first : start - first + align] - whole).abs().max())


@pytest.mark.parametrize(
    "name, options", [pytest.param(*row, marks=[pytest.mark.slow] * (row[0] in SLOW)) for row in SEAMLESS]
)
def test_tiles_with_the_halo_equal_the_whole_and_with_less_do_not(name: str, options: dict[str, object]) -> None:
    torch.manual_seed(0)
    model = build(name, options).eval().double()
    found = halo(model)
    assert isinstance(found, Halo), found
    align = found.align[0]
    less = dataclasses.replace(
        found,
        before=tuple(max(0, one - align) for one in found.before),
        after=tuple(max(0, one - align) for one in found.after),
    )
    side = 2 * found.before[0] + 4 * align
    for odd in (0, 1, align - 1) if found.multiple[0] == 1 else (0,):
        assert seam(model, found, side + odd) < 1e-12
    assert far(model, found, side) < 1e-12
    assert far(model, less, side) > 1e-5


@pytest.mark.parametrize("name, options", [("unet2015", {"width": 2}), ("fcn8s", {"width": 2}), ("segnet", {})])
def test_in_float32_the_difference_shows_at_the_fifth_digit(name: str, options: dict[str, object]) -> None:
    torch.manual_seed(0)
    model = build(name, options).eval()
    found = halo(model)
    side, step = 2 * found.before[0] + 4 * found.align[0], found.align[0]
    image = torch.randn(1, 3, side, 24)
    with torch.no_grad():
        whole = model(image)
        for shrink, equal in ((0, True), (step, False)):
            first = found.before[0] + step - (found.before[0] - shrink)
            part = model(image[:, :, first:])[:, :, found.before[0] + step - first :]
            assert torch.allclose(part, whole[:, :, found.before[0] + step :], rtol=0, atol=1e-5) == equal


def test_where_the_halo_ends_and_starts() -> None:
    found = Halo((96, 32), (64, 32), (16, 32), (1, 32), (150, 60))
    assert found.tile(160, 320, 1000) == (64, 384)
    assert found.tile(0, 1000, 1000) == (0, 1000)
    assert found.tile(64, 96, 128, axis=1) == (32, 128)
    with pytest.raises(ModelError, match="multiples of 16"):
        found.tile(100, 320, 1000)
    with pytest.raises(ModelError, match="not a multiple of 32"):
        found.tile(0, 32, 100, axis=1)


WITHOUT = {
    "bisenetv2": ("mean over all places", "context"),
    "danet": ("softmax over all places", "head.position.1"),
    "deeplabv3": ("mean over all places", "head.aspp.branches.4"),
    "deeplabv3plus": ("mean over all places", "head.aspp.branches.4"),
    "fpn": ("group norm", "head.rise.0.convs.0.1"),
    "lraspp": ("mean over all places", "head"),
    "nnunet2d": ("instance norm", "down.0.0.1"),
    "nnunet3d": ("instance norm", "down.0.0.1"),
    "pspnet": ("mean over all places", "head.pool"),
    "reseg": ("recurrent layer", "sweeps.0.vertical"),
    "segformer": ("softmax over all places", "encoder.net.stages.0.blocks.0.attention"),
}


@pytest.mark.parametrize("name", WITHOUT)
def test_where_there_is_none_the_reason_and_the_layer_are_told(name: str) -> None:
    found = halo(build(name, {}))
    assert isinstance(found, NoHalo)
    reason, layer = WITHOUT[name]
    assert reason in found.reason
    assert found.layer == layer


def test_bins_that_grow_with_the_image_are_no_window() -> None:
    found = halo(build("pspnet", {"bins": (2, 3)}))
    assert isinstance(found, NoHalo)
    assert "grow with the image" in found.reason


def test_points_that_the_values_choose_have_no_field() -> None:
    model = build("pointrend", {"base": "unet2015", "encoder": None, "base_options": {"width": 2}, "cells": 9})
    found = halo(model)
    assert isinstance(found, NoHalo)
    assert "not defined" in found.reason or "topk" in found.reason


def test_the_model_is_left_as_it_is() -> None:
    model = build("fcn", {}).train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    modes, hooks = [m.training for m in model.modules()], sum(len(m._forward_hooks) for m in model.modules())
    halo(model)
    assert [m.training for m in model.modules()] == modes
    assert sum(len(m._forward_hooks) for m in model.modules()) == hooks
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
