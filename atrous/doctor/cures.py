"""Cures of masks, one small class for each kind of fault: from stored values to class values.

A cure never guesses: if a mask can be read in two ways, it has no cure. `Cure.values` changes a
histogram and `Cure.apply` the mask in the same way, so that the counts are those of the mended
mask.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from atrous.io.images import orient


class Cure:
    """Leaves a mask as it is; the other cures override what they change."""

    def values(self, counts: dict[int, int]) -> dict[int, int]:
        """Apply the cure to a histogram, value -> pixels."""
        return counts

    def apply(self, mask: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
        """Apply the cure to a mask (H, W) or (H, W, C); returns values of shape `shape`, (H, W)."""
        return mask


@dataclass(frozen=True)
class Exchange(Cure):
    """Replaces each value of `table` by another one; other values stay."""

    table: tuple[tuple[int, int], ...]

    def values(self, counts: dict[int, int]) -> dict[int, int]:
        table, found = dict(self.table), dict[int, int]()
        for value, pixels in counts.items():
            found[table.get(value, value)] = found.get(table.get(value, value), 0) + pixels
        return found

    def apply(self, mask: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
        whole = np.arange(65536, dtype=np.uint16)
        for old, new in self.table:
            whole[old] = new
        return whole[mask]


@dataclass(frozen=True)
class Nearest(Cure):
    """Gives each pixel the value of the nearest colour in a table, which undoes the change by JPEG.

    colours: (R, G, B), or (grey,) for grey masks. becomes: their values.
    """

    colours: tuple[tuple[int, ...], ...]
    becomes: tuple[int, ...]

    def values(self, counts: dict[int, int]) -> dict[int, int]:
        if not counts:
            return counts
        grey = np.array(list(counts), np.uint16)[:, None]
        found = dict[int, int]()
        for value, pixels in zip(self.look_up(grey).tolist(), counts.values(), strict=True):
            found[value] = found.get(value, 0) + pixels
        return found

    def look_up(self, pixels: np.ndarray) -> np.ndarray:
        """Look up the values of pixels (n, C): (n,) uint16."""
        table = np.array(self.colours, np.float32)
        best = np.full(len(pixels), np.inf, np.float32)
        result = np.zeros(len(pixels), np.uint16)
        for colour, value in zip(table, self.becomes, strict=True):
            distance = ((pixels - colour) ** 2).sum(1, dtype=np.float32)
            nearer = distance < best
            best[nearer], result[nearer] = distance[nearer], value
        return result

    def apply(self, mask: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
        channels = len(self.colours[0])
        pixels = mask.reshape(-1, 1 if mask.ndim == 2 else mask.shape[2])[:, :channels]
        distinct, place = np.unique(pixels, axis=0, return_inverse=True)
        return self.look_up(distinct)[place.reshape(-1)].reshape(mask.shape[:2])


@dataclass(frozen=True)
class OneHot(Cure):
    """Takes the number of the one channel of (H, W, K) that is set, or has the largest share."""

    def apply(self, mask: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
        return mask.argmax(axis=2).astype(np.uint16)


@dataclass(frozen=True)
class Half(Cure):
    """Cuts a soft mask at 0.5: 1 from there on, else 0."""

    def apply(self, mask: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
        return (mask.reshape(mask.shape[:2]) >= 0.5).astype(np.uint16)


@dataclass(frozen=True)
class Unhide(Cure):
    """Takes the alpha channel as the mask, which `io.read_stored` has done."""


@dataclass(frozen=True)
class Orient(Cure):
    """Turns a mask, drawn on the picture as stored, as the picture is shown.

    orientation: EXIF, 2..8.
    """

    orientation: int

    def apply(self, mask: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
        return np.ascontiguousarray(orient(mask, self.orientation))


@dataclass(frozen=True)
class Resize(Cure):
    """Scales a mask of another size and the same proportions, by nearest neighbour."""

    def apply(self, mask: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
        return cv2.resize(mask, shape[::-1], interpolation=cv2.INTER_NEAREST_EXACT)


@dataclass(frozen=True)
class Grey(Cure):
    """Repeats the one channel of a grey image among colour images; the mask stays."""

    channels: int


def exchange(table: dict[int, int]) -> Exchange:
    """Make an `Exchange` from a dict."""
    return Exchange(tuple(sorted(table.items())))
