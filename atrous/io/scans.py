"""Whatever holds a volume: a file of NIfTI, MetaImage or NRRD, a DICOM file, a folder of DICOM slices."""

from collections.abc import Iterable
from pathlib import Path

from atrous.errors import DataError
from atrous.io.dicom import is_dicom, read_series
from atrous.io.headers import VOLUME_SUFFIXES, is_volume
from atrous.io.paths import files_below
from atrous.io.volumes import Volume, read_volume


def find_volumes(inputs: Iterable[str | Path]) -> list[Path]:
    """The volumes among what is given, those in folders sorted; [] if there is none.

    A folder of DICOM slices is one volume. Patterns and names that are not there are left to others.

    Raises:
        DataError: there are other files too.
    """
    given, found, others = list(map(Path, inputs)), list[Path](), list[Path]()
    for path in given:
        if path.is_dir():
            below = sorted(map(Path, files_below(path, VOLUME_SUFFIXES, strict=False)))
            found += below or [path] * is_dicom(path)
        elif is_volume(path) or (path.is_file() and is_dicom(path)):
            found.append(path)
        else:
            others.append(path)
    if found and others:
        raise DataError(f"{others[0]}: not a volume, as {found[0].name} is; give volumes and pictures in two commands")
    return found


def open_volume(path: Path) -> Volume:
    """Read a volume with its grid; of DICOM an `atrous.io.dicom.Scan`.

    Raises:
        MissingExtra: a package of [medical] is not installed.
        DataError: there is no volume, it is damaged, or a folder holds several series.
    """
    return read_volume(path) if is_volume(path) and not path.is_dir() else read_series(path)
