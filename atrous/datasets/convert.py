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
from unicodedata import normalize

import numpy as np

from atrous.datasets.classes import find_classes
from atrous.datasets.folder import Folder, Pair, image_file, mask_file
from atrous.errors import DataError
from atrous.files import make_folder, scratch
from atrous.io import is_mapped, is_picture, write_values
from atrous.io.paths import cannot_write, place_below
from atrous.labels import LabelSet
from atrous.progress import At


def write_pairs(folder: Folder, out: Path | str, progress: At | None = None, *, labels: LabelSet | None = None) -> Path:
    """Write a data folder of any layout as plain pairs into a new folder.

    An image that is one picture file is copied byte for byte; any other becomes an .npy file. A
    mask becomes an index PNG of the same values, with the colours of the classes as palette. A mask
    that is a GeoTIFF is copied, so that it keeps its place on the Earth. Pairs with the same name
    get their suffix behind it or the names of their folders in front. A run that is interrupted
    leaves nothing behind.

    Args:
        folder: The data, from `read_folder`.
        out: The new folder.
        progress: Called with (pairs written, all pairs).
        labels: The classes, if they are known; else they are found as `open_dataset` finds them.

    Returns:
        `out`.

    Raises:
        DataError: `out` exists, lies in the data folder or cannot be written, the folder is
            incomplete or holds volumes, or labels cannot be read.
    """
    out = Path(out)
    there = DataError(f"{out}: exists already; expected a new folder, as nothing is overwritten, give another name")
    if out.exists():
        raise there
    if Path(os.path.realpath(out)).is_relative_to(os.path.realpath(folder.root)):
        raise DataError(
            f"{out}: lies in the data folder {folder.root}, where the copy would be read as further data; "
            "give a folder beside it"
        )
    folder.refuse_incomplete()
    if folder.dimensions > 2:
        raise DataError(
            f"{folder.root}: volumes ({folder.why}); plain pairs hold only two-dimensional images, keep the layout"
        )
    labels = labels or find_classes(folder, classes=None)[0]
    try:
        with scratch(out.absolute()) as place:
            built = place / "pairs"
            _write(folder, labels, built, progress)
            (built / "classes.toml").write_text(labels.to_toml(), encoding="utf-8")
            if out.exists():
                raise there
            built.rename(out)
    except OSError as error:
        raise cannot_write(out, error) from error
    return out


def _write(folder: Folder, labels: LabelSet, out: Path, progress: At | None) -> None:
    jobs: list[tuple[Pair, Path, str]] = []
    for split, pairs in folder.splits.items():
        target = out if split == "all" else out / split
        for part in ("images", "masks"):
            make_folder(target / part)
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
        shutil.copyfile(pair.image, place_below(target / "images", name + pair.image.suffix))
    else:
        np.save(place_below(target / "images", f"{name}.npy"), folder.read_image(pair))
    if folder.readers.mask is mask_file and is_mapped(pair.mask):
        shutil.copyfile(pair.mask, place_below(target / "masks", name + pair.mask.suffix))
    else:
        write_values(place_below(target / "masks", f"{name}.png"), folder.read_mask(pair), labels)


def distinct_names(pairs: Sequence[Pair]) -> list[str]:
    """Make a name for each pair that no other pair has; it is one word, never a path.

    It is the stem of the image; with its suffix behind it if another image of the folder has the
    same stem; with the names of as many folders in front as are needed; and at last with a number.
    Names that differ only by case, or by how an accent is stored, count as the same, as some disks
    take them for one file.
    """
    images = [pair.image for pair in pairs]
    beside = Counter((image.parent, _folded(image.stem)) for image in set(images))
    found = own = [
        f"{image.stem}_{image.suffix[1:]}" if beside[image.parent, _folded(image.stem)] > 1 else image.stem
        for image in images
    ]
    for depth in range(2, max((len(image.parts) for image in images), default=0) + 1):
        twice = _doubles(found)
        found = [
            "_".join((*_folders(image)[-depth + 1 :], last)) if _folded(name) in twice else name
            for image, last, name in zip(images, own, found, strict=True)
        ]
    taken = Counter[str]()
    for place, name in enumerate(found):
        while taken[_folded(found[place])]:
            taken[_folded(name)] += 1
            found[place] = f"{name}_{taken[_folded(name)]}"
        taken[_folded(found[place])] += 1
    return found


def _folders(image: Path) -> list[str]:
    """Name the folders above an image, without the root of the disk and without `..`."""
    return [part for part in image.parent.parts if part not in (image.anchor, os.pardir)]


def _doubles(names: Sequence[str]) -> set[str]:
    return {name for name, count in Counter(map(_folded, names)).items() if count > 1}


def _folded(name: str) -> str:
    return normalize("NFC", name).casefold()
