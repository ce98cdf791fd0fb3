"""Faults of data sets, planted one at a time into a sound set: seeded, small, made in milliseconds.

`FAULTS` lists them; each plants a fault and returns the files that must be named. `SOUND` lists
oddities that are not faults.
"""

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

COLOURS = np.array([[70, 80, 90], [190, 70, 60], [60, 160, 80], [210, 190, 70]], np.uint8)
PAINT = np.array([[0, 0, 0], [220, 20, 60], [0, 130, 180], [250, 170, 30]], np.uint8)
SIZE = (96, 128)


def scene(seed: int, size: tuple[int, int] = SIZE, classes: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """Make an image (H, W, 3) and its mask (H, W), uint8: shapes of all classes on class 0."""
    rng = np.random.default_rng(seed)
    height, width = size
    mask = np.zeros(size, np.uint8)
    for turn in range(2):
        for index in range(1, classes):
            middle = height * (index + 0.5) / (classes + 0.5)
            centre = (int(rng.integers(10, width - 10)), int(np.clip(middle + rng.integers(-16, 17), 6, height - 6)))
            axes = (int(rng.integers(7, 20 - 6 * turn)), int(rng.integers(6, 14 - 4 * turn)))
            if rng.random() < 0.5:
                cv2.ellipse(mask, centre, axes, float(rng.integers(180)), 0, 360, index, -1)
            else:
                cv2.rectangle(
                    mask, (centre[0] - axes[0], centre[1] - axes[1]), (centre[0] + axes[0], centre[1]), index, -1
                )
    for index in range(1, classes):  # so that every class shows
        cv2.rectangle(mask, (4 + 30 * index, 8 + 18 * index), (14 + 30 * index, 18 + 18 * index), index, -1)
    ground = cv2.resize(
        rng.integers(0, 90, (3, 4, 3)).astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC
    )
    noise = rng.normal(0, 6, (*size, 3))
    return np.clip(COLOURS[mask] + ground - 40 + noise, 0, 255).astype(np.uint8), mask


def sound_set(root: Path, train: int = 20, val: int = 6, classes: int = 4) -> Path:
    """Write DATA/{train,val}/{images,masks}/scene*.png without any fault; returns DATA."""
    for name, data in _sound_files(train, val, classes).items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return root


@lru_cache
def _sound_files(train: int, val: int, classes: int) -> dict[str, bytes]:
    """Path -> content of every file: drawn once, since a hundred tests plant one fault each."""
    rng, files = np.random.default_rng(7), {}
    for split, count, first in (("train", train, 0), ("val", val, 500)):
        for number in range(first, first + count):
            image, mask = scene(number, classes=classes)
            name = f"scene{rng.integers(16**6):06x}x"
            for part, array in (("images", image), ("masks", mask)):
                memory = BytesIO()
                Image.fromarray(array).save(memory, "PNG")
                files[f"{split}/{part}/{name}.png"] = memory.getvalue()
    return files


def images(root: Path, split: str = "train") -> list[Path]:
    return sorted((root / split / "images").iterdir())


def masks(root: Path, split: str = "train") -> list[Path]:
    return sorted((root / split / "masks").iterdir())


def all_masks(root: Path) -> list[Path]:
    return masks(root) + masks(root, "val")


def values(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


def put(path: Path, array: np.ndarray, **options: object) -> Path:
    Image.fromarray(array).save(path, **options)
    return path


def paint(path: Path, where: object, value: int) -> Path:
    """Give pixels of a mask a value; where: an index of the array, or a mask of bools."""
    mask = values(path).copy()
    mask[where] = value
    return put(path, mask)


def turn(path: Path, orientation: int) -> Path:
    """Give a picture an EXIF orientation; its pixels stay."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    return put(path, values(path), exif=exif)


def as_kind(path: Path, suffix: str, array: np.ndarray, **options: object) -> Path:
    """Replace a file by one of another kind and suffix."""
    path.unlink()
    return put(path.with_suffix(suffix), array, **options)


def as_array(path: Path, array: np.ndarray) -> Path:
    path.unlink()
    np.save(path.with_suffix(".npy"), array)
    return path.with_suffix(".npy")


def name_classes(root: Path, values: list[int], ignore: str = "[255]") -> None:
    entries = (f'[[class]]\nname = "kind {value}"\nvalue = {value}\n' for value in values)
    (root / "classes.toml").write_text(f"ignore = {ignore}\n" + "".join(entries))


def cut(path: Path, share: float) -> Path:
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    return path


# unreadable
def truncated_jpeg(root: Path) -> list[Path]:
    path = images(root)[3]
    return [cut(as_kind(path, ".jpg", values(path), quality=95), 0.6)]


def flipped_bit(root: Path) -> list[Path]:
    path = images(root)[4]
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    return [path]


def empty_file(root: Path) -> list[Path]:
    images(root)[5].write_bytes(b"")
    return [images(root)[5]]


def truncated_mask(root: Path) -> list[Path]:
    return [cut(masks(root)[2], 0.7)]


def web_page_as_mask(root: Path) -> list[Path]:
    masks(root)[6].write_text("<html>404 Not Found</html>")
    return [masks(root)[6]]


def not_a_number(root: Path) -> list[Path]:
    found = []
    for k, path in enumerate(images(root) + images(root, "val")):
        array = values(path).astype(np.float32)
        if k == 7:
            array[3, 4, 0] = np.nan
        found.append(as_array(path, array))
    return [found[7]]


def other_kind_of_file(root: Path) -> list[Path]:
    images(root)[8].write_bytes(b"\0\0\0\x18ftypheic" + bytes(400))
    return [images(root)[8]]


def bomb(root: Path) -> list[Path]:
    path = images(root)[9]
    path.write_bytes(cv2.imencode(".png", np.zeros((11000, 11000), np.uint8))[1].tobytes())
    return [path]


# size_mismatch
def half_size(root: Path) -> list[Path]:
    path = masks(root)[1]
    return [put(path, values(path)[::2, ::2])]


def turned_by_exif(root: Path) -> list[Path]:
    turn(images(root)[2], 6)
    return [masks(root)[2]]


def upside_down_by_exif(root: Path) -> list[Path]:
    turn(images(root)[6], 3)
    return [masks(root)[6]]


def one_pixel_short(root: Path) -> list[Path]:
    path = masks(root)[3]
    return [put(path, values(path)[:, :-1])]


def lying_on_its_side(root: Path) -> list[Path]:
    path = masks(root)[5]
    return [put(path, np.ascontiguousarray(np.rot90(values(path))))]


def grey_among_colour(root: Path) -> list[Path]:
    path = images(root)[4]
    return [put(path, values(path)[..., 1])]


def sixteen_bits_among_eight(root: Path) -> list[Path]:
    path = images(root)[5]
    path.write_bytes(cv2.imencode(".png", values(path).astype(np.uint16) * 257)[1].tobytes())
    return [path]


# value_out_of_range
def stray_nineteen(root: Path) -> list[Path]:
    return [paint(masks(root)[0], np.s_[10:14, 10:20], 19)]


def stray_pixels(root: Path) -> list[Path]:
    return [paint(masks(root, "val")[1], np.s_[5, 5:8], 200)]


def void_that_is_not_ignored(root: Path) -> list[Path]:
    name_classes(root, [0, 1, 2, 3], "[]")
    return [paint(masks(root)[1], np.s_[:4], 255)]


def negative_number(root: Path) -> list[Path]:
    path = masks(root)[2]
    mask = values(path).astype(np.int16)
    mask[:3, :5] = -1
    return [as_array(path, mask)]


def fractions(root: Path) -> list[Path]:
    path = masks(root)[3]
    return [as_array(path, cv2.GaussianBlur(values(path).astype(np.float32), (5, 5), 0))]


def instance_numbers(root: Path) -> list[Path]:
    path = masks(root)[4]
    mask = values(path).astype(np.uint16) * 1000 + np.arange(SIZE[1], dtype=np.uint16)
    path.write_bytes(cv2.imencode(".png", mask)[1].tobytes())
    return [path]


def grey_levels(root: Path) -> list[Path]:
    return [put(path, values(path) * 85) for path in all_masks(root)]


def jpeg_of_indices(root: Path) -> list[Path]:
    return [as_kind(path, ".jpg", values(path), quality=90) for path in all_masks(root)]


# colour_mask
def painted(root: Path) -> list[Path]:
    return [put(path, PAINT[values(path)]) for path in all_masks(root)]


def painted_as_camvid(root: Path) -> list[Path]:
    paint = np.array([[128, 128, 128], [128, 64, 128], [128, 128, 0], [64, 0, 128]], np.uint8)
    return [put(path, paint[values(path)]) for path in all_masks(root)]


def one_painted(root: Path) -> list[Path]:
    palette_masks(root)
    return [put(masks(root)[3], PAINT[values(masks(root)[3])])]


def painted_jpeg(root: Path) -> list[Path]:
    return [as_kind(path, ".jpg", PAINT[values(path)], quality=85) for path in all_masks(root)]


def painted_with_alpha(root: Path) -> list[Path]:
    opaque = np.full((*SIZE, 1), 255, np.uint8)
    return [put(path, np.dstack([PAINT[values(path)], opaque])) for path in all_masks(root)]


def photo_as_mask(root: Path) -> list[Path]:
    shutil.copy(images(root)[5], masks(root)[5])
    return [masks(root)[5]]


def one_hot(root: Path) -> list[Path]:
    return [as_array(path, np.eye(4, dtype=np.uint8)[values(path)]) for path in all_masks(root)]


# binary_0_255
def white_for_one(root: Path) -> list[Path]:
    name_classes(root, [0, 1])
    return [put(path, (values(path) > 0).astype(np.uint8) * 255) for path in all_masks(root)]


def one_white(root: Path) -> list[Path]:
    for path in all_masks(root):
        put(path, (values(path) > 0).astype(np.uint8))
    path = masks(root)[4]
    return [put(path, values(path) * 255)]


def white_jpeg(root: Path) -> list[Path]:
    return [as_kind(path, ".jpg", (values(path) > 0).astype(np.uint8) * 255, quality=75) for path in all_masks(root)]


def sixteen_bit_white(root: Path) -> list[Path]:
    for path in all_masks(root):
        path.write_bytes(cv2.imencode(".png", (values(path) > 0).astype(np.uint16) * 65535)[1].tobytes())
    return all_masks(root)


# off_by_one
def counted_from_one(root: Path) -> list[Path]:
    return [put(path, values(path) + 1) for path in all_masks(root)]


def one_counted_from_one(root: Path) -> list[Path]:
    path = masks(root)[6]
    return [put(path, values(path) + 1)]


def one_class_too_few(root: Path) -> list[Path]:
    name_classes(root, [0, 1, 2])
    return all_masks(root)


def one_to_four_for_zero_to_three(root: Path) -> list[Path]:
    name_classes(root, [0, 1, 2, 3])
    return counted_from_one(root)


# files
def no_mask(root: Path) -> list[Path]:
    masks(root)[7].unlink()
    return [images(root)[7]]


def misspelt_mask(root: Path) -> list[Path]:
    path = masks(root)[8]
    path.rename(path.with_stem(path.stem.upper()))
    return [images(root)[8]]


def dangling_link(root: Path) -> list[Path]:
    path = masks(root)[9]
    path.unlink()
    path.symlink_to(root / "moved away.png")
    return [images(root)[9]]


def no_training_split(root: Path) -> list[Path]:
    (root / "train").rename(root / "test")
    return [root]


def pair_alone(root: Path) -> list[Path]:
    shutil.rmtree(root / "val")
    for path in (*images(root)[1:], *masks(root)[1:]):
        path.unlink()
    return images(root)


def in_two_lists(root: Path) -> list[Path]:
    for part in ("images", "masks"):
        (root / part).mkdir()
        for path in sorted(root.glob(f"*/{part}/*")):
            path.rename(root / part / path.name)
    names = [path.stem for path in sorted((root / "images").iterdir())]
    shutil.rmtree(root / "train")
    shutil.rmtree(root / "val")
    (root / "train.txt").write_text("\n".join(names[:20]))
    (root / "val.txt").write_text("\n".join(names[19:]))
    return [root / "val.txt"]


def no_image(root: Path) -> list[Path]:
    images(root, "val")[2].unlink()
    return [masks(root, "val")[2]]


def two_masks(root: Path) -> list[Path]:
    path = masks(root)[1]
    copy = path.with_stem(path.stem + "_mask")
    shutil.copy(path, copy)
    return [copy]


# empty_mask
def forgotten(root: Path) -> list[Path]:
    return [put(masks(root)[2], np.zeros(SIZE, np.uint8))]


def all_ignored(root: Path) -> list[Path]:
    return [put(masks(root)[3], np.full(SIZE, 255, np.uint8))]


# near_duplicate, leak
def copied_pair(root: Path) -> list[Path]:
    for path in (images(root)[0], masks(root)[0]):
        shutil.copy(path, path.with_stem("again"))
    return [images(root)[0], root / "train/images/again.png"]


def saved_again(root: Path) -> list[Path]:
    image, mask = images(root)[1], masks(root)[1]
    picture = Image.open(image)
    picture.resize((96, 72), Image.Resampling.LANCZOS).save(image.with_name("smaller.jpg"), quality=80)
    Image.open(mask).resize((96, 72), Image.Resampling.NEAREST).save(mask.with_name("smaller.png"))
    return [image, image.with_name("smaller.jpg")]


def same_in_val(root: Path) -> list[Path]:
    for path in (images(root)[2], masks(root)[2]):
        shutil.copy(path, root / "val" / path.parent.name / "also.png")
    return [images(root)[2], root / "val/images/also.png"]


def mirrored_in_val(root: Path) -> list[Path]:
    for part, path in (("images", images(root)[3]), ("masks", masks(root)[3])):
        put(root / "val" / part / "mirrored.png", np.ascontiguousarray(values(path)[:, ::-1]))
    return [images(root)[3], root / "val/images/mirrored.png"]


def one_video(root: Path) -> list[Path]:
    """Twelve frames of a window that moves over a large scene, dealt to train and val."""
    image, mask = scene(99, (96, 480))
    files = []
    for k in range(12):
        split, left = "val" if k % 3 == 2 else "train", 30 * k
        put(root / split / "masks" / f"drive_{k:04}.png", np.ascontiguousarray(mask[:, left : left + 128]))
        files.append(put(root / split / "images" / f"drive_{k:04}.png", image[:, left : left + 128].copy()))
    return [files[0], files[2]]


# balance
def not_in_train(root: Path) -> list[Path]:
    for path in masks(root):
        paint(path, values(path) == 3, 0)
    return [root / "train" / "masks"]


def in_no_mask(root: Path) -> list[Path]:
    name_classes(root, [0, 1, 2, 3, 4])
    return [root]


def few_pixels(root: Path) -> list[Path]:
    name_classes(root, [0, 1, 2, 3, 4])
    for path in (masks(root)[0], masks(root, "val")[0]):
        paint(path, np.s_[1:5, 1:6], 4)
    return [masks(root)[0]]


# suspicious
def shifted(root: Path) -> list[Path]:
    path = masks(root)[5]
    return [put(path, np.roll(values(path), 9, 1))]


def of_another_image(root: Path) -> list[Path]:
    one, two = masks(root)[6], masks(root)[7]
    first, second = values(one).copy(), values(two).copy()
    put(one, second)
    return [one, put(two, first)]


def classes_exchanged(root: Path) -> list[Path]:
    path = masks(root)[8]
    return [put(path, np.array([0, 2, 1, 3], np.uint8)[values(path)])]


def mask_copied(root: Path) -> list[Path]:
    shutil.copy(masks(root)[1], masks(root)[10])
    return [masks(root)[10]]


@dataclass(frozen=True)
class Fault:
    """plant: changes the tree, returns the files to name. mended: `--write` keeps these files."""

    kind: str
    severity: str
    plant: Callable[[Path], list[Path]]
    mended: bool = False

    @property
    def name(self) -> str:
        return self.plant.__name__


PLANTS: dict[tuple[str, str], list[Callable[[Path], list[Path]]]] = {
    ("unreadable", "error"): [
        truncated_jpeg, flipped_bit, empty_file, truncated_mask, web_page_as_mask, other_kind_of_file, bomb,
    ],
    ("no_value", "note"): [not_a_number],
    ("size_mismatch", "error"): [
        half_size, turned_by_exif, one_pixel_short, lying_on_its_side, grey_among_colour, sixteen_bits_among_eight,
    ],
    ("size_mismatch", "warning"): [upside_down_by_exif],
    ("value_out_of_range", "error"): [
        stray_nineteen, stray_pixels, void_that_is_not_ignored, negative_number, fractions, instance_numbers,
        grey_levels, jpeg_of_indices,
    ],
    ("colour_mask", "error"): [
        painted, painted_as_camvid, one_painted, painted_jpeg, painted_with_alpha, photo_as_mask, one_hot,
    ],
    ("binary_0_255", "error"): [white_for_one, one_white, white_jpeg, sixteen_bit_white],
    ("off_by_one", "error"): [
        counted_from_one, one_counted_from_one, one_class_too_few, one_to_four_for_zero_to_three,
    ],
    ("missing_mask", "error"): [no_mask, misspelt_mask, dangling_link],
    ("missing_image", "error"): [no_image],
    ("contradiction", "error"): [in_two_lists],
    ("no_training", "error"): [no_training_split],
    ("no_training", "note"): [pair_alone],
    ("near_duplicate", "error"): [two_masks],
    ("empty_mask", "warning"): [forgotten, all_ignored],
    ("near_duplicate", "note"): [copied_pair, saved_again],
    ("leak", "warning"): [same_in_val, mirrored_in_val, one_video],
    ("absent_class", "warning"): [not_in_train, in_no_mask],
    ("rare_class", "note"): [few_pixels],
    ("suspicious", "warning"): [shifted, of_another_image, classes_exchanged, mask_copied],
}  # fmt: skip
"""(kind, severity) of the finding -> the faults that must give it."""

MENDED = {
    half_size, turned_by_exif, upside_down_by_exif, grey_among_colour, stray_nineteen, stray_pixels,
    void_that_is_not_ignored, grey_levels, painted, painted_as_camvid, one_painted, painted_jpeg, painted_with_alpha,
    one_hot, white_for_one, one_white, white_jpeg, sixteen_bit_white, counted_from_one, one_counted_from_one,
    one_to_four_for_zero_to_three,
}  # fmt: skip
"""The faults that `--write` mends: their masks and images are in the copy."""

FAULTS = [
    Fault(kind, severity, plant, plant in MENDED) for (kind, severity), plants in PLANTS.items() for plant in plants
]


def palette_masks(root: Path) -> None:
    for path in all_masks(root):
        picture = Image.fromarray(values(path))
        picture.putpalette(PAINT.tobytes())
        picture.save(path)


def sixteen_bit_masks(root: Path) -> None:
    for path in all_masks(root):
        path.write_bytes(cv2.imencode(".png", values(path).astype(np.uint16))[1].tobytes())


def sixteen_bit_images(root: Path) -> None:
    for path in images(root) + images(root, "val"):
        path.write_bytes(cv2.imencode(".png", values(path)[..., ::-1].astype(np.uint16) * 200)[1].tobytes())


def cmyk_photo(root: Path) -> None:
    path = images(root)[1]
    picture = Image.open(path).convert("CMYK")
    path.unlink()
    picture.save(path.with_suffix(".jpg"), quality=95)


def odd_names(root: Path) -> None:
    for k, name in enumerate(("street view (2)", "Straße äöü", "日本 7", "a.b.c")):
        for path in (images(root)[k], masks(root)[k]):
            path.rename(path.with_name(f"{name}.png"))


def symbolic_links(root: Path) -> None:
    elsewhere = root.parent / "elsewhere"
    elsewhere.mkdir()
    for path in (images(root)[0], masks(root)[0]):
        target = elsewhere / f"{path.parent.name}.png"
        shutil.move(path, target)
        os.symlink(target, path)


def grey_masks_as_rgb(root: Path) -> None:
    for path in all_masks(root):
        put(path, np.repeat(values(path)[..., None], 3, axis=2))


def some_ignored(root: Path) -> None:
    for path in all_masks(root):
        paint(path, np.s_[:2], 255)


def turned_alike(root: Path) -> None:
    """Image and mask with one EXIF orientation stay aligned."""
    for path in (images(root)[4], masks(root)[4]):
        turn(path, 6)


SOUND = [palette_masks, sixteen_bit_masks, sixteen_bit_images, cmyk_photo, odd_names, symbolic_links, grey_masks_as_rgb,
         some_ignored, turned_alike]  # fmt: skip
