"""What a prediction is: labels, probabilities on demand, and the ways out of the program."""

from collections.abc import Callable
from functools import cached_property, partial
from html import escape
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
from atrous.visual import data_uri, overlay

NOTEBOOK, LEGEND = 800, 12
"""In a notebook: the longest side of the picture in pixels, and how many classes its legend names."""


class Prediction:
    """The answer for one image of H x W pixels. In a notebook it shows itself as a picture with its legend.

    Attributes:
        labels: (H, W) uint8, or uint16 with more than 256 classes: class indices 0..K-1.
        label_set: the classes: names, colours, values in mask files.
        image: the raw image it was made from, (H, W, C).
        valid: (H, W) bool, which pixels hold a value (not NaN, not nodata); None if all do. The others have a label, of
            the mean of the valid ones, which counts neither in files nor in areas.

    Example:
        >>> import numpy as np
        >>> from atrous import LabelSet, Prediction
        >>> labels = np.array([[0, 0, 0, 1]], np.uint8)
        >>> image = np.zeros((1, 4, 3), np.uint8)
        >>> Prediction(labels, LabelSet(("road", "car")), image, lambda: np.zeros((2, 1, 4), np.float32))
        Prediction(1x4: road 75%, car 25%)
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
        self.valid: np.ndarray | None = None
        self._logits, self._decoding = logits, decoding

    def __getstate__(self) -> dict[str, Any]:
        """For `pickle`: the network stays behind."""
        kept = self._logits if isinstance(self._logits, partial) else partial(np.asarray, self.logits)
        return {**self.__dict__, "_logits": kept}

    @property
    def names(self) -> tuple[str, ...]:
        """The K class names."""
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
        """The image with the class colours laid over it. alpha: 0 shows the image only, 1 the colours only."""
        return Image.fromarray(self.overlay_array(alpha))

    def overlay_array(self, alpha: float = 0.5) -> np.ndarray:
        """The same as an (H, W, 3) uint8 array."""
        return overlay(self.image, self.known, self.label_set, alpha)

    @property
    def known(self) -> np.ndarray:
        """(H, W) labels, the label set's `ignore_index` where a pixel holds no value."""
        return self.labels if self.valid is None else np.where(self.valid, self.labels, self.label_set.ignore_index)

    def save(self, path: Path | str) -> None:
        """Write the label map as an index PNG with the class palette, in the values of the data set's own masks.

        Pixels without a value get the value of ignored ones.
        """
        write_mask(Path(path), self.known, self.label_set, mark=True)

    def areas(self) -> dict[str, float]:
        """Share of the image per class, in 0..1; pixels without a value do not count."""
        labels = self.labels.reshape(-1) if self.valid is None else self.labels[self.valid]
        counts = np.bincount(labels, minlength=len(self.names))
        return {name: float(count / max(labels.size, 1)) for name, count in zip(self.names, counts, strict=True)}

    def to_hf(self) -> list[dict[str, Any]]:
        """The form of Hugging Face's image-segmentation pipeline: a binary PIL mask per class that is present."""
        return [
            {"label": self.names[k], "score": None, "mask": Image.fromarray(np.uint8(self.known == k) * 255)}
            for k in np.unique(self.labels if self.valid is None else self.labels[self.valid])
        ]

    def __repr__(self) -> str:
        largest = ", ".join(f"{name} {share:.0%}" for name, share in self._largest()[:3])
        return f"Prediction({'x'.join(map(str, self.labels.shape))}: {largest})"

    def _repr_html_(self) -> str:
        """What a notebook shows: the overlay, and the classes that cover most of it with their colours and shares."""
        picture = data_uri(self.overlay_array(), NOTEBOOK, exact=False, png=0)
        colours = dict(zip(self.names, self.label_set.colours, strict=True))
        found = [(name, share) for name, share in self._largest() if share > 0]
        swatch = '<span style="display:inline-block;width:1em;height:1em;border:1px solid;background:rgb{}"></span>'
        rows = [f"{swatch.format(tuple(colours[name]))} {escape(name)} {share:.1%}" for name, share in found]
        more = [f"and {len(rows) - LEGEND} more"] * (len(rows) > LEGEND)
        return f'<img src="{picture}" alt="prediction"><div>{" &ensp; ".join(rows[:LEGEND] + more)}</div>'

    def _largest(self) -> list[tuple[str, float]]:
        return sorted(self.areas().items(), key=lambda item: -item[1])
