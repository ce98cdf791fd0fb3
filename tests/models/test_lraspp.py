"""LR-ASPP: the figure, step by step; torchvision's logits are compared in test_deeplab.py."""

import torch
from torch.nn.functional import interpolate

from atrous.models.lraspp import lraspp


@torch.no_grad()
def test_the_head_is_the_papers_figure() -> None:
    torch.manual_seed(0)
    model, image = lraspp(3, encoder="test_resnet").eval(), torch.randn(2, 3, 65, 97)
    features = model.encoder(image)
    assert model.encoder.strides == (2, 4, 8, 16, 16)
    low, high = features[2], features[4]
    gate = torch.sigmoid(torch.einsum("oc,nc->no", model.head.gate.weight[:, :, 0, 0], high.mean((2, 3))))
    gated = interpolate(model.head.features(high) * gate[:, :, None, None], low.shape[2:], mode="bilinear")
    expected = model.head.low_score(low) + model.head.high_score(gated)
    torch.testing.assert_close(model(image), interpolate(expected, (65, 97), mode="bilinear"))
    assert model.head.low_score(low).shape == (2, 3, 9, 13)


def test_both_mobilenets_have_the_same_tensors() -> None:
    with torch.device("meta"):
        ours, theirs = lraspp(), lraspp(encoder="mobilenet_v3_large")
    assert ours.head.low_index == theirs.head.low_index == 2
    assert sorted(p.shape for p in ours.parameters()) == sorted(p.shape for p in theirs.parameters())
