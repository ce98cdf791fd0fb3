"""Files to label maps: the next picture is decoded and the last one written while the network runs.

One thread reads one picture ahead, one thread writes behind, in the order of the files. A picture that
fails is named, and the others are done.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from atrous.errors import AtrousError, DataError
from atrous.io import (
    VIDEO_SUFFIXES,
    ArrayPicture,
    LabelWriter,
    Picture,
    open_picture,
    overlay_of,
    target_of,
    uncertain_of,
    write_fitting,
    write_image,
)
from atrous.predict.predictor import Predictor
from atrous.predict.video import label_video
from atrous.progress import Over
from atrous.visual import overlay

OVERLAY = 4096
"""Longest side, in pixels, of the overlay of a picture that is labelled by rows. It shows every n-th pixel."""


def predict_files(
    predictor: Predictor,
    paths: Sequence[Path],
    out: Path,
    *,
    smooth: float = 0.0,
    progress: Over | None = None,
    say: Callable[[str], None] = print,
) -> tuple[int, list[str]]:
    """Label files: write OUT/<stem>.png and OUT/overlays/<stem>.jpg of each picture.

    GeoTIFF, Zarr and video keep their kind: .tif, .zarr, and .mkv with an overlay in .mp4. If the
    predictor keeps a recall, OUT/uncertain/<stem>.png is written too.

    Args:
        smooth: for videos, see `label_video`.
        progress: see `atrous.progress.Over`.
        say: prints what is measured of a video.

    Returns:
        How many files were done, and a sentence for each that failed.
    """
    failed: dict[Path, str] = {}
    with _Writer(failed) as writer:
        for path, found in _ahead(paths, progress):
            try:
                if isinstance(found, BaseException):
                    raise found
                writer.path = path
                if found is None:
                    say(f"{path}: {label_video(predictor, path, out, smooth)}")
                elif isinstance(found, ArrayPicture):
                    _whole(predictor, found, out, writer)
                else:
                    _by_rows(predictor, found, out, writer)
            except AtrousError as error:
                failed.setdefault(path, _named(path, error))
        writer.finish()
    return len(paths) - len(failed), [failed[path] for path in paths if path in failed]


def _ahead(paths: Sequence[Path], progress: Over | None) -> Iterator[tuple[Path, Picture | BaseException | None]]:
    """Yields each path with its picture, its error, or None for a video. The next one is opened meanwhile."""

    def read(path: Path) -> Picture | BaseException | None:
        try:
            return None if path.suffix.lower() in VIDEO_SUFFIXES else open_picture(path)
        except AtrousError as error:
            return error

    with ThreadPoolExecutor(1) as pool:
        coming: deque[Future[Picture | BaseException | None]] = deque()
        if paths:
            coming.append(pool.submit(read, paths[0]))
        for place, path in enumerate(progress(paths, len(paths)) if progress else paths):
            found = coming.popleft().result()
            if place + 1 < len(paths):
                coming.append(pool.submit(read, paths[place + 1]))
            yield path, found


class _Writer:
    """One thread that writes in order. At most two jobs wait for it. path: the file that new jobs belong to."""

    def __init__(self, failed: dict[Path, str]) -> None:
        self._pool, self.failed, self.path = ThreadPoolExecutor(1), failed, Path()
        self._waiting: deque[tuple[Path, Future[Any]]] = deque()

    def __enter__(self) -> "_Writer":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._pool.shutdown(cancel_futures=kind is not None)

    def do(self, job: Callable[..., Any], *arguments: Any) -> None:
        """Queue a job."""
        self.finish(2)
        self._waiting.append((self.path, self._pool.submit(job, *arguments)))

    def finish(self, most: int = 0) -> None:
        """Wait until at most `most` jobs are left. A job's error is kept as the failure of its file."""
        while len(self._waiting) > most:
            path, job = self._waiting.popleft()
            try:
                job.result()
            except AtrousError as error:
                self.failed.setdefault(path, _named(path, error))


def _whole(predictor: Predictor, source: ArrayPicture, out: Path, writer: _Writer) -> None:
    prediction = predictor(source)
    uncertain = prediction.uncertain if predictor.decoding.thresholds is not None else None
    path = Path(source.name)

    def write() -> None:
        prediction.save(target_of(path, out))
        write_fitting(overlay_of(path, out), prediction.overlay_array(), mark=True)
        if uncertain is not None:
            write_image(uncertain_of(path, out), uncertain[:, :, None].astype(np.uint8) * 255, mark=True)

    writer.do(write)


def _by_rows(predictor: Predictor, source: Picture, out: Path, writer: _Writer) -> None:
    """Write rows as they are finished, and an overlay of every n-th pixel."""
    seen, classes = _Overview(source), []
    with LabelWriter(target_of(Path(source.name), out), source, predictor.card.labels) as target:
        try:
            for top, found in predictor.bands(seen):
                labels, valid = found, source.valid(top, top + len(found))
                if valid is not None:
                    labels = np.where(valid, found, predictor.card.labels.ignore_index).astype(found.dtype)
                writer.do(target.write, labels)
                classes.append(labels[-top % seen.step :: seen.step, :: seen.step].copy())
        finally:
            writer.finish()
        if writer.path in writer.failed:
            raise DataError(writer.failed[writer.path])
    name = overlay_of(Path(source.name), out)
    shown = overlay(np.concatenate(seen.kept), np.concatenate(classes), predictor.card.labels)
    writer.do(partial(write_image, name, shown, mark=True))


class _Overview:
    """A source that keeps every n-th pixel that is read from it, for the overlay."""

    held = False

    def __init__(self, source: Picture) -> None:
        self.name, self.shape, self._source = source.name, source.shape, source
        self.step = -(-max(source.shape[:2]) // OVERLAY)
        self.kept: list[np.ndarray] = []
        self._next = 0

    def rows(self, first: int, end: int) -> np.ndarray:
        """See `Picture`."""
        pixels = self._source.rows(first, end)
        if self._next < end:
            self.kept.append(pixels[self._next - first :: self.step, :: self.step].copy())
            self._next += len(self.kept[-1]) * self.step
        return pixels

    def valid(self, first: int, end: int) -> np.ndarray | None:
        """See `Picture`."""
        return self._source.valid(first, end)


def _named(path: Path, error: AtrousError) -> str:
    return str(error) if str(path) in str(error) else f"{path}: {error}"
