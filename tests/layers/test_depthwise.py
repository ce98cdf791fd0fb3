"""The quick gradients against torch's own."""

import copy

import pytest
import torch
from torch import nn

from atrous.layers import quick_depthwise
from atrous.layers.depthwise import DilatedDepthwise


def pair(kernel: int, rate: int, *, bias: bool = True) -> tuple[nn.Conv2d, nn.Conv2d]:
    """(quick, torch's) of equal weights in double precision."""
    padding = rate * (kernel // 2)
    torch.manual_seed(kernel + rate)
    plain = nn.Conv2d(6, 6, kernel, padding=padding, dilation=rate, groups=6, bias=bias).double()
    return quick_depthwise(copy.deepcopy(plain)), plain


@pytest.mark.parametrize("size", [(12, 12), (7, 9), (1, 1), (3, 8)])
@pytest.mark.parametrize(("kernel", "rate"), [(3, 2), (5, 2), (3, 3), (5, 4), (7, 3)])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_output_and_gradients_are_torchs(
    size: tuple[int, int], kernel: int, rate: int, layout: torch.memory_format
) -> None:
    quick, plain = pair(kernel, rate)
    assert type(quick) is DilatedDepthwise
    image = torch.randn(2, 6, *size, dtype=torch.double).to(memory_format=layout)
    inputs = [image.clone().requires_grad_() for _ in range(2)]
    outputs = [layer(x) for layer, x in zip((quick, plain), inputs, strict=True)]
    torch.testing.assert_close(*outputs)
    weight = torch.randn_like(outputs[0])
    for output in outputs:
        (output * weight).sum().backward()
    torch.testing.assert_close(inputs[0].grad, inputs[1].grad)
    torch.testing.assert_close(quick.weight.grad, plain.weight.grad)
    torch.testing.assert_close(quick.bias.grad, plain.bias.grad)


def test_autocast_gives_gradients_in_the_parameters_dtype() -> None:
    quick, plain = (layer.float() for layer in pair(5, 2, bias=False))
    x = torch.randn(2, 6, 9, 9, requires_grad=True)
    for layer in (quick, plain):
        with torch.autocast("cpu", torch.bfloat16):
            y = layer(x)
        assert y.dtype == torch.bfloat16
        y.float().square().sum().backward()
    assert quick.weight.grad is not None
    assert quick.weight.grad.dtype == torch.float32
    torch.testing.assert_close(
        quick.weight.grad, plain.weight.grad, rtol=0.05, atol=0.05 * plain.weight.grad.abs().max()
    )


def test_only_layers_that_fit_are_changed() -> None:
    others = [
        nn.Conv2d(6, 6, 3, padding=1, groups=6),
        nn.Conv2d(6, 6, 3, padding=2, dilation=2),
        nn.Conv2d(6, 6, 3, padding=2, dilation=2, groups=6, stride=2),
        nn.Conv2d(6, 6, 3, padding=1, dilation=2, groups=6),
        nn.Conv2d(6, 12, 3, padding=2, dilation=2, groups=6),
        nn.Conv2d(6, 6, 3, padding=5, dilation=5, groups=6),
        nn.Conv2d(6, 6, 3, padding=2, dilation=2, groups=6, padding_mode="reflect"),
    ]
    net = quick_depthwise(nn.Sequential(*others))
    assert all(type(layer) is nn.Conv2d for layer in net)


@pytest.mark.parametrize(("kernel", "rate"), [(3, 2), (5, 3)])
def test_gradients_can_be_differentiated_again(kernel: int, rate: int) -> None:
    found = []
    for layer in pair(kernel, rate):
        x = torch.randn(2, 6, 9, 8, dtype=torch.double, generator=torch.Generator().manual_seed(0)).requires_grad_()
        (of_x,) = torch.autograd.grad(layer(x).pow(3).sum(), x, create_graph=True)
        of_x.square().sum().backward()
        found.append((x.grad, layer.weight.grad, layer.bias.grad))
    torch.testing.assert_close(*found)


@pytest.mark.parametrize(("kernel", "rate"), [(3, 2), (5, 4)])
def test_func_takes_it_as_torchs_own(kernel: int, rate: int) -> None:
    found = []
    for layer in pair(kernel, rate):
        images = torch.randn(3, 6, 9, 8, dtype=torch.double, generator=torch.Generator().manual_seed(0))

        def score(parameters: dict[str, torch.Tensor], x: torch.Tensor, layer: nn.Module = layer) -> torch.Tensor:
            return torch.func.functional_call(layer, parameters, (x[None],)).pow(3).sum()

        parameters = dict(layer.named_parameters())
        found.append(
            (
                torch.func.grad(score)(parameters, images[0]),
                torch.func.vmap(torch.func.grad(score), in_dims=(None, 0))(parameters, images),
                torch.func.hessian(lambda x, score=score, own=parameters: score(own, x))(images[0, :, :3, :3]),
            )
        )
    torch.testing.assert_close(*found)
