"""A recipe's loss: how it is read, what it becomes, and what its errors say."""

import re

import pytest
import torch

from atrous.errors import RecipeError
from atrous.losses import LOSSES, ClDice, CrossEntropy, Focal, Overlap, Total, Tversky, make_loss, parse_loss
from atrous.losses.formula import own_options


@pytest.mark.parametrize("text, terms", [
    ("ce+0.5*dice", [(1.0, "ce", {}), (0.5, "dice", {})]),
    (" 2e-1 * ohem ( least = 0.25 , ) ", [(0.2, "ohem", {"least": 0.25})]),
    ("ce + 0.5 * tversky(alpha=+3e-1,beta=7e+0) + rmi()",
     [(1.0, "ce", {}), (0.5, "tversky", {"alpha": 0.3, "beta": 7.0}), (1.0, "rmi", {})]),
    ("dice(region=sample, squared=true, background=false, smooth=1)",
     [(1.0, "dice", {"region": "sample", "squared": True, "background": False, "smooth": 1.0})]),
    ("cldice(iterations=5)", [(1.0, "cldice", {"iterations": 5})]),
    ("focal(alpha=0.25)", [(1.0, "focal", {"alpha": 0.25})]),
])  # fmt: skip
def test_what_is_read(text: str, terms: list[tuple[float, str, dict[str, object]]]) -> None:
    assert [tuple(term) for term in parse_loss(text)] == terms
    for (_, _, read), (_, _, expected) in zip(parse_loss(text), terms, strict=True):
        assert [type(value) for value in read.values()] == [type(value) for value in expected.values()]


@pytest.mark.parametrize("text, words", [
    ("ce + dise", "loss 'ce + dise': unknown loss 'dise'; did you mean 'dice'?"),
    ("", "unknown loss ''; known: active_contour, border_ce"),
    ("ce +", "unknown loss ''"),
    ("ce dice", "unknown loss 'ce dice'"),
    ("x * ce", "'x' is not a factor above 0; write '0.5 * ce'"),
    ("-1 * ce", "'-1' is not a factor above 0"),
    ("nan * ce", "'nan' is not a factor above 0"),
    ("inf * ce", "'inf' is not a factor above 0"),
    ("tversky(alfa=0.3)", "tversky has no parameter 'alfa'; did you mean 'alpha'?"),
    ("tversky(ignore=3)", "tversky has no parameter 'ignore'; known: alpha, beta, gamma, region"),
    ("focal_tversky(gamma=2)", "focal_tversky has no parameter 'gamma'"),
    ("dice(form=jaccard)", "dice has no parameter 'form'"),
    ("ce(smoothing=0.1)", "ce has no parameter 'smoothing'; it takes none"),
    ("dice(region=smple)", "dice(region=smple): unknown value 'smple'; did you mean 'sample'?"),
    ("dice(squared=1)", "unknown value '1'; known: false, true"),
    ("tversky(alpha)", "tversky(alpha=): '' is not a number"),
    ("tversky(alpha=nan)", "'nan' is not a number"),
    ("cldice(iterations=1.5)", "'1.5' is not a whole number"),
    ("dice(", "'dice(' cannot be read; write '0.5 * tversky(alpha=0.3, beta=0.7)'"),
    ("ce + dice)", "dice)' cannot be read"),
    ("dice(region=(sample))", "cannot be read"),
    ("2 * 3 * ce", "cannot be read"),
    ("focal(gamma=-1)", "gamma -1.0"),
    ("tversky(alpha=0, beta=0)", "alpha and beta >= 0 and not both 0"),
    ("dice(smooth=-1)", "smooth >= 0"),
    ("ohem(least=2)", "both must be in [0, 1]"),
    ("rmi(stride=0)", "stride 0"),
    ("cldice(iterations=-1)", "iterations -1"),
    ("border_ce(sigma=0)", "sigma 0"),
    ("active_contour(region=-1)", "region -1"),
])  # fmt: skip
def test_what_cannot_be_read(text: str, words: str) -> None:
    with pytest.raises(RecipeError, match=re.escape(words)):
        parse_loss(text)


def test_each_name_becomes_its_loss() -> None:
    generator = torch.Generator().manual_seed(2)
    logits, labels = torch.randn(2, 3, 4, generator=generator), torch.randint(0, 3, (2, 4), generator=generator)
    labels[0, 0] = 7
    weight = torch.tensor([1.0, 2, 3])
    expected = CrossEntropy(7, weight, 0.1)(logits, labels) + 0.5 * Overlap(7, squared=True)(logits, labels)
    torch.testing.assert_close(make_loss("ce + 0.5 * dice(squared=true)", 7, weight, 0.1)(logits, labels), expected)
    torch.testing.assert_close(make_loss("focal", 7, weight, 0.1)(logits, labels), Focal(7, weight)(logits, labels))
    torch.testing.assert_close(make_loss("focal_tversky", 7)(logits, labels), Tversky(7, gamma=4 / 3)(logits, labels))
    jaccard, tversky = make_loss("jaccard", 7), make_loss("tversky(alpha=1, beta=1)", 7)
    torch.testing.assert_close(jaccard(logits, labels), tversky(logits, labels))
    assert isinstance(make_loss("ce"), CrossEntropy)
    assert isinstance(make_loss("2 * ce"), Total)
    assert isinstance(made := make_loss("cldice(iterations=7)"), ClDice)
    assert made.iterations == 7


def test_defaults_are_those_of_the_papers_and_the_guide() -> None:
    mean = {"region": "batch"}
    overlap = {**mean, "squared": False, "background": True, "smooth": 0.0}
    expected = {
        "active_contour": {"region": 1.0, "eps": 1e-8},
        "border_ce": {"border": 10.0, "sigma": 5.0, "balance": True},
        "boundary": {},
        "ce": {},
        "cldice": {"iterations": 3, "smooth": 1.0},
        "dice": overlap,
        "focal": {"gamma": 2.0, "alpha": None},
        "focal_tversky": {"alpha": 0.3, "beta": 0.7, **mean},
        "generalised_dice": mean,
        "jaccard": overlap,
        "lovasz": {"form": "softmax", **mean},
        "ohem": {"threshold": 0.7, "least": 1 / 16},
        "rmi": {"side": 3, "stride": 4, "eps": 5e-4},
        "tversky": {"alpha": 0.3, "beta": 0.7, "gamma": 1.0, **mean},
    }
    assert {
        name: {key: option.default for key, option in own_options(loss).items()} for name, loss in LOSSES.items()
    } == expected


def test_the_guide_has_every_loss_and_parameter(pytestconfig: pytest.Config) -> None:
    guide = (pytestconfig.rootpath / "docs" / "losses.md").read_text()
    rows = {row.split("`")[1]: row for row in guide.splitlines() if row.startswith("| `")}
    assert set(rows) == set(LOSSES)
    for name, loss in LOSSES.items():
        assert all(f"`{key}" in rows[name] for key in own_options(loss)), name
