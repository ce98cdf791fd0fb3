"""What the doctor can find: the kinds, the severities, and a finding."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from atrous.doctor.cures import Cure
from atrous.errors import readable

Severity = Literal["error", "warning", "note"]
"""error: training refuses it, or labels would be lost silently. warning: it endangers a score or a
class. note: worth knowing."""

KINDS = {
    "unreadable": "a file that is damaged, cut short, empty or not a picture",
    "no_value": "pixels of an image that hold nothing: NaN, infinite, nodata, masked",
    "size_mismatch": "image and mask, or the images among themselves, differ in size, orientation, channels or type",
    "value_out_of_range": "a mask value that is neither a class nor ignored",
    "colour_mask": "a mask of colours where class indices are expected",
    "binary_0_255": "masks with the values 0 and 255 that mean two classes",
    "off_by_one": "mask values that are one too high or too low",
    "missing_mask": "an image without a mask",
    "missing_image": "a mask without an image",
    "contradiction": "entries that give one image different labels or splits, or a name that may mean several images",
    "no_training": "no pair to train on, or none to validate with",
    "empty_mask": "a mask without a labelled pixel, or with background alone",
    "near_duplicate": "images that are the same, or nearly the same, inside one split",
    "leak": "images of two splits that are the same, nearly the same, or of one video",
    "absent_class": "a class without a pixel in a split",
    "rare_class": "a class with few pixels or in few images",
    "suspicious": "a mask that fits its image less well than the others do",
}
"""Kind of a finding -> what it means, in the order in which findings are shown."""


@dataclass(frozen=True)
class Finding:
    """One thing that was found.

    Args:
        kind: A key of KINDS.
        severity: `error`, `warning` or `note`.
        files: The files it is about.
        detail: What is wrong.
        remedy: What to do.
        value: The mask value it is about, if any.
        count: The number of pixels, masks or images that the detail counts.
        cure: How `--write` mends it; None if it cannot.

    Example:
        >>> from pathlib import Path
        >>> found = Finding("missing_mask", "error", (Path("a.png"),), "there is no mask", "add it")
        >>> found.summary()["file"]
        'a.png'
    """

    kind: str
    severity: Severity
    files: tuple[Path, ...]
    detail: str
    remedy: str
    value: int | None = None
    count: int | None = None
    cure: Cure | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "detail", readable(self.detail))

    @property
    def file(self) -> Path:
        """The first of its files."""
        return self.files[0]

    def summary(self) -> dict[str, Any]:
        """Return plain data for the JSON document of `atrous check`."""
        return {
            "kind": self.kind,
            "severity": self.severity,
            "file": str(self.file),
            "files": [str(file) for file in self.files],
            "detail": self.detail,
            "remedy": self.remedy,
            "value": self.value,
            "count": self.count,
            "mended_by_write": self.cure is not None,
        }


def in_order(findings: Sequence[Finding]) -> list[Finding]:
    """Sort findings by severity, then by kind in the order of KINDS, then by file."""
    severities, kinds = ("error", "warning", "note"), list(KINDS)
    return sorted(findings, key=lambda one: (severities.index(one.severity), kinds.index(one.kind), one.files))


def counted(count: int, noun: str, plural: str = "") -> str:
    """Write a number with its noun: 1 mask, 2 masks, 1,204 masks."""
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"


def as_percent(part: float) -> str:
    """Write a share as per cent: 0.1234 -> 12 %, 0.00123 -> 0.12 %."""
    percent = 100 * part
    return f"{percent:.0f} %" if percent >= 9.95 else f"{percent:.2g} %"
