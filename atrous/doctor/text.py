"""The findings as lines for a terminal."""

from collections.abc import Iterator
from pathlib import Path

from atrous.doctor.examination import Examination, image_kinds
from atrous.doctor.findings import Finding, as_percent, counted

MOST = 6
"""How many findings of one kind and severity are printed; the others are counted."""
MARKS = {"error": "x", "warning": "!", "note": "-"}


def describe_examination(examination: Examination) -> Iterator[str]:
    """Describe an examination in lines for a terminal.

    Args:
        examination: From `examine_dataset`.

    Yields:
        Lines on layout, images, classes and findings; the last line counts the findings.

    Example:
        >>> import numpy as np
        >>> from atrous.io import write_image
        >>> write_image("data/images/a.png", np.zeros((8, 8, 3), np.uint8))
        >>> write_image("data/masks/a.png", np.eye(8, dtype=np.uint8))
        >>> list(describe_examination(examine_dataset("data")))[-1]
        '0 errors, 0 warnings, 1 note'
    """
    root, folder = examination.root, examination.folder
    splits = ", ".join(f"{len(pairs):,} {split}" for split, pairs in folder.splits.items())
    yield f"layout   {folder.layout}: {folder.why}"
    yield f"pairs    {len(examination.looks):,} ({splits})"
    for kind in image_kinds(examination.looks):
        low, high = ("x".join(map(str, kind[key])) for key in ("smallest", "largest"))
        sizes = low if low == high else f"{low} to {high}"
        channels = f"{counted(kind['channels'], 'channel')} of {kind['dtype']}"
        yield f"images   {counted(kind['images'], 'image')} {sizes}, {channels}"
    yield from (f"note     {note}" for note in folder.notes)
    yield from _classes(examination)
    shown: dict[tuple[str, str], int] = {}
    for finding in examination.findings:
        group = finding.severity, finding.kind
        shown[group] = shown.get(group, 0) + 1
        if shown[group] <= MOST:
            yield finding_line(finding, root)
    for (severity, name), count in shown.items():
        if count > MOST:
            yield f"{MARKS[severity]} {name}: {count - MOST} more; --json lists all"
    counts = examination.counts()
    yield ", ".join(counted(count, severity) for severity, count in counts.items())


def finding_line(finding: Finding, root: Path) -> str:
    """Write a finding as a line for a terminal.

    Args:
        finding: The finding.
        root: The folder of the data set; files are named relative to it.

    Returns:
        A mark for the severity, kind, file, detail and remedy.

    Example:
        >>> from pathlib import Path
        >>> found = Finding("missing_mask", "error", (Path("d/a.png"),), "it has no mask", "add it")
        >>> finding_line(found, Path("d"))
        'x missing_mask  a.png: it has no mask; add it'
    """
    file = finding.file.relative_to(root) if finding.file.is_relative_to(root) else finding.file
    name = root.name if str(file) == "." else str(file)
    more = len(finding.files) - 1
    others = f" and {more:,} more" if more and finding.kind != "size_mismatch" else ""
    return f"{MARKS[finding.severity]} {finding.kind}  {name}{others}: {finding.detail}; {finding.remedy}"


def _classes(examination: Examination) -> Iterator[str]:
    labels = examination.labels
    if labels is None:
        yield "classes  cannot be told from the masks"
        return
    whole = examination.pixels().values()
    pixels = [sum(int(counts[k, 0]) for counts in whole) for k in range(len(labels))]
    total = max(sum(pixels), 1)
    parts = [f"{name} {as_percent(count / total)}" for name, count in zip(labels.names, pixels, strict=True)]
    shown = ", ".join(parts[:12]) + (f" and {len(parts) - 12} more" if len(parts) > 12 else "")
    ignored = f"; ignored: {', '.join(map(str, labels.ignore))}" if labels.ignore else ""
    yield f"classes  {len(labels)}: {shown}{ignored}"
