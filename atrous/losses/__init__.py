"""What training minimises: (logits, labels) -> scalar; ignored pixels change neither value nor gradient.

logits: (N, K, ...) float, on images, volumes or lists of points. labels: (N, ...) class indices, or (N, K, ...) masks
of 0 and 1 where classes overlap, with a sigmoid for each.
"""

from collections.abc import Callable
from functools import partial
from inspect import signature

import torch
from torch import nn

from atrous.losses.active_contour import ActiveContour
from atrous.losses.adversarial import Adversarial
from atrous.losses.boundary import Boundary
from atrous.losses.cldice import ClDice
from atrous.losses.cross_entropy import CrossEntropy
from atrous.losses.focal import Focal
from atrous.losses.formula import Term, parse
from atrous.losses.lovasz import Lovasz
from atrous.losses.ohem import OHEM
from atrous.losses.overlap import GeneralisedDice, Overlap
from atrous.losses.pixel_weights import BorderCrossEntropy, pixel_cross_entropy
from atrous.losses.rmi import RMI
from atrous.losses.total import Total
from atrous.losses.tversky import Tversky

__all__ = [
    "LOSSES",
    "OHEM",
    "RMI",
    "ActiveContour",
    "Adversarial",
    "BorderCrossEntropy",
    "Boundary",
    "ClDice",
    "CrossEntropy",
    "Focal",
    "GeneralisedDice",
    "Lovasz",
    "Overlap",
    "Total",
    "Tversky",
    "make_loss",
    "parse_loss",
    "pixel_cross_entropy",
]

LOSSES: dict[str, Callable[..., nn.Module]] = {
    "active_contour": ActiveContour,
    "border_ce": BorderCrossEntropy,
    "boundary": Boundary,
    "ce": CrossEntropy,
    "cldice": ClDice,
    "dice": partial(Overlap, form="dice"),
    "focal": Focal,
    "focal_tversky": partial(Tversky, gamma=4 / 3),
    "generalised_dice": GeneralisedDice,
    "jaccard": partial(Overlap, form="jaccard"),
    "lovasz": Lovasz,
    "ohem": OHEM,
    "rmi": RMI,
    "tversky": Tversky,
}
"""Name -> loss. `ignore`, `weight` (of classes) and `smoothing` come from the data and the recipe's own keys, for the
losses that have them; what else a loss takes can be set behind its name."""


def parse_loss(text: str) -> list[Term]:
    """'ce + 0.5 * dice(squared=true)' -> [(1.0, 'ce', {}), (0.5, 'dice', {'squared': True})]; RecipeError else."""
    return parse(text, LOSSES)


def make_loss(text: str, ignore: int = 255, weight: torch.Tensor | None = None, smoothing: float = 0.0) -> nn.Module:
    """The loss that a recipe names: one of `LOSSES` or a sum of several, such as 'ce + 0.5 * tversky(beta=0.8)'.

    weight: (K,) class weights. smoothing: of labels, 0..1. Both are for the cross-entropies; losses over regions weigh
    every class alike.
    """
    shared = {"ignore": ignore, "weight": weight, "smoothing": smoothing}
    terms = []
    for factor, name, options in parse_loss(text):
        taken = signature(LOSSES[name]).parameters
        own = {key: value for key, value in shared.items() if key in taken}
        terms.append((factor, LOSSES[name](**own, **options)))
    return terms[0][1] if len(terms) == 1 and terms[0][0] == 1 else Total(terms)
