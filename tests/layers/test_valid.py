"""Overlap-tile: tiles at multiples of the grid equal the whole image; volumes are mirrored too."""

import numpy as np
import pytest
import torch

from atrous.errors import ModelError
from atrous.layers import InstanceNorm, expect_axes, pad_reflect
from atrous.models.unet import unet2015


@pytest.mark.parametrize("variant", ["paper", "phseg_v5"])
@torch.no_grad()
def test_unet2015_in_tiles_is_the_whole(variant: str) -> None:
    torch.manual_seed(0)
    model, image = unet2015(2, in_channels=1, width=2, variant=variant).eval(), torch.randn(1, 1, 40, 801)  # type: ignore[arg-type]
    whole, origins = model(image), []
    valid = model.valid
    model.valid = lambda x: origins.append(tuple(x.shape[2:])) or valid(x)  # type: ignore[method-assign,func-returns-value]
    difference = (model.overlap_tile(image) - whole).abs().max()
    assert float(difference) <= 1e-5 * float(whole.abs().max())  # rounding: in float64 it is 1e-14
    assert origins == [(236, 572), (236, 572), (236, 220)]


@pytest.mark.parametrize("side, tiles", [(20, 1), (21, 4), (36, 4)])
@torch.no_grad()
def test_no_tile_is_run_for_what_is_there_already(side: int, tiles: int) -> None:
    model, calls = unet2015(2, in_channels=1, width=1).eval(), []
    valid = model.valid
    model.valid = lambda x: calls.append(x) or valid(x)  # type: ignore[method-assign,func-returns-value]
    model.overlap_tile(torch.zeros(1, 1, side, side), tile=204)
    assert len(calls) == tiles


@torch.no_grad()
def test_tiles_side_by_side_are_not_the_whole() -> None:
    """Tiles 388 pixels apart, as in the figure, pool other pixels than the whole image does."""
    torch.manual_seed(0)
    model, x = unet2015(2, in_channels=1, width=2).eval().double(), torch.randn(1, 1, 188, 588, dtype=torch.float64)
    whole = model.valid(x)
    for start, same in ((384, True), (388, False)):
        tile = model.valid(x[..., start : start + 188])
        assert torch.allclose(tile, whole[..., start : start + 4], rtol=0, atol=1e-9) is same


@pytest.mark.parametrize("tile", [188, 204, 572])
@pytest.mark.parametrize("size", [(1, 1), (20, 33)])
@torch.no_grad()
def test_small_images_and_small_tiles(size: tuple[int, int], tile: int) -> None:
    torch.manual_seed(0)
    model, image = unet2015(2, in_channels=1, width=1).eval(), torch.randn(1, 1, *size)
    if tile == 188:
        with pytest.raises(ModelError, match="tiles of 188 pixels leave 4 of output; use 204 or more"):
            model.overlap_tile(image, tile=tile)
    else:
        model, image = model.double(), image.double()
        torch.testing.assert_close(model.overlap_tile(image, tile=tile), model(image), rtol=0, atol=1e-10)


def test_volumes_are_mirrored_along_all_axes() -> None:
    volume = torch.rand(2, 3, 1, 2, 4)
    expected = np.pad(volume.numpy(), ((0, 0), (0, 0), (3, 2), (5, 0), (1, 9)), mode="reflect")
    assert np.array_equal(pad_reflect(volume, 3, 2, 5, 0, 1, 9).numpy(), expected)
    with pytest.raises(ValueError, match="shorter"):
        pad_reflect(volume, 1, 1, 1, 1)


def test_axes_are_told_apart() -> None:
    expect_axes(torch.zeros(1, 1, 2, 2), 2)
    with pytest.raises(ModelError, match=r"takes images \(N, C, H, W\) and was given a tensor of shape \(1, 2, 2\)"):
        expect_axes(torch.zeros(1, 2, 2), 2)


@pytest.mark.parametrize("axes", [2, 3])
def test_instance_norm_is_torchs_and_takes_a_single_value(axes: int) -> None:
    torch.manual_seed(0)
    theirs = (torch.nn.InstanceNorm2d, torch.nn.InstanceNorm3d)[axes - 2](5, affine=True)
    ours = InstanceNorm(5)
    for parameter in theirs.parameters():
        torch.nn.init.normal_(parameter)
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(2, 5, *(4, 3, 6)[:axes])
    torch.testing.assert_close(ours(x), theirs(x))
    torch.testing.assert_close(ours.eval()(x), theirs.eval()(x))
    single = torch.randn(1, 5, *(1,) * axes)
    torch.testing.assert_close(ours.train()(single).flatten(), ours.bias, rtol=0, atol=1e-3)
