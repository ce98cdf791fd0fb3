"""What a prediction is: labels, probabilities on demand, and the ways out of the program."""

from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from atrous.errors import ModelError
from atrous.io import write_mask
from atrous.labels import LabelSet
from atrous.predict.decoding import PLAIN, Decoding
from atrous.refine.named import Refinement
from atrous.visual import overlay


class Prediction:
    """The answer for one image of H x W pixels.

    labels: (H, W) uint8 (uint16 with more than 256 classes), class indices 0..K-1.
    names: the K class names. image: the raw image it was made from. decoding: how its scores become probabilities.
    """

    def __init__(
        self,
        labels: np.ndarray,
        label_set: LabelSet,
        image: np.ndarray,
        logits: Callable[[], np.ndarray],
        decoding: Decoding = PLAIN,
    ) -> None:
        self.labels, self.label_set, self.image = labels, label_set, image
        self._logits, self._decoding = logits, decoding

    @property
    def names(self) -> tuple[str, ...]:
        return self.label_set.names

    @cached_property
    def probabilities(self) -> np.ndarray:
        """(K, H, W) float32 class probabilities, computed when first asked for (they take 4 K bytes per pixel)."""
        return torch.from_numpy(self._decoding.calibrated(self.logits)).softmax(0).numpy()

    @property
    def logits(self) -> np.ndarray:
        """(K, H, W) float32 scores of the network before any decoding, computed at each call."""
        return self._logits()

    @property
    def uncertain(self) -> np.ndarray:
        """(H, W) bool: pixels to abstain from, whose set of classes {k: p_k >= t_k} does not hold exactly one.

        The thresholds t keep a share of every class's pixels in the sets (`atrous calibrate`, `Decoding.thresholds`);
        ModelError where the predictor was not asked for them.
        """
        if self._decoding.thresholds is None:
            raise ModelError("there are no sets of classes without a recall to keep: load(..., recall=0.9)")
        return (self.probabilities >= self._decoding.thresholds[:, None, None]).sum(0) != 1

    def refined(self, refinement: Refinement) -> "Prediction":
        """The prediction with the refiner's labels and probabilities; `logits` stay the network's."""
        labels, probabilities = refinement(self.image, self.probabilities)
        better = Prediction(labels.astype(self.labels.dtype), self.label_set, self.image, self._logits, self._decoding)
        better.probabilities = probabilities
        return better

    def overlay(self, alpha: float = 0.5) -> Image.Image:
        """The image with the class colours laid over it."""
        return Image.fromarray(self.overlay_array(alpha))

    def overlay_array(self, alpha: float = 0.5) -> np.ndarray:
        """The same as an (H, W, 3) uint8 array."""
        return overlay(self.image, self.labels, self.label_set, alpha)

    def save(self, path: Path | str) -> None:
        """Write the label map as an index PNG with the class palette, in the values of the data set's own masks."""
        write_mask(Path(path), self.labels, self.label_set)

    def areas(self) -> dict[str, float]:
        """Share of the image per class, in 0..1."""
        counts = np.bincount(self.labels.reshape(-1), minlength=len(self.names))
        return {name: float(count / self.labels.size) for name, count in zip(self.names, counts, strict=True)}

    def to_hf(self) -> list[dict[str, Any]]:
        """The form of Hugging Face's image-segmentation pipeline: a binary PIL mask per class that is present."""
        return [
            {"label": self.names[k], "score": None, "mask": Image.fromarray(np.uint8(self.labels == k) * 255)}
            for k in np.unique(self.labels)
        ]

    def __repr__(self) -> str:
        top = sorted(self.areas().items(), key=lambda item: -item[1])[:3]
        height, width = self.labels.shape
        return f"Prediction({height}x{width}: " + ", ".join(f"{name} {share:.0%}" for name, share in top) + ")"
