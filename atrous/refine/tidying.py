"""Tidying label maps by the shapes of their regions: the steps that `--tidy` asks for."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from atrous.errors import ModelError, nearest
from atrous.refine.cheap import fill_holes, keep_largest, minimum_size

STEPS = ("keep_largest", "minimum_size", "fill_holes")


@dataclass(frozen=True)
class Step:
    """One step: `minimum_size` has a number of pixels, the others the indices of their classes."""

    name: str
    classes: tuple[int, ...] = ()
    pixels: int = 0

    def __call__(self, labels: np.ndarray) -> np.ndarray:
        """Tidy a label map (H, W) or (D, H, W); removed pixels take the nearest other label."""
        if self.name == "minimum_size":
            return minimum_size(labels, self.pixels, background=None)
        if self.name == "keep_largest":
            return keep_largest(labels, classes=self.classes, background=None)
        return fill_holes(labels, classes=self.classes)


def parse_tidying(texts: Sequence[str], names: Sequence[str]) -> tuple[Step, ...]:
    """The steps in the order they are given.

    Args:
        texts: "minimum_size=PIXELS": smaller regions of any class take the nearest other label.
            "keep_largest=CLASS,...": of each of these classes only the largest region stays.
            "fill_holes=CLASS,...": class 0 that one of these classes encloses becomes that class.
        names: the names of all classes, in the order of their indices.

    Raises:
        ModelError: a step, a class or a number that does not exist; says what does.

    Example:
        >>> parse_tidying(["minimum_size=50"], ["background", "liver"])
        (Step(name='minimum_size', classes=(), pixels=50),)
    """
    return tuple(_step(text, list(names)) for text in texts)


def _step(text: str, names: list[str]) -> Step:
    name, _, value = text.partition("=")
    if name not in STEPS:
        raise ModelError(f"--tidy {text}: unknown step {name!r}; {nearest(name, list(STEPS))}")
    if name == "minimum_size":
        if not value.isdecimal() or int(value) < 1:
            raise ModelError(f"--tidy {text}: give a number of pixels from 1 on, such as minimum_size=50")
        return Step(name, pixels=int(value))
    wanted = [part.strip() for part in value.split(",") if part.strip()]
    if not wanted:
        raise ModelError(f"--tidy {text}: name the classes, such as {name}={names[-1]}")
    if unknown := [one for one in wanted if one not in names]:
        raise ModelError(f"--tidy {text}: there is no class {unknown[0]!r}; {nearest(unknown[0], names)}")
    return Step(name, classes=tuple(names.index(one) for one in wanted))
