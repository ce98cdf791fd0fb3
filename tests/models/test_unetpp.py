"""U-Net++: the paper's and smp's networks, the nested sum by hand, and pruning."""

import re

import pytest
import torch
from parity import label, note
from torch import nn

from atrous.errors import ModelError, WeightsError
from atrous.models.unetpp import Plain, UNetPlusPlus, unetpp
from atrous.ops.resize import resize


def count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def lively(model: nn.Module) -> nn.Module:
    """Batch norms that have seen something, evaluating."""
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.normal_(layer.running_mean, std=0.1)
            nn.init.uniform_(layer.running_var, 0.5, 1.5)
            nn.init.uniform_(layer.weight, 0.5, 1.5)
    return model.eval()


@pytest.mark.parametrize("encoder, classes, channels, aux, parameters", [
    ("plain", 1, 1, True, 9_041_700),
    ("plain", 1, 3, True, 9_042_276),
    ("plain", 1, 1, False, 9_041_601),  # as the authors' code says of its network with one head
    ("resnet18", 21, 3, False, 15_973_349),
    ("resnet34", 21, 3, False, 26_081_509),
    ("resnet50", 21, 3, False, 48_988_645),
])  # fmt: skip
def test_parameters(encoder: str, classes: int, channels: int, aux: bool, parameters: int) -> None:
    with torch.device("meta"):
        ours = count(unetpp(classes, encoder=encoder, in_channels=channels, aux=aux))
    assert ours == parameters
    told = label("unetpp", {"encoder": encoder, "classes": classes, "in_channels": channels, "aux": aux})
    note(told, "published count", counts=(ours, parameters))


@torch.no_grad()
def test_nodes_are_nested_sums_of_the_row_and_what_is_below() -> None:
    torch.manual_seed(0)
    model, image = unetpp(3, encoder="plain", in_channels=2, width=2, aux=True).eval(), torch.randn(1, 2, 48, 80)
    a, b, c, _, _ = model.encoder(image)

    def node(i: int, j: int, below: torch.Tensor, *row: torch.Tensor) -> torch.Tensor:
        return model.nodes[f"{i}_{j}"](torch.cat([model.ups[f"{i}_{j}"](below), *row[::-1]], 1))

    first, second = node(0, 1, b, a), node(1, 1, c, b)
    expected = model.heads["2"](node(0, 2, second, a, first))
    torch.testing.assert_close(model.outputs(image)[2], expected)


@pytest.mark.parametrize("encoder, shrinks", [
    ("plain", True), ("test_resnet", True), ("test_efficientnet", True), ("test_convnext", True), ("mit_b0", False),
])  # fmt: skip
@torch.no_grad()
def test_pruned_nets_give_the_logits_of_their_level(encoder: str, shrinks: bool) -> None:
    torch.manual_seed(0)
    model, image = unetpp(4, encoder=encoder, channels=(8, 8, 8, 8, 8), width=2, aux=True), torch.randn(1, 3, 45, 70)
    outputs, before, whole = lively(model).outputs(image), count(model), count(model.encoder)
    for level in range(1, model.depth + 1):
        small = model.prune(level)
        logits, tail = small(image), small.logits_at_stride(image)
        assert torch.equal(logits, outputs[model.depth - level])
        assert tail is None or torch.equal(tail[1].apply(tail[0]), logits)
        assert len(small.outputs(image)) == 1
        assert count(small) < before
        assert (count(small.encoder) < whole) == (shrinks and level < model.depth)
        assert count(small.prune(level)) == count(small)
    assert count(model) == before
    assert torch.equal(model(image), outputs[0])


def test_pruned_to_a_level_the_papers_net_is_one_of_that_depth() -> None:
    with torch.device("meta"):
        model = unetpp(1, encoder="plain", in_channels=1, aux=True)
        for level, parameters in enumerate((100_961, 511_105, 2_204_961, 9_041_601), start=1):
            encoder = Plain(1, 32, levels=level + 1)
            built = UNetPlusPlus(encoder, 1, encoder.channels[-2::-1])
            small = model.prune(level)
            assert count(small) == parameters
            shapes = [{key: value.shape for key, value in net.state_dict().items()} for net in (small, built)]
            assert shapes[0] == shapes[1]


def test_impossible_wishes() -> None:
    with pytest.raises(ModelError, match="level 1 has no head, only 4; build with aux=True to prune to it"):
        unetpp(2, encoder="test_resnet", channels=(4, 4, 4, 4)).prune(1)
    with pytest.raises(ModelError, match="4 levels above its deepest and the decoder 2 widths"):
        unetpp(2, encoder="test_resnet", channels=(4, 4))
    with pytest.raises(WeightsError, match="plain encoder"):
        unetpp(2, encoder="plain", pretrained=True)


def from_smp(key: str) -> str:
    """smp's block x_d_l joins what is d columns from the diagonal at level 3 - l."""
    if match := re.match(r"decoder\.blocks\.x_(\d)_(\d)\.conv(\d)\.(.*)", key):
        d, level, conv, rest = int(match[1]), 3 - int(match[2]), int(match[3]) - 1, match[4]
        return f"closing.{conv}.{rest}" if level < 0 else f"nodes.{level}_{4 - level - d}.{conv}.{rest}"
    return key.replace("encoder.", "encoder.net.").replace("segmentation_head.0", "heads.4")


@torch.no_grad()
def test_smps_weights_give_smps_logits() -> None:
    smp = pytest.importorskip("segmentation_models_pytorch")
    torch.manual_seed(0)
    theirs = lively(smp.UnetPlusPlus("resnet18", encoder_weights=None, classes=5))
    ours = unetpp(5, encoder="resnet18").eval()
    ours.load_state_dict({from_smp(key): value for key, value in theirs.state_dict().items()})
    for size in ((64, 96), (32, 32)):
        image = torch.randn(2, 3, *size)
        torch.testing.assert_close(ours(image), theirs(image), rtol=1e-5, atol=1e-4)


@torch.no_grad()
def test_on_an_encoder_the_deepest_output_goes_on_to_the_image() -> None:
    torch.manual_seed(0)
    model, image = lively(unetpp(4, encoder="test_resnet", channels=(8, 8, 8, 8, 6))), torch.randn(1, 3, 33, 50)
    assert model.logits_at_stride(image) is None
    node = model._column(image)[-1]
    assert node.shape == (1, 8, 17, 25)
    torch.testing.assert_close(model(image), model.heads["4"](model.closing(resize(node, (33, 50), mode="nearest"))))
