"""What the doctor can find: kinds, severities, and how a finding is written down."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from atrous.doctor.cures import Cure

Severity = Literal["error", "warning", "note"]
"""error: training refuses it, or labels would be lost without a word. warning: a score or a class is in danger.
note: worth knowing."""

KINDS = {
    "unreadable": "a file that is damaged, cut short, empty or no picture",
    "size_mismatch": "image and mask, or the images among themselves, differ in size, orientation, channels or type",
    "value_out_of_range": "a mask value that is no class and is not ignored",
    "colour_mask": "a mask of colours where class indices are expected",
    "binary_0_255": "masks that say 0 and 255 where two classes are meant",
    "off_by_one": "mask values that are one too high or too low",
    "missing_mask": "an image without a mask",
    "missing_image": "a mask without an image",
    "empty_mask": "a mask without a labelled pixel, or with background alone",
    "near_duplicate": "images that are the same, or nearly, inside one split",
    "leak": "images of two splits that are the same, nearly, or of one video",
    "absent_class": "a class without a pixel in a split",
    "rare_class": "a class of few pixels or few images",
    "suspicious": "a mask that does not fit its image as the others do",
}
"""Kind -> what it means, in the order in which findings are shown."""


@dataclass(frozen=True)
class Finding:
    """One thing that was found.

    file: the first file it is about; files: all of them. detail: what is wrong. remedy: what to do. value: the mask
    value it is about; count: pixels, masks or images, whatever the detail counts. cure: how `--write` mends it, None
    where it cannot.
    """

    kind: str
    severity: Severity
    files: tuple[Path, ...]
    detail: str
    remedy: str
    value: int | None = None
    count: int | None = None
    cure: Cure | None = field(default=None, compare=False)

    @property
    def file(self) -> Path:
        return self.files[0]

    def summary(self) -> dict[str, Any]:
        """Plain data for JSON."""
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
    """Errors, warnings, notes; inside each by kind as in `KINDS`, then by file."""
    severities, kinds = ("error", "warning", "note"), list(KINDS)
    return sorted(findings, key=lambda one: (severities.index(one.severity), kinds.index(one.kind), one.files))


def counted(count: int, noun: str, plural: str = "") -> str:
    """1 mask, 2 masks, 1,204 masks."""
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"


def as_percent(part: float) -> str:
    """0.1234 -> 12 %, 0.00123 -> 0.12 %."""
    percent = 100 * part
    return f"{percent:.0f} %" if percent >= 9.95 else f"{percent:.2g} %"
