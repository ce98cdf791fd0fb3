import pytest
import torch

from atrous.losses import Overlap, Tversky

P = torch.tensor([0.9, 0.6, 0.2, 0.1])
LOGITS, LABELS = P.logit()[None, None], torch.tensor([[[1, 0, 1, 0]]])


@pytest.mark.parametrize("options, expected", [
    ({}, 0.432990),
    ({"gamma": 4 / 3}, 0.533775),
    ({"alpha": 0.7, "beta": 0.3}, 1 - 1.1 / (1.1 + 0.7 * 0.7 + 0.3 * 0.9)),  # which of the two is which
])  # fmt: skip
def test_golden_values(options: dict[str, float], expected: float) -> None:
    assert Tversky(**options)(LOGITS, LABELS).item() == pytest.approx(expected, abs=1e-6)  # type: ignore[arg-type]


@pytest.mark.parametrize("region", ["batch", "sample"])
@pytest.mark.parametrize("form, share", [("dice", 0.5), ("jaccard", 1.0)])
def test_between_dice_and_jaccard(form: str, share: float, region: str) -> None:
    generator = torch.Generator().manual_seed(0)
    logits, labels = torch.randn(2, 3, 4, 5, generator=generator), torch.randint(0, 3, (2, 4, 5), generator=generator)
    labels[0, 0] = 255
    mine = Tversky(alpha=share, beta=share, region=region)(logits, labels)  # type: ignore[arg-type]
    torch.testing.assert_close(mine, Overlap(form=form, region=region)(logits, labels))  # type: ignore[arg-type]


def test_misses_cost_more_than_false_alarms() -> None:
    labels = torch.zeros(1, 1, 100, dtype=torch.long)
    labels[..., :50] = 1
    scores = torch.where(labels == 1, 20.0, -20.0)
    miss, alarm = scores.clone(), scores.clone()
    miss[..., :10], alarm[..., 50:60] = -20, 20
    assert Tversky()(miss, labels) > 1.5 * Tversky()(alarm, labels)
    assert Tversky(gamma=4 / 3)(miss, labels) > Tversky()(miss, labels)
