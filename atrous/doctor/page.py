"""The findings as one HTML file with pictures; it opens anywhere, as it loads nothing else."""

from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

from atrous.doctor.examination import Examination, image_kinds
from atrous.doctor.findings import KINDS, Finding, as_percent
from atrous.doctor.look import PairLook
from atrous.doctor.mend import cured
from atrous.errors import DataError
from atrous.files import printable
from atrous.io import IMAGE_SUFFIXES, read_image
from atrous.io.paths import page_path, save_bytes
from atrous.labels import LabelSet, voc_palette
from atrous.visual import data_uri, to_rgb8

PANE, PANE_BYTES = 360, 60_000
"""The longest side of a picture, and the most bytes of one that is kept as PNG."""
MOST_OF_KIND = 4
"""How many findings of a kind are shown with pictures; the others are listed."""
MOST_LISTED = 40
"""How many findings of a kind are shown or listed."""
MOST_RANKED = 12
"""How many of the oddest masks are shown."""
COMPARED = 3
"""How many images of a finding are shown side by side."""


class _Pane(NamedTuple):
    """One picture and what it shows."""

    uri: str
    caption: str


class _Case(NamedTuple):
    """A finding, or an odd mask, with its pictures."""

    title: str
    detail: str
    remedy: str
    panes: list[_Pane]


def write_page(path: Path | str, examination: Examination) -> None:
    """Write the findings as one HTML page with pictures.

    Args:
        path: The file; a write that fails leaves no half file.
        examination: From `examine_dataset`.

    Raises:
        OSError: The file cannot be written.

    Example:
        >>> import numpy as np
        >>> from pathlib import Path
        >>> from atrous.io import write_image
        >>> write_image("data/images/a.png", np.zeros((8, 8, 3), np.uint8))
        >>> write_image("data/masks/a.png", np.eye(8, dtype=np.uint8))
        >>> write_page("report.html", examine_dataset("data"))
        >>> Path("report.html").exists()
        True
    """
    path = page_path(path)
    environment = Environment(
        loader=ChoiceLoader([PackageLoader("atrous", "doctor"), PackageLoader("atrous", "report")]),
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    page = environment.get_template("page.html.jinja").render(**_context(examination))
    save_bytes(path, printable(page, keep="\n\t").encode(), mark=True)


def _context(examination: Examination) -> dict[str, Any]:
    by_mask = {look.pair.image: look for look in examination.looks}
    by_mask |= {look.pair.mask: look for look in examination.looks if look.pair.mask.suffix.lower() in IMAGE_SUFFIXES}
    kinds = dict.fromkeys(finding.kind for finding in examination.findings)
    sections = []
    for kind in kinds:
        found = [finding for finding in examination.findings if finding.kind == kind]
        shown = [_case(finding, by_mask, examination) for finding in found[:MOST_OF_KIND]]
        severities = Counter(finding.severity for finding in found)
        others = [(_short(one.file, examination.root), one.detail) for one in found[MOST_OF_KIND:MOST_LISTED]]
        sections.append((kind, KINDS[kind], severities, shown, others, max(0, len(found) - MOST_LISTED)))
    ranked = [
        _Case(
            _short(look.pair.mask, examination.root),
            one.reason or "fits less well than most",
            "",
            _panes(look, examination),
        )
        for one in examination.ranked[:MOST_RANKED]
        for look in [examination.looks[one.place]]
    ]
    return {
        "examination": examination,
        "title": f"Data report: {examination.root.resolve().name}",
        "counts": examination.counts(),
        "kinds": image_kinds(examination.looks),
        "classes": _classes(examination),
        "splits": list(examination.pixels()),
        "sections": sections,
        "ranked": ranked,
    }


def _panes(look: PairLook, examination: Examination) -> list[_Pane]:
    """Show the image, its mask in colours, and both together, as far as they can be read."""
    folder, made = examination.folder, list[_Pane]()
    try:
        picture = to_rgb8(_middle_slice(folder.read_image, look))
        made.append(_Pane(_uri(picture, False), f"image {look.pair.image.name}"))
    except DataError:
        picture = None
    place = next(k for k, one in enumerate(examination.looks) if one is look)
    shape = (0, 0) if picture is None else picture.shape[:2]
    try:
        values = cured(folder, look.pair, examination.reading.cures[place], shape)
        colours = _in_colours(values, examination.labels)
    except DataError:
        return made
    made.append(_Pane(_uri(colours, True), f"mask {look.pair.mask.name}"))
    if picture is not None and colours.shape == picture.shape:
        made.append(_Pane(_uri((picture // 2 + colours // 2).astype(np.uint8), False), "mask over image"))
    return made


def _in_colours(values: np.ndarray, labels: LabelSet | None) -> np.ndarray:
    """Turn mask values (H, W), or colours without a table (H, W, C), into (H, W, 3) uint8."""
    if values.ndim == 3:
        return to_rgb8(values)
    table = np.resize(np.array(voc_palette(256), np.uint8), (65536, 3))
    if labels is not None:
        table[:] = 0
        table[list(labels.values)] = labels.colours
    return table[values.astype(np.uint16)]


def _short(file: Path, root: Path) -> str:
    """Write a path relative to the folder of the data set."""
    return str(file.relative_to(root)) if file.is_relative_to(root) and file != root else str(file)


def _middle_slice(reader: Any, look: PairLook) -> np.ndarray:
    """Read an image (H, W, C); of a volume, take the slice in the middle."""
    image = np.asarray(reader(look.pair))
    return image[len(image) // 2] if image.ndim == 4 else image


def _case(finding: Finding, looks: dict[Path, PairLook], examination: Examination) -> _Case:
    """Show a finding: about several images by the images, any other by image and mask."""
    root, more = examination.root, len(finding.files) - 1
    title = _short(finding.file, root) + (f" and {more:,} more" if more and finding.kind != "size_mismatch" else "")
    if finding.kind in ("near_duplicate", "leak"):
        pictures = [pane for file in finding.files[:COMPARED] for pane in _image(file, root)]
    elif finding.file in looks and finding.kind != "absent_class":
        pictures = _panes(looks[finding.file], examination)
    else:
        pictures = [] if finding.file.is_dir() else _image(finding.file, root)
    return _Case(title, finding.detail, finding.remedy, pictures)


def _image(file: Path, root: Path) -> list[_Pane]:
    """Show a single file; nothing if it cannot be read."""
    try:
        return [_Pane(_uri(to_rgb8(read_image(file)), False), _short(file, root))]
    except DataError:
        return []


def _classes(examination: Examination) -> list[dict[str, Any]]:
    """Make a row for each class: its share of the pixels, over all and by split, and its masks."""
    labels, pixels = examination.labels, examination.pixels()
    if labels is None or not pixels:
        return []
    total = np.sum(list(pixels.values()), axis=0)
    whole, largest = max(int(total[:, 0].sum()), 1), max(int(total[:, 0].max()), 1)
    return [
        {
            "name": label,
            "value": value,
            "colour": "rgb({}, {}, {})".format(*colour),
            "share": as_percent(int(total[k, 0]) / whole) if total[k, 0] else "absent",
            "width": f"{100 * int(total[k, 0]) / largest:.1f}",
            "masks": int(total[k, 1]),
            "splits": [as_percent(int(own[k, 0]) / max(int(own[:, 0].sum()), 1)) for own in pixels.values()],
        }
        for k, (label, value, colour) in enumerate(zip(labels.names, labels.values, labels.colours, strict=True))
    ]


def _uri(rgb: np.ndarray, exact: bool) -> str:
    return data_uri(rgb, PANE, exact=exact, png=PANE_BYTES if exact else 0)
