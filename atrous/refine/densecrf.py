"""The dense CRF of an image: pixels that are near tend to one label, those of like colours more so.

Kraehenbuehl and Koltun 2011 (1210.5644), equation 3: with positions p and colours c,

    k(i, j) = w1 exp(-|p_i - p_j|^2 / 2 sxy^2 - |c_i - c_j|^2 / 2 srgb^2)   bilateral, "appearance"
            + w2 exp(-|p_i - p_j|^2 / 2 sxy^2)                              gaussian, "smoothness"

Each of the two has a width of its own. The loop is in `atrous.refine.meanfield`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from atrous.errors import DataError, nearest
from atrous.ops.lattice import LARGEST_DIMENSION
from atrous.refine.inputs import (
    MOST_ENERGY,
    checked_colours,
    checked_image,
    checked_probabilities,
    checked_spacing,
    refuse_probabilities,
)
from atrous.refine.meanfield import MOST_LABELS, Kernel, MeanField, Normalisation
from atrous.refine.unary import unary_from_logits, unary_from_probabilities


@dataclass(frozen=True)
class Preset:
    """Parameters of `dense_crf` that some code used."""

    gaussian: tuple[float, float]
    """(sxy, weight)."""
    bilateral: tuple[float, float, float]
    """(sxy, srgb, weight), colours 0..255."""
    iterations: int
    normalisation: Normalisation = "symmetric"


PRESETS = {
    "deeplab_v1": Preset((3, 3), (50, 10, 5), 10),
    "deeplab_v2": Preset((1, 3), (67, 3, 4), 10),  # ResNet-101
    "crfasrnn": Preset((3, 3), (160, 3, 5), 10, "after"),  # 5 iterations in training
    "pydensecrf": Preset((3, 3), (80, 13, 10), 5),  # its example
    "convcrf": Preset((3, 3), (80, 13, 10), 5),  # without its window, which `ConvCRF` has
}
"""What the papers' own code used. None is tuned for your data: `atrous tune-crf` does that."""


def dense_crf(
    probabilities: np.ndarray,
    image: np.ndarray,
    *,
    preset: str | None = None,
    gaussian: tuple[float, float] | None = None,
    bilateral: tuple[float, float, float] | None = None,
    iterations: int | None = None,
    normalisation: Normalisation | None = None,
    self_term: bool = True,
    unary: Literal["probabilities", "logits", "energies"] = "probabilities",
    spacing: tuple[float, ...] | None = None,
    tolerance: float = 0.0,
    monitor: Callable[[int, float], None] | None = None,
    exact: bool = False,
    half: bool = False,
    threads: int | None = None,
) -> np.ndarray:
    """Probabilities sharpened by the image's colours, with a fully connected CRF.

    Args:
        probabilities: (K, H, W) or (K, D, H, W), see `unary`.
        image: (H, W[, C]) or (D, H, W[, C]), raw, of any real type and any number of channels. The
            lattice has 8 dimensions: of more channels than 8 less the axes, the first principal
            components are taken.
        preset: a name of `PRESETS`: "deeplab_v1", "deeplab_v2", "crfasrnn", "pydensecrf",
            "convcrf". Options that are given win over it.
        gaussian: (sxy, weight) of the term of position; default (3, 3). A weight of 0 leaves it
            out.
        bilateral: (sxy, srgb, weight) of the term of position and colour; default (80, 13, 10). sxy
            is in pixels or units of `spacing`, srgb in the units of the image.
        iterations: of mean field; default 10.
        normalisation: of both kernels; default "symmetric", see `Kernel`.
        self_term: whether a pixel is its own neighbour, see `Kernel`.
        unary: what `probabilities` holds: "probabilities" in 0..1, which are clipped to 1e-5;
            "logits"; or "energies", -log p (`unary_from_labels`).
        spacing: distance between pixels along each axis; None: 1.
        tolerance: iterations end when no probability moves by more.
        monitor: called after each iteration with its number and the free energy.
        exact, half, threads: see `MeanField`.

    Returns:
        (K, H, W) or (K, D, H, W) float32, each pixel's sum 1.

    Raises:
        DataError: sizes differ, numbers are not finite, or an option does not fit.

    Source:
        Kraehenbuehl & Koltun, NIPS 2011, arXiv 1210.5644.

    Example:
        >>> import numpy as np
        >>> p = np.array([0.9, 0.4, 0.8], np.float32)
        >>> q = dense_crf(np.stack([p, 1 - p])[:, None], np.zeros((1, 3, 3), np.uint8))
        >>> q.argmax(0).tolist()
        [[0, 0, 0]]
    """
    chosen = _preset(preset)
    gaussian, bilateral = gaussian or chosen.gaussian, bilateral or chosen.bilateral
    iterations = chosen.iterations if iterations is None else iterations
    if not np.isfinite(iterations) or iterations < 0 or iterations != int(iterations):
        raise DataError(f"iterations is {iterations}; expected a whole number, 0 or more")
    for name, numbers, count in (("gaussian", gaussian, 2), ("bilateral", bilateral, 3)):
        real = not isinstance(numbers, str) and all(isinstance(one, int | float | np.number) for one in numbers)
        if not real or len(numbers) != count or not np.abs(numbers).max() <= MOST_ENERGY or min(numbers[:-1]) <= 0:
            raise DataError(
                f"{name} is {numbers}; expected {count} numbers to {MOST_ENERGY:g}, widths over 0 and then the weight"
            )
    energy = _unary(probabilities, unary, threads)
    shape = energy.shape[1:]
    steps = checked_spacing(spacing, len(shape))
    colours = checked_colours(image, shape, bilateral[1]) if bilateral[-1] else checked_image(image, shape)
    kernels = []
    for weight, features in (
        (gaussian[-1], lambda: pixel_features(shape, steps / gaussian[0])),
        (bilateral[-1], lambda: pixel_features(shape, steps / bilateral[0], colours, bilateral[1])),
    ):
        if weight:
            kernels.append(Kernel(features(), weight, normalisation or chosen.normalisation, self_term))
    field = MeanField(energy.reshape(len(energy), -1), kernels, shape=shape, exact=exact, half=half, threads=threads)
    del energy, kernels
    field.run(int(iterations), tolerance=tolerance, monitor=monitor)
    return field.last_marginals().reshape(-1, *shape)


