"""The plan of nnU-Net v2 for volumes: spacing, normalisation, patch, network, batch, coarse stage.

Axes are (z, y, x) until `plan_volumes` turns them; then the axis with the coarsest spacing is
first. Sizes are in voxels, spacings in mm.

Source: Isensee et al. 2021 (1904.08128) and the planner of its code.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from atrous.models.nnunet import topology
from atrous.plan.cases import Case, Intensities
from atrous.volumes.form import STORED, THICK

REFERENCE, AT_ONCE = {3: 560e6, 2: 85e6}, {3: 2, 2: 12}
"""Elements of feature maps that fit GIGABYTES, and patches at once there, by the number of axes."""
GIGABYTES = 8e9
WIDTH, WIDEST = 32, {3: 320, 2: 512}
"""Channels of the first stage, and most channels of a stage by the number of axes."""
START = {3: 256**3, 2: 2048**2}
"""Voxels of the patch from which the search begins, by the number of axes."""
COVERED = 0.05
"""Largest share of all voxels that one batch may hold."""
SMALL, GROWTH = 0.25, 1.03
"""A patch must see this share of a median case; growth of the coarse stage's spacing."""
CROPPED = 0.75
"""z-scores look at the box alone if it keeps less than this share of a case."""
LOSS = "ce + dice"
PUBLISHED: dict[str, Any] = {"foreground": 0.33, "optimizer": "sgd", "lr": 0.01, "steps": 250_000}
"""Fields of a recipe that are the same for all data."""


@dataclass(frozen=True)
class Network:
    """Patch and batch of one stage, and the options of `nnunet2d` or `nnunet3d`.

    Attributes:
        spacing: of the voxels, in mm.
        median: the median case, in voxels of this spacing.
        patch: what the network sees at once, in voxels.
        batch: patches per step.
        features: channels of each stage.
        kernels: of each stage, per axis.
        strides: of each stage, per axis.
        estimate: elements of all its feature maps.
    """

    spacing: tuple[float, ...]
    median: tuple[float, ...]
    patch: tuple[int, ...]
    batch: int
    features: tuple[int, ...]
    kernels: tuple[tuple[int, ...], ...]
    strides: tuple[tuple[int, ...], ...]
    estimate: int


def target_spacing(spacings: np.ndarray, shapes: np.ndarray) -> np.ndarray:
    """The spacing that all cases are resampled to: the median.

    Along an axis that is far coarser and shorter than the others it is the 10th percentile, so that
    few cases are blurred, but never finer than the others.

    Args:
        spacings: of the cases, (cases, 3), in mm.
        shapes: of the cases, (cases, 3), in voxels.
    """
    target, size = np.median(spacings, axis=0), np.median(shapes, axis=0)
    worst = int(target.argmax())
    others = [axis for axis in range(3) if axis != worst]
    coarse = target[worst] > THICK * target[others].max()
    if coarse and size[worst] * THICK < size[others].min():
        fine = float(np.percentile(spacings[:, worst], 10))
        target[worst] = fine if fine >= target[others].max() else target[others].max() + 1e-5
    return target


def normalisation(names: Sequence[str], kept: float) -> list[dict[str, Any]]:
    """The normalisation of each channel, by its name.

    Args:
        names: of the channels, such as `CT`.
        kept: median share of a case that lies in its box, 0 to 1.
    """
    schemes = {"ct": "ct", "rgb_to_0_1": "by 255", "nonorm": "none", "rescale_to_0_1": "to 0..1"}
    found = [schemes.get(name.lower(), "z-score") for name in names]
    return [{"channel": name, "scheme": scheme, "inside_only": scheme == "z-score" and kept < CROPPED}
            for name, scheme in zip(names, found, strict=True)]  # fmt: skip


def feature_maps(
    patch: Sequence[int], strides: Sequence[Sequence[int]], features: Sequence[int], classes: int, convs: int = 2
) -> int:
    """Elements that the convolutions of nnU-Net's plain network put out for one patch.

    Counted are the convolutions down and up, the transposed ones, and the last 1x1.
    """
    sizes, side = [], np.array(patch, np.int64)
    for stride in strides:
        side = side // np.array(stride)
        sizes.append(int(side.prod()))
    down = sum(convs * width * size for width, size in zip(features, sizes, strict=True))
    up = sum((convs + 1) * width * size for width, size in zip(features[:-1], sizes[:-1], strict=True))
    return down + up + classes * sizes[0]


