"""Videos: a label map for every frame, upright and at the frame's own time, and how much the labels flicker.

OUT/<stem>.mkv holds the data set's own mask values, lossless (FFV1, grey); OUT/overlays/<stem>.mp4 is for looking at.
Sound is left out.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from importlib import import_module
from pathlib import Path
from struct import unpack_from
from typing import Any, cast

import numpy as np
import torch

from atrous.errors import DataError, MissingExtra, ModelError
from atrous.files import beside, held, make_folder, refuse_stream
from atrous.io import ArrayPicture, overlay_of, target_of
from atrous.io.marks import SOFTWARE
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

    Frames are turned upright as the file's display matrix says, labelled, and shown at their own times.

    Args:
        smooth: in [0, 1), the weight of the earlier frames' mean logits in each frame's (an exponential
            mean). If it is not 0, frames go through the network whole.

    Returns:
        How much the written labels flicker.

    Raises:
        DataError: the file is not a video, or damaged.
        ModelError: `smooth` is out of range, or asked for with windows or a refiner.
    """
    refuse_stream(path)
    av = _av(path)
    if not 0 <= smooth < 1:
        raise ModelError(f"--smooth {smooth}: must be in [0, 1), such as 0.5")
    if len(predictor.card.labels.values) and max(predictor.card.labels.values) > 255:
        raise ModelError(f"{path}: mask values above 255 do not fit into a grey video; predict its frames as pictures")
    targets = [target_of(path, out), overlay_of(path, out)]
    temporary = [beside(target, target.suffix) for target in targets]
    for target in targets:
        make_folder(target.parent)
    flicker, before = Flicker(), None
    held_open = ExitStack()
    try:
        for part in temporary:
            part.touch()
            held_open.enter_context(held(part))
        with av.open(str(path), options={"format_whitelist": KINDS}, metadata_errors="replace") as source:
            stream = source.streams.best("video")
            if stream is None:
                raise DataError(f"{path}: holds no video; expected a file with moving pictures")
            stream.thread_type = "AUTO"
            rate = Fraction(stream.average_rate or stream.guessed_rate or 25)
            with (
                _Track(av, temporary[0], rate, "ffv1", "gray") as values,
                _Track(av, temporary[1], rate, "libx264", "yuv420p") as pictures,
            ):
                for time, image, labels in _labelled(predictor, _frames(source, stream, rate, path), smooth):
                    flicker.add(image, labels, before)
                    before = (image, labels)
                    values.write(predictor.card.labels.to_values(labels), time)
                    pictures.write(_even(overlay(image, labels, predictor.card.labels)), time)
        if flicker.frames == 0:
            raise DataError(f"{path}: holds no frame that can be decoded; expected a whole video")
        for part, target in zip(temporary, targets, strict=True):
            part.replace(target)
    except av.error.FFmpegError as error:
        raise DataError(f"{path}: damaged or no video ({error.strerror}); expected a whole file") from error
    finally:
        for part in temporary:
            part.unlink(missing_ok=True)
        held_open.close()
    return flicker


def _frames(source: Any, stream: Any, rate: Fraction, path: Path) -> Iterator[tuple[Fraction, np.ndarray]]:
    """Yields each frame's time, in seconds, and its upright picture. A frame without a time follows the one before.

    Where a frame is due at a time that the file cannot name (Matroska has thousandths), that time is taken.
    """
    time, shape = -1 / rate, None
    for frame in source.decode(stream):
        time = time + 1 / rate if frame.pts is None else frame.pts * frame.time_base
        due = round(time * rate) / rate
        time = due if abs(due - time) < frame.time_base else time
        image = _upright(frame.to_ndarray(format="rgb24"), frame.side_data.get("DISPLAYMATRIX"))
        shape = shape or image.shape
        if image.shape != shape:  # the encoder would scale it, which mixes the values of labels
            raise DataError(
                f"{path}: the frame at {float(time):.2f} s has {image.shape[0]}x{image.shape[1]} pixels, the first one "
                f"{shape[0]}x{shape[1]}; expected one size, cut the video there"
            )
        yield time, image


def _upright(image: np.ndarray, matrix: Any) -> np.ndarray:
    """Turn and mirror (H, W, 3) as a display matrix says; None: as it is.

    matrix: nine 32-bit numbers (a, b, u, c, d, v, x, y, w); pixel (x, y) is shown at (a x + c y, b x + d y).
    """
    if matrix is None:
        return image
    a, b, _, c, d = unpack_from("=5i", bytes(matrix))
    if abs(b) + abs(c) > abs(a) + abs(d):
        image, a, d = image.swapaxes(0, 1), c, b
    return np.ascontiguousarray(image[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1])


def _labelled(
    predictor: Predictor, frames: Iterator[tuple[Fraction, np.ndarray]], smooth: float
) -> Iterator[tuple[Fraction, np.ndarray, np.ndarray]]:
    """Yields each frame's time and picture with its labels."""
    mean: torch.Tensor | None = None
    for time, image in frames:
        if not smooth:
            yield time, image, predictor.labels(image)
            continue
        cut = predictor.cut(ArrayPicture(predictor.pixels(image)).shape)
        if cut.kind != "whole" or predictor.cutting.averaged or predictor.refinement:
            raise ModelError("--smooth needs frames that go through the network whole and unrefined; give --window 0")
        logits, tail = predictor.logits(image)
        mean = logits if mean is None else mean.lerp(logits, 1 - smooth)
        labels = upsample_argmax(mean, tail.size, align_corners=tail.align_corners, crop=tail.crop)[0].cpu().numpy()
        yield time, image, labels.astype(predictor.card.labels.dtype, copy=False)


KINDS = "mov,matroska,avi"
"""The containers that are read, in FFmpeg's words. Others, such as lists of further files, would open these too."""
TICK = Fraction(1, 90_000)
"""The unit of written times, in seconds. All usual frame rates are whole numbers of it."""


class _Track:
    """A video stream that is written frame by frame, and opened at the first one."""

    def __init__(self, av: Any, path: Path, rate: Any, codec: str, format: str) -> None:
        self._av, self._rate, self._codec, self._format = av, rate, codec, format
        self._file, self._stream, self._last = av.open(str(path), "w"), cast(Any, None), -1
        self._file.metadata["comment"] = SOFTWARE

    def write(self, image: np.ndarray, time: Fraction) -> None:
        """(H, W, 3) RGB or (H, W) grey, uint8; time: in seconds, later than that of the frame before."""
        if self._stream is None:
            # with reordered frames at uneven times, MP4 would end before the last ones
            options = {"bf": "0"} if self._codec == "libx264" else {}
            self._stream = self._file.add_stream(self._codec, rate=self._rate, options=options)
            self._stream.height, self._stream.width = image.shape[:2]
            self._stream.pix_fmt = self._format
            self._stream.time_base = self._stream.codec_context.time_base = TICK
            self._last = round(time / TICK) - 1
        frame = self._av.VideoFrame.from_ndarray(
            np.ascontiguousarray(image), format="gray" if image.ndim == 2 else "rgb24"
        )
        self._last = max(round(time / TICK), self._last + 1)  # two frames of one time would be an error
        frame.pts, frame.time_base = self._last, TICK
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
