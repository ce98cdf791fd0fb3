"""From what a user names (files, folders, patterns) to the files that are meant."""

import os
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from fnmatch import fnmatch
from glob import glob
from pathlib import Path
from unicodedata import normalize

from atrous.errors import DataError
from atrous.files import write_atomically
from atrous.io.marks import marked

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".npy")
"""The files that are looked for in folders; upper case counts too."""
VIDEO_SUFFIXES = (".mp4", ".mov", ".mkv", ".avi", ".webm", ".m4v")
"""Videos are not looked for in folders: each must be named."""


def nfc(name: str) -> str:
    r"""Write a name in the one form in which names are compared: macOS keeps an accent as a sign of its own.

    Example:
        >>> nfc("cafe\u0301") == "caf\u00e9"
        True
    """
    return normalize("NFC", name)


def is_picture(path: Path) -> bool:
    """Tell whether a path is an existing file with one of IMAGE_SUFFIXES.

    Example:
        >>> from pathlib import Path
        >>> is_picture(Path("missing.png"))
        False
    """
    return path.suffix.lower() in IMAGE_SUFFIXES and os.path.isfile(path)


def is_zarr(path: Path) -> bool:
    """Tell whether a folder is a Zarr array or group, of version 2 or 3.

    Example:
        >>> from pathlib import Path
        >>> Path("scan.zarr").mkdir()
        >>> _ = Path("scan.zarr/zarr.json").write_text("{}")
        >>> is_zarr(Path("scan.zarr"))
        True
    """
    return os.path.isdir(path) and any(os.path.isfile(path / name) for name in ("zarr.json", ".zarray", ".zgroup"))


def find_images(inputs: Sequence[str | Path]) -> list[Path]:
    """Find the picture files that files, folders and glob patterns name.

    Folders are searched with their subfolders, in sorted order. A Zarr folder is one picture.

    Args:
        inputs: Files, folders or patterns such as `photos/*.jpg`.

    Returns:
        The files in the order of `inputs`, each once.

    Raises:
        DataError: A path does not exist (the error names the nearest name beside it), a folder has
            no picture, or a pattern has no match.

    Example:
        >>> from pathlib import Path
        >>> for name in ("photos/b.png", "photos/a.jpg", "photos/notes.txt"):
        ...     Path(name).parent.mkdir(exist_ok=True)
        ...     Path(name).touch()
        >>> [path.name for path in find_images(["photos"])]
        ['a.jpg', 'b.png']
    """
    found: dict[Path, None] = {}
    for entry in inputs:
        path = Path(entry)
        if is_zarr(path):
            pictures = [path]
        elif os.path.isdir(path):
            pictures = pictures_below(path)
            if not pictures:
                raise DataError(f"{path}: no pictures in this folder; expected files ending in {_suffixes()}")
        elif os.path.exists(path):
            pictures = [path]
        elif any(sign in str(entry) for sign in "*?["):
            pictures = [match for match in _matches(path) if is_picture(match)]
            if not pictures:
                raise DataError(f"{entry}: no picture matches this pattern; expected files ending in {_suffixes()}")
        else:
            raise no_such_path(path)
        found.update(dict.fromkeys(pictures))
    return list(found)


def pictures_below(folder: Path) -> list[Path]:
    """List the pictures in a folder and its subfolders, sorted; hidden ones are left out."""
    return [Path(path) for path in sorted(files_below(folder, IMAGE_SUFFIXES), key=lambda path: path.split(os.sep))]


def left_out(folder: Path) -> str:
    """Tell in a sentence which names of pictures in a folder and below are no files; '' if there are none."""
    paths = map(Path, files_below(folder, IMAGE_SUFFIXES, strict=False, no=True))
    found = sorted(path.relative_to(folder).as_posix() for path in paths)
    if not found:
        return ""
    shown = ", ".join(found[:3]) + (", ..." if len(found) > 3 else "")
    return f"{folder}: {shown}: left out, as a link that leads nowhere, a pipe or a device is no picture"


def files_below(
    folder: Path | str, suffixes: tuple[str, ...], *, strict: bool = True, no: bool = False
) -> Iterator[str]:
    """Yield the files with these suffixes in a folder and its subfolders, in no order.

    A caller that stops early saves the rest of the listing. Hidden files and folders are left out.
    Links to folders are followed, but not to a folder that they are in.

    Args:
        folder: Where to look.
        suffixes: The endings of the files, in lower case.
        strict: False: pass over folders that may not be entered.
        no: Yield what is called so but is no file: links that lead nowhere, pipes, sockets, devices.

    Raises:
        DataError: A folder may not be entered.
    """
    yield from _below(os.fspath(folder), suffixes, strict, no, ())


def _below(folder: str, suffixes: tuple[str, ...], strict: bool, no: bool, above: tuple[str, ...]) -> Iterator[str]:
    """See `files_below`. above: the real paths of the folders that this one is in, once a link was followed."""
    try:
        listing = os.scandir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return
    except PermissionError as error:
        if strict:
            raise closed_folder(folder) from error
        return
    with listing as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            linked = entry.is_symlink()
            if os.path.isdir(entry.path) if linked else entry.is_dir():
                way = above or ((os.path.realpath(folder),) if linked else ())
                real = os.path.realpath(entry.path) if way else ""
                if not any(_is_in(known, real) for known in way):
                    yield from _below(entry.path, suffixes, strict, no, (*way, real) if way else ())
            elif entry.name.lower().endswith(suffixes) and no != (
                os.path.isfile(entry.path) if linked else entry.is_file()
            ):
                yield entry.path


def _is_in(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)


