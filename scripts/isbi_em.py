"""ISBI's stack of electron microscopy as a data set with its splits by slice: 0..19 train, 20..23 val, 24..29 test.

    python scripts/isbi_em.py SOURCE OUT

SOURCE holds train-volume.tif and train-labels.tif of the ISBI 2012 challenge (30 slices of 512 x 512 in each file), or
images/ and masks/ with one file a slice, in order of their names. Masks: 0 membrane, 255 inside a cell; membrane comes
first, which is what the losses take for background. Neighbouring slices look alike, so that each split is a block.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageSequence

from atrous.errors import AtrousError, DataError
from atrous.files import write_atomically
from atrous.io import read_image, read_mask, write_image

SLICES = 30
SPLITS = {"train": range(20), "val": range(20, 24), "test": range(24, SLICES)}
CLASSES = """[[class]]
name = "membrane"
value = 0
color = [20, 20, 20]

[[class]]
name = "cell"
value = 255
color = [240, 240, 240]
"""


def slices(source: Path, volume: str, folder: str) -> list[np.ndarray]:
    """The slices (H, W) uint8 of a TIFF of several pages, else of a folder of pictures."""
    if (source / volume).exists():
        with Image.open(source / volume) as pages:
            found = [np.asarray(page.convert("L")) for page in ImageSequence.Iterator(pages)]
    elif (source / folder).is_dir():
        read = read_mask if folder == "masks" else lambda path: read_image(path)[..., 0]
        found = [read(path) for path in sorted((source / folder).iterdir())]
    else:
        raise DataError(f"{source}: holds neither {volume} nor {folder}/; get the challenge's training files")
    if len(found) != SLICES or len({one.shape for one in found}) != 1:
        raise DataError(f"{source}: {len(found)} slices in {volume} or {folder}/, expected {SLICES} of one size")
    return found


def pairs(source: Path) -> Iterator[tuple[str, str, np.ndarray, np.ndarray]]:
    """(split, name, image, mask) of every slice."""
    images, masks = slices(source, "train-volume.tif", "images"), slices(source, "train-labels.tif", "masks")
    for number, (image, mask) in enumerate(zip(images, masks, strict=True)):
        if image.shape != mask.shape or not np.isin(mask, (0, 255)).all():
            raise DataError(f"{source}: the labels of slice {number} are not 0 and 255 at the image's size")
        yield next(split for split, numbers in SPLITS.items() if number in numbers), f"slice{number:02}", image, mask


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("out", type=Path)
    asked = parser.parse_args(arguments)
    try:
        for split, name, image, mask in pairs(asked.source):
            write_image(asked.out / split / "images" / f"{name}.png", image)
            write_image(asked.out / split / "masks" / f"{name}.png", mask)
    except AtrousError as error:
        sys.exit(f"error: {error}")
    write_atomically(asked.out / "classes.toml", CLASSES.encode())
    print(f"wrote {asked.out}: " + ", ".join(f"{len(numbers)} {split}" for split, numbers in SPLITS.items()))


if __name__ == "__main__":
    main()
