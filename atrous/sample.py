"""One picture on its way through the pipeline."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

FULL_SCALE = {"uint8": 255.0, "uint16": 65535.0}
"""Of images in whole numbers, what white is; others have no such value."""


@dataclass(frozen=True)
class Sample:
    """An image with its mask.

    image: (H, W, C) in the file's own dtype and units (uint8, uint16, float32), channels RGB first.
    mask: (H, W) class indices 0..K-1 with the label set's `ignore_index` for ignored pixels, or None.
    geometry: `spacing` in mm for volumes, `affine` + `crs` for maps; empty for photos.
    path: where the image came from, for messages.
    """

    image: np.ndarray
    mask: np.ndarray | None = None
    geometry: dict[str, Any] = field(default_factory=dict)
    path: Path | None = None
