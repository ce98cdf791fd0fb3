"""The plan nnU-Net v2 makes for volumes: spacing, normalisation, patch, network, batch, and a coarse stage if need be.

Source: Isensee et al. 2021 (1904.08128) and the planner of its code. Axes are (z, y, x) until `turned`, then the axis
of the coarsest spacing is the first. Sizes in voxels, spacings in mm.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from atrous.models.nnunet import topology
from atrous.plan.cases import Case, Intensities

ANISOTROPIC = 3.0
REFERENCE, AT_ONCE = {3: 560e6, 2: 85e6}, {3: 2, 2: 12}
"""Elements of feature maps that fit 8 GB with so many patches, by the number of axes."""
GIGABYTES = 8e9
WIDEST = {3: 320, 2: 512}
START = {3: 256**3, 2: 2048**2}
COVERED = 0.05
"""Share of all voxels that one batch may hold."""
SMALL, GROWTH = 0.25, 1.03
"""Share of a median case below which a patch sees too little of it; how the coarse stage's spacing grows."""
CROPPED = 0.75


@dataclass(frozen=True)
class Network:
    """Patch and batch of one stage, and the options of `nnunet2d` or `nnunet3d`. estimate: elements of its maps."""

    spacing: tuple[float, ...]
    median: tuple[float, ...]
    patch: tuple[int, ...]
    batch: int
    features: tuple[int, ...]
    kernels: tuple[tuple[int, ...], ...]
    strides: tuple[tuple[int, ...], ...]
    estimate: int


def target_spacing(spacings: np.ndarray, shapes: np.ndarray) -> np.ndarray:
    """(cases, 3) spacings and shapes -> the median spacing; along a far coarser and shorter axis the 10th percentile,
    so that few cases are blurred, but never finer than the others."""
    target, size = np.median(spacings, axis=0), np.median(shapes, axis=0)
    worst = int(target.argmax())
    others = [axis for axis in range(3) if axis != worst]
    coarse = target[worst] > ANISOTROPIC * target[others].max()
    if coarse and size[worst] * ANISOTROPIC < size[others].min():
        fine = float(np.percentile(spacings[:, worst], 10))
        target[worst] = fine if fine >= target[others].max() else target[others].max() + 1e-5
    return target


def normalisation(names: Sequence[str], kept: float) -> list[dict[str, Any]]:
    """Per channel its scheme by name, and whether it looks at what is not empty alone; kept: median share of a case in
    its box."""
    schemes = {"ct": "ct", "rgb_to_0_1": "by 255", "nonorm": "none", "rescale_to_0_1": "to 0..1"}
    found = [schemes.get(name.lower(), "z-score") for name in names]
    return [{"channel": name, "scheme": scheme, "inside_only": scheme == "z-score" and kept < CROPPED}
            for name, scheme in zip(names, found, strict=True)]  # fmt: skip


def feature_maps(
    patch: Sequence[int], strides: Sequence[Sequence[int]], features: Sequence[int], classes: int, convs: int = 2
) -> int:
    """Elements that the convolutions of nnU-Net's plain network put out for one patch: those down, those up, the
    transposed ones and the last 1x1."""
    sizes, side = [], np.array(patch, np.int64)
    for stride in strides:
        side = side // np.array(stride)
        sizes.append(int(side.prod()))
    down = sum(convs * width * size for width, size in zip(features, sizes, strict=True))
    up = sum((convs + 1) * width * size for width, size in zip(features[:-1], sizes[:-1], strict=True))
    return down + up + classes * sizes[0]


def network(
    spacing: Sequence[float], median: Sequence[float], voxels: float, classes: int, memory: float = GIGABYTES
) -> Network:
    """Patch, network and batch for a spacing and a median shape of two or three axes.

    The patch begins as large as anybody could wish, in the proportions of the median shape's millimetres, and loses
    along the axis where it covers most until two of it fit. voxels: of all cases together.
    """
    axes = len(spacing)
    inverse = 1 / np.array(spacing, float)
    wide = inverse * (START[axes] / inverse.prod()) ** (1 / axes)
    patch = [min(round(one), most) for one, most in zip(wide, median, strict=True)]
    reference = REFERENCE[axes] * memory / GIGABYTES
    kernels, strides, patch = fitting(patch, spacing)
    while (estimate := feature_maps(patch, strides, widths(strides, axes), classes)) / AT_ONCE[axes] * 2 > reference:
        axis = int(np.argsort([one / all_ for one, all_ in zip(patch, median, strict=True)])[-1])
        trial = list(patch)
        trial[axis] -= unit(strides, axis)
        step = unit(topology(trial, spacing)[1], axis)  # of the smaller patch, so that no valid size is left out
        if patch[axis] <= step:
            break
        patch[axis] -= step
        kernels, strides, patch = fitting(patch, spacing)
    size = float(np.prod(patch, dtype=float))
    batch = max(min(round(reference / estimate * AT_ONCE[axes]), round(voxels * COVERED / size)), 2)
    return Network(tuple(map(float, spacing)), tuple(map(float, median)), tuple(patch), batch, widths(strides, axes),
                   tuple(kernels), tuple(strides), estimate)  # fmt: skip


