"""nnU-Net v2's raw data: pictures (.png, .bmp, .tif) and volumes (.nii.gz, ...).

ROOT/imagesTr/case_001_0000.png    a file for each channel; a colour PNG is one file of three
ROOT/imagesTr/case_001_0001.png
ROOT/labelsTr/case_001.png
ROOT/imagesTs/, ROOT/labelsTs/     the test split, if its labels are there
ROOT/dataset.json                  {"channel_names": {"0": "CT"}, "file_ending": ".png",
                                    "labels": {"background": 0, "liver": 1}, "numTraining": 100}

The label called `ignore` is ignored. If labels are regions (lists of values), the classes are the
values in the masks.

Source: github.com/MIC-DKFZ/nnUNet, documentation/dataset_format.md.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from atrous.datasets.folder import DAMAGE, Folder, Pair, Readers, files_in, load_json, mask_file, unique_names, whole
from atrous.errors import DataError
from atrous.io import IMAGE_SUFFIXES, image_size, read_image
from atrous.io.volumes import is_volume, read_labels, read_volume, volume_size
from atrous.labels import LabelSet

LACKS = "dataset.json with channel_names and file_ending, imagesTr/ and labelsTr/"
FIRST = "_0000"


@dataclass(frozen=True)
class Channels:
    """Reads the image of a pair from the files of its channels, `case_0000`, `case_0001`, ..."""

    ending: str

    def files(self, pair: Pair) -> list[Path]:
        """List the files of the channels, in order."""
        stem = pair.image.name.removesuffix(self.ending).removesuffix(FIRST)
        found = [pair.image]
        while os.path.isfile(file := pair.image.with_name(f"{stem}_{len(found):04}{self.ending}")):
            found.append(file)
        return found

    def image(self, pair: Pair) -> np.ndarray:
        """Read (H, W, C), or (D, H, W, C) of volumes."""
        parts = [read_volume(file).array if is_volume(file) else read_image(file) for file in self.files(pair)]
        parts = [part[..., None] if part.ndim == 3 and is_volume(pair.image) else part for part in parts]
        if len({part.shape[:-1] for part in parts}) > 1:
            shapes = ", ".join("x".join(map(str, part.shape[:-1])) for part in parts)
            raise DataError(
                f"{pair.image}: its channels have different sizes ({shapes}); expected equal ones, correct the files"
            )
        return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=-1)

    def size(self, pair: Pair) -> tuple[int, ...]:
        """Read the shape (H, W, C) or (D, H, W, C) from the headers."""
        sizes = [volume_size(file) if is_volume(file) else image_size(file) for file in self.files(pair)]
        return *sizes[0][:-1], sum(size[-1] for size in sizes)


def case_mask(pair: Pair) -> np.ndarray:
    """Read the labels of a pair: (H, W), or (D, H, W) of a volume."""
    return read_labels(pair.mask).array if is_volume(pair.mask) else mask_file(pair)


def recognise(root: Path) -> str | None:
    """By nnU-Net's keys in dataset.json, and the folder of training images."""
    content = _content(root)
    if content is None or "file_ending" not in content or "labels" not in content:
        return None
    if not os.path.isdir(root / "imagesTr"):
        return None
    return "dataset.json has the keys file_ending and labels, as nnU-Net's does"


def read(root: Path) -> Folder:
    """Read each case of labelsTr, and of labelsTs if it exists."""
    content = _content(root) or {}
    ending = str(content["file_ending"])
    channels = Channels(ending)
    volumes = is_volume(Path(f"case{ending}"))
    if not volumes and not ending.lower().endswith(IMAGE_SUFFIXES):
        raise DataError(
            f"{root / 'dataset.json'}: file_ending {ending!r}; expected the ending of a picture or volume, "
            "convert the files"
        )
    labels, notes = labels_from_json(content, root / "dataset.json")
    readers = Readers(channels.image, case_mask, channels.size)  # type: ignore[arg-type]
    folder = Folder(
        "nnunet", recognise(root) or "", root, {}, labels, notes, dimensions=3 if volumes else 2, readers=readers
    )
    test = os.path.isdir(root / "labelsTs") and os.path.isdir(root / "imagesTs")
    _pair(folder, "train" if test else "all", root / "imagesTr", root / "labelsTr", ending, len(_channels(content)))
    if test:
        _pair(folder, "test", root / "imagesTs", root / "labelsTs", ending, len(_channels(content)))
    return folder


def labels_from_json(content: dict[str, Any], file: Path) -> tuple[LabelSet | None, list[str]]:
    """Read the classes from `labels`, {name: value} or, in older files, {value: name}.

    Returns the classes, None for regions, and sentences to print.
    """
    found = content["labels"]
    try:
        if any(isinstance(value, list) for value in found.values()):
            return None, ["labels are regions with several values each: the classes are the values in the masks"]
        names = (
            {str(name): whole(value) for name, value in found.items()}
            if not _by_value(found)
            else unique_names(file, ((str(name), whole(value)) for value, name in found.items()))
        )
        ignore = names.pop("ignore", None)
        ordered = sorted(names, key=names.__getitem__)
        values = tuple(names[name] for name in ordered)
        ignored = (ignore,) if ignore is not None else (() if 255 in values else (255,))
        return LabelSet(tuple(ordered), values=values, ignore=ignored), []
    except DataError:
        raise
    except DAMAGE as error:
        raise DataError(
            f"{file}: labels {found!r} ({error}); expected each name with its value, correct them"
        ) from error


def _by_value(found: dict[str, Any]) -> bool:
    return all(str(key).isdigit() for key in found) and not all(isinstance(value, int) for value in found.values())


def _content(root: Path) -> dict[str, Any] | None:
    file = root / "dataset.json"
    content = load_json(file) if os.path.isfile(file) else None
    return content if isinstance(content, dict) else None


def _channels(content: dict[str, Any]) -> dict[str, Any]:
    found = content.get("channel_names") or content.get("modality") or {"0": "image"}
    return (
        found
        if isinstance(found, dict)
        else {str(k): name for k, name in enumerate(found if isinstance(found, list) else ["image"])}
    )


def _pair(folder: Folder, split: str, images: Path, masks: Path, ending: str, channels: int) -> None:
    pairs = folder.splits.setdefault(split, [])
    labelled = folder.by_name(files_in(masks, ending), lambda path: path.name.removesuffix(ending))
    pictured = folder.by_name(files_in(images, FIRST + ending), lambda path: path.name.removesuffix(FIRST + ending))
    for name, image in pictured.items():
        if name not in labelled:
            folder.lone_images.append(image)
            continue
        pairs.append(Pair(image, labelled[name]))
        stem = image.name.removesuffix(FIRST + ending)
        expected = [images / f"{stem}_{number:04}{ending}" for number in range(channels)]
        missing = [path for path in expected if not os.path.isfile(path)]
        if missing and len(missing) < channels - 1:
            folder.faults.append((missing[0], f"no such file, but dataset.json names {channels} channels; add it"))
    folder.lone_masks.extend(path for name, path in labelled.items() if name not in pictured)
