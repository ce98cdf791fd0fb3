"""Cross-entropy against torch and by hand."""

import math

import pytest
import torch
from torch.nn import functional as F

from atrous.losses import CrossEntropy

LOGITS = torch.tensor([[2.0, 1, 0], [0, 0, 3], [1, 1, 1]])
LABELS = torch.tensor([0, 1, 2])
P = torch.tensor([0.9, 0.6, 0.2, 0.1])


def test_golden_values() -> None:
    assert CrossEntropy()(LOGITS, LABELS).item() == pytest.approx(1.533714, abs=1e-6)
    weighted = CrossEntropy(weight=torch.tensor([1.0, 2, 0.5]))
    assert weighted(LOGITS, LABELS).item() == pytest.approx(2.041931, abs=1e-6)
    assert CrossEntropy()(LOGITS, torch.tensor([0, 255, 2])).item() == pytest.approx(0.753109, abs=1e-6)
    smooth = CrossEntropy(smoothing=0.1)
    assert smooth(LOGITS[:1], LABELS[:1]).item() == pytest.approx(0.5076, abs=1e-4)
    assert smooth(LOGITS[1:2], LABELS[1:2]).item() == pytest.approx(2.9949, abs=1e-4)


@pytest.mark.parametrize("weight", [None, torch.tensor([1.0, 2, 0.5])])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("shape", [(7,), (4, 5), (2, 3, 4)])
def test_it_is_torchs(weight: torch.Tensor | None, smoothing: float, shape: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(0)
    logits, labels = torch.randn(2, 3, *shape, generator=generator), torch.randint(0, 3, (2, *shape))
    labels[torch.rand(2, *shape, generator=generator) < 0.3] = 255
    expected = F.cross_entropy(logits, labels, weight, ignore_index=255, label_smoothing=smoothing)
    torch.testing.assert_close(CrossEntropy(255, weight, smoothing)(logits, labels), expected)
    torch.testing.assert_close(CrossEntropy(255, weight, smoothing)(logits, labels.to(torch.uint8)), expected)


def test_masks_that_overlap_by_hand() -> None:
    p, masks = torch.tensor([[[0.9, 0.6], [0.2, 0.1]]]), torch.tensor([[[1, 0], [1, 255]]])
    assert CrossEntropy()(P.logit()[None, None], torch.tensor([[[1, 0, 1, 0]]])).item() == pytest.approx(0.684112)
    a, b, c = -math.log(0.9), -math.log(0.4), -math.log(0.2)
    assert CrossEntropy()(p.logit(), masks).item() == pytest.approx((a + b + c) / 3, abs=1e-6)
    weighted = CrossEntropy(weight=torch.tensor([1.0, 3]))
    assert weighted(p.logit(), masks).item() == pytest.approx((a + b + 3 * c) / 5, abs=1e-6)
    a, b, c = (0.95 * x - 0.05 * math.log(1 - math.exp(-x)) for x in (a, b, c))
    assert CrossEntropy(smoothing=0.1)(p.logit(), masks).item() == pytest.approx((a + b + c) / 3, abs=1e-6)
