"""`check` finds an error where training refuses a folder, and nowhere else: 300 folders with random faults."""

import shutil
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from make_layouts import MAKERS
from PIL import Image

from atrous.doctor import examine_dataset
from atrous.errors import AtrousError
from atrous.plan import plan

FOLDERS = 300
SIZE = (24, 32)

Plant = Callable[[Path, np.random.Generator], None]


def sound(root: Path, rng: np.random.Generator) -> None:
    """Plain pairs in one of their forms: images/ and masks/, with splits or without, of two to five classes."""
    splits = [[""], ["train", "val"], ["train", "val", "test"]][rng.integers(3)]
    images, masks = [("images", "masks"), ("images", "labels"), ("img", "gt")][rng.integers(3)]
    classes = int(rng.integers(2, 6))
    for split in splits:
        for number in range(int(rng.integers(3, 6))):
            mask = rng.integers(0, classes, (3, 4)).astype(np.uint8).repeat(8, 0).repeat(8, 1)
            if number == 0:
                mask.flat[:classes] = np.arange(classes)
            photo = mask[..., None] * 40 + rng.integers(0, 60, (*SIZE, 3))
            for part, array in ((images, photo.astype(np.uint8)), (masks, mask)):
                path = root / split / part / f"p{split}{number}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(array).save(path)


def files(root: Path, masks: bool) -> list[Path]:
    names = ("masks", "labels", "gt") if masks else ("images", "img")
    return sorted(path for name in names for path in root.glob(f"**/{name}/*") if path.is_file())


def one(root: Path, rng: np.random.Generator, masks: bool) -> Path:
    found = files(root, masks)
    return found[rng.integers(len(found))]


def mask_becomes(change: Callable[[np.ndarray, np.random.Generator], np.ndarray], every: bool = False) -> Plant:
    def plant(root: Path, rng: np.random.Generator) -> None:
        for path in files(root, True) if every else [one(root, rng, True)]:
            if path.suffix == ".png" and path.stat().st_size:
                try:
                    with Image.open(path) as picture:
                        values = np.asarray(picture)
                except OSError:  # another fault came first
                    continue
                Image.fromarray(change(values, rng)).save(path)

    return plant


def cut(root: Path, rng: np.random.Generator, masks: bool) -> None:
    path = one(root, rng, masks)
    path.write_bytes(path.read_bytes()[: int(rng.integers(0, 60))])


def removed(root: Path, rng: np.random.Generator, masks: bool) -> None:
    one(root, rng, masks).unlink()


def copied(root: Path, rng: np.random.Generator, masks: bool) -> None:
    path = one(root, rng, masks)
    shutil.copy(path, path.with_name(f"other{rng.integers(99)}{path.suffix}"))


def doubled(root: Path, rng: np.random.Generator, masks: bool) -> None:
    path = one(root, rng, masks)
    try:
        with Image.open(path) as picture:
            picture.convert("L" if masks else "RGB").save(path.with_suffix(".bmp"))
    except OSError:
        return


def moved(root: Path, rng: np.random.Generator, masks: bool) -> None:
    path = one(root, rng, masks)
    (path.parent / "deeper").mkdir(exist_ok=True)
    path.rename(path.parent / "deeper" / path.name)


def classes_file(text: str) -> Plant:
    def plant(root: Path, rng: np.random.Generator) -> None:
        (root / "classes.toml").write_text(text)

    return plant


