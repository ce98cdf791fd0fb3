"""Charts: numbers over steps, widths, confidences or volumes as the geometry of an SVG."""

import math
import statistics
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Points = list[tuple[float, float]]
Logs = Mapping[str, Sequence[Mapping[str, Any]]]
"""The log of each run, by its name."""

WIDTH, HEIGHT = 360, 234
LEFT, RIGHT, TOP, BOTTOM = 46, 20, 12, 44
"""Size of a chart, and of the margins around its plot, in SVG units."""
MOST_POINTS = 400
"""A line has at most this many points; of more, neighbours are averaged."""
LARGEST = sys.float_info.max
"""Of the numbers that a chart can show."""
IDEAL = "perfect calibration"
"""The name of the line that was not measured; it is drawn thin."""


LIMIT = 1.96
"""Standard deviations that the limits of agreement are away from the bias."""
TEXT = 12
"""Height of a line of text, in SVG units."""


@dataclass(frozen=True)
class Line:
    """One series. points: as SVG writes them, "" if dots are not joined. dots: the same, drawn if they are few."""

    name: str
    points: str
    dots: list[tuple[float, float]]


@dataclass(frozen=True)
class Rule:
    """A thin line at the height y across the plot, and its text at the right end, whose foot is at text_y."""

    y: float
    text: str
    text_y: float


@dataclass(frozen=True)
class Chart:
    """What the template draws.

    summary: the chart in words. x_ticks, y_ticks: (position, text). across: what the horizontal
    axis shows. bars: (x, y, width, height), standing on the axis. rules: values that are marked.
    """

    title: str
    summary: str
    lines: list[Line]
    x_ticks: list[tuple[float, str]]
    y_ticks: list[tuple[float, str]]
    across: str
    bars: list[tuple[float, float, float, float]] = field(default_factory=list)
    rules: list[Rule] = field(default_factory=list)


def training_charts(logs: Logs) -> list[Chart]:
    """Loss, validation mIoU and learning rate over steps; a chart without numbers is left out.

    One run has both losses in one chart. Several runs have a chart for each loss, and a line each.
    """
    if len(logs) == 1:
        log = next(iter(logs.values()))
        charts = [
            chart("Loss", {"training": series(log, "loss"), "validation": series(log, "val_loss")}),
            chart("Validation mIoU", {"validation": series(log, "val_miou")}, zero=False),
            chart("Learning rate", {"learning rate": series(log, "lr")}),
        ]
    else:
        kinds = {"Training loss": "loss", "Validation loss": "val_loss", "Validation mIoU": "val_miou"}
        charts = [
            chart(title, {name: series(log, key) for name, log in logs.items()}, zero=key != "val_miou")
            for title, key in kinds.items()
        ]
    return [one for one in charts if one]


def trimap_chart(found: Mapping[str, Mapping[str, Any]]) -> Chart | None:
    """mIoU near true boundaries. found: what `TrimapCurve` computed, by the name of the run."""
    lines = {
        name: [(float(x), float(y)) for x, y in zip(one["widths"], one["miou"], strict=True) if _finite(float(y))]
        for name, one in found.items()
    }
    return chart("mIoU near boundaries", lines, zero=False, across="largest distance from a true boundary, in pixels")


def reliability_chart(found: Mapping[str, Mapping[str, Any]]) -> Chart | None:
    """Accuracy of the winning class over its confidence.

    found: what `Calibration` computed, by the name of the run. For one run, bars show the share of
    the pixels in each bin, on the same 0..1 axis.
    """
    lines: dict[str, Points] = {IDEAL: [(0.0, 0.0), (1.0, 1.0)]} if found else {}
    for name, one in found.items():
        pairs = zip(one["confidence"], one["accuracy"], strict=True)
        lines[name] = [(float(x), float(y)) for x, y in pairs if _finite(float(y))]
    made = chart("Accuracy", lines, across="confidence of the winning class")
    if made and len(found) == 1:
        shares = next(iter(found.values()))["share"]
        across, up = (WIDTH - LEFT - RIGHT) / len(shares), HEIGHT - TOP - BOTTOM
        for k, share in enumerate(shares):
            left, tall = LEFT + k * across + 1, up * float(share)
            made.bars.append((round(left, 1), round(HEIGHT - BOTTOM - tall, 1), round(across - 2, 1), round(tall, 1)))
    return made


