"""Convolution blocks, ASPP, reflection, and the spreading of RGB numbers."""

import numpy as np
import pytest
import torch
from torch import nn

from atrous.layers import ASPP, conv_bn_relu, fcn_head, pad_reflect, separable_conv
from atrous.layers.channels import per_channel


def reach(module: nn.Module, channels: int, side: int = 61) -> int:
    """Columns of the input that the centre of the output sees, with batch norm in eval mode."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.constant_(layer.weight, 1.0)
    x = torch.ones(1, channels, side, side, requires_grad=True)
    module.eval()(x)[0, 0, side // 2, side // 2].backward()
    columns = x.grad[0, 0].abs().sum(0).nonzero().flatten()
    return int(columns.max() - columns.min()) + 1


@pytest.mark.parametrize("build", [conv_bn_relu, separable_conv])
@pytest.mark.parametrize("dilation", [1, 6])
def test_blocks_keep_the_size_and_dilate(build: object, dilation: int) -> None:
    block = build(3, 5, dilation=dilation)  # type: ignore[operator]
    assert block(torch.randn(2, 3, 9, 14)).shape == (2, 5, 9, 14)
    assert reach(block, 3) == 2 * dilation + 1


def test_separable_convolution_has_a_norm_after_both() -> None:
    assert [type(layer).__name__ for layer in separable_conv(8, 4)] == ["Conv2d", "BatchNorm2d", "ReLU"] * 2
    assert sum(p.numel() for p in separable_conv(8, 4).parameters()) == 8 * 9 + 16 + 8 * 4 + 8


def test_fcn_head_narrows_to_a_quarter() -> None:
    head = fcn_head(32, 7)
    assert head(torch.randn(2, 32, 3, 4)).shape == (2, 7, 3, 4)
    assert sum(p.numel() for p in head.parameters()) == 32 * 8 * 9 + 16 + 8 * 7 + 7


def test_aspp_has_a_branch_per_rate_a_point_and_the_mean() -> None:
    aspp = ASPP(6, (2, 5), out=4)
    assert [reach(branch, 6) for branch in aspp.branches] == [1, 5, 11, 61]
    assert aspp(torch.randn(2, 6, 7, 9)).shape == (2, 4, 7, 9)


def test_image_pool_is_the_mean_everywhere() -> None:
    pool = ASPP(6, (1,), out=4).branches[-1].eval()
    x = torch.randn(2, 6, 7, 9)
    y = pool(x)
    torch.testing.assert_close(y, pool(x.mean((2, 3), keepdim=True)).expand(2, 4, 7, 9))


@pytest.mark.parametrize("height, width", [(1, 1), (2, 1), (3, 5), (40, 7)])
def test_reflection_goes_to_and_fro(height: int, width: int) -> None:
    image = torch.rand(2, 3, height, width)
    expected = np.pad(image.numpy(), ((0, 0), (0, 0), (11, 13), (20, 2)), mode="reflect")
    assert np.array_equal(pad_reflect(image, 11, 13, 20, 2).numpy(), expected)


def test_rgb_numbers_spread_over_any_channels() -> None:
    assert per_channel((1.0, 2.0, 6.0), 1) == (3.0,)
    assert per_channel((1.0, 2.0, 6.0), 5) == (1.0, 2.0, 6.0, 1.0, 2.0)
