"""OCR's head against its equations, written out."""

import pytest
import torch
from torch import nn

from atrous.models import create_model
from atrous.models.hrnet import ObjectContext


@torch.no_grad()
def test_object_context_is_the_equations() -> None:
    torch.manual_seed(0)
    context = ObjectContext(6, 4).double().eval()
    x, coarse = torch.randn(2, 6, 3, 5, dtype=torch.float64), torch.randn(2, 3, 3, 5, dtype=torch.float64)
    expected = torch.zeros_like(x)
    for n in range(2):
        pixels = [(i, j) for i in range(3) for j in range(5)]
        regions = []
        for k in range(3):
            weights = torch.tensor([coarse[n, k, i, j] for i, j in pixels], dtype=torch.float64).softmax(0)
            regions.append(sum(w * x[n, :, i, j] for w, (i, j) in zip(weights, pixels, strict=True)))
        keys = [context.key(region[None, :, None, None])[0, :, 0, 0] for region in regions]
        values = [context.value(region[None, :, None, None])[0, :, 0, 0] for region in regions]
        mixed = torch.zeros(1, 4, 3, 5, dtype=torch.float64)
        for i, j in pixels:
            query = context.query(x[n : n + 1, :, i : i + 1, j : j + 1])[0, :, 0, 0]
            weights = torch.stack([query @ key / 4**0.5 for key in keys]).softmax(0)
            mixed[0, :, i, j] = sum(w * value for w, value in zip(weights, values, strict=True))
        expected[n] = context.last(mixed)[0]
    torch.testing.assert_close(context(x, coarse), expected)


@pytest.mark.parametrize("encoder", ["test_resnet", "test_vit"])
def test_the_maps_from_stride_4_on_stand_in_for_the_branches(encoder: str) -> None:
    with torch.device("meta"):
        net = create_model("hrnet_ocr", classes=2, encoder=encoder, head="hrnet")
        seen = net.head.together(net.encoder(torch.zeros(1, 3, 64, 96)))
    assert seen.shape == (1, net.head.together.channels, 16, 24)
    pairs = zip(net.encoder.channels, net.encoder.strides, strict=True)
    assert net.head.together.channels == sum(channels for channels, stride in pairs if stride >= 4)


def test_the_coarse_logits_are_supervised_without_asking() -> None:
    torch.manual_seed(0)
    net = create_model("hrnet_ocr", classes=2, encoder="test_resnet", channels=8).eval()
    image = torch.randn(1, 3, 33, 65)
    main, coarse = net.outputs(image)
    assert torch.equal(main, net(image))
    assert coarse.shape == main.shape
    assert not torch.equal(coarse, main)
    assert len(create_model("hrnet_ocr", classes=2, encoder="test_resnet", head="hrnet").outputs(image)) == 1
    assert isinstance(net.head.score, nn.Conv2d)
