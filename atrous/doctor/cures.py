"""How masks are mended, one small object per kind of fault: from the values in a file to values that are classes.

A cure never guesses: where two readings of a mask are possible there is none. `Cure.values` follows a histogram,
`Cure.apply` the mask itself, so that what is counted is what would be written.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from atrous.io.images import orient


class Cure:
    """values: a mask's value -> the value it becomes. apply: mask (H, W) or (H, W, C) -> (H, W) values.

    shape: (H, W) that the result must have.
    """

    def values(self, counts: dict[int, int]) -> dict[int, int]:
        """Value -> pixels, after the cure."""
        return counts

    def apply(self, mask: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
        return mask


@dataclass(frozen=True)
class Exchange(Cure):
    """Each value of `table` becomes another; the others stay."""

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
    """Each pixel takes the value of the nearest colour of a table, which undoes what JPEG did to it.

    colours: (R, G, B), or (grey,) for grey masks.
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
        """(n, C) -> (n,) uint16."""
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
    """(H, W, K) with one channel set in each pixel -> the number of that channel."""

    def apply(self, mask: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
        return mask.argmax(axis=2).astype(np.uint16)


@dataclass(frozen=True)
class Orient(Cure):
    """The mask was drawn on the picture as stored; it is turned as the picture is shown. orientation: EXIF, 2..8."""

    orientation: int

    def apply(self, mask: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
        return np.ascontiguousarray(orient(mask, self.orientation))


@dataclass(frozen=True)
class Resize(Cure):
    """The mask has another size and the same shape; each pixel takes the value that lies nearest."""

    def apply(self, mask: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
        return cv2.resize(mask, shape[::-1], interpolation=cv2.INTER_NEAREST_EXACT)


@dataclass(frozen=True)
class Grey(Cure):
    """A grey image among colour ones: its one channel is repeated. It mends the image, not the mask."""

    channels: int


def exchange(table: dict[int, int]) -> Exchange:
    """`Exchange` of a dict."""
    return Exchange(tuple(sorted(table.items())))
