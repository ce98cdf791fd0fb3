"""EncNet's encoding layer against the equation, and what it makes of a cell that is a codeword."""

import torch

from atrous.models.encnet import Context, Encoding


@torch.no_grad()
def test_encoding_is_equation_1() -> None:
    torch.manual_seed(0)
    layer, x = Encoding(6, 4).double(), torch.randn(2, 6, 3, 5, dtype=torch.float64)
    assert bool((layer.scale < 0).all())
    expected = torch.zeros(2, 4, 6, dtype=torch.float64)
    for image in range(2):
        for cell in x[image].flatten(1).T:
            residuals = cell - layer.codewords  # (D, C)
            weights = (layer.scale * residuals.square().sum(1)).softmax(0)
            expected[image] += weights[:, None] * residuals
    torch.testing.assert_close(layer(x), expected)


@torch.no_grad()
def test_a_cell_belongs_to_its_codeword_when_the_scale_is_sharp() -> None:
    torch.manual_seed(0)
    layer = Encoding(6, 4).double()
    layer.scale.fill_(-1e6)
    codeword = layer.codewords[2]
    x = (codeword + torch.tensor([0.01, 0, 0, 0, 0, 0]))[None, :, None, None]
    expected = torch.zeros(1, 4, 6, dtype=torch.float64)
    expected[0, 2, 0] = 0.01
    torch.testing.assert_close(layer(x), expected)


@torch.no_grad()
def test_the_gate_is_one_number_per_channel_of_the_whole_image() -> None:
    torch.manual_seed(0)
    context, x = Context(8, 3).eval(), torch.rand(2, 8, 4, 5) + 0.1
    ratio = context(x) / x - 1
    torch.testing.assert_close(ratio, ratio[:, :, :1, :1].expand_as(ratio), rtol=1e-4, atol=1e-5)
    assert bool(((ratio > 0) & (ratio < 1)).all())
    assert not torch.allclose(ratio[0, :, 0, 0], ratio[1, :, 0, 0], atol=1e-6)
