"""A mended copy of a data set: every safe cure is applied, what has none is left out and named. Nothing is changed in
place."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from atrous.datasets.convert import write_pairs
from atrous.datasets.folder import Folder, Pair, Readers
from atrous.doctor.cures import Cure, Grey
from atrous.doctor.examination import Examination, Progress
from atrous.errors import DataError
from atrous.io import read_image, read_stored, write_image
from atrous.labels import LabelSet


@dataclass(frozen=True)
class Mended:
    """Where the copy is, how many pairs it has, in how many of them something was mended, and (file, what) left out."""

    out: Path
    pairs: int
    mended: int
    left_out: list[tuple[Path, str]]


def mend(examination: Examination, out: Path | str, progress: Progress | None = None) -> Mended:
    """Write plain pairs, masks as class indices 0..K-1 with 255 ignored, and classes.toml into the new folder `out`.

    Raises DataError where `out` exists, the classes cannot be told, or no pair is left.
    """
    labels, folder = examination.labels, examination.folder
    if labels is None:
        raise DataError(f"{folder.root}: the classes cannot be told from these masks; list them in a classes.toml")
    if folder.dimensions > 2:
        raise DataError(f"{folder.root}: volumes cannot be mended; correct them where they come from")
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
                pair = Pair(_in_colour(pair.image, Path(scratch) / str(place)), mask)
            cures[pair] = own
            splits[look.split].append(pair)
        left |= {file: reason for file, reason in reasons.items() if file not in left and _alone(file, examination)}
        if not splits:
            raise DataError(f"{folder.root}: no pair is left; see what `atrous check {folder.root}` says")
        labels, written = replace(labels, ignore=(*{*labels.ignore, examination.reading.void},)), indexed(labels)
        readers = Readers(folder.readers.image, _reader(folder, cures, labels, written), folder.readers.size)
        copy = replace(
            folder, splits=dict(splits), labels=None, notes=[], faults=[], lone_images=[], lone_masks=[], doubles=[],
            readers=readers,
        )  # fmt: skip
        write_pairs(copy, out, progress, labels=written)
    return Mended(Path(out), len(cures), sum(bool(own) for own in cures.values()), sorted(left.items()))


def indexed(labels: LabelSet) -> LabelSet:
    """The same classes, written as 0..K-1."""
    return replace(labels, values=tuple(range(len(labels))), ignore=(labels.ignore_index,))


def cured(folder: Folder, pair: Pair, cures: Sequence[Cure], shape: tuple[int, int]) -> np.ndarray:
    """The mask of a pair after its cures: the values (H, W) that the classes name."""
    try:
        values = folder.read_mask(pair)
    except DataError:
        values = read_stored(pair.mask)
    for cure in cures:
        values = cure.apply(values, shape)
    return values


def _reader(folder: Folder, cures: dict[Pair, tuple[Cure, ...]], labels: LabelSet, written: LabelSet):  # type: ignore[no-untyped-def]
    def mask(pair: Pair) -> np.ndarray:
        shape = folder.image_size(pair)[:2] if cures[pair] else (0, 0)
        return written.to_values(labels.to_indices(cured(folder, pair, cures[pair], shape), pair.where))

    return mask


def _in_colour(image: Path, folder: Path) -> Path:
    """A grey picture as a PNG of three equal channels."""
    grey = read_image(image)
    path = folder / f"{image.stem}.png"
    write_image(path, np.repeat(grey, 3, axis=2))
    return path


def _alone(file: Path, examination: Examination) -> bool:
    """Whether a file belongs to no pair."""
    return all(file not in (look.pair.image, look.pair.mask) for look in examination.looks)
