"""DeepLab: v1's map, v2's sums and scales, v3's rates, the stride of a built net, torchvision's logits."""

from pathlib import Path

import pytest
import torch
import torchvision
from parity import compare, label
from torch import nn
from torch.nn.functional import interpolate

from atrous.errors import ModelError
from atrous.layers.vgg import THEIRS
from atrous.layers.vgg_dilated import DilatedVGG16
from atrous.models import create_model
from atrous.models.deeplab import deeplabv3, deeplabv3plus, set_stride
from atrous.models.deeplab_early import ASPP_L, ASPP_S, SCALES, deeplabv1, deeplabv2
from atrous.zoo.convert.torchvision import OURS, from_torchvision


def rates(module: nn.Module) -> list[int]:
    return [layer.dilation[0] for layer in module.modules() if isinstance(layer, nn.Conv2d) and layer.dilation[0] > 1]


def with_statistics(model: nn.Module) -> nn.Module:
    """The model, evaluating, with norms that hold a batch's own statistics, so that features keep their size."""
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = None
            nn.init.uniform_(layer.weight, 0.5, 1.5)
            nn.init.normal_(layer.bias, std=0.3)
    with torch.no_grad():
        model.train()(torch.randn(2, 3, 96, 128))
    return model.eval()


def test_v1_scores_every_eighth_pixel() -> None:
    with torch.device("meta"):
        model, image = deeplabv1(), torch.zeros(1, 3, 321, 321)
        assert model.head(model.encoder(image)).shape == (1, 21, 41, 41)
        assert rates(deeplabv1(fc6="4x4_rate8").head.field) == [8]
        assert rates(model) == [2, 2, 2, 12]


@torch.no_grad()
def test_v1_is_the_zoom_of_its_scores() -> None:
    torch.manual_seed(0)
    model, image = deeplabv1(3, width=2).eval(), torch.randn(1, 3, 33, 57)
    scores = model.head(model.encoder(image))
    assert scores.shape == (1, 3, 5, 8)
    torch.testing.assert_close(model(image), interpolate(scores, (33, 57), mode="bilinear", align_corners=True))


@pytest.mark.parametrize("encoder", ["vgg16", "test_resnet"])
@torch.no_grad()
def test_v2_sums_the_scores_of_its_rates(encoder: str) -> None:
    torch.manual_seed(0)
    model, image = deeplabv2(3, encoder=encoder, width=2, rates=ASPP_S).eval(), torch.randn(1, 3, 65, 97)
    x = model.encoder(image)[-1]
    together = sum(branch(x) for branch in model.branches)
    torch.testing.assert_close(model(image), interpolate(together, (65, 97), mode="bilinear", align_corners=True))
    assert [rates(branch) for branch in model.branches] == [[2], [4], [8], [12]]
    assert [rates(branch) for branch in deeplabv2(3, encoder=encoder, width=2).branches] == [[rate] for rate in ASPP_L]


@pytest.mark.parametrize("encoder", ["vgg16", "test_resnet"])
@torch.no_grad()
def test_v2_takes_the_larger_score_of_three_scales(encoder: str) -> None:
    torch.manual_seed(0)
    model, image = deeplabv2(3, encoder=encoder, width=2, scales=SCALES).eval(), torch.randn(1, 3, 65, 129)

    def resized(x: torch.Tensor, *size: int) -> torch.Tensor:
        return interpolate(x, size, mode="bilinear", align_corners=True)

    images = [image, resized(image, 49, 97), resized(image, 33, 65)]
    features = [model.encoder(x)[-1] for x in images]
    assert [tuple(x.shape[2:]) for x in features] == [(9, 17), (7, 13), (5, 9)]
    scores = [resized(sum(branch(x) for branch in model.branches), 9, 17) for x in features]
    fused = torch.maximum(torch.maximum(scores[0], scores[1]), scores[2])
    outputs = model.outputs(image)
    assert len(outputs) == 4
    for output, expected in zip(outputs, [fused, *scores], strict=True):
        torch.testing.assert_close(output, resized(expected, 65, 129))
    assert torch.equal(model(image), outputs[0])
    wins = [(outputs[0] == one).float().mean() for one in outputs[1:]]
    assert min(wins) > 0.05, "every scale should win somewhere"


def test_v2_is_caffes_resnet_where_asked() -> None:
    with torch.device("meta"):
        net = deeplabv2(stride_first=True).encoder.net
        plain = deeplabv2(dilate_first=False).encoder.net
    assert rates(net.layer3) == [2] * 23
    assert rates(net.layer4) == [4] * 3
    assert (net.layer2[0].conv1.stride, net.layer2[0].conv2.stride) == ((2, 2), (1, 1))
    assert rates(plain.layer4) == [2, 4, 4]
    assert (plain.layer2[0].conv1.stride, plain.layer2[0].conv2.stride) == ((1, 1), (2, 2))


