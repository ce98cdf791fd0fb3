"""Plain pairs of volumes: a folder of volumes beside a folder of their labels, with or without splits.

DATA/images/case1.nii.gz         DATA/train/images/...        DATA/images/train/...
DATA/labels/case1.nii.gz         DATA/train/labels/...        DATA/labels/train/...

Several channels are several files: case1_0000.nii.gz, case1_0001.nii.gz, ... The name of a label map
may end in `_seg`, `_label` and the like.
"""

from dataclasses import replace
from pathlib import Path

from atrous.datasets.folder import Folder, Pair, Readers
from atrous.datasets.nnunet import FIRST, Channels, case_mask
from atrous.datasets.plain_pairs import MASK_ENDINGS, find_folders, halves
from atrous.datasets.plain_pairs import recognise as side_by_side
from atrous.datasets.volumes import case_name
from atrous.errors import DataError
from atrous.io.headers import VOLUME_SUFFIXES, ending_of
from atrous.io.paths import files_below, nfc

LACKS = "images/ and labels/ of volumes (.nii.gz, .nrrd, .mha) with the same names"


def recognise(root: Path) -> str | None:
    """By a folder of images beside one of labels, of which the first holds a volume."""
    why = side_by_side(root)
    held = (next(files_below(images, VOLUME_SUFFIXES, strict=False), None) for images, _ in halves(root)) if why else ()
    return f"{why}, with volumes in them" if any(held) else None


def read(root: Path) -> Folder:
    """Read the pairs of each split, or of `all` without splits, sorted by name."""
    folder = Folder("volumes", recognise(root) or "", root, {}, dimensions=3)
    endings = set[str]()
    for split, (images, masks) in find_folders(root).items():
        pictured, labelled = _by_case(folder, images), _by_case(folder, masks)
        for name in [name for name in labelled if name not in pictured]:
            ending = next((one for one in MASK_ENDINGS if name.endswith(one)), "")
            if ending and name.removesuffix(ending) in pictured:
                labelled.setdefault(name.removesuffix(ending), labelled.pop(name))
        folder.splits[split] = [Pair(pictured[name], labelled[name]) for name in sorted(pictured) if name in labelled]
        folder.lone_images.extend(path for name, path in pictured.items() if name not in labelled)
        folder.lone_masks.extend(path for name, path in labelled.items() if name not in pictured)
        endings |= {ending_of(path.name) for path in pictured.values()}
        if not folder.splits[split] and not folder.lone_images:
            raise DataError(f"{images}: no volumes in this folder; expected {LACKS}, add them")
    if len(endings) > 1:
        raise DataError(
            f"{root}: images end in {' and '.join(sorted(endings))}; expected one ending, convert the others"
        )
    channels = Channels(next(iter(endings), ".nii.gz"))
    return replace(folder, readers=Readers(channels.image, case_mask, channels.size))  # type: ignore[arg-type]


def _by_case(folder: Folder, place: Path) -> dict[str, Path]:
    """Case -> the file of its first channel."""
    files = [Path(path) for path in sorted(files_below(place, VOLUME_SUFFIXES))]
    cases = {nfc(case_name(path.name)) for path in files if _stem(path).endswith(FIRST)}
    return folder.by_name([path for path in files if not _is_further(path, cases)], lambda path: case_name(path.name))


def _is_further(path: Path, cases: set[str]) -> bool:
    """Whether a file is a further channel of a case: its name ends in _0001, and there is one that ends in _0000."""
    name, line, number = _stem(path).rpartition("_")
    return bool(line) and len(number) == 4 and number.isdecimal() and number != "0000" and nfc(name) in cases


def _stem(path: Path) -> str:
    return path.name.removesuffix(ending_of(path.name))
