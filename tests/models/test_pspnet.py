"""PSPNet: the figure, step by step, and its widths."""

import pytest
import torch

from atrous.models.pspnet import pspnet


@torch.no_grad()
def test_the_head_is_the_papers_figure() -> None:
    torch.manual_seed(0)
    model, image = pspnet(3, encoder="test_resnet").eval(), torch.randn(2, 3, 65, 97)
    x = model.encoder(image)[-1]  # (2, 96, 9, 13)
    maps = [x]
    for bins, branch in zip((1, 2, 3, 6), model.head.pool.branches, strict=True):
        means = torch.empty(2, 96, bins, bins)
        for i in range(bins):
            for j in range(bins):
                rows = slice(i * 9 // bins, -(-(i + 1) * 9 // bins))
                columns = slice(j * 13 // bins, -(-(j + 1) * 13 // bins))
                means[:, :, i, j] = x[:, :, rows, columns].mean((2, 3))
        maps.append(torch.nn.functional.interpolate(branch(means), (9, 13), mode="bilinear", align_corners=False))
    logits, tail = model.logits_at_stride(image)
    torch.testing.assert_close(logits, model.head.score(torch.cat(maps, 1)))
    assert tail.size == (65, 97)


@pytest.mark.parametrize("encoder, width", [("resnet50", 512), ("resnet18", 128), ("test_resnet", 24)])
def test_pyramid_and_head_have_a_quarter_of_the_channels(encoder: str, width: int) -> None:
    with torch.device("meta"):
        model = pspnet(encoder=encoder)
    assert {branch[0].out_channels for branch in model.head.pool.branches} == {width}
    assert model.head.score[0].weight.shape == (width, 8 * width, 3, 3)


@pytest.mark.parametrize("side", [473, 713])
def test_sizes_are_those_of_the_released_net(side: int) -> None:
    with torch.device("meta"):
        logits, _ = pspnet(encoder="resnet50c").logits_at_stride(torch.zeros(1, 3, side, side))
    assert logits.shape == (1, 21, side // 8 + 1, side // 8 + 1)
