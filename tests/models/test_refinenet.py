"""RefineNet's four blocks, each against its figure, and the widths and sizes of the cascade."""

import torch
from torch.nn import functional

from atrous.models import create_model
from atrous.models.refinenet import ChainedPool, Fusion, ResidualUnit


def test_parameters_are_those_of_the_figure() -> None:
    def conv(channels: int, out: int) -> int:
        return 9 * channels * out + out

    unit = {width: 2 * conv(width, width) for width in (512, 256)}
    model = create_model("refinenet", encoder="test_resnet")
    expected = sum(p.numel() for p in model.encoder.parameters())
    expected += 9 * (96 * 512 + 192 * 256 + 48 * 256 + 32 * 256)  # to the width of the block
    expected += 2 * unit[512] + 2 * conv(512, 512) + unit[512]  # refinenet-4: one path, two pools
    for coarser in (512, 256, 256):
        expected += 2 * unit[256] + 2 * unit[coarser] + conv(256, 256) + conv(coarser, 256)
        expected += 2 * conv(256, 256) + unit[256]
    expected += 2 * unit[256] + conv(256, 21)
    assert sum(p.numel() for p in model.parameters()) == expected


@torch.no_grad()
def test_a_unit_adds_to_what_it_is_given() -> None:
    torch.manual_seed(0)
    unit, x = ResidualUnit(3), torch.randn(1, 3, 5, 6)
    inner = functional.conv2d(functional.relu(x), unit.conv1.weight, unit.conv1.bias, padding=1)
    inner = functional.conv2d(functional.relu(inner), unit.conv2.weight, unit.conv2.bias, padding=1)
    torch.testing.assert_close(unit(x), x + inner)
    for parameter in unit.parameters():
        parameter.zero_()
    assert torch.equal(unit(x), x)


@torch.no_grad()
def test_fusion_is_at_the_finest_size_and_the_least_width() -> None:
    torch.manual_seed(0)
    fusion, fine, coarse = Fusion((4, 6)), torch.randn(1, 4, 8, 10), torch.randn(1, 6, 4, 5)
    risen = functional.interpolate(fusion.convs[1](coarse), (8, 10), mode="bilinear")
    fused = fusion([fine, coarse])
    assert fused.shape == (1, 4, 8, 10)
    torch.testing.assert_close(fused, fusion.convs[0](fine) + risen)


@torch.no_grad()
def test_pools_are_chained_and_all_are_added() -> None:
    torch.manual_seed(0)
    chain, x = ChainedPool(2, 3), torch.randn(1, 2, 7, 9)
    total = current = x.clamp(min=0)
    for _, conv in chain.steps:
        padded = functional.pad(current, (2, 2, 2, 2), value=-torch.inf)
        current = conv(padded.unfold(2, 5, 1).unfold(3, 5, 1).amax((4, 5)))
        total = total + current
    torch.testing.assert_close(chain(x), total)


@torch.no_grad()
def test_the_cascade_goes_from_deep_to_fine() -> None:
    model, seen = create_model("refinenet", classes=3, encoder="test_resnet", channels=(16, 8, 6, 8)).eval(), []
    for block in model.head.blocks:
        block.register_forward_hook(lambda module, inputs, output: seen.append(tuple(output.shape[1:])))
    logits, _ = model.logits_at_stride(torch.randn(1, 3, 64, 96))
    assert seen == [(16, 2, 3), (8, 4, 6), (6, 8, 12), (6, 16, 24)]  # never wider again than the map from above
    assert logits.shape == (1, 3, 16, 24)
