"""From a volume to what a network sees, and back: turned, cut to what is there, normalised, resampled.

Steps and their order are those of nnU-Net v2 (Isensee et al. 2021, 1904.08128, and its code).
"""

from dataclasses import dataclass

import numpy as np

from atrous.errors import DataError
from atrous.io.geometry import Geometry, Turn, standard
from atrous.ops.resample import resample, resample_labels
from atrous.volumes.form import THICK, Channel, VolumeForm

Box = tuple[slice, slice, slice]


@dataclass(frozen=True)
class Placement:
    """Where what the network sees comes from.

    Attributes:
        turn: from the file's axes to the network's.
        whole: (D, H, W) of the volume in the network's axes, in its own voxels.
        box: the part of it that is not empty.
        shape: of that part after resampling.
    """

    turn: Turn
    whole: tuple[int, int, int]
    box: Box
    shape: tuple[int, int, int]

    @property
    def inner(self) -> tuple[int, int, int]:
        """The box in the volume's own voxels."""
        depth, height, width = (part.stop - part.start for part in self.box)
        return depth, height, width

    def back(self, labels: np.ndarray, empty: int = 0) -> np.ndarray:
        """Labels of the box, (D, H, W) as `inner`, on the file's axes, with `empty` around them."""
        whole = np.full(self.whole, empty, labels.dtype)
        whole[self.box] = labels
        return np.ascontiguousarray(self.turn.back(whole))


def to_network(grid: Geometry, form: VolumeForm) -> Turn:
    """The turn from a file's axes to those of the network."""
    first = standard(grid) if form.orientation == "standard" else Turn()
    axes, flips = (tuple(part[axis] for axis in form.order) for part in (first.axes, first.flips))
    return Turn(axes, flips)  # type: ignore[arg-type]


def prepare(
    array: np.ndarray, grid: Geometry, form: VolumeForm, labels: np.ndarray | None = None, name: str = "the volume"
) -> tuple[np.ndarray, np.ndarray | None, Placement]:
    """Prepare a volume for a network.

    Args:
        array: (D, H, W) or (D, H, W, C), the file's numbers.
        grid: where its voxels are.
        form: what the network sees.
        labels: (D, H, W) class indices, or None.
        name: of the file, for messages.

    Returns:
        (C, d, h, w) float32, (d, h, w) labels or None, and where they come from.

    Raises:
        DataError: the number of channels is another one, or no voxel holds a number.
    """
    array = array[..., None] if array.ndim == 3 else array
    if array.shape[3] != len(form.normalisation):
        raise DataError(
            f"{name}: {array.shape[3]} channels, but the network was trained on {len(form.normalisation)}; give these"
        )
    turn = to_network(grid, form)
    turned = turn.array(array)
    whole = turned.shape[:3]
    box = box_of(turned)
    spacing = turn.geometry(grid, array.shape[:3]).spacing
    inside = turned[box]
    steps = zip(inside.shape[:3], spacing, form.steps(spacing), strict=True)
    # Rounded twice: the same spacing is 3 in one header and 2.9999998 in another.
    shape = tuple(max(round(round(n * own / wanted, 4)), 1) for n, own, wanted in steps)
    numbers = np.stack([normalised(inside[..., k], channel, name) for k, channel in enumerate(form.normalisation)])
    along = orders(spacing, form)
    made = resample(numbers, shape, along)
    truth = None
    if labels is not None:
        truth = resample_labels(
            np.ascontiguousarray(turn.array(labels)[box]), shape, [min(order, 1) for order in along]
        )
    return made, truth, Placement(turn, whole, box, shape)


def orders(spacing: tuple[float, float, float], form: VolumeForm) -> tuple[int, int, int]:
    """Orders of the splines along each axis: cubic, but nearest along one that is far coarser than the others.

    The volume's own spacing decides, and where its voxels are nearly cubes, the network's.
    """
    for steps in (spacing, form.steps(spacing)):
        if max(steps) / min(steps) > THICK:
            coarse = [step == max(steps) for step in steps]
            if sum(coarse) == 1:
                first, second, third = (0 if one else 3 for one in coarse)
                return first, second, third
            break
    return 3, 3, 3


def box_of(array: np.ndarray) -> Box:
    """The smallest box around all voxels that are not 0 in some channel; the whole where there is none.

    array: (D, H, W, C).
    """
    sides = []
    for axis in range(3):
        others = tuple(k for k in range(4) if k != axis)
        filled = np.flatnonzero(array.any(axis=others))
        sides.append(slice(int(filled[0]), int(filled[-1]) + 1) if len(filled) else slice(0, array.shape[axis]))
    first, second, third = sides
    return first, second, third


def normalised(numbers: np.ndarray, channel: Channel, name: str) -> np.ndarray:
    """One channel (D, H, W) in float32, as the network wants it. Voxels that are no number count as the least one."""
    values = numbers.astype(np.float32)
    known = np.isfinite(values)
    if not known.all():
        if not known.any():
            raise DataError(f"{name}: no voxel of channel {channel.channel!r} holds a number; export it again")
        values = np.where(known, values, values[known].min())
    if channel.scheme == "ct":
        assert channel.clip is not None and channel.mean is not None and channel.std is not None  # noqa: PT018
        low, high = map(np.float32, channel.clip)
        return (np.clip(values, low, high) - np.float32(channel.mean)) / np.float32(channel.std)
    if channel.scheme == "by 255":
        return values / np.float32(255)
    if channel.scheme == "to 0..1":
        least, most = values.min(), values.max()
        return (values - least) / max(most - least, np.float32(1e-8))
    if channel.scheme == "none":
        return values
    inside = values != 0 if channel.inside_only else np.ones(values.shape, bool)
    chosen = values[inside].astype(np.float64)
    if not chosen.size:
        return values
    scored = (values - np.float32(chosen.mean())) / np.float32(max(chosen.std(), 1e-8))
    return np.where(inside, scored, 0) if channel.inside_only else scored
