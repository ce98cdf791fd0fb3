"""Write a data set of any layout as plain pairs: images, index masks, classes.toml, splits.

OUT/train/images/0001.jpg    OUT/val/...    or, without splits, OUT/images/0001.jpg
OUT/train/masks/0001.png                                        OUT/masks/0001.png
OUT/classes.toml
"""

import os
import shutil
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from atrous.datasets.classes import find_classes
from atrous.datasets.folder import Folder, Pair, image_file, mask_file
from atrous.errors import DataError
from atrous.io import is_mapped, is_picture, write_values
from atrous.io.paths import cannot_write
from atrous.labels import LabelSet
from atrous.progress import At


def write_pairs(folder: Folder, out: Path | str, progress: At | None = None, *, labels: LabelSet | None = None) -> Path:
    """Write a data folder of any layout as plain pairs into a new folder.

    An image that is one picture file is copied byte for byte; any other becomes an .npy file. A
    mask becomes an index PNG of the same values, with the colours of the classes as palette. A mask
    that is a GeoTIFF is copied, so that it keeps its place on the Earth. Pairs with the same name
    get the names of their folders in front. A run that is interrupted leaves nothing behind.

    Args:
        folder: The data, from `read_folder`.
        out: The new folder.
        progress: Called with (pairs written, all pairs).
        labels: The classes, if they are known; else they are found as `open_dataset` finds them.

    Returns:
        `out`.

    Raises:
        DataError: `out` exists or cannot be written, the folder is incomplete or holds volumes, or
            labels cannot be read.
    """
    out = Path(out)
    if out.exists():
        raise DataError(f"{out}: exists already; expected a new folder, as nothing is overwritten, give another name")
    folder.refuse_incomplete()
    if folder.dimensions > 2:
        raise DataError(
            f"{folder.root}: volumes ({folder.why}); plain pairs hold only two-dimensional images, keep the layout"
        )
    labels = labels or find_classes(folder, classes=None)[0]
    try:
        out.absolute().parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=f".{out.name}-", dir=out.absolute().parent) as scratch:
            built = Path(scratch) / "pairs"
            _write(folder, labels, built, progress)
            (built / "classes.toml").write_text(labels.to_toml(), encoding="utf-8")
            built.rename(out)
    except OSError as error:
        raise cannot_write(out, error) from error
    return out


def _write(folder: Folder, labels: LabelSet, out: Path, progress: At | None) -> None:
    jobs: list[tuple[Pair, Path, str]] = []
    for split, pairs in folder.splits.items():
        target = out if split == "all" else out / split
        for part in ("images", "masks"):
            (target / part).mkdir(parents=True, exist_ok=True)
        jobs += [(pair, target, name) for pair, name in zip(pairs, distinct_names(pairs), strict=True)]
    with ThreadPoolExecutor() as pool:
        try:
            for done, _ in enumerate(pool.map(lambda job: _write_pair(folder, labels, *job), jobs), start=1):
                if progress:
                    progress(done, len(jobs))
        except BaseException:  # Ctrl-C too: the jobs that wait are given up, and the error goes on
            pool.shutdown(cancel_futures=True)
            raise


def _write_pair(folder: Folder, labels: LabelSet, pair: Pair, target: Path, name: str) -> None:
    if folder.readers.image is image_file and is_picture(pair.image):
        shutil.copyfile(pair.image, target / "images" / (name + pair.image.suffix))
    else:
        np.save(target / "images" / f"{name}.npy", folder.read_image(pair))
    if folder.readers.mask is mask_file and is_mapped(pair.mask):
        shutil.copyfile(pair.mask, target / "masks" / (name + pair.mask.suffix))
    else:
        write_values(target / "masks" / f"{name}.png", folder.read_mask(pair), labels)


def distinct_names(pairs: Sequence[Pair]) -> list[str]:
    """Make a name for each pair that no other pair has.

    It is the stem of the image, with the names of as many folders in front as are needed; if all
    folders are not enough, the suffix follows.
    """
    images = [pair.image for pair in pairs]
    found = [image.stem for image in images]
    for depth in range(2, max((len(image.parts) for image in images), default=0) + 1):
        if not (twice := _doubles(found)):
            return found
        found = [
            "_".join((*image.parts[-depth:-1], image.stem)) if os.path.normcase(name) in twice else name
            for image, name in zip(images, found, strict=True)
        ]
    twice = _doubles(found)
    return [
        f"{name}_{image.suffix[1:]}" if os.path.normcase(name) in twice else name
        for image, name in zip(images, found, strict=True)
    ]


def _doubles(names: Sequence[str]) -> set[str]:
    return {name for name, count in Counter(map(os.path.normcase, names)).items() if count > 1}
