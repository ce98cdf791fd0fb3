"""Which files of an output folder this program wrote: it writes over these alone.

The names are kept in a hidden file of the folder, one in a line. They are added before the files
are written, so that a run that was interrupted can be given again.
"""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from atrous.errors import DataError
from atrous.io.paths import cannot_write

NOTE = ".atrous-written"


def claim(folder: Path, outputs: Mapping[Path, Iterable[Path]]) -> None:
    """Refuse to lose a file to the results of a run; else note that these are ours, and make the folder.

    Args:
        folder: The output folder.
        outputs: Input -> the files below `folder` that will be written for it.

    Raises:
        DataError: Two inputs would be written to one file, a file that is there would be lost, or
            the folder cannot be written.

    Example:
        >>> from pathlib import Path
        >>> claim(Path("out"), {Path("a.jpg"): [Path("out/a.png")]})
        >>> claim(Path("out"), {Path("a.jpg"): [Path("out/a.png")], Path("b/a.jpg"): [Path("out/a.png")]})
        Traceback (most recent call last):
        ...
        atrous.errors.DataError: a.jpg and b/a.jpg would both be written to out/a.png; give them two -o folders
    """
    note = folder / NOTE
    try:
        ours = set(note.read_text(encoding="utf-8", errors="surrogateescape").split("\n"))
    except OSError:
        ours = set()
    inputs = {os.path.realpath(path): path for path in outputs}
    names, parents = dict[str, Path](), {folder}
    for path, targets in outputs.items():
        for target in targets:
            name = target.relative_to(folder).as_posix()
            if os.path.realpath(target) in inputs:
                lost = inputs[os.path.realpath(target)]
                raise DataError(f"{lost}: the results of {path} would overwrite it; give another -o folder")
            if name in names:
                raise DataError(f"{names[name]} and {path} would both be written to {target}; give them two -o folders")
            if name not in ours and os.path.lexists(target):
                raise DataError(
                    f"{target}: is there already, and is not from this program; nothing is overwritten, give another "
                    "-o folder or move the file away"
                )
            names[name] = path
            parents.add(target.parent)
    place = folder
    try:
        for place in sorted(parents):
            place.mkdir(parents=True, exist_ok=True)
        with note.open("a", encoding="utf-8", errors="surrogateescape") as file:
            file.write("".join(f"{name}\n" for name in names if name not in ours))
    except FileExistsError as error:
        raise DataError(f"{place}: a file, not a folder; give another -o folder for the results") from error
    except OSError as error:
        raise cannot_write(folder, error) from error
