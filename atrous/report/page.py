"""From the facts of a run to one HTML file."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined

from atrous.errors import DataError
from atrous.files import write_atomically
from atrous.labels import LabelSet
from atrous.metrics.confusion import scores
from atrous.report import charts, tables
from atrous.visual import error_map, to_rgb8

CASE_SIZE, PICTURE_SIZE = 360, 1600
"""Longest sides of the pictures in the page, in pixels."""
MOST_CASES = 8
"""Best and worst cases that are shown of each, which keeps the page below 6 MB."""
POLICIES = {
    "union": "mIoU over the data set; classes with neither true nor predicted pixels are skipped (union)",
    "truth": "mIoU over the data set; classes without true pixels are skipped (truth)",
    "one": "mIoU over the data set; classes with neither true nor predicted pixels count as 1 (one)",
}


@dataclass(frozen=True)
class Case:
    """One picture: image (H, W, C), truth and prediction (H, W) class indices, score its own mIoU 0..1 (or nan)."""

    name: str
    image: np.ndarray
    truth: np.ndarray
    prediction: np.ndarray
    score: float


@dataclass(frozen=True)
class Report:
    """What a page says.

    matrix: counts over the split, (K, K) int64, rows = truth; a column K more holds predictions that are no class.
    policy: a name of `POLICIES`, which mIoU then follows, or a sentence of its own for `union`.
    interval: of mIoU. log: entries with `step` and any of `loss`, `lr`, `val_loss`, `val_miou`.
    best, worst: best and worst first. facts: what else to know of the run, by name. command: repeats the run.
    baseline: what it is, and its matrix over the same pixels. picture: caption and (H, W, 3) uint8 picture.
    next_commands: what to do next. images: how many the split has.
    """

    title: str
    labels: LabelSet
    matrix: np.ndarray
    split: str
    policy: str = "union"
    interval: tuple[float, float] | None = None
    log: list[dict[str, Any]] = field(default_factory=list)
    best: list[Case] = field(default_factory=list)
    worst: list[Case] = field(default_factory=list)
    facts: dict[str, str] = field(default_factory=dict)
    command: str = ""
    baseline: tuple[str, np.ndarray] | None = None
    picture: tuple[str, np.ndarray] | None = None
    next_commands: list[str] = field(default_factory=list)
    images: int | None = None


class Row(NamedTuple):
    """One class in the table; shares 0..1, nan where undefined."""

    name: str
    colour: str
    iou: float
    precision: float
    recall: float
    pixels: int
    share: float
    baseline: float


class Pane(NamedTuple):
    """One picture in the page: what it shows, its data URI, whether its pixels stay sharp when it is enlarged."""

    title: str
    uri: str
    sharp: bool


def write_report(path: Path | str, report: Report) -> None:
    """Write the page: one HTML file without script, links or anything to load; whole or not at all.

    Raises DataError where a matrix does not fit the classes or a case's arrays do not fit one another, OSError where
    the file cannot be written.
    """
    classes = len(report.labels)
    for what, matrix in (("the matrix", report.matrix), *([report.baseline] if report.baseline else [])):
        if matrix.shape not in ((classes, classes), (classes, classes + 1)):
            raise DataError(
                f"{path}: {what} of the report has shape {matrix.shape}; expected ({classes}, {classes}) for "
                f"{classes} classes, rows = truth"
            )
    environment = Environment(
        loader=PackageLoader("atrous", "report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(number=number, percent=percent, grouped=grouped)
    write_atomically(Path(path), environment.get_template("page.html").render(**_context(report)).encode())


def number(value: float, digits: int = 3) -> str:
    """0.61234 -> '0.612'; nan -> a dash."""
    return "–" if np.isnan(value) else f"{value:.{digits}f}"


def percent(value: float) -> str:
    """0.1234 -> '12.3 %'; nan -> a dash."""
    return "–" if np.isnan(value) else f"{100 * value:.1f}\u202f%"


def grouped(value: int) -> str:
    """1234567 -> '1 234 567' with thin spaces that do not break."""
    return f"{value:,}".replace(",", "\u202f")


def _context(report: Report) -> dict[str, Any]:
    policy = report.policy if report.policy in POLICIES else "union"
    own = scores(report.matrix, policy)  # type: ignore[arg-type]
    baseline = scores(report.baseline[1], policy) if report.baseline else None  # type: ignore[arg-type]
    names = report.labels.names
    return {
        "report": report,
        "scores": own,
        "policy": POLICIES.get(report.policy, report.policy),
        "baseline": baseline,
        "rows": _rows(report.labels, own, baseline),
        "confusion": tables.confusion(report.matrix, names),
        "pairs": tables.confused_pairs(report.matrix, names),
        "charts": charts.training_charts(report.log),
        "frame": charts,
        "best_step": max(((y, x) for x, y in charts.series(report.log, "val_miou")), default=None),
        "groups": [
            (title, _panes(cases, report.labels))
            for title, cases in (("Worst", report.worst), ("Best", report.best))
            if cases
        ],
        "picture": report.picture and data_uri(report.picture[1], PICTURE_SIZE, exact=False, png=1_500_000),
    }


def _rows(labels: LabelSet, own: dict[str, Any], baseline: dict[str, Any] | None) -> list[Row]:
    total = max(int(own["pixels"].sum()), 1)
    return [
        Row(
            name,
            "rgb({}, {}, {})".format(*colour),
            own["iou"][k],
            own["precision"][k],
            own["recall"][k],
            int(own["pixels"][k]),
            own["pixels"][k] / total,
            baseline["iou"][k] if baseline else float("nan"),
        )
        for k, (name, colour) in enumerate(zip(labels.names, labels.colours, strict=True))
    ]


def _panes(cases: Sequence[Case], labels: LabelSet) -> list[tuple[Case, list[Pane]]]:
    """Image, truth, prediction and errors of each case."""
    groups = []
    for case in cases[:MOST_CASES]:
        known = np.where(case.prediction < len(labels), case.prediction, labels.ignore_index)
        maps = {
            "truth": labels.to_colours(case.truth),
            "prediction": labels.to_colours(known),
            "errors": error_map(case.truth, case.prediction, labels),
        }
        panes = [Pane("image", data_uri(to_rgb8(case.image), CASE_SIZE, exact=False, png=0), False)]
        small = max(case.truth.shape) < CASE_SIZE / 2
        panes += [Pane(title, data_uri(rgb, CASE_SIZE, exact=True, png=60_000), small) for title, rgb in maps.items()]
        groups.append((case, panes))
    return groups


def data_uri(rgb: np.ndarray, size: int, *, exact: bool, png: int) -> str:
    """A picture (H, W, 3) uint8, scaled down to at most `size` pixels a side, as a `data:` URI.

    exact: no new colours arise when it is scaled. It is stored as PNG where that takes at most `png` bytes, else JPEG.
    """
    height, width = rgb.shape[:2]
    factor = min(1.0, size / max(height, width))
    if factor < 1:
        shape = (max(1, round(width * factor)), max(1, round(height * factor)))
        rgb = cv2.resize(rgb, shape, interpolation=cv2.INTER_NEAREST if exact else cv2.INTER_AREA)
    bgr, kind = rgb[..., ::-1], "png"
    data = cv2.imencode(".png", bgr, [cv2.IMWRITE_PNG_COMPRESSION, 9])[1] if png else np.empty(0, np.uint8)
    if not 0 < len(data) <= png:
        data, kind = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, 85])[1], "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(data.tobytes()).decode()}"
