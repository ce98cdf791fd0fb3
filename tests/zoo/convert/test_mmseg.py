"""mmsegmentation's checkpoints load by their names; no logits are compared, its package cannot be installed."""

import math

import pytest
import torch
from parity import label, note
from published import mmseg as published

from atrous.errors import ModelError, WeightsError
from atrous.models import create_model
from atrous.zoo.convert import mmseg
from atrous.zoo.convert.mmseg import OURS, from_mmseg, name_of
from atrous.zoo.importer import load_strictly

NETS = ("fcn", "pspnet", "deeplabv3", "deeplabv3plus", "upernet")

FORMS = [
    *((net, "r50", True) for net in NETS),
    ("segformer", "b0", False),
    *(pytest.param(net, "r101", False, marks=pytest.mark.slow) for net in NETS),
    *(pytest.param("segformer", f"b{size}", False, marks=pytest.mark.slow) for size in range(1, 6)),
]

COUNTS = [
    ("fcn", "r50", False, 47_134_069),
    ("fcn", "r50", True, 49_499_274),
    pytest.param("fcn", "r101", True, 68_491_402, marks=pytest.mark.slow),
    ("pspnet", "r50", False, 46_611_829),
    ("pspnet", "r50", True, 48_977_034),
    pytest.param("pspnet", "r101", True, 67_969_162, marks=pytest.mark.slow),
    ("deeplabv3", "r50", False, 65_749_365),
    ("deeplabv3", "r50", True, 68_114_570),
    pytest.param("deeplabv3", "r101", True, 87_106_698, marks=pytest.mark.slow),
    ("deeplabv3plus", "r50", False, 41_226_213),
    ("deeplabv3plus", "r50", True, 43_591_418),
    pytest.param("deeplabv3plus", "r101", True, 62_583_546, marks=pytest.mark.slow),
    ("upernet", "r50", False, 64_051_573),
    ("upernet", "r50", True, 66_416_778),
]
"""Network, backbone, auxiliary head, parameters with 21 classes as counted from mmseg's configurations."""


def named(net: str, backbone: str) -> str:
    return name_of(net, f"mit-{backbone}" if net == "segformer" else backbone)


@pytest.mark.parametrize("net, backbone, aux", FORMS)
def test_every_published_tensor_has_its_place_and_none_lacks(net: str, backbone: str, aux: bool) -> None:
    name = named(net, backbone)
    page, options = OURS[name]
    with torch.device("meta"):
        state = {key: torch.empty(shape) for key, shape in published(net, backbone, 19, aux=aux).items()}
        own = create_model(page, classes=19, **options, **({"aux": True} if aux else {})).state_dict()
    renamed = from_mmseg(state, name)
    assert {key: value.shape for key, value in renamed.items()} == {
        key: value.shape for key, value in own.items() if not key.endswith("num_batches_tracked")
    }


@pytest.mark.parametrize("net, backbone, aux, count", COUNTS)
def test_as_many_parameters_as_mmsegs(net: str, backbone: str, aux: bool, count: int) -> None:
    page, options = OURS[named(net, backbone)]
    with torch.device("meta"):
        network = create_model(page, classes=21, **options, aux=aux)
    ours = sum(p.numel() for p in network.parameters())
    assert ours == count
    note(label(page, {**options, "aux": aux}), "mmsegmentation's configuration", counts=(ours, count))
    shapes = published(net, backbone, 21, aux=aux)
    assert sum(math.prod(shape) for key, shape in shapes.items() if ".running_" not in key) == count


def test_what_is_missing_or_unknown_is_told_apart() -> None:
    page, options = OURS["fcn_r50-d8"]
    with torch.device("meta"):
        network = create_model(page, classes=2, **options)
        state = {key: torch.empty(shape) for key, shape in published("fcn", "r50", 2, aux=False).items()}
    del state["decode_head.conv_cat.bn.bias"]
    state["decode_head.conv_dog.bn.bias"] = state["neck.conv.weight"] = torch.zeros(512)
    state["backbone.stem.2.weight"] = state["decode_head.conv_seg.bias"] = torch.zeros(3)
    misfit = load_strictly(network, state, mmseg, "fcn_r50-d8")
    assert misfit is not None
    assert misfit.missing == ["decode_head.conv_cat.1.bias"]
    assert misfit.unexpected == ["decode_head.conv_dog.bn.bias", "neck.conv.weight", "backbone.stem.2.weight"]
    assert misfit.shapes == ["decode_head.conv_seg.bias (3,) for (2,)"]


