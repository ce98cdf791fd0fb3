"""Raw image in, prediction out: units, normalisation, whole or tiled."""

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Unpack
from warnings import warn

import numpy as np
import torch
from PIL import Image
from torch import nn

from atrous.bundle import Card
from atrous.errors import DataError, ModelError, memory_in_words, nearest
from atrous.inspect.seams import Halo
from atrous.inspect.seams import halo as find_halo
from atrous.io import ArrayPicture, Picture, read_valid
from atrous.io.images import as_numbers, patched, read_pillow
from atrous.ops import Tail, upsample_argmax
from atrous.ops.argmax import finite
from atrous.predict.backends import Backend, open_backend
from atrous.predict.decoding import choose_decoding
from atrous.predict.memory import PredictionNeeds
from atrous.predict.prediction import Prediction
from atrous.predict.windows import (
    Cut,
    Cutting,
    CuttingOptions,
    blended,
    blended_scores,
    choose_cut,
    exact,
    exact_scores,
    mean_scores,
)
from atrous.refine.named import choose_refinement
from atrous.refine.tidying import parse_tidying
from atrous.sample import FULL_SCALE, Sample

NORMALISED, OVERSHOOT = 0.125, 0.05
"""Shares of white: a picture of numbers below 0 and none above the first is a normalised one; filters of pictures leave
numbers outside of the range by up to the second."""
DARK = 16383
"""A picture of 16 bits without a larger number has 14 bits or fewer, whose range is not known."""


class PredictorOptions(CuttingOptions, total=False):
    """The options of `Predictor`, for signatures that hand them on: a test keeps the two equal."""

    backend: str
    decode: str
    calibration: str
    recall: float | None
    refine: str | None
    refine_options: Mapping[str, Any] | None
    tidy: Sequence[str]


