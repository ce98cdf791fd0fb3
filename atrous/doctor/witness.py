"""The doctor during training: it sees the samples as they are checked; nothing is read twice."""

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
    """Collects warnings while `DataSet.verify` decodes the samples.

    Args:
        labels: The classes of the data set.
        root: Its folder.

    Example:
        >>> import numpy as np
        >>> from atrous.datasets import open_dataset
        >>> from atrous.io import write_image
        >>> for split, value in (("train", 1), ("val", 0)):
        ...     write_image(f"data/{split}/images/a.png", np.zeros((8, 8, 3), np.uint8))
        ...     write_image(f"data/{split}/masks/a.png", value * np.eye(8, dtype=np.uint8))
        >>> data = open_dataset("data")
        >>> witness = Witness(data.labels, data.root)
        >>> data.verify(visit=witness.see)
        >>> [finding.kind for finding in witness.warnings()]
        ['absent_class']
    """

    def __init__(self, labels: LabelSet, root: Path) -> None:
        self.labels, self.root = indexed(labels), root
        self._looks: list[PairLook] = []

    def see(self, split: str, pair: Pair, sample: Sample) -> None:
        """Keep what matters of a sample; several threads may call this at once."""
        self._looks.append(look_at_arrays(pair, split, sample.image, sample.mask))

    def warnings(self) -> list[Finding]:
        """Find leaks, absent classes, empty and suspicious masks among the samples seen."""
        looks = sorted(self._looks, key=lambda look: (look.split, look.pair.image))
        counts = [dict(look.mask.values) if look.mask else None for look in looks]
        reading, sides = Reading(looks, counts, [[] for _ in looks], self.labels), [look.split for look in looks]
        found = [*find_copies(looks, sides), *find_videos(looks, sides), *find_twins(reading)]
        found += [*find_imbalance(reading, self.labels, sides, self.root), *find_empty(reading, self.labels)]
        found += find_suspicious(reading, rank_masks(reading))
        return in_order([finding for finding in found if finding.severity == "warning"])
