r"""From the names that lists and annotation files give to the files that are meant.

Such a name may come from another system: `clip1\a.png`, `C:\data\a.png`, `a%20b.png`, `./a.png`,
`/home/me/set/a.png`, in another letter case, or with accents in another form. It never leads out of
the data folder.
"""

import os
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

from atrous.io import IMAGE_SUFFIXES
from atrous.io.paths import files_below, names_in, nfc

DRIVE = re.compile("^[A-Za-z]:")
"""A disk of Windows: C:"""
MOST = 20_000
"""Among more files the nearest name is not looked for."""


class Known(NamedTuple):
    """A file: its path, the parts of its path below the data folder, and how many of them lie below `place`.

    place: the number of the deepest of the places that it is in.
    """

    path: Path
    parts: tuple[str, ...]
    depth: int
    place: int


class Named:
    """Finds the files below a data folder that names mean.

    Args:
        root: The data folder.
        places: Folders in it to which names may be relative, the likeliest first; the root is the
            last.
        suffixes: The endings of the files, in lower case.
    """

    def __init__(self, root: Path, places: Iterable[Path] = (), suffixes: tuple[str, ...] = IMAGE_SUFFIXES) -> None:
        self.root, self.suffixes = root, suffixes
        self.places = [place for place in dict.fromkeys((*places, root)) if os.path.isdir(place)]

    def find(self, name: str) -> list[Path]:
        """Find the files that a name fits best: none, one, or several that fit equally well.

        A file fits if it has this path below one of the places. Else it fits if the name is the end
        of its path, or if its path below its place is the end of the name.
        """
        ways = list(readings(name))
        for parts in ways:
            for place in self.places:
                if os.path.isfile(path := place.joinpath(*parts)):
                    return [path]
        return next((found for parts in ways if (found := self._alike(parts))), [])

    def beside(self, file: Path) -> list[Path]:
        """Find the files with the stem of another file, in its folder; among several, those with its very letters."""
        found = self._by_stem.get((file.parent, folded(file.stem)), [])
        return [path for path in found if nfc(path.stem) == nfc(file.stem)] or found

    def nearest(self, name: str) -> str | None:
        """Tell which file, as a path below the data folder, has the nearest name; None if none is near."""
        *_, parts = ((), *readings(name))
        if not parts or len(self._files) > MOST:
            return None
        last = {folded(known.parts[-1]): known for known in self._files}
        close = get_close_matches(folded(parts[-1]), list(last), n=1, cutoff=0.5)
        return last[close[0]].path.relative_to(self.root).as_posix() if close else None

    def _alike(self, parts: tuple[str, ...]) -> list[Path]:
        fits = defaultdict[tuple[int, bool, int], list[Path]](list)
        for known in self._by_last.get(folded(parts[-1]), ()):
            end = _common_end(tuple(map(folded, parts)), tuple(map(folded, known.parts)))
            if end == len(parts) or end >= known.depth:
                other_letters = tuple(map(nfc, parts[-end:])) != tuple(map(nfc, known.parts[-end:]))
                fits[-end, other_letters, known.place].append(known.path)
        return fits[min(fits)] if fits else []

    @cached_property
    def _files(self) -> list[Known]:
        below = [(place.relative_to(self.root).parts, number) for number, place in enumerate(self.places)]
        deepest = sorted(below, key=lambda place: -len(place[0]))
        start, found = len(self.root.parts), []
        for path in map(Path, sorted(files_below(self.root, self.suffixes))):
            parts = path.parts[start:]
            place, number = next(known for known in deepest if parts[: len(known[0])] == known[0])
            found.append(Known(path, parts, len(parts) - len(place), number))
        return found

    @cached_property
    def _by_stem(self) -> dict[tuple[Path, str], list[Path]]:
        found = defaultdict[tuple[Path, str], list[Path]](list)
        for known in self._files:
            found[known.path.parent, folded(known.path.stem)].append(known.path)
        return found

    @cached_property
    def _by_last(self) -> dict[str, list[Known]]:
        found = defaultdict[str, list[Known]](list)
        for known in self._files:
            found[folded(known.parts[-1])].append(known)
        return found


