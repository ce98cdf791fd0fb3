"""Rates and strides inside dilated encoders, and the same weights at another stride."""

import pytest
import torch
from torch import nn

from atrous import encoders
from atrous.errors import ModelError


def rates(name: str, stage: str, **options: object) -> list[int]:
    """Rates of the convolutions beyond 1x1 in a stage, in order."""
    with torch.device("meta"):
        net = encoders.encoder(name, **options).net.get_submodule(stage)  # type: ignore[arg-type]
    return [layer.dilation[0] for layer in net.modules() if isinstance(layer, nn.Conv2d) and layer.kernel_size[0] > 1]


@pytest.mark.parametrize("stride, options, third, fourth", [
    (8, {}, [1, 2, 2, 2, 2, 2], [2, 4, 4]),
    (8, {"dilate_first": True}, [2] * 6, [4] * 3),
    (16, {}, [1] * 6, [1, 2, 2]),
    (16, {"dilate_first": True}, [1] * 6, [2, 2, 2]),
    (16, {"grid": (1, 2, 4)}, [1] * 6, [2, 4, 8]),
    (8, {"grid": (1, 2, 1)}, [1, 2, 2, 2, 2, 2], [4, 8, 4]),
    (32, {"dilate_first": True, "grid": (1, 2, 4)}, [1] * 6, [1, 2, 4]),
])  # fmt: skip
def test_rates_of_resnet50(stride: int, options: dict[str, object], third: list[int], fourth: list[int]) -> None:
    assert rates("resnet50", "layer3", stride=stride, **options) == third
    assert rates("resnet50", "layer4", stride=stride, **options) == fourth


def test_rates_of_xception65_are_those_of_the_paper() -> None:
    assert rates("xception65", "blocks_19", stride=16) == [1, 1, 1]
    assert rates("xception65", "blocks_20", stride=16) == [2, 2, 2]


@pytest.mark.parametrize("name, options", [
    ("resnet18", {"dilate_first": True}),
    ("resnet50", {"stride_first": True}),
    ("tf_efficientnet_lite0", {"dilate_first": True}),
])  # fmt: skip
@torch.no_grad()
def test_sizes_and_keys_stay(name: str, options: dict[str, bool]) -> None:
    with torch.device("meta"):
        plain = encoders.encoder(name, stride=8)
        other = encoders.encoder(name, stride=8, **options)  # type: ignore[arg-type]
        image = torch.zeros(1, 3, 65, 97)
        assert [f.shape for f in plain(image)] == [f.shape for f in other(image)]
    assert {k: v.shape for k, v in plain.state_dict().items()} == {k: v.shape for k, v in other.state_dict().items()}


def test_strides_move_to_the_first_1x1() -> None:
    with torch.device("meta"):
        block = encoders.encoder("resnet50", stride=8, stride_first=True).net.layer2[0]
    assert [block.conv1.stride, block.conv2.stride, block.conv3.stride] == [(2, 2), (1, 1), (1, 1)]


@pytest.mark.parametrize("name, grid", [("resnet50", (1, 2)), ("resnet50", (0, 1, 2)), ("xception65", (1, 2, 4))])
def test_a_grid_that_does_not_fit_is_one_sentence(name: str, grid: tuple[int, ...]) -> None:
    with torch.device("meta"), pytest.raises(ModelError, match=r"grid .* does not fit encoder"):
        encoders.encoder(name, stride=16, grid=grid)


@pytest.mark.parametrize("options", [{}, {"dilate_first": True, "grid": (3,)}, {"pretrained": False, "in_channels": 5}])
@torch.no_grad()
def test_another_stride_is_that_of_an_encoder_built_so(options: dict[str, object]) -> None:
    torch.manual_seed(0)
    encoder = encoders.encoder("test_resnet", stride=16, **options).eval()  # type: ignore[arg-type]
    built = encoders.encoder("test_resnet", stride=8, **options).eval()  # type: ignore[arg-type]
    built.load_state_dict(encoder.state_dict())
    twin = encoders.restrided(encoder, 8)
    assert not twin.training
    assert twin.strides == built.strides == (2, 4, 8, 8, 8)
    assert all(ours is theirs for ours, theirs in zip(twin.parameters(), encoder.parameters(), strict=True))
    assert all(ours is theirs for ours, theirs in zip(twin.buffers(), encoder.buffers(), strict=True))
    image = torch.randn(1, encoder.in_channels, 50, 70)
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(twin(image), built(image), strict=True))
    assert not torch.allclose(twin(image)[3][:, :, ::2, ::2], encoder(image)[3], atol=1e-4)
