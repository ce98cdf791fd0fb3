"""Losses: the numbers that training minimises.

Each is a module: `loss(logits, labels)` -> scalar.

    logits  (N, K, ...) float: images (N, K, H, W), volumes (N, K, D, H, W) or points (N, K, P)
    labels  exclusive: (N, ...) class indices; the probabilities of a pixel are a softmax
            multilabel: (N, K, ...) of 0 and 1, a mask per class; each probability is a sigmoid

A label that equals `ignore` is not counted. It changes neither the value nor the gradient, even if
the logits above it are infinite. If no label is counted, the loss is 0. Half precision is computed
in float32.

In the formulas p is a probability, y the label as 0 or 1 per class, z a logit, and sums go over the
counted pixels.

`Adversarial` alone differs: it also sees the image and holds a second network.
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
"""Name in a recipe -> loss.

`make_loss` passes `ignore`, `weight` and `smoothing` to the losses that take them; every other
parameter can be set behind the name, as in 'dice(squared=true)'.
"""


def parse_loss(text: str) -> list[Term]:
    """Read a loss as a recipe writes it.

    Args:
        text: a sum of names of `LOSSES`, each with a factor and parameters where wanted.

    Returns:
        One term (factor, name, parameters) per summand.

    Raises:
        RecipeError: if a name, a parameter or a value is unknown or out of range.

    Example:
        >>> from atrous.losses import parse_loss
        >>> factor, name, parameters = parse_loss("ce + 0.5 * dice(squared=true)")[1]
        >>> factor, name, parameters
        (0.5, 'dice', {'squared': True})
    """
    return parse(text, LOSSES)


def make_loss(text: str, ignore: int = 255, weight: torch.Tensor | None = None, smoothing: float = 0.0) -> nn.Module:
    """Build the loss that a recipe names.

    Args:
        text: as in `parse_loss`, such as "ce + 0.5 * tversky(beta=0.8)".
        ignore: label value that changes neither the loss nor its gradient.
        weight: (K,) class weights for `ce`, `ohem` and `focal`; the other losses weigh every class
            alike.
        smoothing: of the labels, in [0, 1), for `ce` and `ohem`.

    Returns:
        A module (logits, labels) -> scalar.

    Raises:
        RecipeError: as `parse_loss`.

    Example:
        >>> import torch
        >>> from atrous.losses import make_loss
        >>> loss = make_loss("ce + 0.5 * dice", ignore=255)
        >>> logits, labels = torch.zeros(1, 2, 4, 4), torch.zeros(1, 4, 4, dtype=torch.long)
        >>> print(f"{loss(logits, labels):.4f}")  # log 2 + 0.5 * (1 - 2 * 8 / (8 + 16))
        0.8598
    """
    shared = {"ignore": ignore, "weight": weight, "smoothing": smoothing}
    terms = []
    for factor, name, options in parse_loss(text):
        taken = signature(LOSSES[name]).parameters
        own = {key: value for key, value in shared.items() if key in taken}
        terms.append((factor, LOSSES[name](**own, **options)))
    return terms[0][1] if len(terms) == 1 and terms[0][0] == 1 else Total(terms)