def fitting(
    patch: Sequence[float], spacing: Sequence[float]
) -> tuple[list[tuple[int, ...]], list[tuple[int, ...]], list[int]]:
    """(kernels, strides, the patch padded so that every axis is halved without a rest).

    A side of the median shape of an even number of cases may end in a half, which is padded too, as nnU-Net does it.
    """
    kernels, strides = topology(patch, spacing)
    units = [unit(strides, axis) for axis in range(len(patch))]
    return kernels, strides, [int(-(-side // step) * step) for side, step in zip(patch, units, strict=True)]


def unit(strides: Sequence[Sequence[int]], axis: int) -> int:
    """What the size along an axis has to be a multiple of."""
    return int(np.prod([stride[axis] for stride in strides]))


def widths(strides: Sequence[Sequence[int]], axes: int) -> tuple[int, ...]:
    """Channels per stage."""
    return tuple(min(WIDEST[axes], 32 * 2**stage) for stage in range(len(strides)))


def coarse_stage(full: Network, cases: int, classes: int, memory: float = GIGABYTES) -> Network | None:
    """A network on coarser voxels that sees a quarter of a median case at once; None where `full` does already, or
    nearly."""
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


def plan_volumes(
    cases: Sequence[Case], found: Sequence[Intensities], names: Sequence[str], classes: int, memory: float = GIGABYTES
) -> tuple[dict[str, Any], dict[str, Any], dict[str, str]]:
    """(fingerprint, recipe, reasons) of volumes. names: of the channels; classes: with the background; memory: bytes of
    the GPU."""
    spacings, shapes = np.array([case.spacing for case in cases]), np.array([case.shape for case in cases])
    target, kept = target_spacing(spacings, shapes), float(np.median([case.kept for case in cases]))
    first = int(target.argmax())
    turned = [first, *(axis for axis in range(3) if axis != first)]
    resampled = np.round(spacings / target * shapes)
    median = np.median(resampled, axis=0)[turned]
    voxels = float(median.prod()) * len(cases)
    full = network(target[turned].tolist(), median.tolist(), voxels, classes, memory)
    flat = network(target[turned][1:].tolist(), median[1:].tolist(), voxels, classes, memory)
    coarse = coarse_stage(full, len(cases), classes, memory)
    schemes = normalisation(names, kept)
    fingerprint = {
        "cases": len(cases),
        "median_size": [float(side) for side in np.median(shapes, axis=0)],
        "median_spacing": [float(step) for step in np.median(spacings, axis=0)],
        "kept_after_cropping": round(kept, 4),
        "foreground": [vars(channel) | {"channel": name} for name, channel in zip(names, found, strict=False)],
    }
    recipe: dict[str, Any] = {
        "model": "nnunet3d", "spacing": list(full.spacing), "axes": [("z", "y", "x")[axis] for axis in turned],
        "normalisation": [scheme | ({"clip": [one.low, one.high], "mean": one.mean, "std": max(one.std, 1e-8)}
                                    if scheme["scheme"] == "ct" else {}) for scheme, one in
                          zip(schemes, found, strict=False)],
        "resampling": resampling(full.spacing), "patch": list(full.patch), "batch": full.batch,
        "options": options(full), "coarse": None if coarse is None else stage(coarse),
        "flat": {"model": "nnunet2d"} | stage(flat), "loss": "ce + dice", "batch_dice": coarse is not None,
        "foreground": 0.33, "optimizer": "sgd", "lr": 0.01, "steps": 250_000,
    }  # fmt: skip
    return fingerprint, recipe, reasons_of(full, coarse, recipe, spacings, target, kept, memory)


def options(one: Network) -> dict[str, Any]:
    """The arguments of the page `nnunet3d` or `nnunet2d`."""
    return {"features": list(one.features), "kernels": [list(kernel) for kernel in one.kernels],
            "strides": [list(stride) for stride in one.strides], "aux": True}  # fmt: skip


def stage(one: Network) -> dict[str, Any]:
    """A further network of the plan."""
    return {"spacing": list(one.spacing), "patch": list(one.patch), "batch": one.batch, "options": options(one)}


def resampling(spacing: Sequence[float]) -> str:
    """How volumes reach their spacing."""
    thick = max(spacing) / min(spacing) > ANISOTROPIC
    return "cubic in the plane, nearest along the first axis; labels linear" if thick else "cubic; labels linear"


def reasons_of(
    full: Network, coarse: Network | None, recipe: dict[str, Any], spacings: np.ndarray, target: np.ndarray,
    kept: float, memory: float,
) -> dict[str, str]:  # fmt: skip
    """One sentence for each line of the recipe."""
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
        "model": "volumes: a plain U-Net fitted to the data beats cleverer ones that are not (2404.09556)",
        "spacing": "the median of the cases" if plain else
        "the median; along the coarse and short axis the 10th percentile, so that the thin slices are not blurred",
        "axes": "the axis of the coarsest spacing comes first",
        "normalisation": "; ".join(by.get(scheme, scheme) for scheme in sorted(schemes)) + ", by the channels' names",
        "resampling": "slices are thicker than three pixels: nothing is invented between them"
        if max(full.spacing) / min(full.spacing) > ANISOTROPIC else "voxels are nearly cubes",
        "patch": f"the largest of which two fit {memory / 1e9:.0f} GB; it sees {seen:.0%} of a median case",
        "batch": "what is left of the memory, at most 5 % of all voxels, two at least",
        "options": f"axes are halved {halved} times, the coarse ones last, down to 4 voxels; kernels are 1 along an "
        "axis until its spacing is within twice the finest",
        "coarse": "a patch sees a quarter of a median case or more: one stage is enough" if coarse is None else
        "a patch of the fine stage sees less than a quarter of a median case",
        "flat": "slices alone, worth a try where they are thick",
        "loss": "small structures count by their overlap, the gradient stays smooth",
        "batch_dice": "over the batch where patches are small parts of a case, else over each",
        "foreground": "a third of the patches is drawn around a labelled voxel, else most would be empty",
        "optimizer": "Nesterov momentum 0.99, as published",
        "lr": "as published, falling by (1 - t)^0.9",
        "steps": "1000 epochs of 250, as published",
    }  # fmt: skip