def network(
    spacing: Sequence[float], median: Sequence[float], voxels: float, classes: int, memory: float = GIGABYTES,
    width: int = WIDTH,
) -> Network:  # fmt: skip
    """Patch, network and batch for a spacing and a median shape of two or three axes.

    The patch begins very large, as a cube in millimetres, cut to the median shape. It then shrinks
    along the axis where it covers most of the median shape, until two patches fit into the memory.

    Args:
        spacing: in mm.
        median: median shape of the cases, in voxels.
        voxels: of all cases together.
        classes: with the background.
        memory: bytes of the GPU.
        width: channels of the first stage.
    """
    axes = len(spacing)
    inverse = 1 / np.array(spacing, float)
    wide = inverse * (START[axes] / inverse.prod()) ** (1 / axes)
    patch = [min(round(one), most) for one, most in zip(wide, median, strict=True)]
    reference = REFERENCE[axes] * memory / GIGABYTES
    kernels, strides, patch = padded(patch, spacing)
    while (estimate := feature_maps(patch, strides, widths(strides, axes, width), classes)) / AT_ONCE[
        axes
    ] * 2 > reference:
        axis = int(np.argsort([one / all_ for one, all_ in zip(patch, median, strict=True)])[-1])
        trial = list(patch)
        trial[axis] -= unit(strides, axis)
        step = unit(topology(trial, spacing)[1], axis)  # of the smaller patch: no valid size is skipped
        if patch[axis] <= step:
            break
        patch[axis] -= step
        kernels, strides, patch = padded(patch, spacing)
    size = float(np.prod(patch, dtype=float))
    batch = max(min(round(reference / estimate * AT_ONCE[axes]), round(voxels * COVERED / size)), 2)
    return Network(tuple(map(float, spacing)), tuple(map(float, median)), tuple(patch), batch,
                   widths(strides, axes, width), tuple(kernels), tuple(strides), estimate)  # fmt: skip


