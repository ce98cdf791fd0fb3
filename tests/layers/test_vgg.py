"""VGG16: sizes, and where its cells lie on the image."""

import pytest
import timm
import torch
from torch import nn

from atrous.errors import ModelError, WeightsError
from atrous.layers import VGG16
from atrous.layers.vgg import THEIRS


def centre(padding: str, index: int, cell: int, side: int = 160) -> float:
    """The image row that cell `cell` of feature `index` sees, by its gradient; pools average."""
    vgg = VGG16(1, padding=padding, width=1, dropout=0.0).double()  # type: ignore[arg-type]
    vgg.pool = nn.AvgPool2d(2, ceil_mode=True)
    for parameter in vgg.parameters():
        nn.init.constant_(parameter, 1.0 / parameter[0].numel() if parameter.ndim > 1 else 0.0)
    image = torch.ones(1, 1, side, side, dtype=torch.float64, requires_grad=True)
    vgg(image)[index][0, 0, cell, cell].backward()
    rows = image.grad[0, 0].sum(1)
    assert rows[0] == rows[-1] == 0, "the cell must not see the border"
    return float((rows * torch.arange(side)).sum() / rows.sum())


@pytest.mark.parametrize("padding, cells, offset", [("caffe100", (20, 10), 99), ("same", (10, 5), 0)])
def test_cells_lie_where_the_crops_of_fcn_assume(padding: str, cells: tuple[int, int], offset: int) -> None:
    for index, cell, stride in zip((0, 1), cells, (8, 16), strict=True):
        assert centre(padding, index, cell) == pytest.approx(stride * cell + (stride - 1) / 2 - offset, abs=1e-6)


@pytest.mark.parametrize("padding, cell, expected", [("caffe100", 8, 32 * 8 + 12.5), ("same", 8, 32 * 8 + 15.5)])
def test_fc7_lies_where_the_crops_of_fcn_assume(padding: str, cell: int, expected: float) -> None:
    assert centre(padding, 2, cell, side=544) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("size, pools, score", [((500, 500), (349, 175, 88, 44, 22), (16, 16)),
                                                ((224, 224), (211, 106, 53, 27, 14), (8, 8))])  # fmt: skip
def test_sizes_are_those_of_the_released_net(
    size: tuple[int, int], pools: tuple[int, ...], score: tuple[int, int]
) -> None:
    seen: list[int] = []
    with torch.device("meta"):
        vgg = VGG16()
        vgg.pool.register_forward_hook(lambda module, inputs, output: seen.append(output.shape[2]))
        features = vgg(torch.zeros(1, 3, *size))
    assert tuple(seen) == pools
    assert features[2].shape == (1, 4096, *score)


def test_same_rounds_up() -> None:
    with torch.device("meta"):
        vgg = VGG16(padding="same")
        sizes = [tuple(feature.shape[2:]) for feature in vgg(torch.zeros(1, 3, 33, 65))]
    assert sizes == [(5, 9), (3, 5), (2, 3)]


def test_names_and_shapes_are_those_of_timm() -> None:
    with torch.device("meta"):
        ours, theirs = VGG16(), timm.create_model("vgg16").state_dict()
    for (_, layer), name in zip(ours.convs.items(), THEIRS, strict=True):
        assert layer.weight.shape == theirs[f"{name}.weight"].shape
    left = {key.rsplit(".", 1)[0] for key in theirs} - set(THEIRS)
    assert left == {"head.fc"}


@pytest.mark.parametrize("channels", [1, 3, 5])
def test_imagenet_weights_are_transplanted(channels: int) -> None:
    torch.manual_seed(0)
    source, vgg = VGG16(3, width=2), VGG16(channels, width=2)
    layers = zip(THEIRS, source.convs.values(), strict=True)
    state = {f"{name}.{part}": p.detach() for name, layer in layers for part, p in layer.named_parameters()}
    vgg.load_imagenet(state)
    for name, layer in list(source.convs.items())[1:]:
        assert torch.equal(vgg.convs[name].weight, layer.weight)
    first = source.convs["conv1_1"].weight
    expected = {1: first.sum(1, keepdim=True), 3: first, 5: torch.cat([first, first[:, :2]], 1) * 3 / 5}[channels]
    torch.testing.assert_close(vgg.convs["conv1_1"].weight, expected)
    state.pop("pre_logits.fc1.weight")
    with pytest.raises(
        WeightsError, match=r"fc6\.weight .* the weights have no pre_logits\.fc1\.weight; use timm's vgg16\.tv_in1k"
    ):
        vgg.load_imagenet(state)


@pytest.mark.parametrize("options", [{"padding": "full"}, {"width": 0}])
def test_impossible_options_are_named(options: dict[str, object]) -> None:
    with pytest.raises(ModelError, match=str(next(iter(options)))):
        VGG16(**options)  # type: ignore[arg-type]
