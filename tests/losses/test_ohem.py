import math

import pytest
import torch

from atrous.losses import OHEM, CrossEntropy

P = torch.tensor([0.95, 0.9, 0.8, 0.75, 0.6, 0.3])  # what the true class is given, six pixels of two classes
LABELS = torch.tensor([[0, 1, 0, 1, 0, 1]])
LOGITS = torch.where(torch.tensor([[0], [1]]) == LABELS, P, 1 - P)[None].log()


@pytest.mark.parametrize("options, kept", [
    ({}, [0.6, 0.3]),
    ({"threshold": 0.5}, [0.3]),
    ({"threshold": 0.0}, [0.3]),  # a sixteenth of six pixels, rounded up
    ({"threshold": 0.0, "least": 0.5}, [0.75, 0.6, 0.3]),
    ({"threshold": 0.85, "least": 0.5}, [0.8, 0.75, 0.6, 0.3]),
    ({"threshold": 0.0, "least": 1.0}, P.tolist()),
    ({"threshold": 1.0}, P.tolist()),
    ({"threshold": 0.1, "least": 0.0}, []),
])  # fmt: skip
def test_which_pixels_are_kept(options: dict[str, float], kept: list[float]) -> None:
    expected = sum(-math.log(p) for p in kept) / max(len(kept), 1)
    assert OHEM(**options)(LOGITS, LABELS).item() == pytest.approx(expected, abs=1e-6)  # type: ignore[arg-type]


def test_the_share_is_of_what_counts() -> None:
    labels = torch.cat([LABELS, torch.full((1, 60), 255)], 1)
    logits = torch.cat([LOGITS, torch.zeros(1, 2, 60)], 2)
    value = OHEM(threshold=0, least=0.5)(logits, labels).item()
    assert value == pytest.approx(-(math.log(0.75) + math.log(0.6) + math.log(0.3)) / 3, abs=1e-6)


def test_weights_and_smoothing_are_cross_entropys() -> None:
    weight, every = torch.tensor([1.0, 3]), OHEM(weight=torch.tensor([1.0, 3]), smoothing=0.1, threshold=1)
    torch.testing.assert_close(every(LOGITS, LABELS), CrossEntropy(255, weight, 0.1)(LOGITS, LABELS))
    some = OHEM(weight=weight, smoothing=0.1)  # the last two
    torch.testing.assert_close(some(LOGITS, LABELS), CrossEntropy(255, weight, 0.1)(LOGITS[..., 4:], LABELS[:, 4:]))


def test_labels_of_overlapping_classes_are_kept_one_by_one() -> None:
    p, masks = torch.tensor([[[0.9, 0.6], [0.2, 0.35]]]), torch.tensor([[[1, 1], [0, 0]]])  # given: .9 .6 .8 .65
    value = OHEM(least=0)(p.logit(), masks).item()
    assert value == pytest.approx(-(math.log(0.6) + math.log(0.65)) / 2, abs=1e-6)
