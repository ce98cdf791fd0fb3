"""Attention U-Net: the gate by its formula, what is gated and what is not."""

import numpy as np
import pytest
import torch
from torch import nn

from atrous.errors import ModelError
from atrous.models.attention_unet import Gate, attention, attention_unet
from atrous.ops.resize import resize


@torch.no_grad()
def test_the_gate_is_the_papers_equation() -> None:
    torch.manual_seed(0)
    gate, x, g = Gate(3, 5).double(), torch.randn(1, 3, 4, 6).double(), torch.randn(1, 5, 2, 3).double()
    w_x, w_g, psi = (layer.weight.numpy() for layer in (gate.of_skip, gate.of_gating, gate.psi))
    coarse = np.zeros((2, 3))
    for row in range(2):
        for column in range(3):
            block = x[0, :, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2].numpy()
            inner = np.einsum("ocij,cij->o", w_x, block) + w_g[:, :, 0, 0] @ g[0, :, row, column].numpy()
            q = psi[0, :, 0, 0] @ np.maximum(inner + gate.of_gating.bias.numpy(), 0) + gate.psi.bias.numpy()
            coarse[row, column] = 1 / (1 + np.exp(-q.item()))
    alpha = resize(torch.from_numpy(coarse)[None, None], (4, 6))
    torch.testing.assert_close(gate(x, g), alpha)


@pytest.mark.parametrize("size", [(1, 1), (5, 8), (7, 3)])
@torch.no_grad()
def test_the_gate_takes_odd_sides(size: tuple[int, int]) -> None:
    alpha = Gate(3, 5)(torch.randn(2, 3, *size), torch.randn(2, 5, (size[0] + 1) // 2, (size[1] + 1) // 2))
    assert alpha.shape == (2, 1, *size)
    assert ((alpha > 0) & (alpha < 1)).all()


@torch.no_grad()
def test_an_odd_side_repeats_its_last_pixel() -> None:
    torch.manual_seed(0)
    gate, x, g = Gate(3, 5), torch.randn(1, 3, 5, 7), torch.randn(1, 5, 3, 4)
    even = torch.cat([x, x[:, :, -1:]], 2)
    even = torch.cat([even, even[:, :, :, -1:]], 3)
    coarse = gate.psi((gate.of_skip(even) + gate.of_gating(g)).relu()).sigmoid()
    torch.testing.assert_close(gate(x, g), resize(coarse, (5, 7)))


@torch.no_grad()
def test_closed_gates_let_the_finest_skip_through_only() -> None:
    torch.manual_seed(0)
    model, image = attention_unet(4, encoder="test_resnet", channels=(16, 12, 8, 8)).eval(), torch.randn(1, 3, 64, 96)
    assert [alpha.shape for alpha in attention(model, image)] == [(1, 1, 4, 6), (1, 1, 8, 12), (1, 1, 16, 24)]
    for gate in model.head.gates:
        gate.psi.bias.fill_(-100)
    before = model(image)
    widths = [model.encoder.channels[index] for index in model.head.skips]
    for block, width in zip(model.head.decoder[:-1], widths, strict=False):
        block[0][0].weight[:, :width] = torch.randn_like(block[0][0].weight[:, :width])  # what the skip would meet
    assert torch.equal(model(image), before)
    model.head.decoder[-1][0][0].weight[:, : widths[-1]] += 1
    assert not torch.allclose(model(image), before, atol=1e-3)


@torch.no_grad()
def test_open_gates_make_a_unet() -> None:
    torch.manual_seed(0)
    model, image = attention_unet(4, encoder="test_resnet", channels=(16, 12, 8, 8)).eval(), torch.randn(1, 3, 64, 96)
    for gate in model.head.gates:
        gate.psi.bias.fill_(100)
    features = model.encoder(image)
    x = features[-1]
    for index, block in zip(model.head.skips, model.head.decoder, strict=True):
        x = block(torch.cat([features[index], resize(x, tuple(features[index].shape[2:]))], 1))
    torch.testing.assert_close(model(image), resize(model.head.heads[-1](x), (64, 96)))


def test_gates_add_what_the_formula_says() -> None:
    model = attention_unet(21, encoder="test_resnet", channels=(16, 12, 8, 8))
    channels = model.encoder.channels
    sizes = [sum(p.numel() for p in gate.parameters()) for gate in model.head.gates]
    gating = [channels[4], 16, 12]
    assert sizes == [4 * own**2 + g * own + own + own + 1 for own, g in zip(channels[3:0:-1], gating, strict=True)]
    assert isinstance(model.head.gating, nn.Sequential)


def test_too_few_widths_are_named() -> None:
    with pytest.raises(ModelError, match="4 skips and the decoder 1 widths"):
        attention_unet(2, encoder="test_resnet", channels=(8,))