class Predictor:
    """A trained network and its card, ready for raw images.

    Images of up to 4 million pixels go through the network whole, larger ones in blended windows of
    1024 pixels; `cutting` changes that. Refined images are held as (K, H, W) probabilities.

    Args:
        model: the network, or an exported one (`loading.open_exported`).
        card: what its bundle says about it.
        device: of torch.
        backend: "torch", "onnx", "openvino", or "auto": the fastest one measured on this machine.
        decode: how scores become labels: "argmax", or what `atrous calibrate` fitted for "iou" or "dice".
        calibration: "none", or the probabilities that it fitted: "temperature" or "vector".
        recall: also give sets of classes that keep this share of every class (`Prediction.uncertain`).
        refine: a refiner's name (`atrous.refine.named`), or "tuned" for what `atrous tune-crf` found.
        refine_options: options of that refiner.
        tidy: steps of `atrous.refine.tidying`, applied to the labels last.
        cutting: window, overlap, weights, flip, scales, exact, max_ram of `atrous.predict.Cutting`.

    Raises:
        ModelError: a name or a value that does not exist, or options that contradict each other.
    """

    def __init__(
        self,
        model: nn.Module | Backend,
        card: Card,
        *,
        device: str = "cpu",
        backend: str = "torch",
        decode: str = "argmax",
        calibration: str = "none",
        recall: float | None = None,
        refine: str | None = None,
        refine_options: Mapping[str, Any] | None = None,
        tidy: Sequence[str] = (),
        **cutting: Unpack[CuttingOptions],
    ) -> None:
        if unknown := [name for name in cutting if name not in Cutting.__dataclass_fields__]:
            known = [*PredictorOptions.__annotations__, "device"]
            raise ModelError(f"a predictor has no option {unknown[0]!r}; {nearest(unknown[0], known)}")
        self.card, self.cutting = card, Cutting(**cutting)
        self.decoding = choose_decoding(card.decoding, decode=decode, calibration=calibration, recall=recall)
        self.refinement = choose_refinement(
            card.refinement, refine, refine_options, dtype=card.dtype, mean=card.mean, std=card.std
        )
        self.tidying = parse_tidying(tidy, card.labels.names)
        if self.refinement and (decode, recall) != ("argmax", None):
            raise ModelError(
                "--refine decides on the labels itself; leave out --decode and --recall, or leave out --refine"
            )
        self.device, self.backend, self._model = torch.device(device), backend, model
        if isinstance(model, nn.Module):
            model.to(self.device).eval()

    @memory_in_words()
    def __call__(self, image: Any) -> Prediction:
        """Label one image.

        Args:
            image: a path, a PIL image, or an (H, W[, C]) array or tensor in the units of the training images. Pixels
                without a value (NaN, nodata) count as the mean of the others, see `Prediction.valid`.

        Raises:
            DataError: it is not a picture, or its channels or units are not those of the training images.
        """
        raw, valid = as_array(image)
        prediction = self._plain(raw)
        if self.refinement:
            prediction = prediction.refined(self.refinement)
        for step in self.tidying:
            prediction.labels = step(prediction.labels)
        prediction.valid = valid
        return prediction

    def _plain(self, raw: np.ndarray) -> Prediction:
        source = ArrayPicture(self.pixels(raw))
        cut = self.cut(source.shape)
        if cut.kind != "whole" or self.cutting.averaged:
            labels = np.concatenate([rows for _, rows in self._bands(source, cut)])
            labels = labels.astype(self.card.labels.dtype, copy=False)
            return Prediction(labels, self.card.labels, raw, lambda: self._scores(source, cut), self.decoding)
        logits, tail = self._logits(source.array)
        moved = logits
        if self.decoding.offsets is not None:  # a constant per class: adding it before the resize is the same
            moved = logits + torch.from_numpy(self.decoding.offsets).to(logits)[:, None, None]
        labels = upsample_argmax(moved, tail.size, align_corners=tail.align_corners, crop=tail.crop)[0].cpu().numpy()
        return Prediction(labels, self.card.labels, raw, partial(_resized, logits, tail), self.decoding)

    def bands(self, source: Picture) -> Iterator[tuple[int, np.ndarray]]:
        """Label a picture of any height by rows, from the top: yields (top, labels (rows, W)) as rows are finished.

        Memory is bounded: it holds a few strips of the picture, one window high, and the sums of their
        scores.

        Raises:
            ModelError: a refiner, tidying or a recall is asked for. They need the whole picture.
        """
        if self.refinement or self.tidying or self.decoding.thresholds is not None:
            raise ModelError(
                f"{source.name}: is labelled row by row; a refiner, tidying and a recall "
                "need the whole picture; leave them out"
            )
        prepared = _Prepared(source, self)
        with memory_in_words():
            for top, labels in self._bands(prepared, self.cut(prepared.shape)):
                yield top, labels.astype(self.card.labels.dtype, copy=False)

    def logits(self, image: Any) -> tuple[torch.Tensor, Tail]:
        """The logits (1, K, h, w) of an image that goes through the network whole, and their resize to its size."""
        return self._logits(self.pixels(as_array(image)[0]))

    def cut(self, shape: tuple[int, int, int]) -> Cut:
        """How an image of this shape (H, W, C) is cut; ModelError where the cut that is asked for is impossible."""
        return choose_cut(self.cutting, shape, self.halo if self.cutting.exact else None, self._needs)

    @cached_property
    def halo(self) -> Halo:
        """The margin that a tile needs to equal the whole image; ModelError, with the reason, where none is enough."""
        found = find_halo(self.model)
        if isinstance(found, Halo):
            return found
        layer = f" (layer {found.layer})" if found.layer else ""
        raise ModelError(
            f"no tiles of this network equal the whole image: {found.reason}{layer}; leave out --exact for blended "
            "windows, which are an approximation, or give --window 0 for the whole image at once"
        )

    @cached_property
    def _needs(self) -> PredictionNeeds | None:
        if self.cutting.max_ram is None:
            return None
        itemsize = 1 if self.card.dtype == "uint8" else 4
        return PredictionNeeds(self.model, len(self.card.labels), len(self.card.mean), itemsize)

    def _bands(self, source: Picture, cut: Cut) -> Iterator[tuple[int, np.ndarray]]:
        wish, offsets = self.cutting, self.decoding.offsets
        if cut.kind == "exact":
            return exact(self._logits, source, cut.window, self.halo, offsets)
        return blended(self._window_scores, source, cut.window, wish.overlap, wish.weights, offsets)

    def _scores(self, source: Picture, cut: Cut) -> np.ndarray:
        """(K, H, W) scores of the whole image."""
        if cut.kind == "exact":
            bands = exact_scores(self._logits, source, cut.window, self.halo)
        else:
            wish = self.cutting
            bands = blended_scores(self._window_scores, source, cut.window, wish.overlap, wish.weights)
        return np.concatenate([scores for _, scores in bands], axis=1)

    def _window_scores(self, pixels: np.ndarray) -> np.ndarray:
        return mean_scores(self._logits, pixels, self.cutting.flip, self.cutting.scales)

    def of(self, sample: Sample) -> Prediction:
        """Label the image of a sample of a data set."""
        return self(sample.image)

    def labels(self, image: Any) -> np.ndarray:
        """(H, W) class indices of one image."""
        return self(image).labels

    @property
    def model(self) -> nn.Module:
        """The network; its input is normalised, see the card's mean and std."""
        if not isinstance(self._model, nn.Module):
            raise ModelError("an exported network has no torch module; load the bundle it was made from")
        return self._model

    @cached_property
    def network(self) -> Backend:
        """The backend that runs the network, opened when it is first used."""
        if not isinstance(self._model, nn.Module):
            return self._model
        return open_backend(self.backend, self._model, self.card, device=str(self.device))

    def _logits(self, pixels: np.ndarray) -> tuple[torch.Tensor, Tail]:
        """The logits before the network's last resize, if it can give them, and that resize."""
        # torch warns of read-only arrays
        logits, tail = self.network(pixels if pixels.flags.writeable else pixels.copy())
        return finite(logits), tail

    def pixels(self, raw: np.ndarray, *, part: bool = False) -> np.ndarray:
        """Bring an image to the channels and units of the training images; DataError where that is impossible.

        Args:
            part: it is a part of an image, from which the units of the whole cannot be judged.
        """
        channels, dtype = len(self.card.mean), self.card.dtype
        if raw.shape[2] == 1 and channels == 3:
            raw = np.repeat(raw, 3, axis=2)
        elif raw.shape[2] == 4 and channels == 3:
            raw = raw[:, :, :3]
        elif raw.shape[2] == 3 and channels == 1:
            raw = np.round(raw @ np.array([0.299, 0.587, 0.114])).astype(raw.dtype)[:, :, None]
        if raw.shape[2] != channels:
            last = ", the channels last: (H, W, C)" if raw.shape[0] in (1, channels) else ""
            raise DataError(
                f"the image has {raw.shape[2]} channels, but the model was trained on {channels}; "
                f"give it {channels}{last}"
            )
        if raw.dtype.kind == "f" and not np.isfinite(raw).all():
            raise DataError("the image holds values that are not finite (nan or inf); replace them before predicting")
        name = raw.dtype.name
        if name != dtype and dtype in FULL_SCALE and raw.size and not part:
            judge_units(name, float(raw.min()), float(raw.max()), dtype)
        if name != dtype and name in FULL_SCALE and dtype in FULL_SCALE and (part or not _fits(raw, dtype)):
            return raw.astype(np.float32) * np.float32(FULL_SCALE[dtype] / FULL_SCALE[name])
        return raw if name in ("uint8", "float32") else raw.astype(np.float32)


