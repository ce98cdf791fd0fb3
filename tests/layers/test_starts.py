"""How shared pieces start and what they drop in training, as in their papers and reference code."""

import pytest
import torch
from torch import nn
from torch.nn.modules.dropout import _DropoutNd

from atrous import encoders
from atrous.encoders.mit import mix_transformer
from atrous.layers import ASPP, VGG16, fcn_head
from atrous.layers.switches import SwitchedVGG16
from atrous.layers.vgg_dilated import DilatedVGG16, FieldOfView, gaussian_score


def expect(layer: nn.Module, deviation: float) -> None:
    """The weights have this deviation, up to chance, and the bias is 0."""
    assert float(layer.weight.detach().std()) == pytest.approx(deviation, rel=4 / layer.weight.numel() ** 0.5)
    assert layer.bias is None or not layer.bias.any()


@pytest.mark.parametrize("build", [VGG16, DilatedVGG16, SwitchedVGG16])
def test_vgg_starts_as_he(build: type[nn.Module]) -> None:
    torch.manual_seed(0)
    layers = [layer for layer in build(width=4).modules() if isinstance(layer, nn.Conv2d)]
    assert len(layers) >= 13
    for layer in (*layers, FieldOfView(8, 32)[0], FieldOfView(8, 64)[3]):
        expect(layer, (2 / layer.weight[0].numel()) ** 0.5)


def test_deeplabs_scores_start_small() -> None:
    torch.manual_seed(0)
    expect(gaussian_score(256, 21), 0.01)


def test_mix_transformers_start_as_the_authors() -> None:
    torch.manual_seed(0)
    for layer in mix_transformer("mit_b0").modules():
        if isinstance(layer, nn.Linear):
            expect(layer, 0.02)
        elif isinstance(layer, nn.Conv2d):
            expect(layer, (2 / (layer.weight[0, 0].numel() * layer.out_channels / layer.groups)) ** 0.5)


def test_mobilenets_filters_for_other_channels_start_as_torchvisions() -> None:
    torch.manual_seed(0)
    expect(encoders.encoder("mobilenet_v3_large", in_channels=5).net[0][0], (2 / (9 * 16)) ** 0.5)


@pytest.mark.parametrize("module, rates", [
    (VGG16(width=1), [0.5]), (FieldOfView(1, 1), [0.5, 0.5]), (SwitchedVGG16(width=1), [0.0]),
    (fcn_head(4, 2), [0.1]), (ASPP(1, (2,), 1), [0.0]), (ASPP(1, (2,), 1, dropout=0.3), [0.3]),
], ids=lambda value: type(value).__name__)  # fmt: skip
def test_dropout(module: nn.Module, rates: list[float]) -> None:
    assert [layer.p for layer in module.modules() if isinstance(layer, _DropoutNd)] == rates