@pytest.mark.parametrize("name, options", [("deeplabv1", {}), ("deeplabv2", {"encoder": "vgg16"}), ("parsenet", {})])
@torch.no_grad()
def test_vggs_weights_come_in(
    name: str, options: dict[str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    own = list(DilatedVGG16(width=2).convs.values())
    shapes = [(128, 16, 7, 7), (128, 128, 1, 1)]
    weights = [layer.weight.detach() for layer in own] + [torch.randn(shape) for shape in shapes]
    state = {f"{theirs}.weight": weight for theirs, weight in zip(THEIRS, weights, strict=True)}
    state |= {f"{theirs}.bias": torch.randn(len(weight)) for theirs, weight in zip(THEIRS, weights, strict=True)}
    torch.save(state, tmp_path / "vgg.pth")
    model = create_model(name, classes=3, width=2, pretrained=tmp_path / "vgg.pth", **options)
    assert torch.equal(model.encoder.convs["conv4_2"].weight, state["features.19.weight"])
    fields = model.branches if name == "deeplabv2" else [model.head.field]
    for index, field in enumerate(fields):
        assert torch.equal(field[0].bias, state["pre_logits.fc1.bias"][index::4])
        assert torch.equal(field[3].bias, state["pre_logits.fc2.bias"][index::4])


def test_v3s_rates_are_the_papers() -> None:
    with torch.device("meta"):
        best = deeplabv3(grid=(1, 2, 4), dilate_first=True)
        cascade = deeplabv3(cascade=True, grid=(1, 2, 1), dilate_first=True)
        dense = deeplabv3(cascade=True, stride=8)
    assert rates(best.encoder) == [2, 4, 8]
    assert rates(best.head.aspp) == [6, 12, 18]
    assert rates(cascade.encoder) == [2, 4, 2]
    assert rates(cascade.head.blocks) == [4, 8, 4, 8, 16, 8, 16, 32, 16]
    assert rates(dense.head.blocks) == [8, 16, 8, 16, 32, 16, 32, 64, 32]
    assert [p.shape for p in cascade.parameters()] == [p.shape for p in dense.parameters()]


FORMS = [
    ("deeplabv3", {}),
    ("deeplabv3", {"grid": (2,), "dilate_first": True, "aux": True}),
    ("deeplabv3", {"cascade": True}),
    ("deeplabv3plus", {"dilate_first": True}),
]


@pytest.mark.parametrize("name, options", FORMS, ids=lambda v: v if isinstance(v, str) else "-".join(v))
@torch.no_grad()
def test_a_trained_net_runs_at_another_stride(name: str, options: dict[str, object]) -> None:
    torch.manual_seed(0)
    model = with_statistics(create_model(name, classes=3, encoder="test_resnet", stride=16, **options))
    built = create_model(name, classes=3, encoder="test_resnet", stride=8, **options).eval()
    built.load_state_dict(model.state_dict())
    image, parameters = torch.randn(1, 3, 65, 97), list(model.parameters())
    at_16, at_8 = model(image), built(image)
    assert not torch.allclose(at_16, at_8, atol=0.01)
    assert set_stride(model, 8) is model
    torch.testing.assert_close(model(image), at_8)
    assert model.encoder.strides[-1] == 8
    assert all(ours is before for ours, before in zip(model.parameters(), parameters, strict=True))
    assert torch.equal(set_stride(model, 16)(image), at_16)


def test_a_stride_that_cannot_be_changes_nothing() -> None:
    model = deeplabv3(3, encoder="test_resnet", stride=8, rates=(12, 9))
    with pytest.raises(ModelError, match="a rate of 9 at stride 8 is no whole number at stride 16"):
        set_stride(model, 16)
    with pytest.raises(ModelError, match="stride 4 is not one"):
        set_stride(model, 4)
    assert rates(model.head.aspp) == [12, 9]
    assert model.encoder.strides[-1] == 8
    mobile = deeplabv3(3, encoder="mobilenet_v3_large")
    with pytest.raises(ModelError, match="cannot be built with stride 8"):
        set_stride(mobile, 8)
    assert rates(mobile.head.aspp) == [6, 12, 18]


def test_v3plus_takes_xceptions_256_channels_of_stride_4() -> None:
    with torch.device("meta"):
        model = deeplabv3plus(encoder="xception65")
        assert model.head.low[0].weight.shape == (48, 256, 1, 1)
        logits, _ = model.logits_at_stride(torch.zeros(1, 3, 513, 513))
    assert logits.shape == (1, 21, 129, 129)


NAMES = [pytest.param(name, marks=pytest.mark.slow) if "resnet101" in name else name for name in sorted(OURS)
         if "resnet50" not in name]  # fmt: skip
"""Those on resnet50 are compared in test_parity.py."""


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_torchvisions_weights_give_torchvisions_logits(name: str) -> None:
    torch.manual_seed(0)
    aux = not name.startswith("lraspp")  # which has none
    extra: dict[str, bool] = {"aux_loss": True} if aux else {}
    build = getattr(torchvision.models.segmentation, name)
    theirs = with_statistics(build(weights=None, weights_backbone=None, **extra))
    model, options = OURS[name]
    options = {**options, **({"aux": True} if aux else {})}
    ours = create_model(model, **options).eval()
    ours.load_state_dict(from_torchvision(theirs.state_dict(), name))
    image = torch.randn(1, 3, 129, 305)  # a map of 17 x 39 at stride 8: every rate reaches beyond its centre
    expected = list(theirs(image).values())
    got = ours.outputs(image) if aux else (ours(image),)
    assert min(float(one.std((2, 3)).mean()) for one in expected) > 0.1
    for one, other in zip(got, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-4)
    compare(label(model, options), f"torchvision {name}", got[0], expected[0], networks=(ours, theirs))
