"""DeconvNet is the paper's: sizes, start, mirrored padding, transplanted weights, export."""

import numpy as np
import pytest
import torch
from nets import small_vgg
from torch import nn

from atrous.errors import WeightsError
from atrous.models.deconvnet import deconvnet


def test_parts_have_the_papers_parameters() -> None:
    with torch.device("meta"):
        net = deconvnet()
    count = {name: sum(p.numel() for p in part.parameters()) for name, part in net.named_children()}
    assert count["encoder"] == 14_723_136
    assert count["fc6"] + count["fc7"] + count["fc6_deconv"] == 222_324_224
    assert (count["decoder"], count["score"]) == (14_756_928, 1_365)


def test_sizes_are_those_of_the_released_net() -> None:
    seen: list[tuple[int, int]] = []
    with torch.device("meta"):
        net = deconvnet()
        net.encoder.pool.register_forward_hook(lambda module, inputs, output: seen.append(tuple(output[0].shape[1:3])))
        for part in (net.fc6, net.fc7, net.fc6_deconv, *net.decoder):
            part.register_forward_hook(lambda module, inputs, output: seen.append(tuple(output.shape[1:3])))
        assert net(torch.zeros(1, 3, 224, 224)).shape == (1, 21, 224, 224)
    assert seen == [
        *((64, 112), (128, 56), (256, 28), (512, 14), (512, 7)),
        *((4096, 1), (4096, 1), (512, 7)),
        *((512, 14), (256, 28), (128, 56), (64, 112), (64, 224)),
    ]


@pytest.mark.parametrize("size, padded", [((1, 1), (224, 224)), ((100, 230), (224, 256)), ((257, 224), (288, 224))])
@torch.no_grad()
def test_the_border_is_mirrored_and_cropped(size: tuple[int, int], padded: tuple[int, int]) -> None:
    torch.manual_seed(0)
    net, image = deconvnet(3, width=2).eval(), torch.randn(1, 3, *size)
    around = ((0, 0), (0, 0), (0, padded[0] - size[0]), (0, padded[1] - size[1]))
    mirrored = torch.from_numpy(np.pad(image.numpy(), around, mode="reflect"))
    assert torch.equal(net(image), net(mirrored)[:, :, : size[0], : size[1]])


@torch.no_grad()
def test_it_starts_as_the_released_net() -> None:
    torch.manual_seed(0)
    net = deconvnet(21, width=16)
    for layer in (net.fc6_deconv[0], net.decoder[0][1][0], net.decoder[4][1][0], net.score):
        assert float(layer.weight.std()) == pytest.approx(0.01, rel=0.1)
        assert not layer.bias.any()
    norms = [layer for layer in net.modules() if isinstance(layer, nn.BatchNorm2d)]
    assert len(norms) == 13 + 3 + 13
    assert all((norm.bias == 0.001).all() and (norm.weight == 1).all() for norm in norms)


@torch.no_grad()
def test_vgg_is_transplanted_down_to_fc7() -> None:
    vgg, net = small_vgg(), deconvnet(3, width=2).eval()
    net.load_imagenet(vgg.state_dict())
    image, seen = torch.randn(1, 3, 224, 224), []
    for norm in (net.fc6[1], net.fc7[1]):  # vgg16_bn has no norms here; ours start as none but for their shift
        norm.bias.zero_()
        norm.eps = 0.0
    net.fc7.register_forward_hook(lambda module, inputs, output: seen.append(output))
    net(image)
    torch.testing.assert_close(
        seen[0], vgg.forward_head(vgg.forward_features(image), pre_logits=True)[:, :, None, None]
    )
    state = vgg.state_dict()
    state["pre_logits.fc2.weight"] = torch.zeros(7, 7, 1, 1)
    with pytest.raises(WeightsError, match=r"fc7\.0\.weight has shape \(128, 128, 1, 1\) .* \(7, 7, 1, 1\)"):
        net.load_imagenet(state)


@pytest.mark.parametrize("size", [(64, 96), pytest.param((225, 250), marks=pytest.mark.slow)])
@torch.no_grad()
def test_it_exports(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    net, image = deconvnet(3, width=2).eval(), torch.randn(1, 3, *size)
    exported = torch.export.export(net, (image,)).module()
    torch.testing.assert_close(exported(image), net(image))


@pytest.mark.slow
@torch.no_grad()
def test_one_export_serves_sizes_beyond_224_that_are_padded() -> None:
    """torch.export fixes axes of length 1, and up to 224 pixels fc6 leaves one cell; and whether the crop cuts."""
    torch.manual_seed(0)
    net, any_size = deconvnet(3, width=2).eval(), {2: torch.export.Dim.DYNAMIC, 3: torch.export.Dim.DYNAMIC}
    exported = torch.export.export(net, (torch.randn(1, 3, 260, 300),), dynamic_shapes=(any_size,)).module()
    for size in ((260, 300), (257, 319), (225, 388)):
        image = torch.randn(1, 3, *size)
        torch.testing.assert_close(exported(image), net(image))
