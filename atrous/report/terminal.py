"""Prints results in a terminal."""

from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from atrous.evaluate.evaluation import Evaluation
from atrous.evaluate.measures import COUNTS, MEASURES
from atrous.metrics import scores
from atrous.progress import command, say


def print_evaluation(result: Evaluation, console: Console) -> None:
    """Print an evaluation: a row for each class, the mIoU, then what else was measured.

    The mIoU is printed with its interval, split and policy.
    """
    numbers, summary = scores(result.confusion), result.summary()
    width = max(len(name) for name in result.labels.names) + 2
    lines = [f"{'class':<{width}}{'IoU':>7} {'95 %':^16}{'precision':>10}{'recall':>8}{'share':>8}"]
    total = max(int(numbers["pixels"].sum()), 1)
    for k, name in enumerate(result.labels.names):
        iou, precision, recall = (_cell(numbers[key][k]) for key in ("iou", "precision", "recall"))
        spread = _range(summary["per_class_interval"][name])
        share = f"{numbers['pixels'][k] / total:.1%}"
        lines.append(f"{name:<{width}}{iou:>7} {spread:^16}{precision:>10}{recall:>8}{share:>8}")
    lines.append("")
    lines.append(
        f"mIoU {_cell(summary['miou'], 4)} {_range(summary['interval']) or 'no interval (needs two images)'} "
        f"on {result.split} ({summary['images']} images), pixel accuracy {_cell(summary['pixel_accuracy'])}"
    )
    lines.append(f"{summary['policy']}; {summary['interval_method']}")
    lines += [f"warning: {text}" for text in summary["warnings"] if text != result.remark]  # said on stderr
    lines += _extras(summary)
    lines += _volume_table(summary["volumes"]) if "volumes" in summary else []
    lines += [line for name in MEASURES if name in summary for line in _measure_table(name, summary[name])]
    for line in lines:
        say(line, console)


def _extras(summary: dict[str, Any]) -> list[str]:
    """A line for each metric besides the confusion matrix."""
    lines = []
    if "boundary_iou" in summary:
        lines.append(
            f"boundary IoU {_cell(summary['boundary_iou']['mean_boundary_iou'])} (bands of 2 % of the diagonal), "
            f"boundary F {_cell(summary['boundary_f']['mean_boundary_f'])} (one to one, 0.75 % of the diagonal)"
        )
    if "trimap" in summary:
        pairs = zip(summary["trimap"]["widths"], summary["trimap"]["miou"], strict=True)
        lines.append("mIoU near boundaries: " + ", ".join(f"{_cell(miou)} within {w:g} px" for w, miou in pairs))
    if "errors" in summary:
        loss, oracle = summary["errors"]["loss"], summary["errors"]["oracle"]
        parts = (f"{kind} {_cell(value)} (corrected: mIoU {_cell(oracle[kind])})" for kind, value in loss.items())
        lines.append("mIoU lost by kind of error: " + ", ".join(parts))
    if "calibration" in summary:
        found = summary["calibration"]
        lines.append(
            f"calibration: ECE {_cell(found['ece'], 4)}, class-wise {_cell(found['mean_classwise_ece'], 4)}, "
            f"Brier {_cell(found['brier'], 4)}, NLL {_cell(found['nll'], 4)}"
        )
    if "as" in summary:
        tool = summary["as"]
        lines.append(f"{tool['tool']} would print {_cell(tool['value'], 6)}: {tool['reason']}")
    return lines


def _volume_table(found: dict[str, Any]) -> list[str]:
    """A row for each class of volumes: overlap, surfaces in mm, what was missed, volumes in ml."""
    rows = found["per_class"]
    width = max(map(len, rows)) + 2
    near = f"NSD {found['tolerance_mm']:g} mm"
    lines = ["", f"{'class':<{width}}{'Dice':>7} {'95 %':^16}{near:>10}{'HD95 mm':>9}{'ASSD mm':>9}{'missed':>8}"
             f"{'invented':>9}{'ml':>10}{'bias ml':>9}"]  # fmt: skip
    for name, one in rows.items():
        dice, nsd, hd95, assd = (one[key]["mean"] for key in ("dice", "nsd", "hd95", "assd"))
        lines.append(
            f"{name:<{width}}{_cell(dice):>7} {_range(one['dice']['interval']):^16}{_cell(nsd):>10}{_cell(hd95, 1):>9}"
            f"{_cell(assd, 1):>9}{one['missed']:>8}{one['invented']:>9}{_cell(one['truth_ml']['mean'], 1):>10}"
            f"{_cell(one['volume_ml']['bias'], 1):>9}"
        )
    counted = f"cases: {found['images']}, patients: {found['patients']}"
    return [*lines, "; ".join([counted, *found["policy"][1:3]])]


def _measure_table(name: str, found: dict[str, Any]) -> list[str]:
    """A row for each class, or category, with the columns of a further measure; single numbers in the heading."""
    columns = {key: values for key, values in found.items() if isinstance(values, dict)}
    single = ", ".join(f"{key} {_cell(value)}" for key, value in found.items() if key not in columns)
    rows = list(next(iter(columns.values())))
    width = max(len(row) for row in rows) + 2
    lines = ["", f"{name}{f' ({single})' if single else ''}"]
    lines.append(" " * width + "".join(f"{key:>11}" for key in columns))
    for row in rows:
        cells = (f"{values[row]:.0f}" if key in COUNTS else _cell(values[row]) for key, values in columns.items())
        lines.append(f"{row:<{width}}" + "".join(f"{cell:>11}" for cell in cells))
    return lines


