"""SegFormer's head: its width, deep maps first; Hugging Face's logits are compared in zoo/convert/test_hf.py."""

import pytest
import torch
from torch.nn import functional

from atrous.models import create_model


def test_the_heads_width_is_256_or_as_told() -> None:
    assert create_model("segformer", encoder="test_resnet").head.score[1].in_channels == 256
    assert create_model("segformer", encoder="test_vit", channels=24).head.score[1].in_channels == 24


@torch.no_grad()
def test_maps_are_fused_at_stride_4_the_deepest_first() -> None:
    torch.manual_seed(0)
    model = create_model("segformer", classes=3, encoder="test_resnet", channels=8).eval()
    image = torch.randn(1, 3, 64, 96)
    parts = []
    for linear, index in zip(model.head.project, model.head.levels, strict=True):
        x = functional.conv2d(model.encoder(image)[index], linear.weight[:, :, None, None], linear.bias)
        parts.insert(0, functional.interpolate(x, (16, 24), mode="bilinear"))
    assert len(parts) == 4
    torch.testing.assert_close(model.logits_at_stride(image)[0], model.head.score(model.head.fuse(torch.cat(parts, 1))))


@pytest.mark.parametrize("name", ["mit_b0"])
def test_as_many_parameters_as_smps(name: str) -> None:
    smp = pytest.importorskip("segmentation_models_pytorch")
    theirs = smp.Segformer(name, encoder_weights=None, classes=21)
    with torch.device("meta"):
        ours = create_model("segformer", encoder=name)
    assert sum(p.numel() for p in ours.parameters()) == sum(p.numel() for p in theirs.parameters())
