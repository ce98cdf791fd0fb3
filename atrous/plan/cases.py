"""The facts that nnU-Net's plan needs: shapes without empty margins, spacings, intensities.

Source: nnU-Net v2 (Isensee et al. 2021, 1904.08128), the dataset fingerprint.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from atrous.datasets.folder import Folder, Pair, load_json
from atrous.errors import DataError
from atrous.io.volumes import volume_geometry
from atrous.progress import At

VOXELS, SEED = 100_000_000, 1234
"""Number of foreground voxels drawn from all cases together, and the seed of the draws."""


@dataclass(frozen=True)
class Case:
    """One volume.

    Attributes:
        shape: (D, H, W) of the smallest box around all voxels that are not 0.
        spacing: distances of the voxels in mm, in the same order.
        whole: (D, H, W) of the file.
    """

    shape: tuple[int, ...]
    spacing: tuple[float, ...]
    whole: tuple[int, ...]

    @property
    def kept(self) -> float:
        """Share of the voxels that lie in the box, 0 to 1."""
        return float(np.prod(self.shape, dtype=float) / np.prod(self.whole, dtype=float))


@dataclass(frozen=True)
class Intensities:
    """Statistics of one channel over the foreground, in the units of the file (HU for CT)."""

    mean: float
    median: float
    std: float
    least: float
    most: float
    low: float
    """Percentile 0.5."""
    high: float
    """Percentile 99.5."""


def cases_of(source: Folder, progress: At | None = None) -> tuple[list[Case], list[Intensities]]:
    """Read each training volume once: its case, and each channel's intensities over all of them.

    Raises:
        DataError: an image and its labels differ in size, or no voxel is labelled as foreground.
    """
    pairs = source.splits.get("train") or source.pairs
    rng = np.random.default_rng(SEED)
    ignored = set(source.labels.ignore) if source.labels else set()
    cases, drawn = [], list[np.ndarray]()
    for done, pair in enumerate(pairs, start=1):
        image, mask = source.read_image(pair), source.read_mask(pair)
        if image.shape[:3] != mask.shape:
            raise DataError(f"{pair.image}: {shown(image.shape[:3])} voxels, its labels have {shown(mask.shape)}; "
                            "give both the same size")  # fmt: skip
        cases.append(case_of(image, spacing_of(pair)))
        voxels = image[(mask > 0) & ~np.isin(mask, list(ignored))]  # (n, C)
        if len(voxels):
            drawn.append(voxels[rng.integers(0, len(voxels), min(VOXELS // len(pairs), 10 * len(voxels)))])
        if progress:
            progress(done, len(pairs))
    if not drawn:
        raise DataError(f"{source.root}: all voxels are background; label some foreground")
    return cases, [intensities(channel) for channel in np.concatenate(drawn).T]


def case_of(image: np.ndarray, spacing: Sequence[float]) -> Case:
    """The case of a volume (D, H, W, C) with the spacing (z, y, x) in mm."""
    filled: Any = image.any(axis=3)
    if not filled.any():
        return Case(filled.shape, tuple(spacing), filled.shape)
    box = []
    for axis in range(3):
        along = np.flatnonzero(np.moveaxis(filled, axis, 0).reshape(filled.shape[axis], -1).any(axis=1))
        box.append(int(along[-1] - along[0] + 1))
    return Case(tuple(box), tuple(spacing), filled.shape)


def intensities(values: np.ndarray) -> Intensities:
    """The statistics of one channel's drawn voxels."""
    values = values.astype(np.float64)
    low, median, high = np.percentile(values, (0.5, 50, 99.5))
    numbers = values.mean(), median, values.std(), values.min(), values.max(), low, high
    return Intensities(*(float(number) for number in numbers))


def channel_names(source: Folder) -> list[str]:
    """The names of the channels in dataset.json, such as `CT` or `T1`, in order."""
    content = load_json(source.root / "dataset.json")
    named = content.get("channel_names") or content.get("modality") or {"0": "image"}
    return [str(named[key]) for key in sorted(named, key=int)]


def spacing_of(pair: Pair) -> tuple[float, ...]:
    """The spacing (z, y, x) of an image, in mm."""
    return volume_geometry(pair.image).spacing


def shown(shape: Sequence[int]) -> str:
    """A shape for people: "4 x 20 x 28"."""
    return " x ".join(map(str, shape))
