"""Several samples in one crop: CutMix (Yun et al., ICCV 2019; for segmentation French et al., BMVC 2020) and mosaic."""

from typing import NamedTuple

import numpy as np


class Box(NamedTuple):
    """A part of the crop, in pixels."""

    top: int
    left: int
    height: int
    width: int


def boxes(crop: tuple[int, int], rng: np.random.Generator, *, cutmix: float = 0.0, mosaic: float = 0.0) -> list[Box]:
    """What a crop (height, width) is made of: its own sample fills the first box, other samples those that follow, the
    later ones on top.

    cutmix: chance of one rectangle of the crop's shape with a share of its area drawn from 0 .. 1 (Yun's equation 2
    with alpha 1, but never cut off), anywhere inside. mosaic: chance of four parts that meet in a point of the middle
    half. At most one of the two happens; together their chances are at most 1.
    """
    height, width = crop
    kind, share, y, x = rng.random(4)
    if kind < mosaic:
        middle, centre = round(height * (0.25 + 0.5 * y)), round(width * (0.25 + 0.5 * x))
        rows, columns = ((0, middle), (middle, height - middle)), ((0, centre), (centre, width - centre))
        return [Box(top, left, h, w) for top, h in rows for left, w in columns if h and w]
    if kind < mosaic + cutmix:
        h, w = max(1, round(height * share**0.5)), max(1, round(width * share**0.5))
        return [Box(0, 0, height, width), Box(int(y * (height - h + 1)), int(x * (width - w + 1)), h, w)]
    return [Box(0, 0, height, width)]
