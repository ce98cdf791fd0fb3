"""Raw image in, prediction out: units, normalisation, whole or tiled."""

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Unpack

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import nn

from atrous.bundle import Card
from atrous.errors import DataError, ModelError, memory_in_words, nearest
from atrous.inspect.seams import Halo
from atrous.inspect.seams import halo as find_halo
from atrous.io import ArrayPicture, Picture, read_image
from atrous.ops import Tail, upsample_argmax
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
from atrous.sample import FULL_SCALE


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
            image: a path, a PIL image, or an (H, W[, C]) array in the units of the training images.

        Raises:
            DataError: it is not a picture, or its channels or units are not those of the training images.
        """
        raw = as_array(image)
        prediction = self._plain(raw)
        if self.refinement:
            prediction = prediction.refined(self.refinement)
        for step in self.tidying:
            prediction.labels = step(prediction.labels)
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
        return Prediction(
            labels, self.card.labels, raw, lambda: tail.apply(logits.float())[0].cpu().numpy(), self.decoding
        )

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
        return self._logits(self.pixels(as_array(image)))

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
        return self.network(pixels if pixels.flags.writeable else pixels.copy())  # torch warns of read-only arrays

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
            raise DataError(
                f"the image has {raw.shape[2]} channels, but the model was trained on {channels}; give it {channels}"
            )
        if raw.dtype.kind == "f" and not np.isfinite(raw).all():
            raise DataError("the image holds values that are not finite (nan or inf); replace them before predicting")
        name = raw.dtype.name
        if name != dtype and name in FULL_SCALE and dtype in FULL_SCALE:
            return raw.astype(np.float32) * np.float32(FULL_SCALE[dtype] / FULL_SCALE[name])
        if raw.dtype.kind == "f" and dtype in FULL_SCALE and not part and raw.size and 0 < raw.max() <= 1:
            raise DataError(
                f"the image's values lie in 0..1, but the model was trained on {dtype} images; "
                f"multiply by {FULL_SCALE[dtype]:.0f}"
            )
        return raw if name in ("uint8", "float32") else raw.astype(np.float32)


class _Prepared:
    """A source in the network's channels and units. The units are judged when all rows have been read."""

    held = False

    def __init__(self, source: Picture, predictor: Predictor) -> None:
        self.name, self._source, self._predictor = source.name, source, predictor
        self._largest = np.zeros((1, 1, len(predictor.card.mean)), np.float32)
        self.shape = (*source.shape[:2], self.rows(0, 1).shape[2])

    def rows(self, first: int, end: int) -> np.ndarray:
        """See `Picture`."""
        try:
            raw = self._source.rows(first, end)
            if raw.dtype.kind == "f" and raw.size:
                self._largest = np.maximum(self._largest, raw.max())
                if end == self._source.shape[0]:
                    self._predictor.pixels(self._largest)
            return self._predictor.pixels(raw, part=True)
        except DataError as error:
            raise error if self.name in str(error) else DataError(f"{self.name}: {error}") from error


def as_array(image: Any) -> np.ndarray:
    """A path, PIL image or array as an (H, W, C) array of its own dtype; DataError for anything else."""
    if isinstance(image, (str, Path)):
        return read_image(Path(image))
    if isinstance(image, Image.Image):
        image = ImageOps.exif_transpose(image)
        image = np.asarray(image if image.mode in ("L", "RGB", "I;16", "F") else image.convert("RGB"))
    array = np.asarray(image)
    if array.ndim == 2:
        array = array[:, :, None]
    if array.ndim != 3 or 0 in array.shape or array.dtype.kind not in "uif":
        raise DataError(
            f"an array of shape {array.shape} and dtype {array.dtype} is not a picture; expected (H, W[, C]) numbers"
        )
    return array
