"""Criss-cross attention against a loop over crosses; one pass sees a cross, two see the map."""

import pytest
import torch

from atrous.models import create_model
from atrous.models.ccnet import CrissCross


def attention(channels: int, gamma: float) -> CrissCross:
    torch.manual_seed(0)
    layer = CrissCross(channels).double()
    layer.gamma.data.fill_(gamma)
    return layer


@pytest.mark.parametrize("height, width", [(1, 1), (1, 5), (4, 1), (3, 5)])
@torch.no_grad()
def test_each_cell_attends_to_its_cross(height: int, width: int) -> None:
    layer, x = attention(16, 0.7), torch.randn(2, 16, height, width, dtype=torch.float64)
    query, key, value = layer.query(x), layer.key(x), layer.value(x)
    expected = x.clone()
    for image in range(2):
        for i in range(height):
            for j in range(width):
                cross = {(g, j) for g in range(height)} | {(i, v) for v in range(width)}
                assert len(cross) == height + width - 1
                likeness = torch.stack([query[image, :, i, j] @ key[image, :, g, v] for g, v in cross])
                values = torch.stack([value[image, :, g, v] for g, v in cross])
                expected[image, :, i, j] += 0.7 * likeness.softmax(0) @ values
    torch.testing.assert_close(layer(x), expected)


def test_two_passes_see_the_whole_map() -> None:
    layer, x = attention(8, 0.7), torch.randn(1, 8, 4, 6, dtype=torch.float64, requires_grad=True)
    cross = torch.zeros(4, 6, dtype=torch.bool)
    cross[1, :] = cross[:, 2] = True
    (once,) = torch.autograd.grad(layer(x)[0, :, 1, 2].sum(), x)
    assert torch.equal(once[0].abs().sum(0) > 0, cross)
    (twice,) = torch.autograd.grad(layer(layer(x))[0, :, 1, 2].sum(), x)
    assert bool((twice[0].abs().sum(0) > 0).all())


@torch.no_grad()
def test_the_page_passes_as_often_as_told() -> None:
    for recurrence in (1, 2, 3):
        model = create_model("ccnet", classes=2, encoder="test_resnet", channels=8, recurrence=recurrence).eval()
        calls: list[torch.Tensor] = []
        model.head.attention.register_forward_hook(lambda module, inputs, output, calls=calls: calls.append(output))
        model(torch.randn(1, 3, 32, 32))
        assert len(calls) == recurrence
