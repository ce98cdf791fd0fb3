"""Refiners by the names that `--refine` and a bundle's card give them, applied to a prediction."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from inspect import Parameter, signature
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import numpy as np
from pydantic import ConfigDict, TypeAdapter, ValidationError

from atrous import refine
from atrous.errors import ModelError, nearest
from atrous.refine.inputs import judge_colours
from atrous.sample import FULL_SCALE

LABELERS = ("graph_cut", "icm", "trws")
"""These give labels; probabilities stay the network's."""
REFINERS = ("guided_filter", "bilateral_solver")
"""These give probabilities, as the dense CRF and its presets do."""
ALIKE = 13.0
"""Colours of 0..255 that differ by less are alike to most refiners."""
TUNED = "tuned"
"""The name for what `atrous tune-crf` found for a bundle, which may be that none helps."""


@dataclass(frozen=True)
class Refinement:
    """One refiner with its options, for raw images of one dtype.

    Refiners get colours in 0..255, the units of their widths.

    Args:
        name: a preset of the dense CRF, "crf" for its defaults, or a name of REFINERS or LABELERS.
        options: what the function in `atrous.refine` takes besides probabilities and image.
        dtype: of the images that the network was trained on.
        mean, std: per channel, for images that are neither uint8 nor uint16: two deviations to
            either side of the mean become 0..255.

    Raises:
        ModelError: there is no such refiner, or it has no such option; says what there is.

    Example:
        >>> image, p = np.zeros((1, 3, 3), np.uint8), np.array([0.9, 0.4, 0.8])
        >>> Refinement("graph_cut", {"smoothness": 2.0})(image, np.stack([p, 1 - p])[:, None])[0]
        array([[0, 0, 0]], dtype=uint8)
    """

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)
    dtype: str = "uint8"
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if self.name not in names():
            raise ModelError(f"unknown refiner {self.name!r}; {nearest(self.name, names())}")
        accepted = [name for name in option_names(self._function) if name not in _GIVEN]
        if unknown := [name for name in self.options if name not in accepted]:
            raise ModelError(f"refiner {self.name!r} has no option {unknown[0]!r}; it takes {', '.join(accepted)}")
        kinds = option_kinds(self._function)
        for name, value in self.options.items():
            if not _fits(kinds[name], value):
                raise ModelError(f"{name} of refiner {self.name!r} is {value!r}; expected {_words(kinds[name])}")

    def __call__(self, image: np.ndarray, probabilities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Raw image (H, W, C), probabilities (K, H, W) -> labels (H, W) and probabilities."""
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
        """The image's colours in 0..255, uint8, without an alpha channel."""
        image = image[..., :3] if image.shape[-1] == 4 else image
        if image.dtype == np.uint8:
            return image
        if image.dtype.name in FULL_SCALE:
            colours = image * (255 / FULL_SCALE[image.dtype.name])
        elif self.dtype in FULL_SCALE or len(self.mean) != image.shape[-1]:
            factor = 255 / FULL_SCALE.get(self.dtype, 255)
            if factor == 1:
                judge_colours(image, ALIKE)
            colours = image * factor
        else:
            low, high = (np.array(self.mean) + step * np.array(self.std) for step in (-2, 2))
            colours = (image - low) / (high - low) * 255
        return np.clip(np.rint(colours), 0, 255).astype(np.uint8)


_GIVEN = ("probabilities", "image", "unary", "monitor", "exact")


def option_names(function: Callable[..., Any]) -> list[str]:
    """A function's parameters; instead of `**options: Unpack[...]` the names that it stands for."""
    return list(option_kinds(function))


def option_kinds(function: Callable[..., Any]) -> dict[str, Any]:
    """A function's parameters with their types; instead of `**options: Unpack[...]` those that it stands for."""
    hints, found = get_type_hints(function), dict[str, Any]()
    for parameter in signature(function).parameters.values():
        hint = hints[parameter.name]
        several = parameter.kind is Parameter.VAR_KEYWORD
        found |= get_type_hints(get_args(hint)[0]) if several else {parameter.name: hint}
    return found


def _fits(kind: Any, value: Any) -> bool:
    """Whether a value is of a type, where nothing is converted but a list, which becomes a tuple."""
    value = tuple(value) if isinstance(value, list) else value
    try:
        TypeAdapter(kind, config=ConfigDict(arbitrary_types_allowed=True)).validate_python(value, strict=True)
    except ValidationError:
        return False
    return True


def _words(kind: Any) -> str:
    """A type in words: `float | None` is "a number or None"."""
    words = {int: "a whole number", float: "a number", bool: "true or false", str: "a word", NoneType: "None"}
    if get_origin(kind) in (Union, UnionType):
        return " or ".join(map(_words, get_args(kind)))
    if get_origin(kind) is tuple:
        return "numbers" if Ellipsis in get_args(kind) else f"{len(get_args(kind))} numbers"
    if get_origin(kind) is Literal:
        return " or ".join(get_args(kind))
    return words.get(kind, str(kind))


def names() -> list[str]:
    """All names that a `Refinement` may have."""
    return ["crf", *refine.PRESETS, *REFINERS, *LABELERS]


def choose_refinement(
    card_says: Mapping[str, Any],
    wish: str | None,
    options: Mapping[str, Any] | None = None,
    *,
    dtype: str = "uint8",
    mean: tuple[float, ...] = (),
    std: tuple[float, ...] = (),
) -> Refinement | None:
    """The refinement that a user wishes.

    Args:
        card_says: `refinement` of the model's card, what `atrous tune-crf` found.
        wish: the refiner's name; "tuned" for what the card holds; None for no refiner.
        options: of the refiner.
        dtype, mean, std: as for `Refinement`.

    Returns:
        None without a wish, and where the card says that no refiner helps.

    Raises:
        ModelError: options without a refiner or beside "tuned", or nothing was tuned.
    """
    if wish is None:
        if options:
            raise ModelError("options of a refiner were given, but no refiner; name one, such as crf")
        return None
    if wish != TUNED:
        return Refinement(wish, options or {}, dtype, mean, std)
    if not card_says:
        raise ModelError("no refiner was tuned for this model; run `atrous tune-crf RUN` first, or name one")
    if options:
        raise ModelError("tuned parameters take no options; name the refiner to give it some of your own")
    return Refinement(card_says["name"], card_says["options"], dtype, mean, std) if card_says["use"] else None
