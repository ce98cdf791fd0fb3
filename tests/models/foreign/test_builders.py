"""Other toolkits' networks by name: what they take, and the parameters that they say they have."""

import inspect

import pytest
import torch
from torch import nn
from torch.nn.modules.dropout import _DropoutNd

from atrous.encoders.mit import Block, Stage
from atrous.models import create_model
from atrous.models.foreign import FOREIGN

FIRST = {"classes": 21, "in_channels": 3, "pretrained": False}
SMP = {"encoder": "resnet34"}
MMSEG = {"encoder": "resnet50c", "channels": 512, "align_corners": False, "aux": False}
OPTIONS: dict[str, dict[str, object]] = {
    **dict.fromkeys(("mmseg_fcn", "mmseg_pspnet", "mmseg_deeplabv3", "mmseg_deeplabv3plus", "mmseg_upernet"), MMSEG),
    "mmseg_segformer": {"encoder": "mit_b0", "channels": 256, "align_corners": False},
    **dict.fromkeys(("smp_unet", "smp_fpn", "smp_pspnet", "smp_deeplabv3", "smp_deeplabv3plus"), SMP),
    "smp_segformer": {"encoder": "mit_b0", "channels": 256},
    "smp_upernet": {"encoder": "resnet34", "channels": 256},
}
"""What the cards of imported bundles name, with the defaults that they leave out."""


@pytest.mark.parametrize("name", sorted(FOREIGN))
def test_options_and_defaults_stay(name: str) -> None:
    builder = FOREIGN[name]
    taken = {key: parameter.default for key, parameter in inspect.signature(builder).parameters.items()}
    assert taken == FIRST | OPTIONS[name]
    assert builder.__name__ == name


@pytest.mark.parametrize("name", [name for name, options in OPTIONS.items() if options is MMSEG])
def test_mmsegs_parameters_are_as_many_as_said(name: str) -> None:
    with torch.device("meta"):
        count = sum(parameter.numel() for parameter in FOREIGN[name]().parameters())
    assert f": {count:,} parameters on resnet50c with 21 classes." in (FOREIGN[name].__doc__ or "")


DROPOUT = {
    **dict.fromkeys((name for name in OPTIONS if name.startswith("mmseg_")), ("Dropout2d", 0.1)),
    **dict.fromkeys(("smp_fpn", "smp_pspnet"), ("Dropout2d", 0.2)),
    **dict.fromkeys(("smp_deeplabv3", "smp_deeplabv3plus"), ("Dropout", 0.5)),
}
"""Kind and rate, from the toolkits' sources."""


@pytest.mark.parametrize("name", sorted(FOREIGN))
def test_dropout_is_the_toolkits(name: str) -> None:
    options = {"aux": True} if OPTIONS[name] is MMSEG else {}
    with torch.device("meta"):
        model = create_model(name, encoder="test_resnet", **options)  # type: ignore[arg-type]
    dropouts = {(type(m).__name__, m.p) for m in model.modules() if isinstance(m, _DropoutNd) and m.p > 0}
    assert dropouts == ({DROPOUT[name]} if name in DROPOUT else set())


@torch.no_grad()
def test_the_auxiliary_head_reads_the_stage_before_the_last() -> None:
    torch.manual_seed(0)
    model = create_model("mmseg_fcn", classes=2, encoder="test_resnet", channels=8, aux=True).eval()
    image = torch.randn(1, 3, 33, 65)
    main, auxiliary = model.outputs(image)
    assert torch.equal(main, model(image))
    tail = model.logits_at_stride(image)[1]
    assert torch.equal(auxiliary, tail.apply(model.auxiliary_head(model.encoder(image)[-2])))


@pytest.mark.parametrize("name, branches", [
    ("mmseg_deeplabv3", "decode_head.aspp_modules"),
    ("mmseg_deeplabv3plus", "decode_head.aspp_modules"),
    ("smp_deeplabv3", "decoder.aspp.branches"),
    ("smp_deeplabv3plus", "decoder.branches"),
])  # fmt: skip
def test_rates_of_aspp(name: str, branches: str) -> None:
    with torch.device("meta"):
        module = create_model(name, encoder="test_resnet").get_submodule(branches)
    layers = [layer for layer in module.modules() if isinstance(layer, nn.Conv2d) and layer.kernel_size == (3, 3)]
    assert [layer.dilation[0] for layer in layers] == [12, 24, 36]


def test_smps_transformers_have_its_eps() -> None:
    with torch.device("meta"):
        parts = list(create_model("smp_segformer").encoder.modules())
    assert {part.norm.eps for part in parts if isinstance(part, Stage)} == {1e-6}
    assert {norm.eps for part in parts if isinstance(part, Block) for norm in (part.norm1, part.norm2)} == {1e-6}
