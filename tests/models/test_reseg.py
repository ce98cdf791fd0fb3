"""ReSeg: the sweeps against a GRU run over every line, what a cell has read, and where the encoder ends."""

import numpy as np
import torch
from torch import nn

from atrous.models.reseg import ReNet, reseg


@torch.no_grad()
def test_sweeps_are_the_gru_over_every_column_and_then_every_row() -> None:
    torch.manual_seed(0)
    layer, x = ReNet(3, 4), torch.randn(2, 3, 5, 6)
    expected = torch.zeros(2, 8, 5, 6)
    for n in range(2):
        columns = torch.stack([layer.vertical(x[n, :, :, j].T)[0].T for j in range(6)], 2)  # (8, 5, 6)
        for i in range(5):
            expected[n, :, i] = layer.horizontal(columns[:, i].T)[0].T
    torch.testing.assert_close(layer(x), expected)


def test_after_one_layer_every_cell_has_read_every_cell() -> None:
    torch.manual_seed(0)
    layer, x = ReNet(2, 3), torch.randn(1, 2, 5, 7, requires_grad=True)
    for place in ((0, 0), (4, 6), (2, 3)):
        (gradient,) = torch.autograd.grad(layer(x)[0, :, place[0], place[1]].sum(), x)
        assert (gradient[0].abs().sum(0) > 0).all()


def test_vgg_ends_at_conv3_3() -> None:
    with torch.device("meta"):
        net = reseg(11)
    assert net.encoder.strides[-1] == 4
    assert [layer.out_channels for layer in net.encoder.modules() if isinstance(layer, nn.Conv2d)] == [
        64, 64, 128, 128, 256, 256, 256]  # fmt: skip
    assert sum(p.numel() for p in net.encoder.parameters()) == 1_735_488
    assert len(net.sweeps) == len(net.up) == 2


@torch.no_grad()
def test_the_border_is_mirrored_and_cropped() -> None:
    torch.manual_seed(0)
    net, image = reseg(3, encoder="test_resnet", units=(4,), channels=3).eval(), torch.randn(1, 3, 9, 14)
    mirrored = torch.from_numpy(np.pad(image.numpy(), ((0, 0), (0, 0), (0, 3), (0, 2)), mode="reflect"))
    assert torch.equal(net(image), net(mirrored)[:, :, :9, :14])
