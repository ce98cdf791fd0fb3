"""The page of one or several runs: cases chosen, facts gathered from the runs' folders."""

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
from atrous.evaluate.evaluation import Evaluation
from atrous.predict.loading import bundle_in
from atrous.report.page import MOST_CASES, Report, ReportedRun, write_report
from atrous.report.pictures import ImageCase
from atrous.report.remarks import data_remarks
from atrous.sample import Sample
from atrous.train.loggers import read_log
from atrous.train.recipe import Recipe

SEED = 0
"""Of the random cases."""
SET = (
    "loss", "smoothing", "aux_weight", "optimizer", "weight_decay", "clip", "power", "schedule", "layer_decay",
    "freeze", "freeze_steps", "frozen_norms", "accumulate", "patience", "distil_weight", "distil_temperature",
)  # fmt: skip
"""Fields of a recipe that nothing but `--set` sets."""


@dataclass(frozen=True)
class EvaluatedRun:
    """One run of a page: its name there, its evaluation, what predicts again, and the run folder or bundle it is.

    card: None for a folder of label maps.
    """

    name: str
    result: Evaluation
    predict: Callable[[Sample], np.ndarray]
    source: Path
    card: Card | None = None

    @property
    def bundle(self) -> Path:
        """The file of its weights, which need not be there."""
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

    result: the evaluation of `samples`, in their order. predict: image (H, W, C) -> class indices (H, W), asked again
    for the cases that are shown. splits: of the data set, for remarks. baseline: name and confusion matrix over the
    same pixels. picture: caption and (H, W, 3) uint8. command, following: what repeats the run and what to do next;
    told from the card by default.
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
    """What a page says of runs that were judged on the same `samples`; cases are predicted when the page is written.

    splits, notes: of the data set, see `data_remarks`. verdicts: sentences that compare the runs.
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
    """Indices of the worst images by their own mIoU (mean over the results), worst first, and of random other ones.

    At most half of the images are among the worst, and an image that is of one class but for less than 1 % is passed
    over there where there are others: it shows little. The random ones, in the images' order, are drawn from all others
    with a labelled pixel; the seed is fixed.
    """
    scores, true = np.mean([result.image_scores() for result in results], axis=0), results[0].counts[:, 0]
    known = [int(k) for k in np.argsort(scores, kind="stable") if not math.isnan(scores[k])]
    telling = [k for k in known if true[k].max() < 0.99 * true[k].sum()] or known
    worst = telling[: max(1, len(telling) // 2)][:most]
    others = sorted(set(known) - set(worst))
    drawn = np.random.default_rng(SEED).choice(len(others), min(most, len(others)), replace=False)
    return worst, [others[k] for k in sorted(drawn.tolist())]


def train_command(card: Card, folder: Path) -> str:
    """The `atrous train` command that makes the card's recipe again."""
    recipe = card.recipe
    weights = recipe.get("weights", "random")
    words = ["atrous", "train", card.data, "-o", str(folder), "--model", card.model]
    options = {"--encoder": "encoder", "--steps": "steps", "--batch": "batch", "--lr": "lr", "--seed": "seed"}
    for option, key in options.items():
        if key in recipe:
            words += [option, str(recipe[key])]
    for key in ("refine", "init", "distil"):
        if key in recipe:
            words += [f"--{key}", recipe[key]]
    for key in SET:
        if recipe.get(key, default := Recipe.model_fields[key].default) != default:
            words += ["--set", f"{key}={json.dumps(recipe[key])}"]
    if "crop" in recipe:
        words += ["--crop", "{}x{}".format(*recipe["crop"])]
    flags = {"random": ["--no-pretrained"], "pretrained": ["--pretrained"]}
    return shlex.join(words + flags.get(weights, ["--encoder-weights", weights]))


def facts(run: EvaluatedRun) -> dict[str, str]:
    """Size, speed and making of a run by name; what is not known is left out."""
    if run.card is None:
        return {"folder": str(run.source), "model": "not known, label maps only"}
    card, recipe = run.card, run.card.recipe
    seconds = max((entry.get("seconds", 0) for entry in read_log(run.source / "log.jsonl")), default=0)
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
    """What a prediction took, raw pixels in, labels out, and on what: '152.0 ms, median of 9 images ...'."""
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
    """The number of weights in a bundle's header, without the statistics of its norms."""
    if not bundle.exists():
        return None
    with safe_open(bundle, framework="numpy") as file:
        names = [name for name in file.keys() if "running_" not in name and "num_batches" not in name]  # noqa: SIM118
        return f"{sum(math.prod(file.get_slice(name).get_shape()) for name in names) / 1e6:.2f} million"


def _duration(seconds: float) -> str | None:
    """3725 -> '1 h 2 min', 95 -> '1 min 35 s', nothing for 0."""
    hours, rest = divmod(round(seconds), 3600)
    minutes, left = divmod(rest, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return (f"{minutes} min {left} s" if minutes else f"{left} s") if seconds else None
