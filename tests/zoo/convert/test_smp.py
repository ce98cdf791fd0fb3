"""smp's U-Net++ loads strictly and gives its logits, through a bundle too."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from atrous.bundle import load_bundle
from atrous.errors import ModelError, WeightsError
from atrous.models import create_model
from atrous.zoo.convert.smp import OURS, from_smp, name_of
from atrous.zoo.importer import import_weights


@pytest.mark.parametrize("encoder", ["resnet18", "resnet34", "resnet50"])
@torch.no_grad()
def test_their_weights_give_their_logits(encoder: str, tmp_path: Path) -> None:
    smp = pytest.importorskip("segmentation_models_pytorch")
    torch.manual_seed(0)
    theirs = smp.UnetPlusPlus(encoder, encoder_weights=None, classes=5).eval()
    for layer in theirs.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.normal_(layer.running_mean, std=0.1)
            nn.init.uniform_(layer.running_var, 0.5, 1.5)
    save_file(theirs.state_dict(), tmp_path / "theirs.safetensors")
    import_weights(tmp_path / "theirs.safetensors", "smp", "UnetPlusPlus", encoder, 5, tmp_path / "own.safetensors")
    ours, image = load_bundle(tmp_path / "own.safetensors")[0], torch.randn(1, 3, 64, 96)
    expected = theirs(image)
    assert float(expected.std()) > 0.05
    torch.testing.assert_close(ours(image), expected, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("name", sorted(OURS))
def test_every_network_finds_all_its_tensors(name: str) -> None:
    """Their names, as made from ours, are renamed back without loss."""
    model, options = OURS[name]
    with torch.device("meta"):
        own = create_model(model, classes=3, **options).state_dict()
    theirs = {_smps(key): tensor for key, tensor in own.items()}
    assert "decoder.blocks.x_0_3.conv2.0.weight" in theirs
    assert "decoder.blocks.x_0_4.conv1.1.bias" in theirs
    assert set(from_smp(theirs, name)) == set(own)


def _smps(key: str) -> str:
    if key.startswith("nodes."):
        _, node, conv, rest = key.split(".", 3)
        i, j = map(int, node.split("_"))
        return f"decoder.blocks.x_{4 - i - j}_{3 - i}.conv{int(conv) + 1}.{rest}"
    if key.startswith("closing."):
        _, conv, rest = key.split(".", 2)
        return f"decoder.blocks.x_0_4.conv{int(conv) + 1}.{rest}"
    return key.replace("encoder.net.", "encoder.").replace("heads.4.", "segmentation_head.0.")


@pytest.mark.parametrize("model", ["unetpp", "UnetPlusPlus", "unet_plus_plus", "unetplusplus"])
def test_every_spelling(model: str) -> None:
    assert name_of(model, "resnet34") == "UnetPlusPlus-resnet34"


@pytest.mark.parametrize("model, encoder, message", [
    ("DeepLabV3Plus", "resnet34", "smp's DeepLabV3Plus cannot be imported yet; UnetPlusPlus can"),
    ("unet", "resnet34", "smp's unet cannot be imported yet"),
    ("unetp", "resnet34", "unknown smp network 'unetp'; did you mean 'unetpp'"),
    ("unetpp", "resnet340", "--encoder resnet340 of smp cannot be imported; did you mean 'resnet34'"),
    ("unetpp", None, "--encoder None"),
])  # fmt: skip
def test_what_cannot_be_imported_is_named(model: str, encoder: str | None, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        name_of(model, encoder)


def test_other_names_and_tensors_are_named() -> None:
    with pytest.raises(ModelError, match="unknown smp network 'Unet-resnet18'"):
        from_smp({}, "Unet-resnet18")
    with pytest.raises(WeightsError, match=r"tensor 'classification_head.3.bias' is not part of smp's UnetPlusPlus-"):
        from_smp({"classification_head.3.bias": torch.zeros(1)}, "UnetPlusPlus-resnet18")
