"""How scores become labels and probabilities: directly, or as `atrous calibrate` fitted it on validation pictures."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from atrous.errors import ModelError, nearest

CALIBRATIONS = ("none", "temperature", "vector")
DECODES = ("argmax", "iou", "dice")


@dataclass(frozen=True)
class Decoding:
    """Labels are argmax(z + offsets) and probabilities softmax(scale z + shift), for logits z of K classes.

    Attributes:
        offsets, scale, shift: (K,) float32; None changes nothing.
        thresholds: (K,) of the probabilities, for the sets of `Prediction.uncertain`. It is 0 for a class
            without a promise, which is then in every set.
    """

    offsets: np.ndarray | None = None
    scale: np.ndarray | None = None
    shift: np.ndarray | None = None
    thresholds: np.ndarray | None = None

    def calibrated(self, logits: np.ndarray) -> np.ndarray:
        """(K, ...) logits -> (K, ...) logits whose softmax are the probabilities."""
        if self.scale is None or self.shift is None:
            return logits
        axes = (slice(None),) + (None,) * (logits.ndim - 1)
        return logits * self.scale[axes] + self.shift[axes]


PLAIN = Decoding()


def choose_decoding(fitted: dict[str, Any], *, decode: str, calibration: str, recall: float | None) -> Decoding:
    """Take from a card's `decoding` what is asked for.

    Args:
        fitted: what `evaluate.calibrate` fitted; {} if nothing.
        decode: a name of DECODES.
        calibration: a name of CALIBRATIONS.
        recall: the share of each class to keep, or None.

    Raises:
        ModelError: an unknown name, or it was not fitted.
    """
    for what, name, known in (("decode", decode, DECODES), ("calibration", calibration, CALIBRATIONS)):
        if name not in known:
            raise ModelError(f"unknown {what} {name!r}; {nearest(name, list(known))}")
    if (decode, calibration, recall) == ("argmax", "none", None):
        return PLAIN
    if not fitted:
        raise ModelError("the model's decoding was never fitted; run `atrous calibrate RUN` first")
    offsets = scale = shift = thresholds = None
    if decode != "argmax":
        offsets = _array(fitted["offsets"][decode])
    classes = len(fitted["offsets"]["iou"])
    if calibration == "temperature":
        scale, shift = np.full(classes, 1 / fitted["temperature"], np.float32), np.zeros(classes, np.float32)
    if calibration == "vector":
        scale, shift = _array(fitted["vector"]["scale"]), _array(fitted["vector"]["shift"])
    if recall is not None:
        kept = fitted["thresholds"].get(f"{recall:g}")
        if kept is None:
            held = ", ".join(fitted["thresholds"])
            raise ModelError(f"no thresholds are fitted for a recall of {recall:g}, only for {held}; run "
                             f"`atrous calibrate RUN --recall {recall:g}`")  # fmt: skip
        if calibration != "none":
            raise ModelError(
                "the thresholds of a recall hold for uncalibrated probabilities; give --recall or --calibration"
            )
        thresholds = np.array([0.0 if value is None else value for value in kept], np.float32)
    return Decoding(offsets, scale, shift, thresholds)


def _array(values: list[float]) -> np.ndarray:
    return np.array(values, np.float32)
