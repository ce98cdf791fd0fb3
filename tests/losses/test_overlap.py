"""Dice, generalised Dice and Jaccard: values by hand, regions, absent classes."""

import pytest
import torch

from atrous.losses import GeneralisedDice, Overlap

P = torch.tensor([0.9, 0.6, 0.2, 0.1])
LOGITS = torch.stack([(1 - P).log(), P.log()])[None]
LABELS = torch.tensor([[1, 0, 1, 0]])


@pytest.mark.parametrize("options, expected", [
    ({}, 0.421053),
    ({"squared": True}, 0.316770),
    ({"form": "jaccard"}, 0.592593),
    ({"smooth": 1.0}, 1 - (2 * 1.1 + 1) / (3.8 + 1)),
])  # fmt: skip
def test_golden_values(options: dict[str, object], expected: float) -> None:
    loss = Overlap(background=False, **options)  # type: ignore[arg-type]
    assert loss(LOGITS, LABELS).item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("form", ["dice", "jaccard"])
def test_a_class_that_is_absent_does_not_dilute_the_others(form: str) -> None:
    """However many classes are absent, a total miss of the one that is present costs 1."""
    labels = torch.zeros(1, 8, 8, dtype=torch.long)
    labels[:, :2] = 1
    for classes in (2, 20):
        logits = torch.full((1, classes, 8, 8), -30.0)
        logits[:, 0] = 30
        missed = Overlap(form=form, background=False)(logits, labels)  # type: ignore[arg-type]
        assert missed.item() == pytest.approx(1, abs=1e-6)
        logits.scatter_(1, labels[:, None], 90.0)
        assert Overlap(form=form, background=False)(logits, labels).item() == pytest.approx(0, abs=1e-6)  # type: ignore[arg-type]


def test_regions() -> None:
    generator = torch.Generator().manual_seed(0)
    logits, labels = torch.randn(3, 4, 5, 6, generator=generator), torch.randint(0, 3, (3, 5, 6), generator=generator)
    labels[0][labels[0] == 2] = 0
    each = [Overlap()(logits[i : i + 1], labels[i : i + 1]) for i in range(3)]
    weights = torch.tensor([2.0, 3, 3])  # classes present per picture
    assert Overlap(region="sample")(logits, labels).item() == pytest.approx(
        float((torch.stack(each) * weights).sum() / 8), abs=1e-6
    )
    assert Overlap()(logits[:1], labels[:1]).item() == Overlap(region="sample")(logits[:1], labels[:1]).item()
    assert Overlap()(logits, labels).item() != Overlap(region="sample")(logits, labels).item()


def test_generalised_dice_by_hand() -> None:
    """Six pixels of class 0, two of class 1, none of 2: weights 1/36, 1/4, 0."""
    labels = torch.tensor([[0, 0, 0, 0, 0, 0, 1, 1]])
    p = torch.tensor([[0.8] * 6 + [0.3] * 2, [0.1] * 6 + [0.6] * 2, [0.1] * 8])[None]
    hit, total = 4.8 / 36 + 1.2 / 4, (4.8 + 0.6 + 6) / 36 + (0.6 + 1.2 + 2) / 4
    assert GeneralisedDice()(p.log(), labels).item() == pytest.approx(1 - 2 * hit / total, abs=1e-6)
    both, twice = torch.cat([p, p.flip(1)]).log(), torch.cat([labels, labels])
    each = GeneralisedDice()(p.flip(1).log(), labels).item()
    assert GeneralisedDice(region="sample")(both, twice).item() == pytest.approx((1 - 2 * hit / total + each) / 2)
    assert GeneralisedDice()(both, twice).item() != pytest.approx((1 - 2 * hit / total + each) / 2, abs=1e-3)


@pytest.mark.parametrize("options, expected", [({}, 0.421053), ({"squared": True}, 0.316770)])
def test_a_binary_mask(options: dict[str, bool], expected: float) -> None:
    """One class in multilabel is Dice of the sigmoid, as softmax of two without class 0."""
    loss = Overlap(**options)  # type: ignore[arg-type]
    assert loss(P.logit()[None, None], LABELS[None]).item() == pytest.approx(expected, abs=1e-6)


def test_classes_that_overlap_are_judged_one_by_one() -> None:
    generator = torch.Generator().manual_seed(0)
    logits, masks = torch.randn(2, 3, 4, 5, generator=generator), torch.randint(0, 2, (2, 3, 4, 5), generator=generator)
    each = [Overlap()(logits[:, k : k + 1], masks[:, k : k + 1]) for k in range(3)]
    torch.testing.assert_close(Overlap()(logits, masks), torch.stack(each).mean())
