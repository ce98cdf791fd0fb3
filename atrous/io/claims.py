"""What may be written: results never replace an input, nor a file that this program did not write."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from tempfile import TemporaryFile

from atrous.errors import DataError
from atrous.files import make_folder
from atrous.io.marks import is_marked
from atrous.io.paths import cannot_write


def claim(folder: Path, outputs: Mapping[Path, Iterable[Path]], *, overwrite: bool = False) -> None:
    """Refuse to lose a file to the results of a run; else make the folders that these are written into.

    Args:
        folder: The output folder.
        outputs: Input -> the files below `folder` that will be written for it.
        overwrite: Other files than inputs may be replaced, whoever wrote them.

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
    inputs = {os.path.realpath(path): path for path in outputs}
    owners, parents = dict[Path, Path](), {folder}
    for path, targets in outputs.items():
        for target in targets:
            if os.path.realpath(target) in inputs:
                lost = inputs[os.path.realpath(target)]
                raise DataError(f"{lost}: the results of {path} would overwrite it; give another -o folder")
            if target in owners:
                raise DataError(
                    f"{owners[target]} and {path} would both be written to {target}; give them two -o folders"
                )
            if not overwrite:
                refuse_foreign(target)
            owners[target] = path
            parents.add(target.parent)
    try:
        for place in sorted(parents):
            make_folder(place)
        with TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise cannot_write(folder, error) from error


def refuse_foreign(target: Path) -> None:
    """Raise a DataError if a file is there that this program did not write, or that was changed since.

    Example:
        >>> from pathlib import Path
        >>> _ = Path("page.html").write_text("notes")
        >>> refuse_foreign(Path("page.html"))
        Traceback (most recent call last):
        ...
        atrous.errors.DataError: page.html: is there already, and is not from this program, or was changed since; \
nothing is overwritten, give another -o, move the file away, or give --overwrite
    """
    if os.path.lexists(target) and not is_marked(target):
        raise DataError(
            f"{target}: is there already, and is not from this program, or was changed since; nothing is overwritten, "
            "give another -o, move the file away, or give --overwrite"
        )


def refuse_inside(out: Path, inputs: Iterable[str | Path]) -> None:
    """Raise a DataError if results would lie in a folder of inputs, where the next run would read them as inputs.

    Args:
        out: The output folder; it need not exist.
        inputs: What was given as inputs; files and patterns pass.
    """
    place = Path(os.path.realpath(out))
    for given in inputs:
        if os.path.isdir(given) and place.is_relative_to(os.path.realpath(given)):
            raise DataError(
                f"{out}: lies in the folder {given}, where the results would be read as further inputs; give another "
                "-o, outside of it"
            )
