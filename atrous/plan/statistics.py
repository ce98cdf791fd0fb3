"""Mean and standard deviation of the training images, for networks whose weights bring none.

A channel that hardly changes in the training images tells the network nothing, and its standard
deviation is no unit to measure by: divided by it, the first other value (a 1 where there was always
a 0, an augmented grey) becomes a million, and drowns the channels that carry the picture.

- constant: it gets white (255, 65535) as its deviation, in float32 images the largest deviation of
  all channels, at least 1. So a value never seen in training stays as small as any other.
- integers that are nearly constant: at least 1, the step between two values.
"""

from collections.abc import Callable, Sequence

import numpy as np

from atrous.datasets import channel_statistics
from atrous.sample import FULL_SCALE, Sample

COLOURS = ("red", "green", "blue")
ROUNDING = 1e-6
"""Deviations below this share of a channel's mean, or of the largest deviation, come from rounding."""


def normalisation(
    pairs: Sequence[Sample], dtype: str, say: Callable[[str], None]
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel, in the units of the pixels; no deviation is near 0.

    Args:
        pairs: the training images.
        dtype: type of their pixels, such as "uint8".
        say: is told which channels hardly change.

    Example:
        >>> image = np.zeros((2, 2, 3), np.uint8)
        >>> image[0, :, 1] = 80
        >>> normalisation([Sample(image)], "uint8", print)
        channel 1 (red) is 0 everywhere in the training images: it tells the network nothing
        channel 3 (blue) is 0 everywhere in the training images: it tells the network nothing
        ((0.0, 40.0, 0.0), (255.0, 40.0, 255.0))
    """
    mean, std = channel_statistics(pairs)
    constant = std <= ROUNDING * np.maximum(np.abs(mean), std.max())
    small = np.zeros_like(constant) if dtype == "float32" else (std < 1) & ~constant
    for channel in np.flatnonzero(constant | small):
        name = f"channel {channel + 1}" + (f" ({COLOURS[channel]})" if len(std) == len(COLOURS) else "")
        if constant[channel]:
            say(f"{name} is {mean[channel]:.6g} everywhere in the training images: it tells the network nothing")
        else:
            say(f"{name} hardly changes in the training images: {mean[channel]:.4g}, give or take {std[channel]:.2g}")
    std = np.where(constant, FULL_SCALE.get(dtype, max(1.0, float(std.max()))), np.where(small, 1.0, std))
    return tuple(float(m) for m in mean), tuple(float(s) for s in std)
