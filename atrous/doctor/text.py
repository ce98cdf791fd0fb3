"""What was found, as lines for a terminal."""

from collections.abc import Iterator
from pathlib import Path

from atrous.doctor.examination import Examination, image_kinds
from atrous.doctor.findings import Finding, as_percent, counted

MOST = 6
"""Findings of one kind and severity that are printed; the others are counted."""
MARKS = {"error": "x", "warning": "!", "note": "-"}


def describe_examination(examination: Examination) -> Iterator[str]:
    """Layout, images, classes, findings, and a last line that counts them."""
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
    """x colour_mask  masks/a.png and 3 more: what; remedy"""
    file = finding.file.relative_to(root) if finding.file.is_relative_to(root) else finding.file
    name = root.name if str(file) == "." else str(file)
    more = len(finding.files) - 1
    others = f" and {more:,} more" if more and finding.kind != "size_mismatch" else ""
    return f"{MARKS[finding.severity]} {finding.kind}  {name}{others}: {finding.detail}; {finding.remedy}"


def _classes(examination: Examination) -> Iterator[str]:
    labels = examination.labels
    if labels is None:
        yield "classes  cannot be told from these masks"
        return
    whole = examination.pixels().values()
    pixels = [sum(int(counts[k, 0]) for counts in whole) for k in range(len(labels))]
    total = max(sum(pixels), 1)
    parts = [f"{name} {as_percent(count / total)}" for name, count in zip(labels.names, pixels, strict=True)]
    shown = ", ".join(parts[:12]) + (f" and {len(parts) - 12} more" if len(parts) > 12 else "")
    ignored = f"; ignored: {', '.join(map(str, labels.ignore))}" if labels.ignore else ""
    yield f"classes  {len(labels)}: {shown}{ignored}"
