"""Builds the page of one or several runs: chooses cases, gathers facts from the runs' folders."""

import json
import math
import os
import platform
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open

from atrous.bundle import Card
from atrous.datasets import Pairs
from atrous.datasets.classes import VOID
from atrous.evaluate.evaluation import Evaluation
from atrous.predict.loading import bundle_in
from atrous.report.page import MOST_CASES, Report, ReportedRun, write_report
from atrous.report.pictures import ImageCase
from atrous.report.remarks import data_remarks
from atrous.sample import Sample
from atrous.train.loggers import read_log
from atrous.train.recipe import FROM_DATA, Recipe

SEED = 0
"""The seed with which the random cases are drawn."""
FLAGS = {"encoder": "encoder", "steps": "steps", "batch": "batch", "lr": "lr", "seed": "seed", "refine": "refine",
         "init": "init", "distil": "distil"}  # fmt: skip
"""Fields of a recipe that have an option of their own in `atrous train`, which shows their value as it is."""
PLANNED = {
    "scale", "vflip", "encoder_lr", "ema", "loss", "class_weights", "saturation", "hue", "brightness", "contrast",
    "accumulate",
}  # fmt: skip
"""Fields for which a plan takes values of its own, so that a command must name them even if they are as by default."""


@dataclass(frozen=True)
class EvaluatedRun:
    """An evaluated run, of which a page is to be built.

    Args:
        name: What the page calls it.
        result: Its evaluation.
        predict: Predicts a sample again: class indices (H, W).
        source: The run folder, the bundle or the folder of label maps.
        card: The card of its weights; None for a folder of label maps.
    """

    name: str
    result: Evaluation
    predict: Callable[[Sample], np.ndarray]
    source: Path
    card: Card | None = None

    @property
    def bundle(self) -> Path:
        """The file of its weights; it may not exist."""
        return bundle_in(self.source)


def report_run(
    folder: Path,
    result: Evaluation,
    samples: Sequence[Sample],
    predict: Callable[[np.ndarray], np.ndarray],
    card: Card,
    *,
    splits: Mapping[str, Pairs] | None = None,
    title: str | None = None,
    baseline: tuple[str, np.ndarray] | None = None,
    picture: tuple[str, np.ndarray] | None = None,
    command: str | None = None,
    following: Sequence[str] | None = None,
) -> None:
    """Write `folder/report.html` for a run that has just finished.

    Args:
        folder: The run's folder.
        result: The evaluation of `samples`.
        samples: The evaluated samples, in the order of the result.
        predict: Image (H, W, C) -> class indices (H, W); called for the cases that are shown.
        card: The card of the run's weights.
        splits: All splits of the data set, for remarks on the data.
        title: The heading; by default the model and the data.
        baseline: The name of a baseline and its confusion matrix over the same pixels.
        picture: A caption and a picture (H, W, 3) uint8.
        command: The command that repeats the run; by default made from the card.
        following: Commands to try next; by default made from the folder.

    Raises:
        OSError: The page cannot be written.
    """
    run = EvaluatedRun(str(folder), result, lambda sample: predict(sample.image), folder, card)
    where = shlex.quote(str(folder))
    report = make_report(
        [run],
        samples,
        splits=splits,
        title=title,
        baseline=baseline,
        picture=picture,
        commands=[command or train_command(card, folder)],
        following=following
        or (
            f"atrous report {where}",
            shlex.join(("atrous", "eval", str(folder), card.data)),
            f"atrous predict PICTURES --model {where}",
        ),
    )
    write_report(folder / "report.html", report)


