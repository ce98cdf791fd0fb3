"""Refiners by name: what `--refine` and a bundle's card call them, applied to a prediction."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from atrous import refine
from atrous.errors import ModelError, nearest
from atrous.sample import FULL_SCALE

LABELERS = ("graph_cut", "icm", "trws")
"""They decide on labels; probabilities stay the network's."""
REFINERS = ("guided_filter", "bilateral_solver")
TUNED = "tuned"
"""What `atrous tune-crf` found for a bundle, which may be nothing."""


@dataclass(frozen=True)
class Refinement:
    """One refiner with its options, for raw images of one dtype.

    name: a preset of the dense CRF, "crf" for its defaults, or a name of REFINERS or LABELERS. options: what the
    function in `atrous.refine` takes besides. mean, std: per channel, of images that are neither uint8 nor uint16;
    refiners get colours in 0..255: of such images those within two deviations of the mean.
    """

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)
    dtype: str = "uint8"
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if self.name not in names():
            raise ModelError(f"unknown refiner {self.name!r}; {nearest(self.name, names())}")
        accepted = [name for name in inspect.signature(self._function).parameters if name not in _GIVEN]
        if unknown := [name for name in self.options if name not in accepted]:
            raise ModelError(f"refiner {self.name!r} has no option {unknown[0]!r}; it takes {', '.join(accepted)}")

    def __call__(self, image: np.ndarray, probabilities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Raw image (H, W, C), probabilities (K, H, W) -> labels (H, W), probabilities (K, H, W)."""
        if len(probabilities) == 1:
            return np.zeros(probabilities.shape[1:], np.int64), probabilities
        options = dict(self.options)
        if self.name in refine.PRESETS:
            options.setdefault("preset", self.name)
        found = self._function(probabilities, self._colours(image), **options)
        if self.name in LABELERS:
            return (found.labels if self.name == "trws" else found), probabilities
        return found.argmax(0), found

    @property
    def _function(self) -> Callable[..., Any]:
        own = self.name in (*LABELERS, *REFINERS)
        return getattr(refine, self.name) if own else refine.dense_crf

    def _colours(self, image: np.ndarray) -> np.ndarray:
        """The image's colours in 0..255, without an alpha channel."""
        image = image[..., :3] if image.shape[-1] == 4 else image
        if image.dtype.name in FULL_SCALE:
            return image.astype(np.float32) * np.float32(255 / FULL_SCALE[image.dtype.name])
        if self.dtype in FULL_SCALE or len(self.mean) != image.shape[-1]:
            return image.astype(np.float32) * np.float32(255 / FULL_SCALE.get(self.dtype, 255))
        low, high = (np.array(self.mean) + step * np.array(self.std) for step in (-2, 2))
        return (np.clip((image - low) / (high - low), 0, 1) * 255).astype(np.float32)


_GIVEN = ("probabilities", "image", "unary", "monitor", "exact")


def names() -> list[str]:
    """What a refiner may be called."""
    return ["crf", *refine.PRESETS, *REFINERS, *LABELERS]


def choose_refinement(
    card_says: Mapping[str, Any],
    wish: str | None,
    options: Mapping[str, Any] | None = None,
    **image: Any,
) -> Refinement | None:
    """The refinement of that name, None for no wish; "tuned" is what the card holds, none where it says to leave off.

    card_says: a card's `refinement`. image: dtype, mean and std of `Refinement`.
    """
    if wish is None:
        if options:
            raise ModelError("options of a refiner were given, but no refiner; name one, such as crf")
        return None
    if wish != TUNED:
        return Refinement(wish, options or {}, **image)
    if not card_says:
        raise ModelError("no refiner was tuned for this model; run `atrous tune-crf RUN` first, or name one")
    if options:
        raise ModelError("tuned parameters take no options; name the refiner to give it some of your own")
    return Refinement(card_says["name"], card_says["options"], **image) if card_says["use"] else None
