"""VGG16 with switches: timm's own features with timm's weights, and where the maxima were."""

import pytest
import timm
import torch
from nets import small_vgg

from atrous.errors import ModelError, WeightsError
from atrous.layers.switches import SwitchedVGG16


def test_every_name_and_shape_is_timms() -> None:
    with torch.device("meta"):
        theirs = timm.create_model("vgg16_bn").state_dict()
        SwitchedVGG16().load_imagenet(theirs)
    assert sum(key.startswith("features.") and not key.endswith("tracked") for key in theirs) == 13 * 6


@torch.no_grad()
def test_timms_weights_give_timms_features() -> None:
    theirs, ours = small_vgg(), SwitchedVGG16(width=2).eval()
    ours.load_imagenet(theirs.state_dict())
    image = torch.randn(2, 3, 64, 96)
    assert ours.strides == (2, 4, 8, 16, 32)
    for index, feature in zip((6, 13, 23, 33, 43), ours(image), strict=True):
        torch.testing.assert_close(feature, theirs.features[: index + 1](image))
    assert [feature.shape[1] for feature in ours(image)] == list(ours.channels)


@torch.no_grad()
def test_switches_point_at_the_maxima_and_sizes_round_up() -> None:
    torch.manual_seed(0)
    vgg = SwitchedVGG16(width=1).eval()
    pooled, switches = vgg.with_switches(torch.randn(1, 3, 360, 479))
    assert [size for _, size in switches] == [(360, 479), (180, 240), (90, 120), (45, 60), (23, 30)]
    assert pooled[-1].shape[2:] == (12, 15)
    seen: list[torch.Tensor] = []
    vgg.convs["conv4_3"].register_forward_hook(lambda module, inputs, output: seen.append(output))
    pooled, switches = vgg.with_switches(torch.randn(1, 3, 33, 65))
    assert torch.equal(seen[0].flatten(2).gather(2, switches[3][0].flatten(2)), pooled[3].flatten(2))


@pytest.mark.parametrize("channels", [1, 5])
def test_imagenet_weights_fit_other_channels(channels: int) -> None:
    state, vgg = small_vgg().state_dict(), SwitchedVGG16(channels, width=2)
    vgg.load_imagenet(state)
    first = state["features.0.weight"]
    expected = {1: first.sum(1, keepdim=True), 5: torch.cat([first, first[:, :2]], 1) * 3 / 5}[channels]
    torch.testing.assert_close(vgg.convs["conv1_1"][0].weight, expected)


def test_what_does_not_fit_is_named_and_nothing_is_loaded() -> None:
    state, vgg = small_vgg().state_dict(), SwitchedVGG16(width=2)
    before = vgg.convs["conv1_1"][0].weight.clone()
    del state["features.41.running_mean"]
    with pytest.raises(
        WeightsError,
        match=r"conv5_3\.1\.running_mean .* the weights have no features\.41\.running_mean; use timm's vgg16_bn",
    ):
        vgg.load_imagenet(state)
    assert torch.equal(vgg.convs["conv1_1"][0].weight, before)
    with pytest.raises(ModelError, match="width 0"):
        SwitchedVGG16(width=0)