def make_report(
    runs: Sequence[EvaluatedRun],
    samples: Sequence[Sample],
    *,
    splits: Mapping[str, Pairs] | None = None,
    notes: Sequence[str] = (),
    verdicts: Sequence[str] = (),
    title: str | None = None,
    baseline: tuple[str, np.ndarray] | None = None,
    picture: tuple[str, np.ndarray] | None = None,
    commands: Sequence[str] = (),
    following: Sequence[str] = (),
    progress: Callable[[Iterable[int], int], Iterable[int]] | None = None,
) -> Report:
    """Build the report of runs that were evaluated on the same samples.

    The cases are predicted later, one after the other, when the page is written.

    Args:
        runs: One or more.
        samples: The evaluated samples, in the order of the results.
        splits: All splits of the data set, for remarks on the data.
        notes: What was said when the data set was opened.
        verdicts: Sentences that compare the runs.
        title: The heading; by default made from the runs.
        baseline: The name of a baseline and its confusion matrix over the same pixels.
        picture: A caption and a picture (H, W, 3) uint8.
        commands: Commands that make the page and the runs again.
        following: Commands to try next.
        progress: Wraps the numbers of the cases, to show a bar: (items, how many) -> items.
    """
    first = runs[0].result
    spreads = [run.result.intervals() for run in runs]
    worst, random = choose_cases([run.result for run in runs])
    own = np.stack([run.result.image_scores() for run in runs], axis=1)

    def cases(chosen: Sequence[int]) -> Iterator[ImageCase]:
        for k in progress(chosen, len(chosen)) if progress else chosen:
            sample = samples[k]
            assert sample.mask is not None, "an evaluated sample has a mask"
            yield ImageCase(
                first.names[k], sample.image, sample.mask, [run.predict(sample) for run in runs], own[k].tolist()
            )

    return Report(
        title=title or _title(runs),
        labels=first.labels,
        split=first.split,
        images=len(first.names),
        runs=[
            ReportedRun(
                run.name,
                run.result.confusion,
                interval=interval,
                class_intervals=per_class,
                log=read_log(run.source / "log.jsonl"),
                facts=facts(run),
                extras=run.result.extras,
            )
            for run, (interval, per_class, _, _) in zip(runs, spreads, strict=True)
        ],
        method=spreads[0][2],
        warnings=spreads[0][3],
        verdicts=verdicts,
        worst=cases(worst),
        random=cases(random),
        baseline=baseline,
        picture=picture,
        remarks=data_remarks(first, splits, notes),
        commands=commands,
        next_commands=following,
    )


def choose_cases(results: Sequence[Evaluation], most: int = MOST_CASES) -> tuple[list[int], list[int]]:
    """Which images a page shows: (indices of the worst, indices of random other ones).

    The worst have the lowest own mIoU (mean over the results), worst first; at most half of the
    images. An image with 99 % or more of its pixels in one class shows little, so it is passed over
    if there are others. The random ones are drawn from all others with a labelled pixel, and are in
    the order of the images. The seed is fixed.
    """
    scores, true = np.mean([result.image_scores() for result in results], axis=0), results[0].counts[:, 0]
    known = [int(k) for k in np.argsort(scores, kind="stable") if not math.isnan(scores[k])]
    telling = [k for k in known if true[k].max() < 0.99 * true[k].sum()] or known
    worst = telling[: max(1, len(telling) // 2)][:most]
    others = sorted(set(known) - set(worst))
    drawn = np.random.default_rng(SEED).choice(len(others), min(most, len(others)), replace=False)
    return worst, [others[k] for k in sorted(drawn.tolist())]


def train_command(card: Card, folder: Path) -> str:
    """The `atrous train` command that makes a card's recipe again.

    Args:
        card: The card of the weights.
        folder: Where the run is to be written (`-o`).

    Example:
        >>> from atrous.labels import LabelSet
        >>> recipe = {"encoder": "resnet18", "steps": 200, "weights": "pretrained"}
        >>> card = Card("unet", {}, LabelSet(("road",)), (0.0,), (1.0,), recipe=recipe, data="DATA")
        >>> train_command(card, Path("runs/x"))
        'atrous train DATA -o runs/x --model unet --encoder resnet18 --steps 200 --pretrained'
    """
    recipe, root = card.recipe, folder
    weights = recipe.get("weights", "random")
    fold, extended = recipe.get("fold"), recipe.get("extended") or ()
    if fold:
        root = folder.parent
    words = ["atrous", "train", card.data, "-o", str(root)]
    options = ["--model", card.model]
    begun = recipe | ({"steps": extended[0][1]} if extended else {})
    for key, option in FLAGS.items():
        if begun.get(key) is not None:
            options += [f"--{option}", str(begun[key])]
    for key, field in Recipe.model_fields.items():
        value, by_flag = recipe.get(key), {*FLAGS, *FROM_DATA, "model", "crop", "options", "time"}
        if key not in by_flag and value is not None and (key in PLANNED or value != field.default):
            options += ["--set", f"{key}={_typed(True if value == 'failed' else value)}"]
    for name, value in recipe.get("options", {}).items():
        options += ["--option", f"{name}={_typed(value)}"]
    if "crop" in recipe:
        options += ["--crop", "{}x{}".format(*recipe["crop"])]
    options += [word for value in card.labels.ignore if value not in VOID for word in ("--ignore", str(value))]
    options += ["--valid-area", recipe["valid_area"]] if recipe.get("valid_area") else []
    options += ["--folds", str(fold[1])] if fold else []
    flags = {"random": ["--no-pretrained"], "pretrained": ["--pretrained"]}
    commands = [words + options + flags.get(weights, ["--encoder-weights", weights])]
    ends = [*(length for _, length in extended[1:]), recipe.get("steps")]
    commands += [[*words[:3], "-o", str(folder), "--extend", str(length - end)]
                 for (end, _), length in zip(extended, ends, strict=False)]  # fmt: skip
    return " && ".join(shlex.join(command) for command in commands)


def _typed(value: object) -> str:
    """A value as `--set NAME=VALUE` reads it: TOML on one line."""
    if isinstance(value, Mapping):
        inside = (f"{json.dumps(key, ensure_ascii=False)} = {_typed(item)}" for key, item in value.items())
        return "{" + ", ".join(inside) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_typed, value)) + "]"
    return json.dumps(value, ensure_ascii=False)