class _Prepared:
    """A source in the network's channels and units. The units are judged when all rows have been read."""

    held = False

    def __init__(self, source: Picture, predictor: Predictor) -> None:
        self.name, self._source, self._predictor = source.name, source, predictor
        self._low, self._high = np.inf, -np.inf
        self.shape = (*source.shape[:2], self.rows(0, 1).shape[2])

    def rows(self, first: int, end: int) -> np.ndarray:
        """See `Picture`."""
        try:
            raw = self._source.rows(first, end)
            name, dtype = raw.dtype.name, self._predictor.card.dtype
            if name != dtype and dtype in FULL_SCALE and raw.size:
                self._low, self._high = min(self._low, float(raw.min())), max(self._high, float(raw.max()))
                if end == self._source.shape[0]:
                    judge_units(name, self._low, self._high, dtype, whole=False)
            return self._predictor.pixels(raw, part=True)
        except DataError as error:
            raise error if self.name in str(error) else DataError(f"{self.name}: {error}") from error

    def valid(self, first: int, end: int) -> np.ndarray | None:
        """See `Picture`."""
        return self._source.valid(first, end)


def _fits(raw: np.ndarray, dtype: str) -> bool:
    """Whether a picture of 16 bits holds numbers of 8 bits."""
    return dtype == "uint8" and raw.max() <= FULL_SCALE[dtype]


