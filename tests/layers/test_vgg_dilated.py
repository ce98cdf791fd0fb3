"""VGG16 with holes: sizes, places and reach of its cells as in DeepLab v1; fc6 cut from VGG's."""

import pytest
import torch
from torch import nn

from atrous.errors import ModelError, WeightsError
from atrous.layers.vgg import THEIRS
from atrous.layers.vgg_dilated import DilatedVGG16, FieldOfView, on_pixels
from atrous.ops.resize import resize


def seen(vgg: DilatedVGG16, then: nn.Module, side: int, cell: int) -> torch.Tensor:
    """The weight of every image row in a cell, with filters of ones and average pools."""
    vgg.shrink, vgg.keep = nn.AvgPool2d(3, 2, 1, ceil_mode=True), nn.AvgPool2d(3, 1, 1)
    for layer in [*vgg.modules(), *then.modules()]:
        if isinstance(layer, nn.Conv2d):
            nn.init.ones_(layer.weight)
    image = torch.ones(1, 1, side, side, dtype=torch.float64, requires_grad=True)
    then.double()(vgg.double()(image)[0])[0, 0, cell, cell].backward()
    rows = image.grad[0, 0].sum(1)
    assert rows[0] == rows[-1] == 0, "the cell must not see the border"
    return rows / rows.sum()


@pytest.mark.parametrize("average", [False, True])
@pytest.mark.parametrize("cell", [40, 43])
def test_a_cell_lies_on_its_eighth_pixel(cell: int, average: bool) -> None:
    rows = seen(DilatedVGG16(1, width=1, average=average), nn.Identity(), 641, cell)
    assert float((rows * torch.arange(641)).sum()) == pytest.approx(8 * cell, abs=1e-6)


@pytest.mark.parametrize("kernel, rate, reach", [(7, 4, 419), (4, 8, 419), (3, 12, 419), (4, 4, 323)])
@pytest.mark.parametrize("average", [False, True])
def test_fc6_sees_as_far_as_published(kernel: int, rate: int, reach: int, average: bool) -> None:
    fc6 = FieldOfView(8, 8, kernel=kernel, rate=rate)[0]
    rows = seen(DilatedVGG16(1, width=1, average=average), fc6, 641, 40).nonzero().flatten()
    assert int(rows[-1] - rows[0]) + 1 == reach + 16 * average