def jpeg(values: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    stream = BytesIO()
    Image.fromarray((values > 0).astype(np.uint8) * 255).convert("L").save(stream, "JPEG", quality=70)
    return np.asarray(Image.open(stream))


def smooth(values: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    binary = Image.fromarray((values > 0).astype(np.uint8) * 255).convert("L")
    return np.asarray(binary.resize((9, 7), Image.Resampling.BILINEAR).resize(binary.size, Image.Resampling.BICUBIC))


def in_alpha(values: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    flat = values if values.ndim == 2 else values[..., 0]
    return np.dstack([np.full((*flat.shape, 3), 255, np.uint8), (flat > 0).astype(np.uint8) * 255])


def stray(values: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return np.where(np.arange(values.size).reshape(values.shape) == 5, 77, values).astype(values.dtype)


def coloured(values: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return values if values.ndim > 2 else np.stack([values * 60, values * 60, values * 7], -1).astype(np.uint8)


def noise(values: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return rng.integers(0, 256, values.shape).astype(np.uint8)


def pages(root: Path, rng: np.random.Generator) -> None:
    path = one(root, rng, False)
    try:
        with Image.open(path) as picture:
            page = picture.convert("RGB")
    except OSError:
        return
    page.save(path.with_suffix(".tif"), save_all=True, append_images=[page])
    path.unlink()


def lists(root: Path, rng: np.random.Generator) -> None:
    names = [path.stem for path in files(root, False)]
    half = max(1, len(names) // 2)
    text = "\n".join(names[:half] + (["nowhere"] if rng.random() < 0.3 else []))
    (root / "train.txt").write_text(text)
    if rng.random() < 0.7:
        (root / "val.txt").write_text("\n".join(names[half:]))


FAULTS: dict[str, Plant] = {
    "cut image": lambda root, rng: cut(root, rng, False),
    "cut mask": lambda root, rng: cut(root, rng, True),
    "no image": lambda root, rng: removed(root, rng, False),
    "no mask": lambda root, rng: removed(root, rng, True),
    "lone image": lambda root, rng: copied(root, rng, False),
    "lone mask": lambda root, rng: copied(root, rng, True),
    "second image": lambda root, rng: doubled(root, rng, False),
    "second mask": lambda root, rng: doubled(root, rng, True),
    "image in a folder": lambda root, rng: moved(root, rng, False),
    "another size": mask_becomes(lambda values, rng: values[: 5 + int(rng.integers(10))]),
    "a stray value": mask_becomes(
        lambda values, rng: (
            np.where(np.arange(values.size).reshape(values.shape) == 5, 77, values).astype(values.dtype)
            if values.ndim == 2
            else values
        )
    ),
    "255": mask_becomes(lambda values, rng: np.where(values == 1, 255, values).astype(values.dtype)),
    "0 and 255": mask_becomes(lambda values, rng: (values > 0).astype(np.uint8) * 255, every=True),
    "only background": mask_becomes(lambda values, rng: np.zeros_like(values), every=True),
    "one value": mask_becomes(lambda values, rng: np.full_like(values, 3), every=True),
    "many values": mask_becomes(noise, every=True),
    "16 bits": mask_becomes(lambda values, rng: values.astype(np.uint16) * 300, every=True),
    "colours": mask_becomes(
        lambda values, rng: (
            np.stack([values * 60] * 2 + [values * 7], -1).astype(np.uint8) if values.ndim == 2 else values
        ),
        every=True,
    ),
    "jpeg": mask_becomes(jpeg, every=True),
    "smooth": mask_becomes(smooth, every=True),
    "alpha": mask_becomes(in_alpha, every=True),
    "smooth once": mask_becomes(smooth),
    "alpha once": mask_becomes(in_alpha),
    "pages": pages,
    "lists": lists,
    "no classes": classes_file("ignore = [255]\n"),
    "some classes": classes_file('[[class]]\nname = "a"\nvalue = 0\n[[class]]\nname = "b"\nvalue = 1\n'),
    "a broken file": classes_file("[[class"),
    "twice a name": classes_file('[[class]]\nname = "a"\nvalue = 0\n[[class]]\nname = "a"\nvalue = 1\n'),
}


def refused(root: Path) -> str | None:
    """What training says before it begins."""
    try:
        plan(root, measure=False, say=lambda line: None, encoder="test_resnet", pretrained=False)
    except AtrousError as error:
        return str(error)
    return None


def error_of_check(root: Path) -> str | None:
    try:
        found = examine_dataset(root).errors
    except AtrousError as error:
        return str(error)
    return str(found[0].summary()) if found else None


def folder(root: Path, seed: int) -> list[str]:
    """Write the folder of a seed; return its faults."""
    rng = np.random.default_rng(seed)
    root.mkdir()
    if seed % 4 == 3:
        layouts = sorted(set(MAKERS) - {"pairs"})
        name = layouts[seed // 4 % len(layouts)]
        MAKERS[name][1](root)
        found = sorted(path for path in root.rglob("*") if path.is_file())
        path = found[rng.integers(len(found))]
        kind = ["sound", "cut", "removed", "emptied"][rng.integers(4)]
        if kind == "removed":
            path.unlink()
        elif kind != "sound":
            path.write_bytes(path.read_bytes()[: 0 if kind == "emptied" else path.stat().st_size // 2])
        return [name, kind, str(path.relative_to(root))]
    sound(root, rng)
    planted = [str(name) for name in rng.choice(sorted(FAULTS), int(rng.integers(0, 3)), replace=False)]
    for fault in planted:
        FAULTS[fault](root, rng)
    return planted


PARTS = [pytest.param(part, marks=[pytest.mark.slow] if part > 0 else []) for part in range(10)]
"""All 300 folders take a minute; thirty of them are in the default suite."""


@pytest.mark.parametrize("part", PARTS)
def test_check_and_training_agree(tmp_path: Path, part: int) -> None:
    unlike = []
    for seed in range(part, FOLDERS, 10):
        root = tmp_path / f"d{seed}"
        faults = folder(root, seed)
        checked, trained = error_of_check(root), refused(root)
        if (checked is None) != (trained is None):
            unlike.append(f"{seed} {faults}: check: {checked}; training: {trained}")
    assert not unlike, "\n".join(unlike)
