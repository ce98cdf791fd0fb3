"""UPerNet: what each level hears of the others, and smp's decoder with the same weights."""

import pytest
import torch
from torch import nn

from atrous.models import create_model


@torch.no_grad()
def test_pooled_means_reach_every_level() -> None:
    """Levels above the deepest get, on top of their lateral, what lies above them resized."""
    torch.manual_seed(0)
    model = create_model("upernet", classes=3, encoder="test_resnet", channels=8).eval()
    head, features, seen = model.head, model.encoder(torch.randn(1, 3, 64, 96)), []
    for layer in head.smooth:
        layer.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    head(features)
    features = [features[index] for index in head.levels]
    expected = head.pool(features[-1])
    for lateral, feature, got in reversed(list(zip(head.laterals, features, seen, strict=False))):
        expected = lateral(feature) + nn.functional.interpolate(expected, feature.shape[2:], mode="bilinear")
        torch.testing.assert_close(got, expected)


@torch.no_grad()
def test_the_decoder_is_smps() -> None:
    """smp adds a layer norm on each feature; taken away, its decoder and ours give the same map."""
    smp = pytest.importorskip("segmentation_models_pytorch")
    torch.manual_seed(0)
    channels = (3, 32, 48, 192, 96)
    theirs = smp.decoders.upernet.decoder.UPerNetDecoder((3, *channels), decoder_channels=16).eval()
    theirs.feature_norms = nn.ModuleList(nn.Identity() for _ in theirs.feature_norms)
    ours = create_model("upernet", classes=3, encoder="test_resnet", channels=16).eval()
    assert ours.encoder.channels[1:] == channels[1:]
    head = ours.head
    pairs = [(head.pool[1], theirs.psp.out_conv), (head.fuse, theirs.fusion_block)]
    pairs += zip(head.pool[0].branches, (block[1] for block in theirs.psp.blocks), strict=True)
    pairs += zip(head.laterals, (block.conv_norm_relu for block in reversed(theirs.fpn_lateral_blocks)), strict=True)
    pairs += zip(head.smooth, reversed(theirs.fpn_conv_blocks), strict=True)
    for own, other in pairs:
        for norm in (layer for layer in other if isinstance(layer, nn.BatchNorm2d)):
            norm.running_mean.normal_(0, 0.1)
            norm.running_var.uniform_(0.5, 1.5)
        own.load_state_dict(other.state_dict())
    sizes = ((17, 25), (9, 13), (5, 7), (3, 4))
    features = [torch.randn(2, width, *size) for width, size in zip(channels[1:], sizes, strict=True)]
    expected = theirs([torch.empty(0), torch.empty(0), *features])
    torch.testing.assert_close(head((torch.empty(0), *features)), head.score(expected), rtol=1e-5, atol=1e-5)


def test_as_many_parameters_as_smps_with_its_layer_norms() -> None:
    smp = pytest.importorskip("segmentation_models_pytorch")
    with torch.device("meta"):
        theirs = smp.UPerNet("resnet50", encoder_weights=None, classes=21)
        ours = create_model("upernet", encoder="resnet50", channels=256)
    norms = 2 * (256 + 512 + 1024 + 2048)
    assert sum(p.numel() for p in theirs.parameters()) == 37_289_813
    assert sum(p.numel() for p in ours.parameters()) + norms == 37_289_813
