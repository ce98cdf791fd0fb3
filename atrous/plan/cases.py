"""The facts that nnU-Net's plan needs: shapes without empty margins, spacings, intensities.

Source: nnU-Net v2 (Isensee et al. 2021, 1904.08128), the dataset fingerprint.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from atrous.datasets.folder import load_json
from atrous.errors import DataError
from atrous.io.geometry import Geometry, standard
from atrous.labels import LabelSet
from atrous.progress import At
from atrous.sample import Sample

MOST, SEED = 10_000_000, 1234
"""Foreground voxels that are drawn from all cases together, at most (nnU-Net draws ten times as many: percentiles of so
many differ by less than one HU), and the seed of the draws."""


@dataclass(frozen=True)
class Case:
    """One volume.

    Attributes:
        shape: (D, H, W) of the smallest box around all voxels that are not 0.
        spacing: distances of the voxels in mm, in the same order.
        whole: (D, H, W) of the file.
        least: the lowest number of each channel.
    """

    shape: tuple[int, ...]
    spacing: tuple[float, ...]
    whole: tuple[int, ...]
    least: tuple[float, ...] = ()

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


def cases_of(
    samples: Sequence[Sample], labels: LabelSet, progress: At | None = None
) -> tuple[list[Case], list[Intensities]]:
    """Read each training volume once: its case, and each channel's intensities over all of them.

    Axes are those of the standard order: to the head, to the back, to the left.

    Raises:
        DataError: no voxel is labelled as foreground.
    """
    rng, empty = np.random.default_rng(SEED), labels.background
    cases, drawn = [], list[np.ndarray]()
    for done in range(len(samples)):
        sample = samples[done]
        assert sample.mask is not None
        grid: Geometry = sample.geometry["grid"]
        turn = standard(grid)
        spacing = turn.geometry(grid, sample.mask.shape).spacing
        cases.append(case_of(turn.array(sample.image), spacing))
        voxels = sample.image[(sample.mask != empty) & (sample.mask != labels.ignore_index)]  # (n, C)
        if len(voxels):
            drawn.append(voxels[rng.integers(0, len(voxels), min(MOST // len(samples), 10 * len(voxels)))])
        if progress:
            progress(done + 1, len(samples))
    if not drawn:
        raise DataError("all voxels of the training volumes are background; label some foreground")
    return cases, [intensities(channel) for channel in np.concatenate(drawn).astype(np.float64).T]


def case_of(image: np.ndarray, spacing: Sequence[float]) -> Case:
    """The case of a volume (D, H, W, C) with the spacing (z, y, x) in mm."""
    filled: Any = image.any(axis=3)
    least = tuple(float(np.nanmin(image[..., k])) for k in range(image.shape[3]))
    if not filled.any():
        return Case(filled.shape, tuple(spacing), filled.shape, least)
    box = []
    for axis in range(3):
        along = np.flatnonzero(np.moveaxis(filled, axis, 0).reshape(filled.shape[axis], -1).any(axis=1))
        box.append(int(along[-1] - along[0] + 1))
    return Case(tuple(box), tuple(spacing), filled.shape, least)


def intensities(values: np.ndarray) -> Intensities:
    """The statistics of one channel's drawn voxels."""
    values = values.astype(np.float64)
    low, median, high = np.percentile(values, (0.5, 50, 99.5))
    numbers = values.mean(), median, values.std(), values.min(), values.max(), low, high
    return Intensities(*(float(number) for number in numbers))


def channel_names(root: Path, cases: Sequence[Case]) -> list[str]:
    """The names of the channels, in order: those in dataset.json, else `CT` where the numbers are Hounsfield units."""
    count = len(cases[0].least)
    file = root / "dataset.json"
    content = load_json(file) if file.is_file() else {}
    named = content.get("channel_names") or content.get("modality") or {}
    if isinstance(named, dict) and all(str(key).isdigit() for key in named) and len(named) == count:
        return [str(named[key]) for key in sorted(named, key=int)]
    return ["CT" if np.median([case.least[k] for case in cases]) < AIR else f"channel {k}" for k in range(count)]


AIR = -200.0
"""Where a volume has numbers below this, they are Hounsfield units: those of MR are not negative."""