def pixel_features(
    shape: tuple[int, ...], steps: np.ndarray, colours: np.ndarray | None = None, deviation: float = 1.0
) -> np.ndarray:
    """Features of an image's pixels, to build a lattice from: place and colours.

    Args:
        shape: of the image.
        steps: per axis, what places are multiplied by.
        colours: (*shape, C); of more channels than the lattice has dimensions left, as many
            principal components as fit.
        deviation: what colours are divided by.

    Returns:
        (N, axes + channels) float32, the last axis first.
    """
    axes = len(shape)
    channels = 0 if colours is None else min(colours.shape[-1], LARGEST_DIMENSION - axes)
    features = np.empty((*shape, axes + channels), np.float32)
    for i, axis in enumerate(reversed(range(axes))):
        features[..., i] = (np.arange(shape[axis]) * steps[axis]).reshape(-1, *[1] * (axes - 1 - axis))
    if colours is not None:
        if channels < colours.shape[-1]:
            flat = colours.reshape(-1, colours.shape[-1])
            axes_of_most = np.linalg.eigh(np.cov(flat, rowvar=False, bias=True))[1][:, ::-1][:, :channels]
            colours = colours @ axes_of_most.astype(np.float32)
        np.divide(colours, np.float32(deviation), out=features[..., axes:])
    return features.reshape(-1, axes + channels)


def _preset(name: str | None) -> Preset:
    if name is None:
        return Preset((3, 3), (80, 13, 10), 10)
    if name not in PRESETS:
        raise DataError(f"unknown preset {name!r}; {nearest(name, list(PRESETS))}")
    return PRESETS[name]


def _unary(values: np.ndarray, kind: str, threads: int | None) -> np.ndarray:
    """(K, *shape) float32 energies from what the caller has."""
    if kind == "probabilities":
        return unary_from_probabilities(checked_probabilities(values), threads=threads)
    if kind not in ("logits", "energies"):
        raise DataError(f"unary is {kind!r}; {nearest(kind, ['probabilities', 'logits', 'energies'])}")
    array = np.asarray(values)
    if array.ndim not in (3, 4) or 0 in array.shape[1:] or not 2 <= len(array) <= MOST_LABELS:
        raise DataError(
            f"{kind} have shape {array.shape}; expected (K, H, W) or (K, D, H, W), K from 2 to {MOST_LABELS:,}"
        )
    if array.dtype.kind not in "biuf":
        raise DataError(f"{kind} are of type {array.dtype}; expected real numbers")
    array = array.astype(np.float32, copy=False)
    refuse_probabilities(array, kind)
    return unary_from_logits(array) if kind == "logits" else array
