import pytest
import torch

from atrous.losses import CrossEntropy

LOGITS = torch.tensor([[2.0, 1, 0], [0, 0, 3], [1, 1, 1]])
LABELS = torch.tensor([0, 1, 2])


def test_golden_values() -> None:
    assert CrossEntropy()(LOGITS, LABELS).item() == pytest.approx(1.533714, abs=1e-6)
    weighted = CrossEntropy(weight=torch.tensor([1.0, 2, 0.5]))
    assert weighted(LOGITS, LABELS).item() == pytest.approx(2.041931, abs=1e-6)
    assert CrossEntropy()(LOGITS, torch.tensor([0, 255, 2])).item() == pytest.approx(0.753109, abs=1e-6)
    smooth = CrossEntropy(smoothing=0.1)
    assert smooth(LOGITS[:1], LABELS[:1]).item() == pytest.approx(0.5076, abs=1e-4)
    assert smooth(LOGITS[1:2], LABELS[1:2]).item() == pytest.approx(2.9949, abs=1e-4)


@pytest.mark.parametrize("weight", [None, torch.tensor([1.0, 2, 0.5])])
def test_what_lies_under_ignore_changes_nothing(weight: torch.Tensor | None) -> None:
    loss = CrossEntropy(weight=weight, smoothing=0.1)
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 3, (2, 4, 5), generator=generator)
    labels[torch.rand(2, 4, 5, generator=generator) < 0.4] = 255
    one = torch.randn(2, 3, 4, 5, generator=generator)
    other = torch.where((labels == 255)[:, None], 100 * torch.randn(2, 3, 4, 5, generator=generator), one)
    results = []
    for logits in (one, other):
        logits.requires_grad_()
        value = loss(logits, labels)
        value.backward()
        results.append((value.item(), logits.grad))
    assert results[0][0] == results[1][0]
    assert torch.equal(results[0][1], results[1][1])


def test_a_batch_that_is_all_ignored_gives_zero_and_a_finite_gradient() -> None:
    logits = torch.randn(1, 3, 2, 2, requires_grad=True)
    value = CrossEntropy()(logits, torch.full((1, 2, 2), 255))
    value.backward()
    assert value.item() == 0
    assert torch.equal(logits.grad, torch.zeros_like(logits))
