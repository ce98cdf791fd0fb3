"""Writes the facts of one or several runs as one HTML file."""

import base64
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from importlib.resources import files
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined

from atrous.errors import DataError
from atrous.files import printable, write_atomically
from atrous.io.marks import marked
from atrous.labels import LabelSet
from atrous.metrics.confusion import scores
from atrous.metrics.errors import ERROR_KINDS
from atrous.report import charts, tables
from atrous.report.pictures import ImageCase, case_panes
from atrous.report.remarks import Remark
from atrous.visual import KIND_COLOURS, data_uri

PICTURE_SIZE, PICTURE_BYTES = 1600, 1_000_000
"""Longest side of the one large picture, and the most bytes for which it is kept as PNG."""
MOST_CASES = 12
"""How many worst and how many random cases are shown; it keeps the page below 8 MB."""
POLICIES = {
    "union": "mIoU over the data set; classes with neither true nor predicted pixels are skipped (union)",
    "truth": "mIoU over the data set; classes without true pixels are skipped (truth)",
    "one": "mIoU over the data set; classes with neither true nor predicted pixels count as 1 (one)",
}
KIND_WORDS = {
    "boundary": "near a true boundary",
    "missed": "in an object that was hardly found",
    "invented": "in an object that is hardly there",
    "confusion": "another class, although the object was found",
}


@dataclass(frozen=True)
class ReportedRun:
    """The numbers of one run on a page.

    Args:
        name: What the page calls it.
        matrix: Pixel counts over the split, (K, K) int64, rows = truth; or (K, K + 1), where the
            last column holds predictions that are no class.
        interval: 95 % interval of mIoU, or None.
        class_intervals: The same of each class's IoU, by the name of the class.
        log: Entries with `step` and any of `loss`, `lr`, `val_loss`, `val_miou`; see `log.jsonl`.
        facts: What else there is to know, by name: a table on the page.
        extras: What these metrics computed, each by its key: `BoundaryIoU` (boundary_iou),
            `BoundaryF` (boundary_f), `TrimapCurve` (trimap), `ErrorKinds` (errors), `Calibration`
            (calibration). A section of the page is left out where its metric is missing.
    """

    name: str
    matrix: np.ndarray
    interval: tuple[float, float] | None = None
    class_intervals: Mapping[str, tuple[float, float] | None] = field(default_factory=dict)
    log: Sequence[Mapping[str, Any]] = ()
    facts: Mapping[str, str] = field(default_factory=dict)
    extras: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class Report:
    """What a page says. `write_report` writes it; all but the first four fields may be left out.

    Args:
        title: The heading.
        labels: The K classes and their colours.
        runs: One or more, all over the same pixels.
        split: The name of the split.
        policy: What an absent class does to mIoU: `union`, `truth` or `one`, see
            `atrous.metrics.scores`. Any other text is printed as it is, and mIoU follows `union`.
        images: How many images the split has.
        method: How the intervals were computed.
        warnings: Sentences about what weakens the intervals, without a full stop.
        verdicts: Sentences that compare the runs.
        worst: The cases with the lowest scores, lowest first. They are gone through once.
        random: Cases that were drawn at random. They are gone through once.
        baseline: The name of a baseline and its matrix over the same pixels; for a single run.
        picture: A caption and a picture (H, W, 3) uint8.
        remarks: What was noticed in the data.
        commands: Commands that make the page and the runs again.
        next_commands: Commands to try next.
    """

    title: str
    labels: LabelSet
    runs: Sequence[ReportedRun]
    split: str
    policy: str = "union"
    images: int | None = None
    method: str = "bootstrap over images"
    warnings: Sequence[str] = ()
    verdicts: Sequence[str] = ()
    worst: Iterable[ImageCase] = ()
    random: Iterable[ImageCase] = ()
    baseline: tuple[str, np.ndarray] | None = None
    picture: tuple[str, np.ndarray] | None = None
    remarks: Sequence[Remark] = ()
    commands: Sequence[str] = ()
    next_commands: Sequence[str] = ()


