import pytest
import torch

from atrous.losses import CrossEntropy, pixel_cross_entropy


def test_weights_of_one_are_the_plain_loss_and_others_the_sum_by_hand() -> None:
    torch.manual_seed(0)
    logits, labels = torch.randn(2, 3, 4, 5), torch.randint(0, 3, (2, 4, 5))
    labels[0, 1] = 255
    ones = torch.ones(2, 4, 5)
    torch.testing.assert_close(pixel_cross_entropy(logits, labels, ones), CrossEntropy()(logits, labels))
    weights = torch.rand(2, 4, 5)
    total = sum(
        -weights[n, y, x] * logits[n, :, y, x].log_softmax(0)[labels[n, y, x]]
        for n in range(2) for y in range(4) for x in range(5) if labels[n, y, x] != 255
    )  # fmt: skip
    torch.testing.assert_close(pixel_cross_entropy(logits, labels, weights), total / 35)


@pytest.mark.parametrize("shape", [(4, 5), (2, 3, 4)])
def test_ignored_and_weightless_pixels_change_nothing(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    labels, weights = torch.randint(0, 3, (2, *shape)), torch.rand(2, *shape)
    labels[0, 0], weights[1, 1] = 255, 0
    free = (labels == 255) | (weights == 0)
    one = torch.randn(2, 3, *shape)
    other = torch.where(free[:, None], 100 * torch.randn(2, 3, *shape), one)
    results = []
    for logits in (one, other):
        logits.requires_grad_()
        loss = pixel_cross_entropy(logits, labels, weights)
        loss.backward()
        results.append((loss.detach(), logits.grad))
    assert torch.equal(results[0][0], results[1][0])
    assert torch.equal(results[0][1], results[1][1])
    kept = ~free
    expected = pixel_cross_entropy(one.movedim(1, -1)[kept].detach(), labels[kept], weights[kept])
    torch.testing.assert_close(results[0][0], expected)
    assert pixel_cross_entropy(one.detach(), torch.full((2, *shape), 255), weights) == 0