def bland_altman(pairs: Iterable[tuple[float, float]], *, title: str = "Volume", unit: str = "ml") -> Chart | None:
    """Do predicted volumes agree with the true ones: prediction - truth over the mean of both, a dot a case.

    Lines mark the bias and the limits of agreement, bias -+ 1.96 standard deviations, which need two cases.

    Args:
        pairs: (truth, prediction) of each case, at least 0, such as `pairs_ml` of `VolumeScores.compute`.
        title: What was measured; the chart's title adds that it is a difference.
        unit: Of the numbers.

    Returns:
        The chart, or None where no pair has two finite numbers.

    Source:
        Bland & Altman, Lancet 1986.

    Example:
        >>> bland_altman([(10.0, 11.0), (20.0, 19.0)]).summary
        'Volume: prediction - truth, ml; 2 cases, bias 0, limits of agreement -2.77 to 2.77'
    """
    known = [(float(t), float(p)) for t, p in pairs if _finite(t) and _finite(p)]
    if not known:
        return None
    xs, ys = [(t + p) / 2 for t, p in known], [p - t for t, p in known]
    bias = sum(ys) / len(ys)
    values = {"bias": bias}
    if len(ys) > 1:
        wide = LIMIT * statistics.stdev(ys)
        values |= {f"+{LIMIT} SD": bias + wide, f"-{LIMIT} SD": bias - wide}
    low, high = min(0.0, *ys, *values.values()), max(0.0, *ys, *values.values())
    margin = (high - low or 1.0) / 10  # room for the texts above the highest and below the lowest line
    place, x_ticks, y_ticks = _frame([ticks(0, max(xs))[-1]], [low - margin, high + margin], zero=True)
    heights = {name: place(0, y)[1] for name, y in values.items()}
    feet = {name: y - 4 for name, y in heights.items()}  # above their lines; those of the limits make way for the bias
    for name in list(values)[1:]:
        if name.startswith("+"):
            feet[name] = min(feet[name], feet["bias"] - TEXT)
        else:
            feet[name] = max(heights[name] + TEXT, feet["bias"] + TEXT)
    told = f"{title}: prediction - truth, {unit}"
    words = f"{told}; {len(ys)} cases, bias {bias:.3g}"
    if len(ys) > 1:
        words += f", limits of agreement {bias - wide:.3g} to {bias + wide:.3g}"
    dots = [place(x, y) for x, y in sorted(zip(xs, ys, strict=True))]
    rules = [Rule(y, f"{name} {values[name]:.3g}", round(feet[name], 1)) for name, y in heights.items()]
    across = f"mean of truth and prediction, {unit}"
    return Chart(told, words, [Line("cases", "", dots)], x_ticks, y_ticks, across, rules=rules)


def series(log: Iterable[Mapping[str, Any]], key: str) -> Points:
    """(step, value) of the log entries that have both as finite numbers, in the order of steps."""
    found: list[tuple[Any, Any]] = [(entry.get("step"), entry.get(key)) for entry in log]
    return sorted((float(x), float(y)) for x, y in found if _finite(x) and _finite(y))


def chart(title: str, lines: Mapping[str, Points], *, zero: bool = True, across: str = "steps") -> Chart | None:
    """The geometry of a chart, or None if there are no points.

    zero: the value axis begins at 0, else near the least value. across: what the horizontal axis
    shows.
    """
    drawn = {name: thin(points) for name, points in lines.items() if points}
    if not drawn:
        return None
    xs = [x for points in drawn.values() for x, _ in points]
    ys = [y for points in drawn.values() for _, y in points]
    place, x_ticks, y_ticks = _frame(xs, ys, zero)
    made = []
    for name, points in drawn.items():
        placed = [place(x, y) for x, y in points]
        dots = placed if len(placed) <= 40 and name != IDEAL else []
        made.append(Line(name, " ".join(f"{x},{y}" for x, y in placed), dots))
    words = (
        f"{name}: from {points[0][1]:.4g} at {points[0][0]:.4g} to {points[-1][1]:.4g} at {points[-1][0]:.4g}"
        for name, points in drawn.items()
        if name != IDEAL
    )
    return Chart(
        title,
        f"{title} over {across}; {'; '.join(words)}",
        made,
        x_ticks,
        y_ticks,
        across,
    )


Ticks = list[tuple[float, str]]


def _frame(
    xs: Sequence[float], ys: Sequence[float], zero: bool
) -> tuple[Callable[[float, float], tuple[float, float]], Ticks, Ticks]:
    """Where a point lies in the plot of these numbers, and the ticks of both axes; the horizontal one begins at 0."""
    x_values, y_values = ticks(0, max(xs)), ticks(min(0.0, *ys) if zero else min(ys), max(ys))
    right, low, high = max(max(xs), 1e-30), y_values[0], max(y_values[-1], *ys)

    def place(x: float, y: float) -> tuple[float, float]:
        across = LEFT + (WIDTH - LEFT - RIGHT) * x / right
        return round(across, 1), round(HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (y - low) / (high - low), 1)

    x_ticks = [(place(x, low)[0], f"{x:g}") for x in x_values if x <= right]
    return place, x_ticks, [(place(0, y)[1], f"{y:g}") for y in y_values]


def thin(points: Points, most: int = MOST_POINTS) -> Points:
    """At most `most` points, averages of equal groups: no spike is picked, or lost, by chance."""
    size = math.ceil(len(points) / most)
    groups = (points[start : start + size] for start in range(0, len(points), size))
    return [(sum(x for x, _ in group) / len(group), sum(y for _, y in group) / len(group)) for group in groups]


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """About `count` round values that enclose low..high, in steps of 1, 2 or 5 times 10^n."""
    if high <= low:
        margin = abs(low) / 10 or 1.0
        low, high = (0.0, margin) if low == 0 else (low - margin, low + margin)
    raw = (high - low) / count
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [float(f"{n * step:.10g}") for n in range(first, last + 1)]


def _finite(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= LARGEST
