"""Refining whole folders of probabilities or label maps that any tool wrote, with their images."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from PIL import Image

from atrous.errors import AtrousError, DataError
from atrous.files import alone
from atrous.io import find_images, mask_palette, read_image, read_mask
from atrous.io.claims import claim, refuse_inside
from atrous.io.partners import partners, results_below
from atrous.io.paths import place_below, save_bytes
from atrous.refine.named import Refinement

PROBABILITIES, LABELS = (".npy", ".npz"), (".png", ".tif", ".tiff", ".bmp")


def refine_folder(
    source: Path,
    images: Path,
    out: Path,
    name: str = "crf",
    options: Mapping[str, Any] | None = None,
    *,
    certainty: float = 0.7,
    ignore: Sequence[int] = (),
    overwrite: bool = False,
    progress: Callable[[Iterable[Any], int], Iterable[Any]] | None = None,
) -> tuple[int, list[str]]:
    """Refine every file of `source` that has an image of the same stem in `images`; write OUT/<stem>.png.

    Files in folders below `source` belong to the images in folders of the same names (`atrous.io.partners`), and are
    written into such folders.

    Probabilities (<stem>.npy or .npz, (K, H, W) in 0..1) become class numbers 0..K-1. A label map keeps its
    values, type and palette.

    Args:
        name, options: of `atrous.refine.named.Refinement`.
        certainty: how much a label map is believed, in (0, 1): the probability of the label that it shows.
        ignore: values of label maps that are unknown. They become one of the other values.
        overwrite: replace files in `out` that this program did not write.
        progress: see `atrous.progress.Over`.

    Returns:
        How many files were done, and a sentence for each that failed.

    Raises:
        AtrousError: nothing can be done: a folder is missing, nothing fits, it is not clear which file belongs to
            which image, or a name or option is unknown.
    """
    refinement = Refinement(name, options or {})
    if not 0 < certainty < 1:
        raise AtrousError(f"--certainty {certainty:g}: must be between 0 and 1, such as 0.7")
    for folder in (source, images):
        if not folder.is_dir():
            raise AtrousError(f"{folder}: no such folder")
    if out.resolve() == source.resolve():
        raise AtrousError(f"{out}: the results would overwrite the files that are refined; give another -o")
    refuse_inside(out, [images])
    found = [
        path
        for path in results_below(source, (*PROBABILITIES, *LABELS))
        if out.resolve() not in path.resolve().parents  # results of a run before
    ]
    if not found:
        raise DataError(f"{source}: holds no probabilities (.npy, .npz) and no label maps (.png, .tif, .bmp)")
    photos = partners(found, source, find_images([str(images)]))
    if not photos:
        raise DataError(f"{source}: no file has the name of an image in {images}, as {found[0].stem} should")
    targets = {path: place_below(out, str(path.relative_to(source).with_suffix(".png"))) for path in found}
    outputs: dict[Path, list[Path]] = {photo: [] for photo in photos.values()}
    claim(out, outputs | {path: [target] for path, target in targets.items()}, overwrite=overwrite)
    failed = []
    with alone(out):
        for path in progress(found, len(found)) if progress else found:
            try:
                _refine_file(path, photos.get(path), targets[path], refinement, certainty, ignore)
            except AtrousError as error:
                failed.append(str(error) if str(path) in str(error) else f"{path}: {error}")
    return len(found) - len(failed), failed


def _refine_file(
    path: Path, photo: Path | None, target: Path, refinement: Refinement, certainty: float, ignore: Sequence[int]
) -> None:
    if photo is None:
        raise DataError(f"{path}: no image has this name")
    image = read_image(photo)
    if path.suffix.lower() in PROBABILITIES:
        labels, _ = refinement(image, _probabilities(path))
        _write(target, labels.astype(np.uint8 if labels.max() < 256 else np.uint16), None)
    else:
        _refine_labels(path, image, target, refinement, certainty, ignore)


def _probabilities(path: Path) -> np.ndarray:
    """The (K, H, W) array of a .npy file, or the only array of a .npz file."""
    try:
        loaded = np.load(BytesIO(path.read_bytes()), allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return loaded
        with loaded:
            if len(loaded.files) != 1:
                raise DataError(f"{path}: holds {len(loaded.files)} arrays; expected one, of probabilities (K, H, W)")
            return loaded[loaded.files[0]]
    except (OSError, ValueError, EOFError, BadZipFile) as error:
        raise DataError(f"{path}: not a readable numpy file ({error}); expected probabilities (K, H, W)") from error


def _refine_labels(
    path: Path, image: np.ndarray, target: Path, refinement: Refinement, certainty: float, ignore: Sequence[int]
) -> None:
    mask = read_mask(path)
    values = np.setdiff1d(np.unique(mask), ignore)
    palette = mask_palette(path)
    if len(values) < 2:
        _write(target, mask, palette)
        return
    share = np.float32((1 - certainty) / (len(values) - 1))
    probabilities = np.full((len(values), *mask.shape), share, np.float32)
    for k, value in enumerate(values):
        probabilities[k][mask == value] = certainty
    probabilities[:, ~np.isin(mask, values)] = np.float32(1 / len(values))
    labels, _ = refinement(image, probabilities)
    _write(target, values[labels].astype(mask.dtype), palette)


def _write(target: Path, labels: np.ndarray, palette: list[tuple[int, int, int]] | None) -> None:
    """Write a PNG of the labels' own type: with a palette if there is one, else grey."""
    picture, data = Image.fromarray(labels), BytesIO()
    if palette and labels.dtype == np.uint8:
        picture.putpalette([part for colour in palette for part in colour])
    picture.save(data, "PNG")
    save_bytes(target, data.getvalue(), mark=True)
