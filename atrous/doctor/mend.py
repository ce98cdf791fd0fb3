"""A mended copy of a data set: every safe cure is applied.

A file that has no cure is left out and named. The original is not changed.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from atrous.datasets.convert import write_pairs
from atrous.datasets.folder import Folder, Pair, Readers
from atrous.doctor.cures import Cure, Grey
from atrous.doctor.examination import Examination
from atrous.errors import DataError
from atrous.io import read_image, read_stored, write_image
from atrous.labels import LabelSet
from atrous.progress import At, command


@dataclass(frozen=True)
class Mended:
    """What `mend` did.

    Args:
        out: The folder of the copy.
        pairs: The pairs in it.
        mended: The pairs in which something was mended.
        left_out: (file, why) of each file that is not in it.
    """

    out: Path
    pairs: int
    mended: int
    left_out: list[tuple[Path, str]]


def mend(examination: Examination, out: Path | str, progress: At | None = None) -> Mended:
    """Write a mended copy of a data set as plain pairs into a new folder.

    Masks become class indices 0..K-1 with 255 ignored (65535 with more than 255 classes);
    classes.toml has the names and colours.

    Args:
        examination: From `examine_dataset`.
        out: The new folder.
        progress: Called with (pairs written, all pairs).

    Returns:
        What was mended and what was left out.

    Raises:
        DataError: `out` exists, the classes cannot be told, the folder holds volumes, or no pair is
            left.

    Example:
        >>> import numpy as np
        >>> from atrous.io import write_image
        >>> for name, values in (("a", [1, 2]), ("b", [2, 1])):
        ...     write_image(f"data/images/{name}.png", np.zeros((1, 2, 3), np.uint8))
        ...     write_image(f"data/masks/{name}.png", np.array([values], np.uint8))
        >>> examination = examine_dataset("data")
        >>> [finding.kind for finding in examination.errors]
        ['off_by_one']
        >>> mend(examination, "mended").mended
        2
    """
    labels, folder = examination.labels, examination.folder
    if labels is None:
        raise DataError(f"{folder.root}: the classes cannot be told from the masks; list them in a classes.toml")
    if folder.dimensions > 2:
        raise DataError(f"{folder.root}: volumes cannot be mended; correct them with the tool that made them")
    reasons = defaultdict[Path, str](str)
    for finding in examination.errors:
        if finding.cure is None:
            reasons.update(dict.fromkeys(finding.files, f"{finding.kind}: {finding.detail}"))
    left, cures, splits = dict[Path, str](), dict[Pair, tuple[Cure, ...]](), defaultdict[str, list[Pair]](list)
    with TemporaryDirectory() as scratch:
        for place, look in enumerate(examination.looks):
            pair, mask = look.pair, look.pair.mask
            bad = next((file for file in (pair.image, mask) if file in reasons), None)
            if bad is not None:
                left[bad] = reasons[bad]
                continue
            own = tuple(examination.reading.cures[place])
            if any(isinstance(cure, Grey) for cure in own):
                pair = replace(pair, image=_in_colour(pair.image, Path(scratch) / str(place)))
            cures[pair] = own
            splits[look.split].append(pair)
        left |= {file: reason for file, reason in reasons.items() if file not in left and _alone(file, examination)}
        if not splits:
            why = command("atrous", "check", folder.root)
            raise DataError(f"{folder.root}: no pair can be mended; run `{why}` to see why")
        labels, written = replace(labels, ignore=(*{*labels.ignore, examination.reading.void},)), indexed(labels)
        readers = Readers(folder.readers.image, _reader(folder, cures, labels, written), folder.readers.size)
        copy = replace(
            folder, splits=dict(splits), labels=None, notes=[], faults=[], clashes=[], lone_images=[], lone_masks=[],
            doubles=[], readers=readers,
        )  # fmt: skip
        write_pairs(copy, out, progress, labels=written)
    return Mended(Path(out), len(cures), sum(bool(own) for own in cures.values()), sorted(left.items()))


def indexed(labels: LabelSet) -> LabelSet:
    """Give the classes the values 0..K-1."""
    return replace(labels, values=tuple(range(len(labels))), ignore=(labels.ignore_index,))


def cured(folder: Folder, pair: Pair, cures: Sequence[Cure], shape: tuple[int, int]) -> np.ndarray:
    """Read the mask of a pair and apply its cures: (H, W), in the values of the classes."""
    try:
        values = folder.read_mask(pair)
    except DataError:
        values = read_stored(pair.mask)
    for cure in cures:
        values = cure.apply(values, shape)
    return values


def _reader(folder: Folder, cures: dict[Pair, tuple[Cure, ...]], labels: LabelSet, written: LabelSet):  # type: ignore[no-untyped-def]
    area = folder.readers.area

    def mask(pair: Pair) -> np.ndarray:
        shape = folder.image_size(pair)[:2] if cures[pair] else (0, 0)
        indices = labels.to_indices(cured(folder, pair, cures[pair], shape), pair.where)
        if area:  # the copy has no fields of view
            indices[~area(pair)] = labels.ignore_index
        return written.to_values(indices)

    return mask


def _in_colour(image: Path, folder: Path) -> Path:
    """Write a grey picture as a PNG with three equal channels; return its path."""
    grey = read_image(image)
    path = folder / f"{image.stem}.png"
    write_image(path, np.repeat(grey, 3, axis=2))
    return path


def _alone(file: Path, examination: Examination) -> bool:
    """Tell whether a file belongs to no pair."""
    return all(file not in (look.pair.image, look.pair.mask) for look in examination.looks)
