"""Stacks of slices: TIFF files of several pages, one of images and one of labels with as many pages.

ROOT/train-volume.tif  ROOT/train-labels.tif     (ISBI 2012; `test-volume.tif` has no labels, and is not read)
ROOT/images/a.tif      ROOT/masks/a.tif          (splits as in plain pairs)

Each page is an image of its own, page 3 of a.tif is called `a.tif/a_003`. Without splits the last
fifth of all pages is `val`: pages that lie side by side look alike, so they are not drawn at random.
"""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from atrous.datasets import plain_pairs
from atrous.datasets.folder import SPLITS, Folder, Pair, Readers, files_in
from atrous.errors import DataError
from atrous.io import MAX_PIXELS
from atrous.io.images import as_numbers, damage_as_data_error, open_file, patched, pillow_numbers
from atrous.io.masks import mask_values
from atrous.io.tiff import BITS, SAMPLES, Tags, check_sizes, read_tags

LACKS = "TIFF stacks of images and of labels with as many pages: train-volume.tif and train-labels.tif"
LABELS = {"label", "labels", "mask", "masks", "gt", "groundtruth", "seg", "segmentation", "annotation", "annotations"}
"""Words in the name of a stack of labels."""
IMAGES = {"volume", "image", "images", "img", "imgs", "raw", "stack"}
"""Words in the name of a stack of images, which its labels need not have."""
SUFFIXES = (".tif", ".tiff")
MODES = ("1", "L", "P", "RGB", "F", "I", "I;16", "I;16B", "I;16L")
HELD_OUT = 0.2


def recognise(root: Path) -> str | None:
    """By stacks of images and labels side by side, or by an image of plain pairs that is a stack."""
    if found := _side_by_side(root):
        (first, labels), *_ = found.values()
        return f"{first.name} and {labels.name} are stacks of pages"
    try:
        image = plain_pairs.some_image(root) if plain_pairs.recognise(root) else None
    except DataError:
        return None
    stack = image is not None and _pages(image) > 1
    return f"{plain_pairs.recognise(root)}, and {image.name} is a stack of pages" if stack and image else None


def read(root: Path) -> Folder:
    """Read the pages of each stack; stacks that do not fit their labels are faults."""
    why = recognise(root) or ""
    if found := _side_by_side(root):
        plain = Folder("stacks", why, root, {})
        for name, (image, labels) in found.items():
            plain.splits.setdefault(SPLITS.get(name, "all"), []).append(Pair(image, labels))
    else:
        plain = replace(plain_pairs.read(root), layout="stacks", why=why)
    folder = replace(plain, splits={}, readers=Readers(_image, _mask, _size))
    for split, pairs in plain.splits.items():
        folder.splits[split] = [page for pair in pairs for page in _pages_of(folder, pair)]
    if set(folder.splits) <= {"train", "all"}:
        _hold_out(folder)
    return folder


def _hold_out(folder: Folder) -> None:
    """Make the last pages the split `val`."""
    (pairs,) = folder.splits.values() if folder.splits else ([],)
    count = round(HELD_OUT * len(pairs))
    if count:
        folder.splits.clear()
        folder.splits.update(train=pairs[:-count], val=pairs[-count:])
        folder.notes.append(
            f"the last {count} of {len(pairs)} pages are val, as pages that lie side by side look alike"
        )


def _pages_of(folder: Folder, pair: Pair) -> list[Pair]:
    """The pairs of pages of a pair of stacks; [] and a fault where they do not fit."""
    pages = [_pages(file) for file in (pair.image, pair.mask)]
    if pages[0] != pages[1]:
        folder.faults.append(
            (pair.mask, f"holds {pages[1]} pages, its images {pair.image.name} {pages[0]}; expected one page for each")
        )
        return []
    digits = max(3, len(str(pages[0])))
    numbers = [f"{number:0{digits}d}" for number in range(1, pages[0] + 1)]
    places = [[file / f"{file.stem}_{number}{file.suffix}" for number in numbers] for file in (pair.image, pair.mask)]
    return [Pair(image, mask) for image, mask in zip(*places, strict=True)]


def _side_by_side(root: Path) -> dict[str, tuple[Path, Path]]:
    """What the names of stacks in a folder share -> (images, labels)."""
    stacks: dict[bool, dict[str, Path]] = {False: {}, True: {}}
    for file in files_in(root, SUFFIXES):
        words = re.findall(r"[a-z]+|\d+", file.stem.lower())
        drawn = bool(LABELS & set(words))
        name = " ".join(word for word in words if word not in (LABELS if drawn else IMAGES))
        if _pages(file) > 1 and stacks[drawn].setdefault(name, file) is not file:
            return {}
    return {name: (image, stacks[True][name]) for name, image in stacks[False].items() if name in stacks[True]}


def _pages(file: Path) -> int:
    """The number of pages of a TIFF that stand in it one by one; 1 for any other file."""
    tags = _tags(file) if file.suffix.lower() in SUFFIXES else None
    return tags.pages if tags else 1


def _tags(file: Path) -> Tags | None:
    try:
        with damage_as_data_error(file), open_file(file) as stream:
            return read_tags(stream)
    except DataError:
        return None


def _page(place: Path) -> np.ndarray:
    """Read a page: (H, W) or (H, W, 3), the values as stored."""
    file, number = place.parent, int(place.stem.rpartition("_")[2])
    tags = _tags(file)
    assert tags is not None
    if len(tags.whole_pages) < tags.pages:
        raise DataError(
            f"{file}: an ImageJ stack whose {tags.pages} pages have one directory; save it as an image sequence "
            "(Fiji: Save As > Image Sequence)"
        )
    with damage_as_data_error(file), open_file(file) as stream:
        picture = Image.open(stream, formats=["TIFF"])
        picture.seek(tags.whole_pages[number - 1])
        if picture.width * picture.height > MAX_PIXELS:
            raise DataError(
                f"{file}: page {number} has {picture.height}x{picture.width} pixels; expected at most "
                f"{MAX_PIXELS / 1e6:g} million, cut its pages into tiles"
            )
        page = picture.tag_v2  # type: ignore[attr-defined]
        check_sizes(page, *picture.size, int(page.get(SAMPLES, 1)), int(page.get(BITS, (1,))[0]))
        if picture.mode not in MODES:
            raise DataError(f"{file}: page {number} has the mode {picture.mode}; expected grey or RGB, save it alone")
        return np.asarray(picture) if picture.mode == "P" else pillow_numbers(picture)


def _image(pair: Pair) -> np.ndarray:
    pixels, valid = patched(as_numbers(_page(pair.image)), None, None, pair.image)
    if valid is not None:
        raise DataError(f"{pair.image}: pixels without a value (NaN) in a stack; save each page as a file of its own")
    return pixels


def _mask(pair: Pair) -> np.ndarray:
    return mask_values(_page(pair.mask), pair.mask)


def _size(pair: Pair) -> tuple[int, int, int]:
    height, width, channels = _image(pair).shape
    return height, width, channels
