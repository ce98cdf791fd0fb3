"""pydensecrf.utils by its own names: energies of labels and probabilities, features of pixels."""

from collections.abc import Sequence
from warnings import warn

import numpy as np

from atrous import refine
from atrous.refine.inputs import judge_colours


def unary_from_labels(labels: np.ndarray, n_labels: int, gt_prob: float, zero_unsure: bool = True) -> np.ndarray:
    """Energies (n_labels, N) float32; zero_unsure: label 0 is "unknown", n_labels leaves it out."""
    energies: np.ndarray = refine.unary_from_labels(labels, n_labels, gt_prob, zero_unsure=zero_unsure)
    return energies.reshape(n_labels, -1)


def unary_from_softmax(sm: np.ndarray, scale: float | None = None, clip: float | None = 1e-5) -> np.ndarray:
    """Energies (L, N) float32 of probabilities (L, ...); scale: 0..1, certainty of the softmax."""
    certainty = 1.0 if scale is None else scale
    energies: np.ndarray = refine.unary_from_probabilities(sm, certainty=certainty, clip=clip)
    return energies.reshape(len(energies), -1)


def compute_unary(labels: np.ndarray, M: int, GT_PROB: float = 0.5) -> np.ndarray:
    """The older name of `unary_from_labels`."""
    warn("compute_unary is deprecated; use unary_from_labels", DeprecationWarning, stacklevel=2)
    return unary_from_labels(labels, M, GT_PROB)


def softmax_to_unary(sm: np.ndarray, GT_PROB: float = 1) -> np.ndarray:
    """The older name of `unary_from_softmax`, without its clip."""
    warn("softmax_to_unary is deprecated; use unary_from_softmax", DeprecationWarning, stacklevel=2)
    return unary_from_softmax(sm, None if GT_PROB == 1 else GT_PROB, clip=None)


def create_pairwise_gaussian(sdims: Sequence[float], shape: Sequence[int]) -> np.ndarray:
    """Features (axes, N) float32: places divided by `sdims`, both in the order of the axes."""
    grid = np.indices(shape, np.float32).reshape(len(shape), -1)
    return grid / np.asarray(sdims, np.float32)[:, None]


def create_pairwise_bilateral(
    sdims: Sequence[float], schan: float | Sequence[float], img: np.ndarray, chdim: int = -1
) -> np.ndarray:
    """Features (axes + channels, N) float32: places divided by `sdims`, colours by `schan`.

    chdim: the axis of the channels; -1 if the image has none.
    """
    judge_colours(np.asarray(img), float(np.min(schan)))
    colours = img[None] if chdim == -1 else np.moveaxis(img, chdim, 0)
    flat = colours.reshape(len(colours), -1).astype(np.float32)
    deviations = np.broadcast_to(np.asarray(schan, np.float32), len(flat))
    return np.concatenate([create_pairwise_gaussian(sdims, colours.shape[1:]), flat / deviations[:, None]])