class Tree:
    """Finds files and folders by their whole path below a data folder, in whatever form its letters are.

    Only the folders that are asked for are listed, each once.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._listed: dict[Path, dict[str, list[Path]]] = {}

    def find(self, path: Path) -> list[Path]:
        """Find what lies at a path: none, one, or several that fit equally well.

        Raises DataError for a folder that may not be entered.
        """
        if os.path.exists(path):
            return [path]
        found = [self.root]
        for part in path.relative_to(self.root).parts if path.is_relative_to(self.root) else ():
            found = [child for folder in found for child in self._children(folder).get(folded(part), ())]
            found = [child for child in found if nfc(child.name) == nfc(part)] or found
        return [] if found == [self.root] else found

    def find_name(self, name: str) -> list[Path]:
        """Find what a name means that starts at the data folder."""
        return next((found for parts in readings(name) if (found := self.find(self.root.joinpath(*parts)))), [])

    def _children(self, folder: Path) -> dict[str, list[Path]]:
        if folder not in self._listed:
            listed = self._listed[folder] = defaultdict[str, list[Path]](list)
            for name in sorted(names_in(folder)):
                listed[folded(name)].append(folder / name)
        return self._listed[folder]


def listed_names(lines: Iterable[str], known: Sequence[str] | set[str] | dict[str, Path]) -> list[str]:
    """Turn the lines of a list into the names that they mean.

    A line is a name: the whole line, else its first field; as it stands, else without the ending of
    a picture, else without the folders too. A line that means none of them stays as it is.

    Args:
        lines: Of the list.
        known: All names, in NFC.

    Example:
        >>> listed_names(["my cat", "dog 1", "JPEGImages/cow.jpg", "fox"], {"my cat", "dog", "cow"})
        ['my cat', 'dog', 'cow', 'fox']
    """
    return [next((name for name in _meanings(line) if name in known), line) for line in map(nfc, lines)]


def path_below(folder: Path, path: Path) -> str:
    """Name a file by its path below a folder, without its ending: `clip1/a`."""
    return path.relative_to(folder).with_suffix("").as_posix()


def _meanings(line: str) -> Iterator[str]:
    for field in (line, (line.split() or [""])[0]):
        whole = field.replace("\\", "/").removeprefix("./").lstrip("/")
        stem, ending = os.path.splitext(whole)
        bare = stem if ending.lower() in IMAGE_SUFFIXES else whole
        yield from (field, whole, bare)
        while "/" in bare:
            bare = bare.partition("/")[2]
            yield bare


def readings(name: str) -> Iterator[tuple[str, ...]]:
    """Yield the parts of a path that a name may stand for, without what leads out of a folder."""
    slashed = DRIVE.sub("", name.replace("\\", "/"))
    own = (name,) if os.sep == "/" else ()  # where a file's name can hold a backslash
    for text in dict.fromkeys((*own, slashed, unquote(slashed))):
        parts = [part for part in text.split("/") if part not in ("", ".")]
        while ".." in parts:  # `a/../b` is b, and `../b` is b below the data folder
            place = parts.index("..")
            del parts[max(place - 1, 0) : place + 1]
        if parts:
            yield tuple(parts)


def folded(name: str) -> str:
    """Write a name so that its letter case and the form of its accents do not count."""
    return name.lower() if name.isascii() else nfc(nfc(name).casefold())


def _common_end(first: Sequence[str], second: Sequence[str]) -> int:
    """Count the equal parts at the ends."""
    pairs = zip(reversed(first), reversed(second), strict=False)
    return next((count for count, (one, other) in enumerate(pairs) if one != other), min(len(first), len(second)))
