"""How the masks of a data set are read: their histograms, what mends them, and the classes."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from atrous.doctor.cures import Cure
from atrous.doctor.findings import Finding, Severity
from atrous.doctor.look import PairLook
from atrous.io import IMAGE_SUFFIXES
from atrous.labels import LabelSet

VOID = 255
"""What ignored pixels become."""


@dataclass
class Reading:
    """How the masks of a data set are read.

    counts: for each look value -> pixels after its cures, None where the mask cannot be used. cures: for each look, in
    the order in which they are applied. labels: the classes of the cured values; None where they cannot be told.
    table: (colour, value) of colour masks.
    """

    looks: Sequence[PairLook]
    counts: list[dict[int, int] | None]
    cures: list[list[Cure]]
    labels: LabelSet | None = None
    findings: list[Finding] = field(default_factory=list)
    table: list[tuple[tuple[int, ...], int]] = field(default_factory=list)

    def report(
        self,
        kind: str,
        severity: Severity,
        places: Sequence[int],
        detail: str,
        remedy: str,
        *,
        value: int | None = None,
        count: int | None = None,
        cure: Cure | None = None,
    ) -> None:
        """Add a finding about the masks of these looks; its cure is applied to their histograms."""
        files = tuple(file_of_mask(self.looks[place]) for place in places)
        shown = len(places) if count is None else count
        self.findings.append(Finding(kind, severity, files, detail, remedy, value, shown, cure))
        for place in places:
            counts = self.counts[place]
            if cure is not None:
                self.cures[place].append(cure)
                self.counts[place] = None if counts is None else cure.values(counts)

    @property
    def usable(self) -> list[int]:
        """The looks whose masks have a histogram."""
        return [place for place, counts in enumerate(self.counts) if counts is not None]

    @property
    def void(self) -> int:
        """The value that ignored pixels take: the first that the classes ignore, else one that is no class."""
        if self.labels is None:
            return VOID
        return self.labels.ignore[0] if self.labels.ignore else (65535 if VOID in self.labels.values else VOID)

    def with_value(self) -> Counter[int]:
        """Value -> masks that have it."""
        return Counter(value for counts in self.counts if counts for value in counts)


def file_of_mask(look: PairLook) -> Path:
    """The file that stands for a mask in a finding: its own, or the image where many share an annotation file."""
    return look.pair.mask if look.pair.mask.suffix.lower() in IMAGE_SUFFIXES else look.pair.image
