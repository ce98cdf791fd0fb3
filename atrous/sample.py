"""One image with its mask, on its way through the pipeline."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

FULL_SCALE = {"uint8": 255.0, "uint16": 65535.0}
"""Type of an image -> its value of white; other types have none."""


@dataclass(frozen=True)
class Sample:
    """An image with its mask.

    Args:
        image: (H, W, C) in the type and units of the file: uint8, uint16 or float32. Colours come
            first, in RGB order.
        mask: (H, W) class indices 0..K-1, the label set's `ignore_index` where ignored; or None.
        geometry: `spacing` in mm for volumes, `affine` and `crs` for maps; empty for photos.
        path: The file of the image, for messages.
        valid: (H, W) bool, which pixels of the image hold a value; None if all do. The mask ignores
            the others.

    Example:
        >>> import numpy as np
        >>> Sample(np.zeros((4, 6, 3), np.uint8), np.zeros((4, 6), np.uint8)).mask.shape
        (4, 6)
    """

    image: np.ndarray
    mask: np.ndarray | None = None
    geometry: dict[str, Any] = field(default_factory=dict)
    path: Path | None = None
    valid: np.ndarray | None = None
