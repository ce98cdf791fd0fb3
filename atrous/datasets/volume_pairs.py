"""Plain pairs of volumes: a folder of volumes beside a folder of their labels, with or without splits.

DATA/images/case1.nii.gz         DATA/train/images/...        DATA/images/train/...
DATA/labels/case1.nii.gz         DATA/train/labels/...        DATA/labels/train/...

Several channels are several files: case1_0000.nii.gz, case1_0001.nii.gz, ... The name of a label map
may end in `_seg`, `_label` and the like.
"""

from collections.abc import Iterable
from pathlib import Path

from atrous.datasets.folder import SPLITS, Folder, Pair, Readers, folders_in
from atrous.datasets.nnunet import FIRST, Channels, case_mask
from atrous.datasets.plain_pairs import MASK_ENDINGS, find_folders
from atrous.datasets.plain_pairs import recognise as side_by_side
from atrous.datasets.volumes import case_name
from atrous.errors import DataError
from atrous.io.headers import VOLUME_SUFFIXES
from atrous.io.paths import files_below, nfc

LACKS = "images/ and labels/ of volumes (.nii.gz, .nrrd, .mha) with the same names"


def recognise(root: Path) -> str | None:
    """By a folder of images beside one of labels, of which the first holds a volume."""
    why = side_by_side(root)
    if why is None or not any(_first(folder) for folder in (root, *_splits(root))):
        return None
    return f"{why}, with volumes in them"


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
        endings |= {path.name[len(case_name(path.name)) :].removeprefix(FIRST) for path in pictured.values()}
        if not folder.splits[split] and not folder.lone_images:
            raise DataError(f"{images}: no volumes in this folder; expected {LACKS}, add them")
    if len(endings) > 1:
        raise DataError(
            f"{root}: images end in {' and '.join(sorted(endings))}; expected one ending, convert the others"
        )
    channels = Channels(next(iter(endings), ".nii.gz"))
    readers = Readers(channels.image, case_mask, channels.size)  # type: ignore[arg-type]
    return Folder(
        folder.layout, folder.why, root, folder.splits, lone_images=folder.lone_images, lone_masks=folder.lone_masks,
        rivals=folder.rivals, dimensions=3, readers=readers,
    )  # fmt: skip


def _by_case(folder: Folder, place: Path) -> dict[str, Path]:
    """Case -> the file of its first channel."""
    files = [Path(path) for path in sorted(files_below(place, VOLUME_SUFFIXES))]
    stems = {nfc(case_name(path.name)): path for path in files if path.name[: -len(_ending(path))].endswith(FIRST)}
    others = [path for path in files if not _is_further(path, stems)]
    return folder.by_name(others, lambda path: case_name(path.name))


def _is_further(path: Path, stems: dict[str, Path]) -> bool:
    """Whether a file is a further channel of a case: its name ends in _0001, and there is one that ends in _0000."""
    stem = path.name[: -len(_ending(path))]
    name, line, number = stem.rpartition("_")
    return bool(line) and len(number) == 4 and number.isdecimal() and number != "0000" and nfc(name) in stems


def _ending(path: Path) -> str:
    return max((one for one in VOLUME_SUFFIXES if path.name.lower().endswith(one)), key=len)


def _splits(root: Path) -> Iterable[Path]:
    return [child for child in folders_in(root) if child.name.lower() in SPLITS]


def _first(folder: Path) -> str | None:
    """Any volume in the folders of a split's images."""
    both = [child for child in folders_in(folder) if child.name.lower() in ("images", "image", "imgs", "img")]
    return next((path for child in both for path in files_below(child, VOLUME_SUFFIXES, strict=False)), None)