def write_report(path: Path | str, report: Report) -> None:
    """Write a report as one HTML file, whole or not at all.

    The file loads nothing and links to nothing outside itself. Its content security policy allows
    one script, by its hash: the one that moves the sliders.

    Args:
        path: The file; missing folders are made.
        report: What the page says.

    Raises:
        DataError: A matrix does not fit the classes, or the arrays of a case do not fit each other.
        OSError: The file cannot be written.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> run = ReportedRun("mine", np.array([[80, 20], [5, 95]]))
        >>> report = Report("My run", LabelSet(("sky", "road")), [run], split="val")
        >>> with TemporaryDirectory() as folder:
        ...     write_report(Path(folder) / "report.html", report)
        ...     "<dd>0.777</dd>" in (Path(folder) / "report.html").read_text()  # mIoU
        True
    """
    classes = len(report.labels)
    matrices = [("the matrix", run.matrix) for run in report.runs]
    for what, matrix in (*matrices, *([report.baseline] if report.baseline else [])):
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
    environment.filters.update(number=number_text, percent=percent_text, grouped=grouped_text)
    page = environment.get_template("page.html").render(**_context(report))
    write_atomically(Path(path), marked(printable(page, keep="\n\t").encode(), ".html"))


def number_text(value: float, digits: int = 3) -> str:
    """0.61234 -> '0.612', nan -> a dash."""
    return "–" if np.isnan(value) else f"{value:.{digits}f}"


def percent_text(value: float) -> str:
    """0.1234 -> '12.3 %', nan -> a dash."""
    return "–" if np.isnan(value) else f"{100 * value:.1f}\u202f%"


def grouped_text(value: int) -> str:
    """1234567 -> '1 234 567', with narrow spaces that do not break a line."""
    return f"{value:,}".replace(",", "\u202f")


def _context(report: Report) -> dict[str, Any]:
    policy = report.policy if report.policy in POLICIES else "union"
    baseline = scores(report.baseline[1], policy) if report.baseline else None  # type: ignore[arg-type]
    names = [run.name for run in report.runs] if len(report.runs) > 1 else ["measured"]
    named = list(zip(names, report.runs, strict=True))
    found = {
        key: {name: run.extras[key] for name, run in named if key in run.extras} for key in ("trimap", "calibration")
    }
    script = files("atrous.report").joinpath("wipe.js").read_text(encoding="utf-8")
    groups = [
        (title, [(case, case_panes(case, report.labels)) for case in islice(cases, MOST_CASES)])
        for title, cases in (("Worst", report.worst), ("Random", report.random))
    ]
    return {
        "report": report,
        "runs": [_view(run, report.labels, policy, baseline) for run in report.runs],
        "policy": POLICIES.get(report.policy, report.policy),
        "baseline": baseline,
        "frame": charts,
        "training": charts.training_charts({name: run.log for name, run in named}),
        "trimap": charts.trimap_chart(found["trimap"]),
        "reliability": charts.reliability_chart(found["calibration"]),
        "kinds": [
            (kind, "rgb({}, {}, {})".format(*colour), KIND_WORDS[kind])
            for kind, colour in zip(ERROR_KINDS, KIND_COLOURS, strict=True)
        ],
        "groups": [(title, cases) for title, cases in groups if cases],
        "picture": report.picture and data_uri(report.picture[1], PICTURE_SIZE, exact=False, png=PICTURE_BYTES),
        "script": script,
        "script_hash": "sha256-" + base64.b64encode(sha256(script.encode()).digest()).decode(),
    }


def _view(run: ReportedRun, labels: LabelSet, policy: str, baseline: dict[str, Any] | None) -> dict[str, Any]:
    """The numbers of one run, as the template prints them."""
    own = scores(run.matrix, policy)  # type: ignore[arg-type]
    errors, extras = run.extras.get("errors"), run.extras
    bands, contours, calibration = (extras.get(key) for key in ("boundary_iou", "boundary_f", "calibration"))
    shown: dict[str, Any] = {
        "name": run.name,
        "interval": run.interval,
        "scores": own,
        "facts": run.facts,
        "rows": tables.class_rows(labels, own, run.class_intervals, baseline),
        "confusion": tables.confusion(run.matrix, labels.names),
        "pairs": tables.confused_pairs(run.matrix, labels.names),
        "best_step": max(((y, x) for x, y in charts.series(run.log, "val_miou")), default=None),
        "errors": errors,
        "kind_rows": [],
        "bands": bands,
        "contours": contours,
        "boundary_rows": [],
        "calibration": calibration,
    }
    if errors:
        shown["kind_rows"] = tables.rows(labels, [errors["iou"], *(errors["share"][kind] for kind in ERROR_KINDS)])
    if bands and contours:
        columns = [contours[key] for key in ("boundary_f", "boundary_precision", "boundary_recall")]
        shown["boundary_rows"] = tables.rows(labels, [bands["boundary_iou"], *columns])
    if calibration:
        share = np.asarray(calibration["share"])
        shown["sure"], shown["right"] = (
            float(np.nansum(share * np.asarray(calibration[key]))) for key in ("confidence", "accuracy")
        )
    return shown
