"""DANet's two attentions against loops over cells and channels."""

import torch

from atrous.models import create_model
from atrous.models.danet import ChannelAttention, PositionAttention


@torch.no_grad()
def test_places_attend_to_all_places() -> None:
    torch.manual_seed(0)
    layer, x = PositionAttention(16).double(), torch.randn(2, 16, 3, 4, dtype=torch.float64)
    assert torch.equal(layer(x), x)  # alpha starts at 0
    layer.alpha.fill_(0.7)
    query, key, value = layer.query(x), layer.key(x), layer.value(x)
    expected = x.clone()
    for image in range(2):
        for i in range(3):
            for j in range(4):
                likeness = (query[image, :, i, j, None, None] * key[image]).sum(0)  # (3, 4), not scaled
                weights = likeness.flatten().softmax(0).view(3, 4)
                expected[image, :, i, j] += 0.7 * (weights * value[image]).sum((1, 2))
    torch.testing.assert_close(layer(x), expected)


@torch.no_grad()
def test_channels_attend_to_the_unlike() -> None:
    torch.manual_seed(0)
    layer, x = ChannelAttention().double(), torch.randn(2, 5, 3, 4, dtype=torch.float64)
    assert torch.equal(layer(x), x)
    layer.beta.fill_(0.7)
    expected = x.clone()
    for image in range(2):
        for channel in range(5):
            energy = torch.stack([(x[image, channel] * other).sum() for other in x[image]])
            weights = (-energy).softmax(0)  # max - energy, and the max cancels
            expected[image, channel] += 0.7 * (weights[:, None, None] * x[image]).sum(0)
    torch.testing.assert_close(layer(x), expected)


@torch.no_grad()
def test_outputs_are_the_sum_and_the_two_branches() -> None:
    torch.manual_seed(0)
    model = create_model("danet", classes=3, encoder="test_resnet", channels=8, aux=True).eval()
    image = torch.randn(1, 3, 40, 48)
    deep = model.encoder(image)[-1]
    position, channel = model.head.position(deep), model.head.channel(deep)
    for got, head, x in zip(
        model.outputs(image), (model.head.score, *model.head.aux), (position + channel, position, channel), strict=True
    ):
        torch.testing.assert_close(got, model.logits_at_stride(image)[1].apply(head(x)))
