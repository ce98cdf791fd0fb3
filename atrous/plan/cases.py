"""What nnU-Net's plan wants to know of volumes: shapes of what is not empty, spacings, intensities of the foreground.

Source: nnU-Net v2 (Isensee et al. 2021, 1904.08128), the dataset fingerprint.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from atrous.datasets.classes import Progress
from atrous.datasets.folder import Folder, Pair, load_json
from atrous.errors import DataError
from atrous.io.volumes import volume_spacing

VOXELS, SEED = 100_000_000, 1234
"""Foreground voxels that are drawn of all cases together, and the seed of the draws."""


@dataclass(frozen=True)
class Case:
    """A volume. shape: (D, H, W) of the box around what is not 0; spacing: mm, in the same order; whole: (D, H, W) of
    the file."""

    shape: tuple[int, ...]
    spacing: tuple[float, ...]
    whole: tuple[int, ...]

    @property
    def kept(self) -> float:
        """Share of the voxels that is in the box."""
        return float(np.prod(self.shape, dtype=float) / np.prod(self.whole, dtype=float))


@dataclass(frozen=True)
class Intensities:
    """Of one channel in the foreground, in the file's numbers (HU)."""

    mean: float
    median: float
    std: float
    least: float
    most: float
    low: float
    """The percentile 0.5."""
    high: float
    """The percentile 99.5."""


def cases_of(source: Folder, progress: Progress | None = None) -> tuple[list[Case], list[Intensities]]:
    """Every volume of the training split and the intensities per channel; each is read once, nothing but the draws is
    kept of it."""
    pairs = source.splits.get("train") or source.pairs
    rng = np.random.default_rng(SEED)
    ignored = set(source.labels.ignore) if source.labels else set()
    cases, drawn = [], list[np.ndarray]()
    for done, pair in enumerate(pairs, start=1):
        image, mask = source.read_image(pair), source.read_mask(pair)
        if image.shape[:3] != mask.shape:
            raise DataError(f"{pair.image}: {shown(image.shape[:3])} voxels, its labels have {shown(mask.shape)}; "
                            "expected equal sizes")  # fmt: skip
        cases.append(case_of(image, spacing_of(pair)))
        voxels = image[(mask > 0) & ~np.isin(mask, list(ignored))]  # (n, C)
        if len(voxels):
            drawn.append(voxels[rng.integers(0, len(voxels), min(VOXELS // len(pairs), 10 * len(voxels)))])
        if progress:
            progress(done, len(pairs))
    if not drawn:
        raise DataError(f"{source.root}: no labelled voxel beyond the background; expected some foreground")
    return cases, [intensities(channel) for channel in np.concatenate(drawn).T]


def case_of(image: np.ndarray, spacing: Sequence[float]) -> Case:
    """Of a volume (D, H, W, C)."""
    filled: Any = image.any(axis=3)
    if not filled.any():
        return Case(filled.shape, tuple(spacing), filled.shape)
    box = []
    for axis in range(3):
        along = np.flatnonzero(np.moveaxis(filled, axis, 0).reshape(filled.shape[axis], -1).any(axis=1))
        box.append(int(along[-1] - along[0] + 1))
    return Case(tuple(box), tuple(spacing), filled.shape)


def intensities(values: np.ndarray) -> Intensities:
    """Of the drawn voxels of one channel."""
    values = values.astype(np.float64)
    low, median, high = np.percentile(values, (0.5, 50, 99.5))
    numbers = values.mean(), median, values.std(), values.min(), values.max(), low, high
    return Intensities(*(float(number) for number in numbers))


def channel_names(source: Folder) -> list[str]:
    """`CT`, `T1`, ... as dataset.json has them."""
    content = load_json(source.root / "dataset.json")
    named = content.get("channel_names") or content.get("modality") or {"0": "image"}
    return [str(named[key]) for key in sorted(named, key=int)]


def spacing_of(pair: Pair) -> tuple[float, ...]:
    """(z, y, x) in mm."""
    return volume_spacing(pair.image)


def shown(shape: Sequence[int]) -> str:
    """4 x 20 x 28"""
    return " x ".join(map(str, shape))
