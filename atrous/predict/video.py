"""Videos: a label map for every frame, at the same frame rate, and how much the labels flicker.

OUT/<stem>.mkv holds the data set's own mask values, lossless (FFV1, grey); OUT/overlays/<stem>.mp4 is for looking at.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from atrous.errors import DataError, MissingExtra, ModelError
from atrous.io import ArrayPicture, overlay_of, target_of
from atrous.ops import upsample_argmax
from atrous.predict.predictor import Predictor
from atrous.visual import overlay

STILL = 8
"""A pixel counts as still if each channel changes by at most this much (of 255) from frame to frame."""


@dataclass
class Flicker:
    """The share of pixels that change their label from frame to frame: of all pixels, and of those that are still."""

    frames: int = 0
    changed: float = 0.0
    still: float = 0.0
    still_changed: float = 0.0
    pixels: float = 0.0

    def add(self, image: np.ndarray, labels: np.ndarray, before: tuple[np.ndarray, np.ndarray] | None) -> None:
        """Count a frame, (H, W, 3) uint8 and (H, W), against the one before."""
        self.frames += 1
        if before is None:
            return
        other = labels != before[1]
        quiet = (np.maximum(image, before[0]) - np.minimum(image, before[0])).max(2) <= STILL
        self.pixels += other.size
        self.changed += float(other.sum())
        self.still += float(quiet.sum())
        self.still_changed += float((other & quiet).sum())

    def __str__(self) -> str:
        if self.pixels == 0:
            return f"{self.frames} frames"
        text = f"{self.frames} frames, {self.changed / self.pixels:.2%} of the labels change from frame to frame"
        if self.still:
            text += f", {self.still_changed / self.still:.2%} of those of still pixels (flicker)"
        return text


def label_video(predictor: Predictor, path: Path, out: Path, smooth: float = 0.0) -> Flicker:
    """Label a video: write OUT/<stem>.mkv and OUT/overlays/<stem>.mp4.

    Args:
        smooth: in [0, 1), the weight of the earlier frames' mean logits in each frame's (an exponential
            mean). If it is not 0, frames go through the network whole.

    Returns:
        How much the written labels flicker.

    Raises:
        DataError: the file is not a video, or damaged.
        ModelError: `smooth` is out of range, or asked for with windows or a refiner.
    """
    av = _av(path)
    if not 0 <= smooth < 1:
        raise ModelError(f"--smooth {smooth}: must be in [0, 1), such as 0.5")
    if len(predictor.card.labels.values) and max(predictor.card.labels.values) > 255:
        raise ModelError(f"{path}: mask values above 255 do not fit into a grey video; predict its frames as pictures")
    targets = [target_of(path, out), overlay_of(path, out)]
    temporary = [target.with_name(f".{target.stem}.part{target.suffix}") for target in targets]
    for target in targets:
        target.parent.mkdir(parents=True, exist_ok=True)
    flicker, before = Flicker(), None
    try:
        with av.open(str(path)) as source:
            if not source.streams.video:
                raise DataError(f"{path}: holds no video; expected a file with moving pictures")
            stream = source.streams.video[0]
            stream.thread_type = "AUTO"
            rate = stream.average_rate or stream.guessed_rate
            frames = (frame.to_ndarray(format="rgb24") for frame in source.decode(stream))
            with (
                _Track(av, temporary[0], rate, "ffv1", "gray") as values,
                _Track(av, temporary[1], rate, "libx264", "yuv420p") as pictures,
            ):
                for image, labels in _labelled(predictor, frames, smooth):
                    flicker.add(image, labels, before)
                    before = (image, labels)
                    values.write(predictor.card.labels.to_values(labels))
                    pictures.write(_even(overlay(image, labels, predictor.card.labels)))
        if flicker.frames == 0:
            raise DataError(f"{path}: holds no frame that can be decoded; expected a whole video")
        for part, target in zip(temporary, targets, strict=True):
            part.replace(target)
    except av.error.FFmpegError as error:
        raise DataError(f"{path}: damaged or no video ({error.strerror}); expected a whole file") from error
    finally:
        for part in temporary:
            part.unlink(missing_ok=True)
    return flicker


def _labelled(
    predictor: Predictor, frames: Iterator[np.ndarray], smooth: float
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields each frame with its labels."""
    mean: torch.Tensor | None = None
    for image in frames:
        if not smooth:
            yield image, predictor.labels(image)
            continue
        cut = predictor.cut(ArrayPicture(predictor.pixels(image)).shape)
        if cut.kind != "whole" or predictor.cutting.averaged or predictor.refinement:
            raise ModelError("--smooth needs frames that go through the network whole and unrefined; give --window 0")
        logits, tail = predictor.logits(image)
        mean = logits if mean is None else mean.lerp(logits, 1 - smooth)
        labels = upsample_argmax(mean, tail.size, align_corners=tail.align_corners, crop=tail.crop)[0].cpu().numpy()
        yield image, labels.astype(predictor.card.labels.dtype, copy=False)


class _Track:
    """A video stream that is written frame by frame, and opened at the first one."""

    def __init__(self, av: Any, path: Path, rate: Any, codec: str, format: str) -> None:
        self._av, self._rate, self._codec, self._format = av, rate, codec, format
        self._file, self._stream = av.open(str(path), "w"), cast(Any, None)

    def write(self, image: np.ndarray) -> None:
        """(H, W, 3) RGB or (H, W) grey, uint8."""
        if self._stream is None:
            self._stream = self._file.add_stream(self._codec, rate=self._rate)
            self._stream.height, self._stream.width = image.shape[:2]
            self._stream.pix_fmt = self._format
        frame = self._av.VideoFrame.from_ndarray(
            np.ascontiguousarray(image), format="gray" if image.ndim == 2 else "rgb24"
        )
        self._file.mux(self._stream.encode(frame))

    def __enter__(self) -> "_Track":
        return self

    def __exit__(self, *_: object) -> None:
        if self._stream is not None:
            self._file.mux(self._stream.encode())
        self._file.close()


def _even(image: np.ndarray) -> np.ndarray:
    """Make the sides even, as H.264 needs: repeat the last row or column where they are odd."""
    return np.pad(image, ((0, image.shape[0] % 2), (0, image.shape[1] % 2), (0, 0)), mode="edge")


def _av(path: Path) -> Any:
    try:
        return import_module("av")
    except ImportError as error:
        raise MissingExtra(f"{path}: videos need PyAV; run `pip install 'atrous[video]'`") from error
