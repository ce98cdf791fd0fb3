"""What training minimises: (logits, labels) -> scalar; ignored pixels change neither value nor gradient."""

from collections.abc import Callable

import torch
from torch import nn

from atrous.errors import RecipeError, nearest
from atrous.losses.active_contour import ActiveContour
from atrous.losses.adversarial import Adversarial
from atrous.losses.cross_entropy import CrossEntropy
from atrous.losses.overlap import Overlap
from atrous.losses.pixel_weights import pixel_cross_entropy
from atrous.losses.total import Total

__all__ = [
    "LOSSES",
    "ActiveContour",
    "Adversarial",
    "CrossEntropy",
    "Overlap",
    "Total",
    "make_loss",
    "parse_loss",
    "pixel_cross_entropy",
]

LOSSES: dict[str, Callable[[int, torch.Tensor | None, float], nn.Module]] = {
    "active_contour": lambda ignore, weight, smoothing: ActiveContour(ignore),
    "ce": CrossEntropy,
    "dice": lambda ignore, weight, smoothing: Overlap(ignore),
    "jaccard": lambda ignore, weight, smoothing: Overlap(ignore, form="jaccard"),
}
"""Name -> (ignore, class weights or None, label smoothing) -> loss; overlap losses weigh every class alike."""


def parse_loss(text: str) -> list[tuple[float, str]]:
    """'ce + 0.5 * dice' -> [(1.0, 'ce'), (0.5, 'dice')]; RecipeError with the nearest name."""
    terms = []
    for term in text.split("+"):
        factor, star, name = term.rpartition("*")
        name = name.strip()
        try:
            number = float(factor) if star else 1.0
        except ValueError:
            number = -1.0
        if number <= 0:
            raise RecipeError(f"loss {text!r}: {factor.strip()!r} is no factor above 0; write '0.5 * {name}'")
        if name not in LOSSES:
            raise RecipeError(f"loss {text!r}: unknown loss {name!r}; {nearest(name, list(LOSSES))}")
        terms.append((number, name))
    return terms


def make_loss(text: str, ignore: int = 255, weight: torch.Tensor | None = None, smoothing: float = 0.0) -> nn.Module:
    """The loss that a recipe names: one of `LOSSES` or a sum of several, such as 'ce + 0.5 * dice'.

    weight: (K,) class weights. smoothing: of labels, 0..1.
    """
    terms = [(factor, LOSSES[name](ignore, weight, smoothing)) for factor, name in parse_loss(text)]
    return terms[0][1] if len(terms) == 1 and terms[0][0] == 1 else Total(terms)
