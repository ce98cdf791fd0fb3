"""Raw image in, prediction out: units, normalisation, whole or tiled."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import nn

from atrous.bundle import Card
from atrous.errors import DataError, ModelError
from atrous.io import read_image
from atrous.objective import Normalise
from atrous.ops import Tail, blend, upsample_argmax
from atrous.predict.decoding import choose
from atrous.predict.prediction import Prediction
from atrous.predict.refinement import choose_refinement
from atrous.sample import FULL_SCALE

WHOLE_PIXELS = 4_000_000
"""Images up to this many pixels go through the network whole, larger ones in windows."""


class Predictor:
    """A trained network and its card, ready for raw images.

    window: None chooses (whole up to 4 million pixels, else windows of 1024), 0 means always whole, else the side of
    the square windows in pixels. overlap: the share of a window that neighbours have in common. decode, calibration,
    recall: how scores become labels, probabilities and sets where `atrous calibrate` fitted it (`decoding.choose`).
    refine: a refiner's name (`refinement.names`), which labels and probabilities then come from, or "tuned" for what
    `atrous tune-crf` found; refine_options: what it takes besides. Refined images are held as (K, H, W) probabilities.
    """

    def __init__(
        self,
        model: nn.Module,
        card: Card,
        *,
        device: str = "cpu",
        window: int | None = None,
        overlap: float = 0.25,
        decode: str = "argmax",
        calibration: str = "none",
        recall: float | None = None,
        refine: str | None = None,
        refine_options: Mapping[str, Any] | None = None,
    ) -> None:
        self.card, self.window, self.overlap = card, window, overlap
        self.decoding = choose(card.decoding, decode=decode, calibration=calibration, recall=recall)
        self.refinement = choose_refinement(
            card.refinement, refine, refine_options, dtype=card.dtype, mean=card.mean, std=card.std
        )
        if self.refinement and (decode, recall) != ("argmax", None):
            raise ModelError("refined labels know no other decoding and no recall; ask for one of them")
        self.device = torch.device(device)
        self.model = model.to(self.device).to(memory_format=torch.channels_last).eval()
        self.normalise = Normalise(card.mean, card.std).to(self.device)

    def __call__(self, image: Any) -> Prediction:
        """Predict one image: a path, a PIL image, or an (H, W[, C]) array in the units of the training images."""
        raw = as_array(image)
        prediction = self._plain(raw)
        return prediction.refined(self.refinement) if self.refinement else prediction

    def _plain(self, raw: np.ndarray) -> Prediction:
        pixels = self._pixels(raw)
        window = self._window(pixels)
        if window:
            offsets = 0 if self.decoding.offsets is None else self.decoding.offsets[:, None, None]
            bands = [(scores + offsets).argmax(0) for _, scores in self._bands(pixels, window)]
            labels = np.concatenate(bands).astype(self.card.labels.dtype)
            return Prediction(
                labels,
                self.card.labels,
                raw,
                lambda: np.concatenate([scores for _, scores in self._bands(pixels, window)], axis=1),
                self.decoding,
            )
        logits, tail = self._logits(pixels)
        moved = logits
        if self.decoding.offsets is not None:  # before the resize is as after it
            moved = logits + torch.from_numpy(self.decoding.offsets).to(logits)[:, None, None]
        labels = upsample_argmax(moved, tail.size, align_corners=tail.align_corners, crop=tail.crop)[0].cpu().numpy()
        return Prediction(
            labels, self.card.labels, raw, lambda: tail.apply(logits.float())[0].cpu().numpy(), self.decoding
        )

    def labels(self, image: Any) -> np.ndarray:
        """(H, W) class indices of one image."""
        return self(image).labels

    @torch.inference_mode()
    def _logits(self, pixels: np.ndarray) -> tuple[torch.Tensor, Tail]:
        """The logits before the last resize where the network can give them, and that resize."""
        x = torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))[None].to(self.device)
        x = self.normalise(x).contiguous(memory_format=torch.channels_last)
        low = cast(Any, self.model).logits_at_stride(x)
        return low if low is not None else (self.model(x), Tail(pixels.shape[:2]))

    def _bands(self, pixels: np.ndarray, window: int) -> Any:
        def scores(top: int, left: int, height: int, width: int) -> np.ndarray:
            logits, tail = self._logits(pixels[top : top + height, left : left + width])
            return tail.apply(logits.float())[0].cpu().numpy()

        return blend(scores, pixels.shape[:2], (window, window), self.overlap)

    def _window(self, pixels: np.ndarray) -> int:
        height, width = pixels.shape[:2]
        window = (0 if height * width <= WHOLE_PIXELS else 1024) if self.window is None else self.window
        return window if window and max(height, width) > window else 0

    def _pixels(self, raw: np.ndarray) -> np.ndarray:
        """Channels and units of the training images, or one sentence why that cannot be."""
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
        if raw.dtype.kind == "f" and dtype in FULL_SCALE and raw.size and 0 < raw.max() <= 1:
            raise DataError(
                f"the image's values lie in 0..1, the model was trained on {dtype} images; "
                f"multiply by {FULL_SCALE[dtype]:.0f}"
            )
        return raw if name in ("uint8", "float32") else raw.astype(np.float32)


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
