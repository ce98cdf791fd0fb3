"""Several samples in one crop: CutMix and mosaic."""

from typing import NamedTuple

import numpy as np


class Box(NamedTuple):
    """A rectangle of the crop, in pixels."""

    top: int
    left: int
    height: int
    width: int


def boxes(crop: tuple[int, int], rng: np.random.Generator, *, cutmix: float = 0.0, mosaic: float = 0.0) -> list[Box]:
    """Which rectangles a crop is composed of; each is filled from another sample.

    The crop's own sample fills the first box, other samples fill the following ones. A later box
    lies on top of the earlier ones.

    Args:
        crop: (height, width) in pixels.
        rng: Four numbers are drawn from it, whatever happens.
        cutmix: Chance of two boxes: the whole crop, and on top of it a rectangle of the same shape
            anywhere inside. The rectangle's share of the area is uniform in 0..1. (Yun's equation 2
            with alpha 1; but the rectangle is never cut off at the border.)
        mosaic: Chance of four boxes that meet in a point of the crop's middle half. At most one of
            the two happens, so cutmix + mosaic must be at most 1.

    Returns:
        One, two or four boxes that cover the crop.

    Source:
        Yun et al., "CutMix", ICCV 2019; for segmentation French et al., BMVC 2020. Mosaic: YOLOv4,
        Bochkovskiy et al. 2020.

    Example:
        >>> import numpy as np
        >>> boxes((100, 200), np.random.default_rng(0))
        [Box(top=0, left=0, height=100, width=200)]
        >>> parts = boxes((100, 200), np.random.default_rng(0), mosaic=1.0)
        >>> [(part.height, part.width) for part in parts]
        [(27, 52), (27, 148), (73, 52), (73, 148)]
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
