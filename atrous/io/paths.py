"""Which files are meant by what a user names."""

from collections.abc import Sequence
from difflib import get_close_matches
from glob import glob
from pathlib import Path

from atrous.errors import DataError
from atrous.files import write_atomically

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".npy")
VIDEO_SUFFIXES = (".mp4", ".mov", ".mkv", ".avi", ".webm", ".m4v")
"""Not looked for in folders: a video is named itself."""


def is_picture(path: Path) -> bool:
    """Whether this is a file with one of the suffixes that are looked for in folders."""
    return path.suffix.lower() in IMAGE_SUFFIXES and path.is_file()


def is_zarr(path: Path) -> bool:
    """Whether a folder is a Zarr array or group, of version 2 or 3."""
    return path.is_dir() and any((path / name).exists() for name in ("zarr.json", ".zarray", ".zgroup"))


def find_images(inputs: Sequence[str | Path]) -> list[Path]:
    """Files, folders (searched recursively, sorted) and glob patterns -> picture files, each once, in the order given.

    A folder that is Zarr is one picture. Raises DataError for a path that does not exist (naming what lies near it), an
    empty folder, a pattern without a match.
    """
    found: dict[Path, None] = {}
    for entry in inputs:
        path = Path(entry)
        if is_zarr(path):
            pictures = [path]
        elif path.is_dir():
            pictures = pictures_below(path)
            if not pictures:
                raise DataError(f"{path}: no pictures in this folder; expected files ending in {_suffixes()}")
        elif path.exists():
            pictures = [path]
        elif any(sign in str(entry) for sign in "*?["):
            pictures = [match for match in map(Path, sorted(glob(str(entry), recursive=True))) if is_picture(match)]
            if not pictures:
                raise DataError(f"{entry}: no picture matches this pattern; expected files ending in {_suffixes()}")
        else:
            raise no_such_path(path)
        found.update(dict.fromkeys(pictures))
    return list(found)


def pictures_below(folder: Path) -> list[Path]:
    """Every picture in a folder and its subfolders, sorted; hidden files and folders are left out."""

    def hidden(path: Path) -> bool:
        return any(part.startswith(".") for part in path.relative_to(folder).parts)

    return sorted(path for path in folder.rglob("*") if is_picture(path) and not hidden(path))


def no_such_path(path: Path | str) -> DataError:
    """The error for a path that does not exist: which part is missing, and the nearest name beside it."""
    path = Path(path)
    parent, missing = path.parent, path.name
    while not parent.is_dir() and parent != parent.parent:
        parent, missing = parent.parent, parent.name
    there = (
        sorted(child.name for child in parent.iterdir() if not child.name.startswith(".")) if parent.is_dir() else []
    )
    close = get_close_matches(missing, there, n=1, cutoff=0.5)
    if close:
        advice = f"did you mean {str(parent / close[0])!r}?"
    elif there:
        advice = f"{parent} holds {', '.join(there[:5])}{' ...' if len(there) > 5 else ''}"
    else:
        advice = f"{parent} is empty"
    return DataError(f"{path}: no such file or folder; {advice}")


def save(path: Path | str, data: bytes) -> None:
    """Write a file whole or not at all; DataError where the disk is full or the folder cannot be written."""
    try:
        write_atomically(Path(path), data)
    except OSError as error:
        raise DataError(f"{path}: cannot be written ({error.strerror}); free space or choose another place") from error


def _suffixes() -> str:
    return " ".join(IMAGE_SUFFIXES)
