"""A volume in, its labels out, on its own grid: prepared, seen window by window, resampled back slab by slab.

Windows overlap by half and are weighted by a Gaussian (nnU-Net, Isensee et al. 2021). They come along
the network's first axis, so that sums of scores are held for one window's depth only. Slices that no
window changes any more are resampled to the file's own voxels and reduced to labels at once: there is
never a map of all classes over the whole volume.

Axes: K classes, d x h x w voxels as the network sees them, D x H x W those of the file.
"""

from collections.abc import Iterator, Sequence
from functools import cached_property, partial
from itertools import chain, combinations, product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from atrous.bundle import Card
from atrous.errors import DataError, ModelError, memory_in_words, nearest
from atrous.io.dicom import Scan
from atrous.io.dicom_seg import write_seg
from atrous.io.geometry import Geometry
from atrous.io.scans import open_volume
from atrous.io.volumes import Volume, write_volume
from atrous.labels import LabelSet
from atrous.ops import upsample_argmax
from atrous.ops.argmax import finite
from atrous.ops.resample import taps
from atrous.ops.resize import resize
from atrous.ops.tiles import gaussian, positions
from atrous.predict.prediction import Prediction
from atrous.sample import Sample
from atrous.visual import chief_slice, overlay
from atrous.volumes import Placement, VolumeForm, prepare
from atrous.volumes.prepare import orders

SEG = ".dcm"
HALF_FROM = 3 * 2**29
"""Bytes of the sums of scores from which on they are kept in float16 (as nnU-Net keeps them always)."""


class VolumePrediction(Prediction):
    """The answer for one volume of D x H x W voxels.

    Attributes:
        labels: (D, H, W) uint8, or uint16 with more than 256 classes: class indices, on the file's grid.
        image: the volume's numbers, (D, H, W, C).
        grid: where the voxels are.
        volume: what was labelled; of DICOM a `Scan`, whose slices a SEG refers to.
    """

    def __init__(self, labels: np.ndarray, label_set: LabelSet, volume: Volume, scores: Any) -> None:
        image = volume.array if volume.array.ndim == 4 else volume.array[..., None]
        super().__init__(labels, label_set, image, scores)
        self.grid, self.volume = volume.grid, volume

    @property
    def spacing(self) -> tuple[float, float, float]:
        """mm between voxels along D, H, W."""
        return self.grid.spacing

    @cached_property
    def probabilities(self) -> np.ndarray:
        """(K, D, H, W) float32 class probabilities, computed when first asked for (they take 4 K bytes per voxel)."""
        scores = torch.from_numpy(self.logits)
        return torch.softmax(scores, 0).numpy()

    def save(self, path: Path | str) -> None:
        """Write the labels on the grid of the input, in the data set's own values.

        path: ends in .nii.gz, .nii, .nrrd or .mha; of a DICOM series also in .dcm, for a DICOM SEG with a segment for
            each class but the background.

        Raises:
            DataError: a SEG of what is no DICOM series, or the file cannot be written.
        """
        if str(path).lower().endswith(SEG):
            if not isinstance(self.volume, Scan):
                raise DataError(f"{path}: a DICOM SEG refers to DICOM slices, and the input is none; give .nii.gz")
            names, colours = self.label_set.names, self.label_set.colours
            write_seg(path, self.labels, self.volume, names, colours, background=self.label_set.background)
            return
        write_volume(Path(path), self.label_set.to_values(self.labels), self.grid)

    def millilitres(self) -> dict[str, float]:
        """The volume of each class in ml."""
        voxel = float(np.prod(self.spacing)) / 1000
        counts = np.bincount(self.labels.reshape(-1), minlength=len(self.names))
        return {name: float(count * voxel) for name, count in zip(self.names, counts, strict=True)}

    def overlay_array(self, alpha: float = 0.5) -> np.ndarray:
        """The slice that shows most, with the class colours laid over it: (H, W, 3) uint8."""
        place = chief_slice(self.labels)
        return overlay(self.image[place], self.labels[place], self.label_set, alpha)