def facts(run: EvaluatedRun) -> dict[str, str]:
    """What there is to know of a run, by name: size, speed, training; the unknown is left out."""
    if run.card is None:
        return {"folder": str(run.source), "model": "unknown (label maps only)"}
    card, recipe = run.card, run.card.recipe
    times = (entry.get("seconds", 0) for entry in read_log(run.source / "log.jsonl"))
    seconds = max((time for time in times if isinstance(time, int | float)), default=0)
    found = {
        "run": str(run.source),
        "model": card.model,
        "encoder": recipe.get("encoder"),
        "parameters": _parameters(run.bundle),
        "bundle": f"{run.bundle.stat().st_size / 1e6:.1f} MB" if run.bundle.is_file() else None,
        "time per image": _speed(run.result),
        "initial weights": recipe.get("weights"),
        "data": card.data,
        "training images": recipe.get("train_images"),
        "steps": recipe.get("steps"),
        "batch": recipe.get("batch"),
        "crop": "{} x {} pixels".format(*recipe["crop"]) if "crop" in recipe else None,
        "optimizer": f"{recipe['optimizer']}, learning rate {recipe['lr']:g}" if "optimizer" in recipe else None,
        "precision": recipe.get("precision"),
        "seed": recipe.get("seed"),
        "training time": _duration(seconds),
        "licence": card.licence,
        "atrous": card.atrous,
    }
    return {name: str(value) for name, value in found.items() if value not in (None, "")}


def _speed(result: Evaluation) -> str | None:
    """The time from raw pixels to labels, and on what device: '152 ms, median of 9 images ...'."""
    if not result.predict_seconds:
        return None
    sizes = sorted(set(result.sizes), key=math.prod)
    pixels = " to ".join(f"{height} x {width}" for height, width in dict.fromkeys((sizes[0], sizes[-1])))
    if torch.cuda.is_available():
        device = torch.cuda.get_device_name()
    else:
        threads = torch.get_num_threads()
        device = f"{threads} thread{'s' * (threads > 1)} of a CPU with {os.cpu_count()} cores ({platform.machine()})"
    count, took = len(result.predict_seconds), 1000 * float(np.median(result.predict_seconds))
    return f"{took:.{0 if took >= 100 else 1}f} ms, median of {count} images of {pixels} pixels, on {device}"


def _title(runs: Sequence[EvaluatedRun]) -> str:
    card = runs[0].card
    if len(runs) > 1:
        return f"{len(runs)} runs compared"
    return f"{card.model} on {Path(card.data).name or 'data'}" if card else f"Label maps of {runs[0].name}"


def _parameters(bundle: Path) -> str | None:
    """The number of weights by a bundle's header, without the running statistics of norms."""
    if not bundle.is_file():
        return None
    with safe_open(bundle, framework="numpy") as file:
        names = [name for name in file.keys() if "running_" not in name and "num_batches" not in name]  # noqa: SIM118
        return f"{sum(math.prod(file.get_slice(name).get_shape()) for name in names) / 1e6:.2f} million"


def _duration(seconds: float) -> str | None:
    """3725 -> '1 h 2 min', 95 -> '1 min 35 s', 0 -> None."""
    hours, rest = divmod(round(seconds), 3600)
    minutes, left = divmod(rest, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return (f"{minutes} min {left} s" if minutes else f"{left} s") if seconds else None