def print_calibration(found: dict[str, Any], run: Path, console: Console) -> None:
    """Print what `atrous calibrate` fitted, its worth on held-out images, and how to use it."""
    tell = partial(say, to=console)
    tell(f"fitted on {found['split']}: {found['images']} images, {found['pixels']} pixels")
    tell(f"{'':<13}{'number':<11}{'before':>8}{'fitted':>8}{'held out':>10}")
    for name, row in found["scores"].items():
        cells = f"{_cell(row['before'], 4):>8}{_cell(row['fitted'], 4):>8}{_cell(row['held_out'], 4):>10}"
        tell(f"{name:<13}{row['number']:<11}{cells}")
    tell("held out: fitted on one half of the images and judged on the other, both ways; expect this on new ones")
    for recall, thresholds in found["thresholds"].items():
        if missing := sum(value is None for value in thresholds):
            tell(
                f"recall {recall}: {missing} classes are in too few images for a guarantee, so every set contains them"
            )
    tell(f"temperature {found['temperature']:.3f}")
    first = next(iter(found["thresholds"]))
    tell(f"use    {command('atrous', 'predict', 'PICTURES', '--model', run)} --decode iou --recall {first}")
    tell(f"judge  {command('atrous', 'eval', run)} DATA --full --decode iou --calibration vector")


def print_tuning(found: dict[str, Any], run: Path, console: Console) -> None:
    """Print what `atrous tune-crf` tried, if it helps on held-out images, and how to use it."""
    tell = partial(say, to=console)
    tell(f"{'refiner':<14}{'images':>7}{'without':>9}{'with':>8}  options")
    for row in sorted(found["candidates"], key=lambda row: (-row["images"], -row["miou"])):
        options = ", ".join(f"{name} = {value}" for name, value in row["options"].items())
        tell(f"{row['name']:<14}{row['images']:>7}{row['before']:>9.4f}{row['miou']:>8.4f}  {options}")
    low, high = found["interval"]
    tell("")
    tell(f"held out, {found['images']} images of {found['split']} in {found['folds']} folds:")
    tell(
        f"mIoU {found['before']:.4f} without, {found['held_out']:.4f} with: "
        f"{found['difference']:+.4f} [{low:.4f}, {high:.4f}], p = {found['p']:.3f}"
    )
    if found["use"]:
        tell(f"use {found['name']}: {command('atrous', 'predict', 'PICTURES', '--model', run)} --refine tuned")
    elif low > 0:  # a gain beyond chance, but only for other frames of the same videos
        films = "one video" if found["videos"] == 1 else f"{found['videos']} videos"
        tell(
            f"leave it off: the {found['images']} images are frames of {films}, and what helps there may not help in "
            "another one; give a split of four videos or more, or say with --block how many frames count as one image"
        )
    else:
        tell("leave it off: there was no gain beyond chance on images that the parameters were not chosen on")


def print_comparisons(result: dict[str, Any], console: Console) -> None:
    """Print the scores of `atrous compare`, then a verdict for each pair."""
    width = max(len(name) for name in result["scores"]) + 2
    for name, score in sorted(result["scores"].items(), key=lambda item: -item[1]):
        say(f"{name:<{width}}mIoU {score:.4f}", console)
    say(f"on {result['split']} ({result['images']} images); {result['method']}", console)
    say("", console)
    for pair in result["pairs"]:
        say(verdict(pair, result["unit"]), console)


def verdict(pair: dict[str, Any], unit: str = "images") -> str:
    """Which of two runs is better, in one sentence.

    Args:
        pair: One of the `pairs` that `atrous compare --json` prints: `a` and `b` (names),
            `difference` (mIoU of a minus b), `interval` (95 %), `p`, `told_apart` and `more_images`
            (how many more may tell them apart, or None).
        unit: What the images are counted in.

    Example:
        >>> pair = {"a": "new", "b": "old", "difference": 0.012, "told_apart": True}
        >>> verdict(pair | {"interval": [0.004, 0.019], "p": 0.002})
        'new is better than old by 0.012 [0.004, 0.019], p = 0.002'
    """
    better, worse, sign = (pair["a"], pair["b"], 1) if pair["difference"] >= 0 else (pair["b"], pair["a"], -1)
    low, high = sorted(sign * value for value in pair["interval"])
    spread = f"by {abs(pair['difference']):.3f} [{low:.3f}, {high:.3f}], p = {pair['p']:.3f}"
    if pair["told_apart"]:
        return f"{better} is better than {worse} {spread}"
    if pair["more_images"] is None:
        return f"{pair['a']} and {pair['b']} are not told apart: their scores are equal"
    return f"{better} and {worse} are not told apart ({spread}); about {pair['more_images']} more {unit} would do"


def _cell(value: float | None, digits: int = 3) -> str:
    return "-" if value is None or value != value else f"{value:.{digits}f}"


def _range(pair: tuple[float, float] | None) -> str:
    return "" if pair is None else f"[{pair[0]:.3f}, {pair[1]:.3f}]"
