import pytest
import torch

from atrous.errors import RecipeError
from atrous.losses import CrossEntropy, Focal

P = torch.tensor([0.9, 0.6, 0.2, 0.1])
LOGITS, LABELS = P.logit()[None, None], torch.tensor([[[1, 0, 1, 0]]])


@pytest.mark.parametrize("options, expected", [
    ({"gamma": 0.0}, 0.684112), ({}, 0.340503), ({"alpha": 0.25}, 0.126491),
])  # fmt: skip
def test_golden_values(options: dict[str, float], expected: float) -> None:
    assert Focal(**options)(LOGITS, LABELS).item() == pytest.approx(expected, abs=1e-6)  # type: ignore[arg-type]


def test_by_hand_with_class_weights() -> None:
    p, weight = torch.tensor([[0.7, 0.2, 0.1], [0.5, 0.3, 0.2]]), torch.tensor([1.0, 2, 4])
    given = torch.tensor([0.2, 0.5])  # of the classes 1 and 0
    terms = torch.tensor([2.0, 1]) * -((1 - given) ** 3) * given.log()
    value = Focal(weight=weight, gamma=3)(p.log(), torch.tensor([1, 0]))
    assert value.item() == pytest.approx(float(terms.sum() / 3), abs=1e-6)


def test_without_gamma_it_is_cross_entropy() -> None:
    generator = torch.Generator().manual_seed(0)
    logits, labels = torch.randn(2, 3, 4, 5, generator=generator), torch.randint(0, 3, (2, 4, 5), generator=generator)
    weight = torch.tensor([1.0, 2, 0.5])
    torch.testing.assert_close(
        Focal(weight=weight, gamma=0)(logits, labels), CrossEntropy(weight=weight)(logits, labels)
    )


def test_certainty_has_a_finite_slope() -> None:
    for gamma in (0.5, 1.0, 2.0):
        logits = torch.tensor([[[200.0, 0], [0, 200]]], requires_grad=True)
        Focal(gamma=gamma)(logits, torch.tensor([[0, 1]])).backward()
        assert not logits.grad.any()


def test_alpha_is_no_class_weight() -> None:
    with pytest.raises(RecipeError, match="use class weights"):
        Focal(alpha=0.25)(torch.zeros(1, 2, 3), torch.zeros(1, 3, dtype=torch.long))
