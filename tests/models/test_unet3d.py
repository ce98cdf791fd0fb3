"""3D U-Net: the figure's sizes and count, the mirrored border, tiles, and what one voxel sees."""

import numpy as np
import pytest
import torch
from parity import note
from torch import nn

from atrous.errors import ModelError
from atrous.models.unet3d import unet3d


def test_parameters_are_the_papers_and_those_of_batch_norm() -> None:
    with torch.device("meta"):
        model = unet3d(3)
    norms = sum(p.numel() for layer in model.modules() if isinstance(layer, nn.BatchNorm3d) for p in layer.parameters())
    ours = sum(p.numel() for p in model.parameters()) - norms
    assert ours == 19_069_955
    assert norms == 4_672
    note("unet3d (classes=3), norms left aside", "published count", counts=(ours, 19_069_955))
    assert not any(key.startswith("up.") and key.endswith("bias") for key, _ in model.named_parameters())


def test_the_figures_sizes_and_channels() -> None:
    seen: list[tuple[int, int]] = []
    with torch.device("meta"):
        model = unet3d(3)
        for block in (*model.down, *model.up, *model.merge):
            block.register_forward_hook(lambda module, inputs, y: seen.append((y.shape[1], y.shape[2])))
        assert model.valid(torch.zeros(1, 3, 132, 132, 116)).shape == (1, 3, 44, 44, 28)
        assert model.valid(torch.zeros(1, 3, 92, 100, 108)).shape == (1, 3, 4, 12, 20)
        for side in (84, 96, 93):
            with pytest.raises(ModelError, match=f"132 x 132 x {side} voxels"):
                model.valid(torch.zeros(1, 3, 132, 132, side))
    assert seen[:10] == [(64, 128), (128, 60), (256, 26), (512, 9),
                         (512, 18), (256, 14), (256, 28), (128, 24), (128, 48), (64, 44)]  # fmt: skip


@torch.no_grad()
def test_the_border_is_mirrored() -> None:
    torch.manual_seed(0)
    model, image = unet3d(2, in_channels=1, width=1).eval(), torch.randn(1, 1, 3, 9, 4)
    around = ((0, 0), (0, 0), *((44, 44 + (4 - side) % 8) for side in (3, 9, 4)))
    mirrored = torch.from_numpy(np.pad(image.numpy(), around, mode="reflect"))
    assert torch.equal(model(image), model.valid(mirrored)[:, :, :3, :9, :4])


@torch.no_grad()
def test_tiles_are_the_whole() -> None:
    torch.manual_seed(0)
    model, image = unet3d(2, in_channels=1, width=1).eval(), torch.randn(1, 1, 3, 27, 4)
    for layer in model.modules():
        if isinstance(layer, nn.Conv3d | nn.ConvTranspose3d):
            layer.weight.abs_()
    whole = model(image)
    assert float(whole.std()) > 0.01
    torch.testing.assert_close(model.overlap_tile(image, tile=100), whole, rtol=0, atol=1e-5)
    with pytest.raises(ModelError, match="use 100 or more"):
        model.overlap_tile(image, tile=92)


@torch.no_grad()
def test_mirrored_kernels_give_the_mirrored_logits() -> None:
    """So pools start at the border and skips are cut in their middle."""
    torch.manual_seed(0)
    model, x = unet3d(2, in_channels=1, width=1).eval(), torch.randn(1, 1, 92, 92, 100)
    layers = [layer for layer in model.modules() if isinstance(layer, nn.Conv3d | nn.ConvTranspose3d)]
    for layer in layers:
        layer.weight.abs_()  # no ReLU is dead: what lies deep counts
    expected = model.valid(x).flip(4)
    for layer in layers:
        layer.weight.copy_(layer.weight.flip(4))
    torch.testing.assert_close(model.valid(x.flip(4)), expected, rtol=1e-4, atol=1e-5)


def test_a_voxel_sees_92_or_100_of_a_row() -> None:
    """The paper speaks of 155 micrometres at 1.76 a voxel, which is 88: what the network eats."""
    torch.manual_seed(0)
    model = unet3d(1, in_channels=1, width=1).eval()
    model.pool = nn.AvgPool3d(2)  # all of a window counts, not its largest
    for layer in model.modules():
        if isinstance(layer, nn.Conv3d | nn.ConvTranspose3d):
            nn.init.ones_(layer.weight)
    seen = []
    image = torch.ones(1, 1, 92, 92, 108, requires_grad=True)
    logits = model.valid(image)
    for column in (9, 14):  # by the phase of the pools: the first four of eight, the others
        (gradient,) = torch.autograd.grad(logits[0, 0, 0, 0, column], image, retain_graph=True)
        columns = gradient[0, 0].abs().sum((0, 1)).nonzero().flatten()
        seen.append(int(columns.max() - columns.min()) + 1)
    assert seen == [92, 100]


def test_what_is_no_volume_is_named() -> None:
    with pytest.raises(ModelError, match=r"takes volumes .* shape \(1, 3, 64, 96\)"):
        unet3d(2, width=1)(torch.zeros(1, 3, 64, 96))
