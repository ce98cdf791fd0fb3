"""Dice and Jaccard: hand-computed values, what absent classes and ignored pixels may not do, gradients."""

import pytest
import torch

from atrous.errors import RecipeError
from atrous.losses import LOSSES, CrossEntropy, Overlap, make_loss, parse_loss

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
    """Whatever number of absent classes there is, a total miss of the one that is there costs all of 1."""
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


EVERY = ["ce + dice", "jaccard", "0.5 * ce + 2*jaccard"]


@pytest.mark.parametrize("text", EVERY)
@pytest.mark.parametrize("shape", [(4, 5), (3, 4, 5)])
def test_what_lies_under_ignore_changes_nothing(text: str, shape: tuple[int, ...]) -> None:
    loss, generator = make_loss(text), torch.Generator().manual_seed(0)
    labels = torch.randint(0, 3, (2, *shape), generator=generator)
    labels[torch.rand(2, *shape, generator=generator) < 0.4] = 255
    one = torch.randn(2, 3, *shape, generator=generator)
    noise = 100 * torch.randn(2, 3, *shape, generator=generator)
    noise[:, 0].masked_fill_(noise[:, 0] > 80, float("inf"))
    other = torch.where((labels == 255)[:, None], noise, one)
    results = []
    for logits in (one, other.nan_to_num(posinf=1e30)):
        logits.requires_grad_()
        value = loss(logits, labels)
        value.backward()
        results.append((value.item(), logits.grad))
    assert results[0][0] == results[1][0]
    assert torch.equal(results[0][1], results[1][1])


@pytest.mark.parametrize("form", ["dice", "jaccard"])
def test_ignored_pixels_are_as_if_cut_out(form: str) -> None:
    generator = torch.Generator().manual_seed(3)
    logits, labels = torch.randn(1, 3, 40, generator=generator), torch.randint(0, 3, (1, 40), generator=generator)
    labels[0, 25:] = 255
    loss = Overlap(form=form)  # type: ignore[arg-type]
    assert loss(logits, labels).item() == pytest.approx(loss(logits[..., :25], labels[:, :25]).item(), abs=1e-6)


@pytest.mark.parametrize("options", [{}, {"squared": True, "smooth": 1.0}, {"form": "jaccard", "region": "sample"}])
def test_gradients(options: dict[str, object]) -> None:
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(2, 3, 3, 2, generator=generator, dtype=torch.float64, requires_grad=True)
    labels = torch.randint(0, 3, (2, 3, 2), generator=generator)
    loss = Overlap(**options)  # type: ignore[arg-type]
    value = loss(logits, labels)
    (slope,) = torch.autograd.grad(value, logits)
    step = 1e-2 * torch.randn(logits.shape, generator=generator, dtype=torch.float64)
    with torch.no_grad():
        change = loss(logits + step, labels) - loss(logits - step, labels)
    assert change.item() == pytest.approx(2 * float((slope * step).sum()), rel=2e-2, abs=2e-6)


def test_a_batch_that_is_all_ignored_gives_zero_and_a_finite_gradient() -> None:
    logits = torch.randn(1, 3, 2, 2, requires_grad=True)
    value = make_loss("ce + dice")(logits, torch.full((1, 2, 2), 255))
    value.backward()
    assert value.item() == 0
    assert torch.equal(logits.grad, torch.zeros_like(logits))


def test_sums_by_name() -> None:
    assert parse_loss("ce+0.5*dice") == [(1.0, "ce"), (0.5, "dice")]
    generator = torch.Generator().manual_seed(2)
    logits, labels = torch.randn(2, 3, 4, generator=generator), torch.randint(0, 3, (2, 4), generator=generator)
    weight = torch.tensor([1.0, 2, 3])
    expected = CrossEntropy(weight=weight, smoothing=0.1)(logits, labels) + 0.5 * Overlap()(logits, labels)
    torch.testing.assert_close(make_loss("ce + 0.5 * dice", 255, weight, 0.1)(logits, labels), expected)
    assert isinstance(make_loss("ce"), CrossEntropy)
    assert set(LOSSES) >= {"ce", "dice", "jaccard"}


@pytest.mark.parametrize("text, words", [
    ("ce + dise", "unknown loss 'dise'; did you mean 'dice'?"),
    ("", "unknown loss ''"),
    ("ce +", "unknown loss ''"),
    ("x * ce", "'x' is no factor above 0"),
    ("-1 * ce", "'-1' is no factor above 0"),
])  # fmt: skip
def test_what_cannot_be(text: str, words: str) -> None:
    with pytest.raises(RecipeError, match=words.replace("*", r"\*").replace("?", r"\?")):
        parse_loss(text)
