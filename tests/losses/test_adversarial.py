"""The adversarial objective: both losses and their gradients, nothing under ignore, a tiny duel."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from atrous.losses import Adversarial, CrossEntropy
from atrous.losses.adversarial import Discriminator


def sample(ignored: float = 0.0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Images whose class is in their colour, logits, labels in stripes."""
    generator = torch.Generator().manual_seed(0)
    labels = (torch.arange(20) // 4 % 3).expand(2, 18, 20).clone()
    image = functional.one_hot(labels, 3).movedim(-1, 1) + torch.randn(2, 3, 18, 20, generator=generator)
    labels[torch.rand(labels.shape, generator=generator) < ignored] = 255
    return image, torch.randn(2, 3, 18, 20, generator=generator), labels


def adversarial(**options: object) -> Adversarial:
    torch.manual_seed(0)
    return Adversarial(3, width=6, **options)  # type: ignore[arg-type]


def test_a_decision_sees_34_pixels() -> None:
    net = Discriminator(1, 3).double()
    for index, layer in enumerate(net.layers):
        if isinstance(layer, nn.MaxPool2d):
            net.layers[index] = nn.AvgPool2d(2, ceil_mode=True)
        if isinstance(layer, nn.Conv2d):
            nn.init.ones_(layer.weight)
    x = torch.ones(1, 1, 80, 80, dtype=torch.float64, requires_grad=True)
    net(x)[0, 0, 10, 10].backward()
    rows, columns = x.grad[0, 0].nonzero().T
    assert rows.max() - rows.min() + 1 == columns.max() - columns.min() + 1 == 34


def test_the_papers_numbers() -> None:
    convolutions = [layer for layer in Discriminator(21).modules() if isinstance(layer, nn.Conv2d)]
    assert [layer.out_channels for layer in convolutions] == [96, 128, 128, 256, 256, 512, 1]
    whole = Adversarial(21)
    assert (whole.discriminator.layers[0].in_channels, whole.tau, whole.weight) == (21 * 3, 0.9, 1)
    assert Discriminator(3, 6)(torch.zeros(1, 3, 1, 1)).shape == (1, 1, 1, 1)
    assert Discriminator(3, 6)(torch.zeros(1, 3, 9, 12)).shape == (1, 1, 3, 3)


@pytest.mark.parametrize("encoding", ["basic", "product"])
def test_the_losses_are_their_formulas(encoding: str) -> None:
    net, (image, logits, labels) = adversarial(encoding=encoding, tau=None, weight=0.3), sample()
    hard, soft = functional.one_hot(labels, 3).movedim(-1, 1).float(), logits.softmax(1)
    if encoding == "product":
        hard, soft = (torch.cat([m[:, k : k + 1] * image for k in range(3)], 1) for m in (hard, soft))
    real, fake = net.discriminator(hard).sigmoid(), net.discriminator(soft).sigmoid()
    torch.testing.assert_close(net.segmenter_loss(image, logits, labels), -0.3 * fake.log().mean())
    expected = -real.log().mean() - (1 - fake).log().mean()
    torch.testing.assert_close(net.discriminator_loss(image, logits, labels), expected)


def test_labels_are_softened_towards_the_prediction() -> None:
    net, predicted = adversarial(), torch.tensor([[0.2, 0.5, 0.3], [0.95, 0.04, 0.01], [1.0, 0, 0]])[:, :, None, None]
    soft = net._soften(torch.tensor([0, 0, 0])[:, None, None], predicted).flatten(1)
    expected = torch.tensor([[0.9, 0.1 * 5 / 8, 0.1 * 3 / 8], [0.95, 0.04, 0.01], [1.0, 0, 0]])
    torch.testing.assert_close(soft, expected)


def test_each_loss_reaches_its_own_side() -> None:
    net, (image, logits, labels) = adversarial(), sample()
    net.segmenter_loss(image, logits.requires_grad_(), labels).backward()
    assert logits.grad.any()
    assert all(p.grad is None for p in net.parameters())
    logits.grad = None
    net.discriminator_loss(image, logits, labels).backward()
    assert logits.grad is None
    assert all(p.grad is not None for p in net.parameters())


@pytest.mark.parametrize("encoding", ["basic", "product"])
def test_what_lies_under_ignore_changes_nothing(encoding: str) -> None:
    net, (image, logits, labels) = adversarial(encoding=encoding), sample(0.3)
    labels[:, :8, :8] = 255  # whole patches too
    hidden, results = (labels == 255)[:, None], []
    for fill in (1.0, 50.0, torch.inf):
        seen = torch.where(hidden, fill * torch.randn_like(image), image)
        scores = torch.where(hidden, fill * torch.randn_like(logits), logits).requires_grad_()
        net.zero_grad()
        values = net.segmenter_loss(seen, scores, labels), net.discriminator_loss(seen, scores, labels)
        sum(values).backward()
        results.append([*values, scores.grad, *(p.grad.clone() for p in net.parameters())])
    assert all(torch.equal(one, two) and torch.equal(one, three) for one, two, three in zip(*results, strict=True))
    assert all(value.isfinite().all() for value in results[0])
    assert not results[0][2][hidden.expand_as(logits)].any()


def test_nothing_counted_gives_zero() -> None:
    net, (image, logits, labels) = adversarial(), sample(1.1)
    value = net.segmenter_loss(image, logits.requires_grad_(), labels) + net.discriminator_loss(image, logits, labels)
    value.backward()
    assert value.item() == 0
    assert not logits.grad.any()


def test_both_steps_reduce_their_losses() -> None:
    net, (image, _, labels) = adversarial(), sample()
    model, cross_entropy = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 3, 1)), CrossEntropy()
    other = torch.optim.Adam(net.parameters(), 0.01)

    def step(optimizer: torch.optim.Optimizer, segmenter: bool) -> list[float]:
        """A step of a side; before it the segmenter's loss, its second term, the other's loss."""
        logits = model(image)
        fooled, judged = net.segmenter_loss(image, logits, labels), net.discriminator_loss(image, logits, labels)
        whole = cross_entropy(logits, labels) + fooled
        optimizer.zero_grad()
        (whole if segmenter else judged).backward()
        optimizer.step()
        return [whole.item(), fooled.item(), judged.item()]

    theirs = [step(other, segmenter=False) for _ in range(16)]
    assert theirs[-1][2] < 0.5 * theirs[0][2]  # the discriminator tells them apart
    assert theirs[-1][1] > 2 * theirs[0][1]  # and the segmenter fools it less
    own = torch.optim.Adam(model.parameters(), 0.05)
    ours = [step(own, segmenter=True) for _ in range(16)]
    assert ours[-1][0] < 0.9 * ours[0][0]
    assert ours[-1][1] < 0.9 * ours[0][1]
    assert ours[-1][2] > ours[0][2]