class VolumePredictor:
    """A trained network of volumes and its card, ready for files and arrays.

    Args:
        model: the network.
        card: what its bundle says about it; `card.form` says how volumes are seen.
        device: of torch.
        window: voxels that the network sees at once, (d, h, w) or one side; default as in training.
        overlap: the least share that neighbouring windows have in common, in [0, 1).
        flip: also predict all mirror images that training drew, and take the mean.

    Raises:
        ModelError: the card is of a network for images, or an option does not exist.
    """

    def __init__(
        self, model: nn.Module, card: Card, *, device: str = "cpu", window: int | Sequence[int] | None = None,
        overlap: float = 0.5, flip: bool = False, **others: Any,
    ) -> None:  # fmt: skip
        for name, value in others.items():
            if value not in PLAIN.get(name, (None,)):
                known = ["device", "window", "overlap", "flip", *PLAIN]
                why = "it is for images alone" if name in PLAIN else nearest(name, known)
                raise ModelError(f"{name}={value!r}: a network of volumes has no such option; {why}")
        if card.form is None:
            raise ModelError(f"{card.model} was trained on images; give it pictures")
        if not 0 <= overlap < 1:
            raise ModelError(f"overlap={overlap}: expected 0 or more, below 1")
        self.card, self.form, self.device = card, card.form, torch.device(device)
        sides = (window,) * 3 if isinstance(window, int) else tuple(window or self.form.window)
        if len(sides) != 3 or min(sides) < 1:
            raise ModelError(f"window={window!r}: expected three sides of 1 voxel or more, or one for all")
        self.window, self.overlap, self.flip = sides, overlap, flip
        self.model = model.to(self.device).eval()

    @memory_in_words()
    def __call__(self, volume: Any) -> VolumePrediction:
        """Label one volume.

        Args:
            volume: a path, a `Volume`, or an array (D, H, W[, C]) whose voxels lie as in training.

        Raises:
            DataError: it is not a volume, or its channels are not those of the training volumes.
        """
        given = as_volume(volume, self.form)
        image, _, place = prepare(given.array, given.grid, self.form, name=str(given.path or "the volume"))
        classes = len(self.card.labels)
        dtype = np.uint8 if classes <= 256 else np.uint16
        inner = np.empty(place.inner, dtype)
        for index, plane in self._planes(image, place, given.grid):
            labels = upsample_argmax(plane[None], place.inner[1:])
            inner[index] = labels[0].cpu().numpy()
        return VolumePrediction(
            place.back(inner, self.card.labels.background), self.card.labels, given, partial(self._scores, given)
        )

    def of(self, sample: Sample) -> VolumePrediction:
        """Label the volume of a sample of a data set."""
        return self(Volume(sample.image, sample.geometry["grid"], sample.path))

    def labels(self, volume: Any) -> np.ndarray:
        """(D, H, W) class indices of one volume."""
        return self(volume).labels

    def _scores(self, given: Volume) -> np.ndarray:
        """(K, D, H, W) float32 scores on the file's grid; around what the network saw the background is certain."""
        image, _, place = prepare(given.array, given.grid, self.form, name=str(given.path or "the volume"))
        empty = self.card.labels.background
        whole = np.zeros((len(self.card.labels), *place.whole), np.float32)
        whole[empty] = 100.0
        rows, columns = place.box[1:]
        for index, plane in self._planes(image, place, given.grid):
            size = place.inner[1:]
            resized = resize(plane[None], size)[0]
            whole[:, place.box[0].start + index, rows, columns] = resized.cpu().numpy()
        return np.stack([place.turn.back(one) for one in whole])

    def _planes(self, image: np.ndarray, place: Placement, grid: Geometry) -> Iterator[tuple[int, torch.Tensor]]:
        """(index of a slice of the box in the file's voxels, its scores (K, h, w)), in order."""
        spacing = place.turn.geometry(grid, (1, 1, 1)).spacing
        order = min(orders(spacing, self.form)[0], 1)
        places, weights = taps(place.shape[0], place.inner[0], order if place.shape[0] > 1 else 0)
        places = np.clip(places, 0, place.shape[0] - 1)
        held: dict[int, torch.Tensor] = {}
        following = 0
        for first, slab in self.slabs(image):
            held |= {first + k: slab[:, k] for k in range(slab.shape[1])}
            done = first + slab.shape[1]
            while following < place.inner[0] and places[following].max() < done:
                parts = zip(places[following].tolist(), weights[following].tolist(), strict=True)
                yield following, sum(weight * held[k].float() for k, weight in parts)
                following += 1
            least = int(places[following].min()) if following < place.inner[0] else done
            held = {k: plane.clone() for k, plane in held.items() if k >= least}

    def slabs(self, image: np.ndarray) -> Iterator[tuple[int, torch.Tensor]]:
        """Mean scores of overlapping windows, as slices are finished: (first slice, (K, n, h, w)).

        image: (C, d, h, w), prepared.
        """
        size = image.shape[1:]
        pads = [max(side - n, 0) for side, n in zip(self.window, size, strict=True)]
        if any(pads):  # a volume that is smaller than a window goes on past its border
            image = np.pad(image, [(0, 0), *((pad // 2, pad - pad // 2) for pad in pads)], "edge")
        padded = image.shape[1:]
        starts = [positions(n, side, self.overlap) for n, side in zip(padded, self.window, strict=True)]
        falloff = [torch.from_numpy(gaussian(side)).to(self.device) for side in self.window]
        window = falloff[0][:, None, None] * falloff[1][:, None] * falloff[2]
        total = [_total(n, begins, one) for n, begins, one in zip(padded, starts, falloff, strict=True)]
        classes, depth = len(self.card.labels), self.window[0]
        large = 4 * classes * depth * padded[1] * padded[2] > HALF_FROM
        sums = torch.zeros((classes, depth, *padded[1:]), dtype=torch.float16 if large else torch.float32,
                           device=self.device)  # fmt: skip
        rows, columns = (slice(pad // 2, pad // 2 + n) for pad, n in zip(pads[1:], size[1:], strict=True))
        plane = (total[1][:, None] * total[2])[rows, columns]
        for start, following in zip(starts[0], [*starts[0][1:], padded[0]], strict=True):
            for top, left in product(*starts[1:]):
                box = (
                    slice(start, start + depth),
                    slice(top, top + self.window[1]),
                    slice(left, left + self.window[2]),
                )
                scores = self._window(image[(slice(None), *box)])
                sums[:, :, box[1], box[2]] += scores * window
            count = following - start
            first, last = max(start, pads[0] // 2), min(following, pads[0] // 2 + size[0])
            if first < last:
                inside = sums[:, first - start : last - start, rows, columns].float()
                yield first - pads[0] // 2, inside / (total[0][first:last, None, None] * plane)
            sums[:, : depth - count] = sums[:, count:].clone()
            sums[:, depth - count :] = 0

    @torch.inference_mode()
    def _window(self, patch: np.ndarray) -> torch.Tensor:
        """(K, d, h, w) scores of one window, the mean over mirror images if these are asked for."""
        given = torch.from_numpy(np.ascontiguousarray(patch)).to(self.device)
        given = given.transpose(0, 1) if self.form.flat else given[None]  # slices are a batch
        axes = [axis + 2 for axis in self.form.mirror] if self.flip else []
        ways = chain.from_iterable(combinations(axes, count) for count in range(len(axes) + 1))
        answers = [self.model(given.flip(way)).float().flip(way) if way else self.model(given).float() for way in ways]
        mean = finite(answers[0] if len(answers) == 1 else torch.stack(answers).mean(0))
        return mean.transpose(0, 1) if self.form.flat else mean[0]


PLAIN: dict[str, tuple[Any, ...]] = {
    "backend": ("torch", "auto"), "decode": ("argmax",), "calibration": ("none",), "recall": (None,), "refine": (None,),
    "refine_options": (None, {}), "tidy": ((), []), "weights": ("gaussian",), "scales": ((1.0,), [1.0], None),
    "exact": (False,), "max_ram": (None,),
}  # fmt: skip
"""Options of predictors of images -> their values that say nothing."""


def _total(size: int, starts: Sequence[int], weights: torch.Tensor) -> torch.Tensor:
    """The sum of the weights of all windows along one axis: (size,)."""
    found = torch.zeros(size, device=weights.device)
    for start in starts:
        found[start : start + len(weights)] += weights
    return found


def as_volume(given: Any, form: VolumeForm) -> Volume:
    """A volume of whatever is given; an array's voxels lie as those of the training volumes do."""
    if isinstance(given, Volume):
        return given
    if isinstance(given, str | Path):
        return open_volume(Path(given))
    array = np.asarray(given.detach().cpu() if isinstance(given, torch.Tensor) else given)
    if array.ndim not in (3, 4) or 0 in array.shape or array.dtype.kind not in "buif":
        raise DataError(
            f"an array of shape {array.shape} and type {array.dtype} is not a volume; expected (D, H, W[, C]) numbers"
        )
    steps = form.steps((1.0, 1.0, 1.0))
    depth, height, width = (steps[form.order.index(axis)] for axis in range(3))
    return Volume(array, Geometry((depth, height, width)))
