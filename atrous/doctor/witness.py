"""The doctor beside a training: it sees the samples as they are checked, so that nothing is read twice."""

from pathlib import Path

from atrous.datasets.folder import Pair
from atrous.doctor.balance import find_empty, find_imbalance
from atrous.doctor.copies import find_copies
from atrous.doctor.findings import Finding, in_order
from atrous.doctor.look import PairLook, look_at_arrays
from atrous.doctor.mend import indexed
from atrous.doctor.reading import Reading
from atrous.doctor.suspicion import find_suspicious, rank_masks
from atrous.doctor.twins import find_twins
from atrous.doctor.videos import find_videos
from atrous.labels import LabelSet
from atrous.sample import Sample


class Witness:
    """Give `see` to `DataSet.verify` as its `visit`; `warnings` then has what is no error but endangers a score."""

    def __init__(self, labels: LabelSet, root: Path) -> None:
        self.labels, self.root = indexed(labels), root
        self._looks: list[PairLook] = []

    def see(self, split: str, pair: Pair, sample: Sample) -> None:
        """Keep what matters of a sample; its mask holds class indices. Threads may call it at once."""
        self._looks.append(look_at_arrays(pair, split, sample.image, sample.mask))

    def warnings(self) -> list[Finding]:
        """Leaks, absent classes, empty and suspicious masks among the samples seen."""
        looks = sorted(self._looks, key=lambda look: (look.split, look.pair.image))
        counts = [dict(look.mask.values) if look.mask else None for look in looks]
        reading, sides = Reading(looks, counts, [[] for _ in looks], self.labels), [look.split for look in looks]
        found = [*find_copies(looks, sides), *find_videos(looks, sides), *find_twins(reading)]
        found += [*find_imbalance(reading, self.labels, sides, self.root), *find_empty(reading, self.labels)]
        found += find_suspicious(reading, rank_masks(reading))
        return in_order([finding for finding in found if finding.severity == "warning"])
