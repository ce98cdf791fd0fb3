"""Max-unpooling puts every value back where it was found, as torch's own does, and its gradient is a gather."""

import pytest
import torch
from torch.nn import functional

from atrous.ops import max_unpool


@pytest.mark.parametrize("size", [(1, 1), (4, 6), (7, 5), (12, 1), (23, 30)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_order_is_torchs(size: tuple[int, int], dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 3, *size).to(dtype)
    pooled, indices = functional.max_pool2d(x, 2, ceil_mode=True, return_indices=True)
    expected = functional.max_unpool2d(pooled, indices, 2, output_size=size)
    for layout in (torch.contiguous_format, torch.channels_last):
        unpooled = max_unpool(pooled.contiguous(memory_format=layout), indices, size)
        assert unpooled.dtype == dtype
        assert torch.equal(unpooled, expected)
    assert torch.equal(unpooled[unpooled != 0], x[unpooled != 0])


def test_one_value_a_window_and_the_gradient_gathers() -> None:
    torch.manual_seed(0)
    x = torch.rand(1, 2, 8, 10) + 1
    pooled, indices = functional.max_pool2d(x, 2, return_indices=True)
    unpooled = max_unpool(pooled.requires_grad_(), indices, (8, 10))
    windows = functional.unfold((unpooled != 0).float().view(2, 1, 8, 10), 2, stride=2).sum(1)
    assert torch.equal(windows, torch.ones(2, 20))
    weight = torch.randn(1, 2, 8, 10)
    (unpooled * weight).sum().backward()
    assert torch.equal(pooled.grad, weight.flatten(2).gather(2, indices.flatten(2)).view(1, 2, 4, 5))