def test_sizes_are_those_of_the_released_net() -> None:
    sizes: list[int] = []
    with torch.device("meta"):
        vgg = DilatedVGG16()
        for pool in (vgg.shrink, vgg.keep):
            pool.register_forward_hook(lambda module, inputs, output: sizes.append(output.shape[2]))
        assert vgg(torch.zeros(1, 3, 321, 321))[0].shape == (1, 512, 41, 41)
        assert sizes == [161, 81, 41, 41, 41]
        for side in (1, 2, 7, 8, 9, 10, 64, 65, 66, 100):
            assert vgg(torch.zeros(1, 3, side, 500))[0].shape == (1, 512, -(-(side - 1) // 8) + 1, 64)


@pytest.mark.parametrize("kernel, rate", [(7, 4), (4, 4), (4, 8), (3, 12), (3, 24)])
def test_fields_keep_the_size(kernel: int, rate: int) -> None:
    assert FieldOfView(2, 3, kernel=kernel, rate=rate)(torch.randn(1, 2, 9, 14)).shape == (1, 3, 9, 14)


def test_scores_on_pixels_are_the_zoom_of_the_released_net() -> None:
    torch.manual_seed(0)
    scores, image = torch.randn(1, 2, 4, 6, dtype=torch.float64), torch.empty(1, 3, 25, 41)
    logits, tail = on_pixels(scores, image)
    torch.testing.assert_close(tail.apply(logits), resize(scores, (25, 41), align_corners=True))


@pytest.mark.parametrize("height, width", [(1, 1), (18, 32), (24, 25), (26, 40)])
def test_every_cell_has_its_pixel_at_any_size(height: int, width: int) -> None:
    scores = torch.randn(1, 2, -(-(height - 1) // 8) + 1, -(-(width - 1) // 8) + 1, dtype=torch.float64)
    logits, tail = on_pixels(scores, torch.empty(1, 3, height, width))
    up = tail.apply(logits)
    assert up.shape == (1, 2, height, width)
    inside = up[:, :, ::8, ::8]
    torch.testing.assert_close(inside, scores[:, :, : inside.shape[2], : inside.shape[3]])


def test_pixels_beyond_the_last_cell_have_its_scores() -> None:
    scores = torch.randn(1, 2, 3, 2, dtype=torch.float64)  # a ResNet's for 24 x 16: cells on 0, 8, 16 and 0, 8
    logits, tail = on_pixels(scores, torch.empty(1, 3, 24, 16))
    up = tail.apply(logits)
    torch.testing.assert_close(up[:, :, 16:, 8:], scores[:, :, 2:, 1:].expand(1, 2, 8, 8))


def imagenet(width: int = 2) -> dict[str, torch.Tensor]:
    """Weights as timm names them; fc6 and fc7 tell filter, input and tap."""
    torch.manual_seed(0)
    own = list(DilatedVGG16(3, width=width).convs.values())
    state = {f"{name}.weight": layer.weight.detach() for name, layer in zip(THEIRS[:13], own, strict=True)}
    state |= {f"{name}.bias": torch.randn(layer.bias.shape) for name, layer in zip(THEIRS[:13], own, strict=True)}
    wide, channels = 64 * width, 8 * width
    filters, inputs, taps = torch.arange(wide), torch.arange(wide), torch.arange(49).view(7, 7)
    state[f"{THEIRS[13]}.weight"] = (filters[:, None, None, None] * 100 + taps).expand(wide, channels, 7, 7).float()
    state[f"{THEIRS[14]}.weight"] = (filters[:, None] * 1000 + inputs)[:, :, None, None].float()
    return state | {f"{name}.bias": filters.float() for name in THEIRS[13:]}


@pytest.mark.parametrize("kernel, taps", [(3, [0, 3, 6]), (4, [0, 2, 4, 6]), (7, [0, 1, 2, 3, 4, 5, 6])])
@pytest.mark.parametrize("out, first, filters", [(32, 0, range(0, 128, 4)), (32, 3, range(3, 128, 4)),
                                                 (128, 0, range(128))])  # fmt: skip
def test_fc6_and_fc7_are_cut_from_vgg(kernel: int, taps: list[int], out: int, first: int, filters: range) -> None:
    field = FieldOfView(16, out, kernel=kernel, rate=4)
    field.load_imagenet(imagenet(), first=first)
    chosen, grid = torch.tensor(list(filters)), torch.tensor([[7 * row + column for column in taps] for row in taps])
    assert torch.equal(field[0].weight[:, 5].long(), chosen[:, None, None] * 100 + grid)
    assert torch.equal(field[3].weight[:, :, 0, 0].long(), chosen[:, None] * 1000 + chosen)
    assert torch.equal(field[0].bias.long(), chosen)
    assert torch.equal(field[3].bias.long(), chosen)


@pytest.mark.parametrize("channels", [1, 3])
def test_convolutions_are_transplanted(channels: int) -> None:
    state, vgg = imagenet(), DilatedVGG16(channels, width=2)
    vgg.load_imagenet(state)
    for name, layer in zip(THEIRS[:13], vgg.convs.values(), strict=True):
        expected = state[f"{name}.weight"]
        expected = expected.sum(1, keepdim=True) if channels == 1 and name == "features.0" else expected
        torch.testing.assert_close(layer.weight, expected)
        assert torch.equal(layer.bias, state[f"{name}.bias"])


def test_what_does_not_fit_is_one_sentence_and_nothing_is_loaded() -> None:
    state, field = imagenet(), FieldOfView(16, 32)
    with pytest.raises(
        WeightsError, match=r"conv1_1\.weight has shape \(3, .* gives \(2, .*vgg16\.tv_in1k and width=64"
    ):
        DilatedVGG16(width=3).load_imagenet(state)
    with pytest.raises(WeightsError, match=r"shape \(32, 8, 3, 3\) and pre_logits\.fc1\.weight gives \(32, 16, 3, 3\)"):
        FieldOfView(8, 32).load_imagenet(state)
    before = field[0].weight.clone()
    state.pop("pre_logits.fc2.bias")
    with pytest.raises(WeightsError, match=r"the weights have no pre_logits\.fc2\.bias"):
        field.load_imagenet(state)
    assert torch.equal(field[0].weight, before)
    with pytest.raises(ModelError, match="width 0"):
        DilatedVGG16(width=0)
