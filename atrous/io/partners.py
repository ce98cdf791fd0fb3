"""Which image does a file of another folder belong to: by its name, and by the folders that both lie in."""

import os
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from atrous.errors import DataError
from atrous.io.paths import files_below, nfc


def partners(files: Sequence[Path], root: Path, images: Sequence[Path]) -> dict[Path, Path]:
    """Find the image of each file.

    A file belongs to an image of its stem if the folders that the file lies in below `root` are folders of the image
    too, in this order: ROOT/bear/0.png belongs to images/bear/0.jpg. Of several such files, the one with the most
    folders is the image's. So files in a flat folder are found as long as no two images have one stem.

    Args:
        files: The files, somewhere below `root`.
        root: The folder of the files.
        images: The images, which lie anywhere.

    Returns:
        File -> image. Files without an image are left out.

    Raises:
        DataError: A file fits several images, or several files fit one image.

    Example:
        >>> files = [Path("maps/bear/0.png"), Path("maps/boat/0.png")]
        >>> found = partners(files, Path("maps"), [Path("images/bear/0.jpg"), Path("images/boat/0.jpg")])
        >>> {file.parent.name: image.parent.name for file, image in found.items()}
        {'bear': 'bear', 'boat': 'boat'}
    """
    by_stem = defaultdict(list)
    for file in files:
        by_stem[_stem(file)].append((file, file.relative_to(root).parent.parts))
    owners: dict[Path, list[Path]] = defaultdict(list)
    for image in images:
        folders = Path(os.path.abspath(image)).parent.parts
        fitting = [(file, parts) for file, parts in by_stem.get(_stem(image), ()) if _in_order(parts, folders)]
        deepest = max((len(parts) for _, parts in fitting), default=0)
        own = [file for file, parts in fitting if len(parts) == deepest]
        if len(own) > 1:
            raise DataError(
                f"{own[0]} and {own[1].relative_to(root)} both belong to {image}; keep one of them, or move one into "
                "another folder"
            )
        if own:
            owners[own[0]].append(image)
    if shared := next((file for file, own in owners.items() if len(own) > 1), None):
        names = ", ".join(map(str, owners[shared][:3])) + (" ..." if len(owners[shared]) > 3 else "")
        raise DataError(
            f"{shared}: may belong to any of {len(owners[shared])} images that share this name ({names}); put such "
            "files into folders that are called as those of the images"
        )
    return {file: own[0] for file, own in owners.items()}


def results_below(folder: Path, suffixes: tuple[str, ...]) -> list[Path]:
    """List the files with these suffixes in a folder and its subfolders, sorted.

    The folders `overlays` and `uncertain`, which `atrous predict` writes beside its label maps, are left out.
    """
    aside = {folder / name for name in ("overlays", "uncertain")}
    return [path for path in map(Path, sorted(files_below(folder, suffixes))) if aside.isdisjoint(path.parents)]


def _stem(path: Path) -> str:
    return nfc(path.stem)


def _in_order(parts: Sequence[str], folders: Sequence[str]) -> bool:
    """Whether all parts occur among the folders, in their order."""
    rest = iter(folders)
    return all(part in rest for part in parts)