def _matches(pattern: Path) -> list[Path]:
    """Find what a pattern matches, sorted. `**` is walked as a folder is: glob does not end in loops of links."""
    parts = pattern.parts
    if "**" not in parts:
        return sorted(map(Path, glob(str(pattern))), key=str)
    place = parts.index("**")
    bases = map(Path, glob(str(Path(*parts[:place])))) if place else [Path()]
    below = [(path, path.parts[len(base.parts) :]) for base in bases for path in pictures_below(base)]
    return sorted((path for path, rest in below if _fits(rest, parts[place:])), key=str)


def _fits(parts: tuple[str, ...], pattern: tuple[str, ...]) -> bool:
    """Tell whether the parts of a path fit those of a pattern; `**` stands for any number of them."""
    if not pattern:
        return not parts
    if pattern[0] == "**":
        return _fits(parts, pattern[1:]) or (bool(parts) and _fits(parts[1:], pattern))
    return bool(parts) and fnmatch(parts[0], pattern[0]) and _fits(parts[1:], pattern[1:])


def closed_folder(folder: Path | str) -> DataError:
    """Make the error for a folder that may not be entered."""
    return DataError(f"{folder}: this folder may not be entered; get the right to read it, or move it away")


def names_in(folder: Path) -> list[str]:
    """List the names in a folder, [] if it is none; DataError if it may not be entered."""
    try:
        return os.listdir(folder) if os.path.isdir(folder) else []
    except PermissionError as error:
        raise closed_folder(folder) from error


def no_such_path(path: Path | str) -> DataError:
    """Make the error for a path that does not exist.

    Args:
        path: The missing file or folder.

    Returns:
        A DataError that names what is missing and the nearest name beside it.

    Example:
        >>> from pathlib import Path
        >>> Path("photos").mkdir()
        >>> print(no_such_path("photo"))
        photo: no such file or folder; did you mean 'photos'?
    """
    path = Path(path)
    if path.is_symlink():
        return DataError(f"{path}: a link that leads nowhere or to itself; expected a file or folder, mend the link")
    parent, missing = path.parent, path.name
    while not os.path.isdir(parent) and parent != parent.parent:
        parent, missing = parent.parent, parent.name
    try:
        there = sorted(name for name in names_in(parent) if not name.startswith("."))
    except DataError as closed:
        return closed
    close = get_close_matches(missing, there, n=1, cutoff=0.5)
    if close:
        advice = f"did you mean {str(parent / close[0])!r}?"
    elif there:
        advice = f"{parent} holds {', '.join(there[:5])}{' ...' if len(there) > 5 else ''}"
    else:
        advice = f"{parent} is empty"
    return DataError(f"{path}: no such file or folder; {advice}")


def place_below(folder: Path | str, name: Path | str) -> Path:
    """Make the path of an output file; whatever its name is, it lies below the output folder.

    Args:
        folder: The output folder; it need not exist.
        name: The name of the file, which may come from an input: its parts are not trusted.

    Returns:
        `folder / name`.

    Raises:
        DataError: The name is absolute, leads out by `..`, or a link in the folder leads elsewhere.

    Example:
        >>> place_below("out", "overlays/a.jpg").as_posix()
        'out/overlays/a.jpg'
        >>> place_below("out", "../a.jpg")
        Traceback (most recent call last):
        ...
        atrous.errors.DataError: out/../a.jpg: lies outside of the folder out; rename the input or remove the link
    """
    target = Path(folder, name)
    # realpath, unlike Path.resolve, takes links that lead to themselves
    whole, real = os.path.realpath(folder), os.path.realpath(target)
    if real == whole or not Path(real).is_relative_to(whole):
        raise DataError(f"{target}: lies outside of the folder {folder}; rename the input or remove the link")
    return target


def refuse_among(out: Path | str, root: Path | str, files: Sequence[Path]) -> None:
    """Raise a DataError if what is written into a folder would lie among the files of a data set.

    That is so in the data folder itself, in the folders in it that hold its files, and in those
    that hold such folders, as `train/` holds `train/images/`.

    Args:
        out: The output folder; it need not exist.
        root: The data folder.
        files: The files of the data set.
    """
    place, whole = os.path.realpath(out), os.path.realpath(root)
    holding = {os.path.realpath(file.parent) for file in files} - {whole}
    around = Path(place).is_relative_to(whole) and any(Path(folder).is_relative_to(place) for folder in holding)
    if place == whole or around or any(Path(place).is_relative_to(folder) for folder in holding):
        raise DataError(f"{out}: the files of the data {root} lie in this folder; give another one, such as runs/NAME")


def page_path(path: Path | str) -> Path:
    """Return the path of a page to write; DataError if it is a folder or its name is not that of a page."""
    path = Path(path)
    if path.is_dir() or path.suffix.lower() not in (".html", ".htm"):
        raise DataError(f"{path}: the page is one HTML file; give a name that ends in .html")
    return path


def save_bytes(path: Path | str, data: bytes, *, mark: bool = False) -> None:
    """Write a file, whole or not at all; DataError if the disk is full or refuses it. mark: see `atrous.io.marks`."""
    if mark:
        data = marked(data, Path(path).suffix.lower())
    try:
        write_atomically(Path(path), data)
    except OSError as error:
        raise cannot_write(path, error) from error


def cannot_write(path: Path | str, error: Exception) -> DataError:
    """Make the error for a file or folder that cannot be written."""
    reason = getattr(error, "strerror", None) or str(error)
    return DataError(f"{path}: cannot be written ({reason}); free space on the disk or choose another place")


def _suffixes() -> str:
    return " ".join(IMAGE_SUFFIXES)
