"""smp's networks load strictly and give their logits, through a bundle, at odd sizes too where smp takes them."""

from pathlib import Path

import pytest
import torch
from parity import compare
from published import smp_segformer
from safetensors.torch import save_file
from torch import nn

from atrous.bundle import load_bundle
from atrous.errors import ModelError, WeightsError
from atrous.models import create_model
from atrous.zoo.convert import smp as ours_of_smp
from atrous.zoo.convert.smp import OURS, PAGES, from_smp, name_of
from atrous.zoo.importer import import_weights, load_strictly

NETS = sorted(PAGES)
GRIDS = {"DeepLabV3": 8, "DeepLabV3Plus": 16, "PSPNet": 8, "Unet": 1}
"""What smp's networks want the sides to be multiples of, if not 32."""

MORE = [(net, encoder) for net in NETS for encoder in ("resnet34", "resnet50")]
MORE += [("Unet", "mit_b0"), ("Segformer", "mit_b0"), ("Segformer", "mit_b2"), ("UPerNet", "tu-convnext_tiny")]


def theirs_of(net: str, encoder: str) -> nn.Module:
    """smp's network, with norms that have seen something, biases that are not zero, and logits of the size of one."""
    smp = pytest.importorskip("segmentation_models_pytorch")
    torch.manual_seed(0)
    wide = {"decoder_segmentation_channels": 768} if encoder == "mit_b2" else {}
    theirs = getattr(smp, net)(encoder, encoder_weights=None, classes=5, **wide).eval()
    for layer in theirs.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.normal_(layer.running_mean, std=0.1)
            nn.init.uniform_(layer.running_var, 0.5, 1.5)
    for parameter in theirs.parameters():
        if parameter.ndim == 1:
            parameter.data.add_(0.02 * torch.randn_like(parameter))
    theirs.segmentation_head[0].weight.data /= max(1.0, float(theirs(torch.randn(1, 3, 64, 96)).std()))
    return theirs


@pytest.mark.parametrize(
    "net, encoder",
    [*((net, "resnet18") for net in NETS), *(pytest.param(*row, marks=pytest.mark.slow) for row in MORE)],
)
@torch.no_grad()
def test_their_weights_give_their_logits(net: str, encoder: str, tmp_path: Path) -> None:
    theirs = theirs_of(net, encoder)
    save_file(theirs.state_dict(), tmp_path / "theirs.safetensors")
    import_weights(tmp_path / "theirs.safetensors", "smp", net, encoder, 5, tmp_path / "own.safetensors")
    ours, card = load_bundle(tmp_path / "own.safetensors")
    grid = GRIDS.get(net, 32)
    for size in ((64, 96), *(((65, 97), (37, 70)) if grid == 1 else ((64 + grid, 96 + grid),))):
        image = torch.randn(1, 3, *size)
        expected = theirs(image)
        assert float(expected.std()) > 0.02
        compare(f"{card.model} ({encoder})", f"smp 0.6.0 {net}", ours(image), expected, networks=(ours, theirs))


@pytest.mark.parametrize("size", [0, pytest.param(2, marks=pytest.mark.slow), pytest.param(5, marks=pytest.mark.slow)])
def test_every_published_tensor_of_segformer_has_its_place(size: int) -> None:
    name = f"Segformer-mit_b{size}"
    page, options = OURS[name]
    with torch.device("meta"):
        state = {key: torch.empty(shape) for key, shape in smp_segformer(size, 150).items()}
        options = options | ours_of_smp.options_of(state, name)
        assert options["channels"] == (768 if size > 1 else 256)
        own = create_model(page, classes=150, **options).state_dict()
    assert {key: value.shape for key, value in from_smp(state, name).items()} == {
        key: value.shape for key, value in own.items() if not key.endswith("num_batches_tracked")
    }


def test_published_segformer_is_smps() -> None:
    smp = pytest.importorskip("segmentation_models_pytorch")
    state = smp.Segformer("mit_b0", encoder_weights=None, classes=19).state_dict()
    assert {key: tuple(x.shape) for key, x in state.items() if "batches" not in key} == smp_segformer(0, 19)


@pytest.mark.parametrize("theirs, own", [
    ("encoder.layer2.0.downsample.0.weight", "encoder.net.layer2.0.downsample.0.weight"),
    ("encoder.model.stages_1.blocks.0.gamma", "encoder.net.stages_1.blocks.0.gamma"),
    ("decoder.blocks.x_1_2.conv2.1.bias", "nodes.1_2.1.1.bias"),
    ("decoder.blocks.x_0_4.conv1.0.weight", "closing.0.0.weight"),
    ("segmentation_head.0.bias", "heads.4.bias"),
])  # fmt: skip
def test_names(theirs: str, own: str) -> None:
    assert list(from_smp({theirs: torch.zeros(1)}, "UnetPlusPlus-resnet34")) == [own]


def test_old_names_of_deeplab_are_known() -> None:
    """Until 0.3.3 its decoder was a sequence."""
    old = ("decoder.0.convs.4.1.weight", "decoder.0.project.0.weight", "decoder.1.weight", "decoder.2.running_var")
    assert list(from_smp({key: torch.zeros(1) for key in old}, "DeepLabV3-resnet18")) == [
        "decoder.aspp.branches.4.conv.0.weight",
        "decoder.aspp.project.0.weight",
        "decoder.conv.0.weight",
        "decoder.conv.1.running_var",
    ]


def test_what_pspnet_stores_for_nothing_may_be_there_and_nothing_else() -> None:
    network = create_model("smp_pspnet", classes=2, encoder="resnet18")
    with torch.device("meta"):
        whole = create_model("smp_unet", classes=2, encoder="resnet18").encoder.state_dict()
    state = {key.replace("net.", "encoder."): torch.zeros(value.shape) for key, value in whole.items()}
    state["decoder.layer3.weight"] = torch.zeros(1)
    misfit = load_strictly(network, state, ours_of_smp, "PSPNet-resnet18")
    assert misfit is not None
    assert misfit.unexpected == ["decoder.layer3.weight"]
    assert not any(key.startswith("encoder.") for key in misfit.missing)


@pytest.mark.parametrize("model", ["unetpp", "UnetPlusPlus", "unet_plus_plus", "unetplusplus"])
def test_every_spelling(model: str) -> None:
    assert name_of(model, "resnet34") == "UnetPlusPlus-resnet34"


@pytest.mark.parametrize("model, encoder, message", [
    ("Linknet", "resnet34", "smp's Linknet cannot be imported; DeepLabV3, DeepLabV3Plus, FPN, PSPNet, "),
    ("unetp", "resnet34", "unknown smp network 'unetp'; did you mean 'unet"),
    ("unetpp", "resnet340", "--encoder resnet340 of smp's UnetPlusPlus cannot be imported; did you mean 'resnet34'"),
    ("pspnet", "mit_b0", "--encoder mit_b0 of smp's PSPNet cannot be imported; known: resnet101, "),
    ("unetpp", None, "--encoder None"),
])  # fmt: skip
def test_what_cannot_be_imported_is_named(model: str, encoder: str | None, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        name_of(model, encoder)


def test_other_names_and_tensors_are_named() -> None:
    with pytest.raises(ModelError, match="unknown smp network 'Unet-resnet19'"):
        from_smp({}, "Unet-resnet19")
    with pytest.raises(WeightsError, match=r"tensor 'classification_head.3.bias' is not part of smp's UnetPlusPlus-"):
        from_smp({"classification_head.3.bias": torch.zeros(1)}, "UnetPlusPlus-resnet18")