def _resized(logits: torch.Tensor, tail: Tail) -> np.ndarray:
    return tail.apply(logits.float())[0].cpu().numpy()


def judge_units(name: str, low: float, high: float, dtype: str, *, whole: bool = True) -> None:
    """Judge by its numbers whether a picture has the units of the training images.

    Args:
        name: the picture's type: uint8, uint16 or float32, which whole numbers of other types become.
        low, high: its least and greatest number.
        dtype: the type of the training images, uint8 or uint16.
        whole: numbers of 8 bits in a picture of 16 are taken as they are, not scaled; False if its rows were scaled
            before all of them were known.

    Raises:
        DataError: it has other units: 0..1, normalised, or of more bits.

    Warns:
        UserWarning: it was scaled from 16 bits to 8, or from 8 to 16.
    """
    full = FULL_SCALE[dtype]
    trained = f"the model was trained on {dtype} images"
    if name == "float32":
        if 0 < high <= 1 and low >= 0:
            raise DataError(f"the image's values lie in 0..1, but {trained}; multiply by {full:.0f}")
        if (low < 0 and high <= full * NORMALISED) or low < -full * OVERSHOOT or high > full * (1 + OVERSHOOT):
            raise DataError(
                f"the image's values lie in {low:.4g}..{high:.4g}, but {trained}, 0..{full:.0f}; give it the "
                "picture's own numbers, not normalised and of as many bits"
            )
    elif name == "uint16":
        if high <= full and whole:
            return
        if high <= DARK:
            raise DataError(
                f"the image has 16 bits and values up to {high:.0f}, but {trained}; scale its range to 0..{full:.0f}"
            )
        warn(f"the image has 16 bits, but {trained}; it is divided by 257", stacklevel=2)
    else:
        warn(f"the image has 8 bits, but {trained}; it is multiplied by 257", stacklevel=2)


def as_array(image: Any) -> tuple[np.ndarray, np.ndarray | None]:
    """An image as an array, and which of its pixels hold a value.

    Args:
        image: a path, a PIL image, an array or tensor (H, W[, C]), or an `ArrayPicture`.

    Returns:
        (H, W, C) uint8, uint16 or float32, as a file of these numbers would be read, and (H, W) bool; None if every
        pixel holds a value.

    Raises:
        DataError: it is anything else, or all of it is NaN.
    """
    if isinstance(image, ArrayPicture):
        return image.array, image.mask
    if isinstance(image, (str, Path)):
        return read_valid(Path(image))
    if isinstance(image, Image.Image):
        return read_pillow(image)
    if isinstance(image, torch.Tensor):
        image = image.detach().cpu()
        image = (image.float() if image.dtype == torch.bfloat16 else image).numpy()
    array = np.asarray(image)
    if array.ndim == 2:
        array = array[:, :, None]
    if array.ndim != 3 or 0 in array.shape or array.dtype.kind not in "buif":
        raise DataError(
            f"an array of shape {array.shape} and dtype {array.dtype} is not a picture; expected (H, W[, C]) numbers"
        )
    return patched(as_numbers(array), None, None, "the image")