def padded(
    patch: Sequence[float], spacing: Sequence[float]
) -> tuple[list[tuple[int, ...]], list[tuple[int, ...]], list[int]]:
    """(kernels, strides, patch), with the patch padded so that every axis is halved without a rest.

    The median of an even number of cases may end in a half; nnU-Net pads that too, and so does
    this.
    """
    kernels, strides = topology(patch, spacing)
    units = [unit(strides, axis) for axis in range(len(patch))]
    return kernels, strides, [int(-(-side // step) * step) for side, step in zip(patch, units, strict=True)]


def unit(strides: Sequence[Sequence[int]], axis: int) -> int:
    """The number that the size along an axis must be a multiple of."""
    return int(np.prod([stride[axis] for stride in strides]))


def widths(strides: Sequence[Sequence[int]], axes: int, width: int = WIDTH) -> tuple[int, ...]:
    """Channels of each stage; width: of the first."""
    return tuple(min(WIDEST[axes] * width // WIDTH, width * 2**stage) for stage in range(len(strides)))


def coarse_stage(full: Network, cases: int, classes: int, memory: float = GIGABYTES) -> Network | None:
    """A network on coarser voxels that sees a quarter of a median case at once.

    None if `full` sees as much, or nearly as much, already. cases: how many there are.
    """
    voxels, seen = float(np.prod(full.median)), float(np.prod(full.patch, dtype=float))
    fine, median, found = np.array(full.spacing), np.array(full.median), None
    spacing, coarse_voxels = fine.copy(), voxels
    while seen / coarse_voxels < SMALL:
        finer = spacing.max() / spacing > 2
        spacing[finer if finer.any() else slice(None)] *= GROWTH
        shape = fine / spacing * median
        coarse_voxels = float(shape.prod())
        found = network(spacing.tolist(), [round(side) for side in shape], coarse_voxels * cases, classes, memory)
        seen = float(np.prod(found.patch, dtype=float))
    return found if found is not None and voxels / coarse_voxels >= 2 else None


class Grid(NamedTuple):
    """What the networks of a plan have in common.

    Attributes:
        target: the spacing of all cases, (z, y, x) in mm.
        axes: 0 for z, 1 for y, 2 for x, in the order of the network's.
        median: the median case at that spacing, in voxels, in the order of `axes`.
        voxels: of all cases together.
        kept: median share of a case that lies in its box, 0 to 1.
    """

    target: np.ndarray
    axes: list[int]
    median: np.ndarray
    voxels: float
    kept: float


def grid_of(cases: Sequence[Case]) -> Grid:
    """The grid that cases are resampled to; the axis of the coarsest spacing comes first."""
    spacings, shapes = np.array([case.spacing for case in cases]), np.array([case.shape for case in cases])
    target = target_spacing(spacings, shapes)
    first = int(target.argmax())
    axes = [first, *(axis for axis in range(3) if axis != first)]
    median = np.median(np.round(spacings / target * shapes), axis=0)[axes]
    kept = float(np.median([case.kept for case in cases]))
    return Grid(target, axes, median, float(median.prod()) * len(cases), kept)


def facts_of_cases(cases: Sequence[Case], found: Sequence[Intensities], names: Sequence[str]) -> dict[str, Any]:
    """The facts that a plan is made of, plain data. Sizes and spacings are in the order z, y, x."""
    return {
        "cases": len(cases),
        "median_size": [float(side) for side in np.median([case.shape for case in cases], axis=0)],
        "median_spacing": [float(step) for step in np.median([case.spacing for case in cases], axis=0)],
        "kept_after_cropping": round(float(np.median([case.kept for case in cases])), 4),
        "foreground": [vars(channel) | {"channel": name} for name, channel in zip(names, found, strict=False)],
    }


def plan_volumes(
    cases: Sequence[Case], found: Sequence[Intensities], names: Sequence[str], classes: int, memory: float = GIGABYTES
) -> tuple[dict[str, Any], dict[str, Any], dict[str, str]]:
    """The plan for volumes.

    Args:
        cases: shapes and spacings.
        found: foreground intensities of each channel.
        names: of the channels.
        classes: how many, with the background.
        memory: bytes of the GPU.

    Returns:
        (fingerprint, recipe, reasons), plain data. All sizes and spacings of the fingerprint are in the order of the
        files but `resampled_size`, the median at the recipe's spacing, which is in the recipe's.
    """
    target, axes, median, voxels, kept = grid_of(cases)
    full = network(target[axes].tolist(), median.tolist(), voxels, classes, memory)
    flat = network(target[axes][1:].tolist(), median[1:].tolist(), voxels, classes, memory)
    coarse = coarse_stage(full, len(cases), classes, memory)
    schemes = normalisation(names, kept)
    fingerprint = facts_of_cases(cases, found, names) | {"resampled_size": median.tolist()}
    recipe: dict[str, Any] = {
        "model": "nnunet3d", "spacing": list(full.spacing), "axes": [STORED[axis] for axis in axes],
        "normalisation": [scheme | ({"clip": [one.low, one.high], "mean": one.mean, "std": max(one.std, 1e-8)}
                                    if scheme["scheme"] == "ct" else {}) for scheme, one in
                          zip(schemes, found, strict=False)],
        "resampling": resampling(full.spacing), "patch": list(full.patch), "batch": full.batch,
        "options": options(full), "coarse": None if coarse is None else stage(coarse),
        "flat": {"model": "nnunet2d"} | stage(flat), "loss": LOSS, "batch_dice": coarse is not None, **PUBLISHED,
    }  # fmt: skip
    spacings = np.array([case.spacing for case in cases])
    return fingerprint, recipe, reasons_of(full, coarse, recipe, spacings, target, kept, memory)


def options(one: Network) -> dict[str, Any]:
    """The arguments of the model `nnunet3d` or `nnunet2d`."""
    return {"features": list(one.features), "kernels": [list(kernel) for kernel in one.kernels],
            "strides": [list(stride) for stride in one.strides], "aux": True}  # fmt: skip


def stage(one: Network) -> dict[str, Any]:
    """A further network of the plan, plain data."""
    return {"spacing": list(one.spacing), "patch": list(one.patch), "batch": one.batch, "options": options(one)}


def resampling(spacing: Sequence[float]) -> str:
    """How volumes are resampled to their spacing."""
    thick = max(spacing) / min(spacing) > THICK
    return "cubic in the plane, nearest along the first axis; labels linear" if thick else "cubic; labels linear"


def reasons_of(
    full: Network, coarse: Network | None, recipe: dict[str, Any], spacings: np.ndarray, target: np.ndarray,
    kept: float, memory: float,
) -> dict[str, str]:  # fmt: skip
    """One sentence for each field of the recipe."""
    worst = int(target.argmax())
    plain = target[worst] == np.median(spacings, axis=0)[worst]
    seen = np.prod(full.patch, dtype=float) / np.prod(full.median)
    halved = " x ".join(str(int(np.log2(unit(full.strides, axis)))) for axis in range(3))
    schemes = {scheme["scheme"] for scheme in recipe["normalisation"]}
    by = {
        "ct": "CT: clipped to the foreground's percentiles 0.5 and 99.5, then its mean and standard deviation",
        "z-score": "z-scores of each case" + (", of its box alone, which keeps less than 3/4" * (kept < CROPPED)),
    }
    return {
        "model": "for volumes a plain U-Net that is fitted to the data beats newer ones that are not (2404.09556)",
        "spacing": "the median of the cases" if plain else
        "the median; along the coarse and short axis the 10th percentile, so that thin slices are not blurred",
        "axes": "the axis of the coarsest spacing comes first",
        "normalisation": "; ".join(by.get(scheme, scheme) for scheme in sorted(schemes)) + ", by the channels' names",
        "resampling": "slices are thicker than three pixels: no values are made up between them"
        if max(full.spacing) / min(full.spacing) > THICK else "voxels are nearly cubes",
        "patch": f"the largest of which two fit {memory / 1e9:.0f} GB; it sees {seen:.0%} of a median case",
        "batch": "as the rest of the memory allows, at most 5 % of all voxels, at least two",
        "options": f"axes are halved {halved} times, the coarse ones last, down to 4 voxels; kernels are 1 along an "
        "axis until its spacing is within twice the finest",
        "coarse": "a patch sees a quarter of a median case or more: one stage is enough" if coarse is None else
        "a patch of the fine stage sees less than a quarter of a median case",
        "flat": "slices alone, worth a try if they are thick",
        "loss": "small structures count by their overlap, and the gradient stays smooth",
        "batch_dice": "over the batch if patches are small parts of a case, else over each patch",
        "foreground": "a third of the patches are drawn around a labelled voxel; else most would be empty",
        "optimizer": "Nesterov momentum 0.99, as published",
        "lr": "as published, falling by (1 - t)^0.9",
        "steps": "1000 epochs of 250, as published",
    }  # fmt: skip
