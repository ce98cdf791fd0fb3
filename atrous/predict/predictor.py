"""Raw image in, prediction out: units, normalisation, whole or tiled."""

from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import nn

from atrous.bundle import Card
from atrous.errors import DataError, ModelError
from atrous.inspect.seams import Halo
from atrous.inspect.seams import halo as find_halo
from atrous.io import ArrayPicture, Picture, read_image
from atrous.ops import Tail, upsample_argmax
from atrous.predict.backends import Backend, open_backend
from atrous.predict.decoding import choose
from atrous.predict.memory import Needs
from atrous.predict.prediction import Prediction
from atrous.predict.windows import Cut, Cutting, blended, blended_scores, exact, exact_scores, mean_scores
from atrous.predict.windows import choose as choose_cut
from atrous.refine.named import choose_refinement
from atrous.sample import FULL_SCALE


class Predictor:
    """A trained network and its card, ready for raw images.

    model: the network, or an exported one (`backends.open_exported`). backend: torch, onnx, openvino, or auto, the
    fastest that this machine measured (`backends.choice`). decode, calibration, recall: how scores become labels,
    probabilities and sets where `atrous calibrate` fitted it (`decoding.choose`).
    refine: a refiner's name (`refinement.names`), which labels and probabilities then come from, or "tuned" for what
    `atrous tune-crf` found; refine_options: what it takes besides. Refined images are held as (K, H, W) probabilities.
    cutting: window, overlap, weights, flip, scales, exact, max_ram of `windows.Cutting`; without them images of up to 4
    million pixels go through the network whole, larger ones in blended windows of 1024.
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
        **cutting: Any,
    ) -> None:
        self.card, self.cutting = card, Cutting(**cutting)
        self.decoding = choose(card.decoding, decode=decode, calibration=calibration, recall=recall)
        self.refinement = choose_refinement(
            card.refinement, refine, refine_options, dtype=card.dtype, mean=card.mean, std=card.std
        )
        if self.refinement and (decode, recall) != ("argmax", None):
            raise ModelError("refined labels know no other decoding and no recall; ask for one of them")
        self.device, self.backend, self._model = torch.device(device), backend, model
        if isinstance(model, nn.Module):
            model.to(self.device).eval()

    def __call__(self, image: Any) -> Prediction:
        """Predict one image: a path, a PIL image, or an (H, W[, C]) array in the units of the training images."""
        raw = as_array(image)
        prediction = self._plain(raw)
        return prediction.refined(self.refinement) if self.refinement else prediction

    def _plain(self, raw: np.ndarray) -> Prediction:
        source = ArrayPicture(self.pixels(raw))
        cut = self.cut(source.shape)
        if cut.kind != "whole" or self.cutting.averaged:
            labels = np.concatenate([rows for _, rows in self._bands(source, cut)])
            labels = labels.astype(self.card.labels.dtype, copy=False)
            return Prediction(labels, self.card.labels, raw, lambda: self._scores(source, cut), self.decoding)
        logits, tail = self._logits(source.array)
        moved = logits
        if self.decoding.offsets is not None:  # before the resize is as after it
            moved = logits + torch.from_numpy(self.decoding.offsets).to(logits)[:, None, None]
        labels = upsample_argmax(moved, tail.size, align_corners=tail.align_corners, crop=tail.crop)[0].cpu().numpy()
        return Prediction(
            labels, self.card.labels, raw, lambda: tail.apply(logits.float())[0].cpu().numpy(), self.decoding
        )

    def bands(self, source: Picture) -> Iterator[tuple[int, np.ndarray]]:
        """(top, labels (rows, W)) of a picture of any height, from the top on, each as soon as it is finished.

        Memory is bounded: a few strips of the picture, one window high, and the sums of their scores. Refiners and sets
        of classes need the whole picture: ModelError.
        """
        if self.refinement or self.decoding.thresholds is not None:
            raise ModelError(
                f"{source.name}: is labelled row by row, which no refiner and no recall can be; leave them off"
            )
        prepared = _Prepared(source, self)
        for top, labels in self._bands(prepared, self.cut(prepared.shape)):
            yield top, labels.astype(self.card.labels.dtype, copy=False)

    def logits(self, image: Any) -> tuple[torch.Tensor, Tail]:
        """The logits (1, K, h, w) of one image that goes through the network whole, and the resize to its size."""
        return self._logits(self.pixels(as_array(image)))

    def cut(self, shape: tuple[int, int, int]) -> Cut:
        """How an image (H, W, C) is cut, C the network's own; ModelError where what was asked for cannot be."""
        return choose_cut(self.cutting, shape, self.halo if self.cutting.exact else None, self._needs)

    @cached_property
    def halo(self) -> Halo:
        """What a tile needs around it to equal the whole; ModelError with the reason where nothing would do."""
        found = find_halo(self.model)
        if isinstance(found, Halo):
            return found
        layer = f" (layer {found.layer})" if found.layer else ""
        raise ModelError(
            f"no tiles of this network equal the whole image: {found.reason}{layer}; leave exact off: windows blended "
            "by Gaussian weights are an approximation, or take --window 0, the whole image at once"
        )

    @cached_property
    def _needs(self) -> Needs | None:
        if self.cutting.max_ram is None:
            return None
        itemsize = 1 if self.card.dtype == "uint8" else 4
        return Needs(self.model, len(self.card.labels), len(self.card.mean), itemsize)

    def _bands(self, source: Picture, cut: Cut) -> Iterator[tuple[int, np.ndarray]]:
        wish, offsets = self.cutting, self.decoding.offsets
        if cut.kind == "exact":
            return exact(self._logits, source, cut.window, self.halo, offsets)
        return blended(self._window_scores, source, cut.window, wish.overlap, wish.weights, offsets)

    def _scores(self, source: Picture, cut: Cut) -> np.ndarray:
        """(K, H, W) of all bands."""
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
            raise ModelError("an exported network has no weights of torch; load the bundle it was made from")
        return self._model

    @cached_property
    def network(self) -> Backend:
        """What runs the network, opened when first used."""
        if not isinstance(self._model, nn.Module):
            return self._model
        return open_backend(self.backend, self._model, self.card, device=str(self.device))

    def _logits(self, pixels: np.ndarray) -> tuple[torch.Tensor, Tail]:
        """The logits before the last resize where the network can give them, and that resize."""
        return self.network(pixels if pixels.flags.writeable else pixels.copy())  # torch warns of the others

    def pixels(self, raw: np.ndarray, *, part: bool = False) -> np.ndarray:
        """Channels and units of the training images, or one sentence why that cannot be.

        part: of an image, by which alone its units are not judged.
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
                f"the image has {raw.shape[2]} channels, the model was trained on {channels}; give it {channels}"
            )
        if raw.dtype.kind == "f" and not np.isfinite(raw).all():
            raise DataError("the image holds values that are not finite (nan or inf); replace them before predicting")
        name = raw.dtype.name
        if name != dtype and name in FULL_SCALE and dtype in FULL_SCALE:
            return raw.astype(np.float32) * np.float32(FULL_SCALE[dtype] / FULL_SCALE[name])
        if raw.dtype.kind == "f" and dtype in FULL_SCALE and not part and raw.size and 0 < raw.max() <= 1:
            raise DataError(
                f"the image's values lie in 0..1, the model was trained on {dtype} images; "
                f"multiply by {FULL_SCALE[dtype]:.0f}"
            )
        return raw if name in ("uint8", "float32") else raw.astype(np.float32)


class _Prepared:
    """A source in the network's own channels and units, which are judged when all rows were read."""

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
    """A path, PIL image or array as (H, W, C) in its own dtype; raises DataError on anything that is no picture."""
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
            f"an image of shape {array.shape} and dtype {array.dtype} is no picture; expected (H, W[, C]) numbers"
        )
    return array
