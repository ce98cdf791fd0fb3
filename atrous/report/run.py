"""The page of a training run: cases chosen, facts gathered from the run's folder."""

import math
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import safe_open

from atrous.bundle import Card
from atrous.evaluate import Evaluation
from atrous.loggers import read_log
from atrous.report.page import Case, Report, write_report
from atrous.sample import Sample

CASES = 6


def report_run(
    folder: Path,
    result: Evaluation,
    samples: Sequence[Sample],
    predict: Callable[[np.ndarray], np.ndarray],
    card: Card,
    *,
    title: str | None = None,
    baseline: tuple[str, np.ndarray] | None = None,
    picture: tuple[str, np.ndarray] | None = None,
    command: str | None = None,
    following: Sequence[str] | None = None,
) -> None:
    """Write `folder/report.html` for a finished run.

    result: the evaluation of `samples`, in their order. predict: image (H, W, C) -> class indices (H, W), asked again
    for the cases that are shown. baseline: name and confusion matrix over the same pixels. picture: caption and
    (H, W, 3) uint8. command, following: what repeats the run and what to do next; told from the card by default.
    """

    def cases(chosen: Sequence[int]) -> list[Case]:
        scores = result.image_scores()
        return [_case(samples[k], result.names[k], predict, float(scores[k])) for k in chosen]

    log, data = read_log(folder / "log.jsonl"), card.data
    best, worst = choose_cases(result)
    report = Report(
        title=title or f"{card.model} on {Path(data).name or 'data'}",
        labels=result.labels,
        matrix=result.confusion,
        split=result.split,
        interval=result.intervals()[0],
        log=log,
        best=cases(best),
        worst=cases(worst),
        facts=_facts(card, log, folder / "model.safetensors"),
        command=command or train_command(card, folder),
        baseline=baseline,
        picture=picture,
        next_commands=list(
            following
            or (
                shlex.join(("atrous", "eval", str(folder), data)),
                f"atrous predict PICTURES --model {shlex.quote(str(folder))}",
            )
        ),
        images=len(result.names),
    )
    write_report(folder / "report.html", report)


def choose_cases(result: Evaluation, most: int = CASES) -> tuple[list[int], list[int]]:
    """Indices of the best and of the worst images by their own mIoU, best and worst first, none in both.

    An image that is of one class but for less than 1 % is passed over where there are others: it shows little.
    """
    scores, true = result.image_scores(), result.counts[:, 0]
    order = [int(k) for k in np.argsort(scores, kind="stable") if not math.isnan(scores[k])]
    order = [k for k in order if true[k].max() < 0.99 * true[k].sum()] or order
    worst = order[: max(1, len(order) // 2)][:most]
    return order[len(worst) :][::-1][:most], worst


def train_command(card: Card, folder: Path) -> str:
    """The `atrous train` command that makes the card's recipe again."""
    recipe = card.recipe
    weights = recipe.get("weights", "random")
    words = ["atrous", "train", card.data, "-o", str(folder), "--model", card.model]
    options = {"--encoder": "encoder", "--steps": "steps", "--batch": "batch", "--lr": "lr", "--seed": "seed"}
    for option, key in options.items():
        if key in recipe:
            words += [option, str(recipe[key])]
    if "crop" in recipe:
        words += ["--crop", "{}x{}".format(*recipe["crop"])]
    flags = {"random": ["--no-pretrained"], "pretrained": ["--pretrained"]}
    return shlex.join(words + flags.get(weights, ["--encoder-weights", weights]))


def _case(sample: Sample, name: str, predict: Callable[[np.ndarray], np.ndarray], score: float) -> Case:
    assert sample.mask is not None, "an evaluated sample has a mask"
    return Case(name, sample.image, sample.mask, predict(sample.image), score)


def _facts(card: Card, log: Sequence[dict[str, Any]], bundle: Path) -> dict[str, str]:
    recipe = card.recipe
    facts = {
        "model": card.model,
        "encoder": recipe.get("encoder"),
        "parameters": _parameters(bundle),
        "initial weights": recipe.get("weights"),
        "data": card.data,
        "training images": recipe.get("train_images"),
        "steps": recipe.get("steps"),
        "batch": recipe.get("batch"),
        "crop": "{} x {} pixels".format(*recipe["crop"]) if "crop" in recipe else None,
        "optimizer": f"{recipe['optimizer']}, learning rate {recipe['lr']:g}" if "optimizer" in recipe else None,
        "precision": recipe.get("precision"),
        "seed": recipe.get("seed"),
        "training time": _duration(max((entry.get("seconds", 0) for entry in log), default=0)),
        "licence": card.licence,
        "atrous": card.atrous,
    }
    return {name: str(value) for name, value in facts.items() if value not in (None, "")}


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
