"""ENet, BiSeNet v2, ICNet and Fast-SCNN are the papers': parts, sizes, indices, resolutions, mirrored borders."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from atrous.models.bisenetv2 import bisenetv2
from atrous.models.enet import enet
from atrous.models.fastscnn import fastscnn
from atrous.models.icnet import icnet


def count(*parts: nn.Module) -> int:
    return sum(p.numel() for part in parts for p in part.parameters())


def sizes(model: nn.Module, parts: list[nn.Module], size: tuple[int, int]) -> list[tuple[int, ...]]:
    """(channels, height, width) of what each part gives, in the order of running, for one image of that size."""
    seen: list[tuple[int, ...]] = []

    def note(part: nn.Module, inputs: tuple[torch.Tensor, ...], output: object) -> None:
        first = output[0] if isinstance(output, tuple) else output
        seen.append(tuple(first.shape[1:]))  # type: ignore[attr-defined]

    for part in parts:
        part.register_forward_hook(note)
    assert model(torch.zeros(1, 3, *size)).shape[2:] == size
    return seen


def test_enets_maps_are_table_1() -> None:
    with torch.device("meta"):
        net = enet(12)
        parts = [net.initial, net.down1, net.stage1, net.down2, net.stage2, net.stage3, net.up4, net.stage4, net.up5,
                 net.stage5, net.fullconv]  # fmt: skip
        seen = sizes(net, parts, (512, 512))
    assert seen == [(16, 256, 256), *[(64, 128, 128)] * 2, *[(128, 64, 64)] * 3, *[(64, 128, 128)] * 2,
                    *[(16, 256, 256)] * 2, (12, 512, 512)]  # fmt: skip


def test_enets_second_stage_alternates_and_the_third_repeats_it() -> None:
    net = enet(2)
    for stage in (net.stage2, net.stage3):
        middles = [layer for block in stage for layer in block.modules() if isinstance(layer, nn.Conv2d)]
        kinds = [(layer.kernel_size, layer.dilation[0]) for layer in middles if layer.kernel_size != (1, 1)]
        assert kinds == [((3, 3), 1), ((3, 3), 2), ((5, 1), 1), ((1, 5), 1), ((3, 3), 4),
                         ((3, 3), 1), ((3, 3), 8), ((5, 1), 1), ((1, 5), 1), ((3, 3), 16)]  # fmt: skip
    dropouts = {name: {layer.p for layer in part.modules() if isinstance(layer, nn.Dropout2d)}
                for name, part in net.named_children()}  # fmt: skip
    assert dropouts["down1"] == dropouts["stage1"] == {0.01}
    assert all(dropouts[name] == {0.1} for name in ("down2", "stage2", "stage3", "up4", "stage4", "up5", "stage5"))


@torch.no_grad()
def test_enet_unpools_where_it_pooled() -> None:
    torch.manual_seed(0)
    net = enet(2).eval()
    x = torch.randn(1, 16, 8, 12)
    _, indices = net.down1(x)
    assert torch.equal(indices, functional.max_pool2d(x, 2, return_indices=True)[1])
    for parameter in net.up5.bottleneck.branch[-1].parameters():
        parameter.zero_()
    deep = torch.randn(1, 64, 4, 6)
    expected = functional.max_unpool2d(net.up5.main(deep), indices, 2).relu()
    assert torch.equal(net.up5(deep, indices), expected)
    assert expected.any()


def test_enets_slopes_are_one_to_a_bottleneck_or_one_to_a_map_and_the_decoder_has_none() -> None:
    shared, single = enet(3), enet(3, slopes="channel")
    blocks = 1 + 5 + 9 + 8  # the initial block and the bottlenecks of stages 1, 2 and 3
    assert count(*(layer for layer in shared.modules() if isinstance(layer, nn.PReLU))) == blocks
    assert count(single) - count(shared) == 3_809
    decoder = [layer for part in (single.up4, single.stage4, single.up5, single.stage5) for layer in part.modules()]
    assert not any(isinstance(layer, nn.PReLU) for layer in decoder)
    state = [value for value in shared.state_dict().values() if value.ndim]
    assert len({value.data_ptr() for value in state}) == len(state)  # nothing is kept twice


@pytest.mark.parametrize("build, grid", [(enet, 8), (lambda k: icnet(k, encoder="test_resnet", channels=8), 32)])
@pytest.mark.parametrize("size", [(3, 5), (41, 70)])
@torch.no_grad()
def test_borders_are_mirrored_and_cropped(build: object, grid: int, size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    net, image = build(3).eval(), torch.randn(1, 3, *size)  # type: ignore[operator]
    around = ((0, 0), (0, 0), (0, -size[0] % grid), (0, -size[1] % grid))
    mirrored = torch.from_numpy(np.pad(image.numpy(), around, mode="reflect"))
    torch.testing.assert_close(net(image), net(mirrored)[:, :, : size[0], : size[1]])


def test_bisenets_parts_and_maps() -> None:
    with torch.device("meta"):
        net = bisenetv2(19, aux=True)
        assert count(net.detail) == 519_232
        assert count(net.stem, net.semantic) == 994_896
        assert count(net.context) == 164_608
        assert count(net.aggregate) == 478_976
        assert count(net.aux) == 11_445_372
        seen = sizes(net, [net.stem, *net.semantic, net.detail, net.context, net.aggregate, net.head], (512, 1024))
    assert seen == [(16, 128, 256), (32, 64, 128), (64, 32, 64), (128, 16, 32), (128, 64, 128), (128, 16, 32),
                    (128, 64, 128), (19, 64, 128)]  # fmt: skip


@torch.no_grad()
def test_bisenets_aggregation_gates_both_ways() -> None:
    """With the gates shut by a bias of the semantic branch nothing of the detail branch comes through."""
    torch.manual_seed(0)
    aggregate = bisenetv2(2, channels=4).aggregate.eval()
    semantic = torch.randn(1, 128, 2, 3)
    one, other = (aggregate(torch.randn(1, 128, 8, 12), semantic) for _ in range(2))
    assert not torch.allclose(one, other, atol=1e-3)
    aggregate.semantic_fine[1].bias.fill_(-100)
    aggregate.semantic_coarse[1].bias.fill_(-100)
    one, other = (aggregate(torch.randn(1, 128, 8, 12), semantic) for _ in range(2))
    torch.testing.assert_close(one, other, rtol=0, atol=1e-6)


def test_fastscnns_maps() -> None:
    with torch.device("meta"):
        net = fastscnn(19)
        assert sizes(net, [net.shared, net.scene, net.head], (1024, 2048)) == [
            (64, 128, 256), (128, 32, 64), (19, 128, 256)]  # fmt: skip


def test_icnet_sees_three_resolutions() -> None:
    with torch.device("meta"):
        net = icnet(19)
        narrow = [net.narrow_half, net.narrow_quarter, net.full, net.fuse_half, net.fuse_full, net.head]
        seen = sizes(net, narrow, (1024, 2048))
    assert sorted(seen) == sorted([(256, 64, 128), (256, 32, 64), (64, 128, 256), (128, 64, 128), (128, 128, 256),
                                   (19, 256, 512)])  # fmt: skip


@torch.no_grad()
def test_icnet_halves_the_map_between_the_second_stage_and_the_third() -> None:
    torch.manual_seed(0)
    net = icnet(2, encoder="test_resnet", channels=8).eval()
    image, body = torch.randn(1, 3, 64, 96), net.encoder.net
    x = body["maxpool"](body["act1"](body["bn1"](body["conv1"](image))))
    half = body["layer2"](body["layer1"](x))
    small = functional.interpolate(half, size=(4, 6), mode="bilinear", align_corners=False)
    deep = body["layer4"](body["layer3"](small))
    for got, expected in zip(net._encode(image), (half, deep), strict=True):
        torch.testing.assert_close(got, expected)
    assert deep.shape[2:] == (4, 6)  # dilated: no stride after the cut
