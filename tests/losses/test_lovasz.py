"""Lovasz losses: golden values, the extension by thresholds, IoU itself on hard errors."""

from itertools import pairwise

import pytest
import torch

from atrous.losses import Lovasz

P = torch.tensor([0.9, 0.6, 0.2, 0.1])
LABELS = torch.tensor([[1, 0, 1, 0]])


def test_golden_values() -> None:
    two = torch.stack([(1 - P).log(), P.log()])[None]
    assert Lovasz()(P.logit()[None, None], LABELS[None]).item() == pytest.approx(0.533333, abs=1e-6)
    assert Lovasz()((1 - P).logit()[None, None], 1 - LABELS[None]).item() == pytest.approx(0.5, abs=1e-6)
    assert Lovasz()(two, LABELS).item() == pytest.approx((0.533333 + 0.5) / 2, abs=1e-6)


def jaccard_loss(wrong: torch.Tensor, y: torch.Tensor) -> float:
    """1 - IoU where exactly the pixels `wrong` are."""
    predicted = y ^ wrong
    return 1 - float((y & predicted).sum() / (y | predicted).sum())


def by_thresholds(error: torch.Tensor, y: torch.Tensor) -> float:
    """The integral over t of the Jaccard loss of the set of pixels with an error above t."""
    levels = [0.0, *sorted(set(error[error > 0].tolist()))]
    return sum((high - low) * jaccard_loss(error >= high, y) for low, high in pairwise(levels))


@pytest.mark.parametrize("region", ["batch", "sample"])
@pytest.mark.parametrize("form", ["softmax", "hinge"])
@pytest.mark.parametrize("ties", [False, True])
def test_it_is_the_integral_over_thresholds(form: str, region: str, ties: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    logits, masks = torch.randn(2, 3, 5, 6, generator=generator).double(), torch.rand(2, 3, 5, 6, generator=generator)
    logits = (2 * logits).round() / 2 if ties else logits
    masks = (masks < 0.3).long()
    masks[1, 2] = 0
    masks[0, :, :2, 0] = 255
    expected = []
    for one, truth in [(logits, masks)] if region == "batch" else zip(logits[:, None], masks[:, None], strict=True):
        for k in range(3):
            kept = truth[:, k] != 255
            z, y = one[:, k][kept], truth[:, k][kept] == 1
            if y.any():
                error = (1 - z * (2.0 * y - 1)).relu() if form == "hinge" else (1.0 * y - z.sigmoid()).abs()
                expected.append(by_thresholds(error, y))
    assert len(expected) == (3 if region == "batch" else 5)
    value = Lovasz(form=form, region=region)(logits, masks).item()  # type: ignore[arg-type]
    assert value == pytest.approx(sum(expected) / len(expected), rel=1e-6)


def test_hard_errors_cost_their_iou() -> None:
    generator = torch.Generator().manual_seed(1)
    labels, predicted = (torch.randint(0, 3, (2, 6, 7), generator=generator) for _ in range(2))
    logits = 100.0 * torch.nn.functional.one_hot(predicted, 4).movedim(-1, 1)  # the fourth class is absent
    iou = [float(((labels == k) & (predicted == k)).sum() / ((labels == k) | (predicted == k)).sum()) for k in range(3)]
    assert Lovasz()(logits, labels).item() == pytest.approx(1 - sum(iou) / 3, abs=1e-6)


def test_the_hinge_of_two_classes_is_of_their_difference() -> None:
    generator = torch.Generator().manual_seed(2)
    logits, labels = torch.randn(2, 2, 5, 6, generator=generator).double(), torch.randint(0, 2, (2, 5, 6))
    margin = logits[:, 1:] - logits[:, :1]
    both = Lovasz(form="hinge")(torch.cat([-margin, margin], 1), torch.stack([1 - labels, labels], 1))
    torch.testing.assert_close(Lovasz(form="hinge")(logits, labels), both)


def test_a_certain_mistake_keeps_its_slope() -> None:
    logits = torch.tensor([[[60.0], [0]]], requires_grad=True)
    Lovasz(form="hinge")(logits, torch.tensor([[1]])).backward()
    assert logits.grad.flatten().tolist() == pytest.approx([1, -1])