def test_query_key_and_value_are_mmsegs_thirds() -> None:
    tensor = torch.arange(6.0)
    renamed = from_mmseg({"backbone.layers.1.1.0.attn.attn.in_proj_bias": tensor}, "segformer_mit-b0")
    at = "encoder.net.stages.1.blocks.0.attention"
    assert {key: value.tolist() for key, value in renamed.items()} == {
        f"{at}.query.bias": [0, 1], f"{at}.key.bias": [2, 3], f"{at}.value.bias": [4, 5]
    }  # fmt: skip


@torch.no_grad()
def test_the_image_mean_comes_first_in_deeplab() -> None:
    """A bottleneck that reads its first channels alone sees the same everywhere, inside of its padding."""
    torch.manual_seed(0)
    head = create_model("mmseg_deeplabv3", classes=2, encoder="test_resnet", channels=8).eval().decode_head
    head.bottleneck[0].weight[:, 8:] = 0
    x = head([torch.randn(1, head.image_pool.conv[0].in_channels, 6, 7)])[:, :, 1:-1, 1:-1]
    assert float(x.std()) > 0
    torch.testing.assert_close(x, x[:, :, :1, :1].expand_as(x))


@torch.no_grad()
def test_segformer_reads_the_finest_level_first() -> None:
    torch.manual_seed(0)
    model = create_model("mmseg_segformer", classes=2, channels=8).eval()
    model.decode_head.fusion_conv[0].weight[:, 8:] = 0
    features = [torch.randn_like(x) for x in model.encoder(torch.zeros(1, 3, 64, 64))]
    expected = model.decode_head(features)
    assert torch.equal(model.decode_head([features[0], *(x + 1 for x in features[1:])]), expected)
    assert not torch.equal(model.decode_head([features[0] + 1, *features[1:]]), expected)


def test_crops_of_769_align_corners() -> None:
    assert OURS[name_of("pspnet_r50-d8_769x769_40k_cityscapes", None)] == (
        "mmseg_pspnet",
        {"encoder": "resnet50c", "align_corners": True},
    )
    model = create_model("mmseg_pspnet", classes=2, encoder="test_resnet", channels=8, align_corners=True).eval()
    assert model.logits_at_stride(torch.zeros(1, 3, 33, 33))[1].align_corners
    assert model.decode_head.align_corners


def test_layer_norms_have_mmsegs_eps() -> None:
    with torch.device("meta"):
        norms = [m for m in create_model("mmseg_segformer").modules() if isinstance(m, torch.nn.LayerNorm)]
    assert {norm.eps for norm in norms} == {1e-6}


@pytest.mark.parametrize("model, encoder, name", [
    ("fcn", "r50-d8", "fcn_r50-d8"),
    ("fcn", "resnet50_v1c", "fcn_r50-d8"),
    ("FCN", "ResNetV1c-50", "fcn_r50-d8"),
    ("deeplabv3plus", "resnet101", "deeplabv3plus_r101-d8"),
    ("DeepLabV3+", "r50-d8", "deeplabv3plus_r50-d8"),
    ("deeplabv3plus_r101-d8_512x1024_80k_cityscapes", None, "deeplabv3plus_r101-d8"),
    ("pspnet_r50-d8_4xb2-80k_cityscapes-769x769", None, "pspnet_r50-d8_769x769"),
    ("upernet", "r50", "upernet_r50"),
    ("upernet_r101_512x512_160k_ade20k", None, "upernet_r101"),
    ("segformer", "mit_b3", "segformer_mit-b3"),
    ("segformer_mit-b5_640x640_160k_ade20k", None, "segformer_mit-b5"),
])  # fmt: skip
def test_names(model: str, encoder: str | None, name: str) -> None:
    assert name_of(model, encoder) == name


@pytest.mark.parametrize("model, encoder", [
    ("fcn", None), ("fcn", "r18-d8"), ("fcn_r50-d16", None), ("segformer", "r50"), ("danet_r50-d8", None),
    ("segformer_mit-b0_769x769", None),
])  # fmt: skip
def test_what_is_not_there(model: str, encoder: str | None) -> None:
    with pytest.raises(ModelError, match="unknown mmseg network"):
        name_of(model, encoder)


def test_other_names_and_tensors_are_named() -> None:
    with pytest.raises(ModelError, match="'fcn_r50-d9'; did you mean 'fcn_r50-d8'"):
        from_mmseg({}, "fcn_r50-d9")
    with pytest.raises(WeightsError, match=r"tensor 'neck.conv.weight' is not part of mmseg's fcn_r50-d8; give"):
        from_mmseg({"neck.conv.weight": torch.zeros(1)}, "fcn_r50-d8")
