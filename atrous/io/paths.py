"""Which files are meant by what a user names."""

import os
from collections.abc import Iterator, Sequence
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
    return [Path(path) for path in sorted(files_below(folder, IMAGE_SUFFIXES), key=lambda path: path.split(os.sep))]


def files_below(folder: Path | str, suffixes: tuple[str, ...]) -> Iterator[str]:
    """The files with these suffixes in a folder and its subfolders, as they come: no more is listed than is asked for.

    Hidden files and folders are left out, and folders that are links or may not be entered.
    """
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if entry.is_dir(follow_symlinks=False):
                    yield from files_below(entry.path, suffixes)
                elif entry.name.lower().endswith(suffixes) and entry.is_file():
                    yield entry.path
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return


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


def save_bytes(path: Path | str, data: bytes) -> None:
    """Write a file whole or not at all; DataError where the disk is full or the folder cannot be written."""
    try:
        write_atomically(Path(path), data)
    except OSError as error:
        raise cannot_write(path, error) from error


def cannot_write(path: Path | str, error: Exception) -> DataError:
    """The error for a file or folder that cannot be written."""
    reason = getattr(error, "strerror", None) or str(error)
    return DataError(f"{path}: cannot be written ({reason}); free space on the disk or choose another place")


def _suffixes() -> str:
    return " ".join(IMAGE_SUFFIXES)
