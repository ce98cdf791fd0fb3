"""The facade: fit, predict, score, save, load."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch import nn

from atrous.bundle import Card, load_bundle, save_bundle
from atrous.datasets import DataSet, open_dataset
from atrous.datasets.folds import fold_of
from atrous.doctor import Witness, finding_line
from atrous.errors import DataError, ModelError, RecipeError, WeightsError, nearest
from atrous.evaluate.evaluation import Evaluation, evaluate, pooled
from atrous.files import write_atomically
from atrous.labels import LabelSet
from atrous.models import list_models
from atrous.plan import again, draft, fingerprint
from atrous.predict import Predictor
from atrous.predict.backends import EXPORTED, open_exported
from atrous.predict.ensemble import Ensemble, folds_in, load_network
from atrous.report import report_run
from atrous.train import processes
from atrous.train.batches import Transform
from atrous.train.loggers import Logger
from atrous.train.loop import train
from atrous.train.recipe import Recipe
from atrous.zoo.fetch import located
from atrous.zoo.shipped import absence

FROM_DATA = {
    "atrous", "data", "fingerprint", "train_images", "val_images", "in_channels", "weights", "dtype", "mean", "std",
    "transform", "fold", "extended", "distil_digest",
}  # fmt: skip
"""Fields of a recipe that nobody chooses by name."""

MOST_WARNINGS = 5
"""Of the data that are printed before a training."""


class Segmenter:
    """A network that learns from a folder and labels pictures.

    model, encoder, pretrained, and any field of a recipe (`steps`, `batch`, `lr`, `crop`, ...), as `atrous.plan.draft`
    takes them.
    """

    def __init__(
        self, model: str | None = None, encoder: str | None = None, pretrained: bool | str | None = None, **wishes: Any
    ) -> None:
        if model is not None and model not in list_models():
            raise ModelError(f"unknown model {model!r}; {nearest(model, list_models())}")
        if fixed := sorted(set(wishes) & FROM_DATA):
            raise ModelError(f"{fixed[0]!r} is no option: it follows from the data, the weights or fit's arguments")
        if unknown := sorted(set(wishes) - set(Recipe.model_fields)):
            raise ModelError(f"unknown option {unknown[0]!r}; {nearest(unknown[0], list(Recipe.model_fields))}")
        self._wishes = {"model": model, "encoder": encoder, "pretrained": pretrained, **wishes}
        self._predictor: Predictor | None = None

    @processes.joined()
    def fit(
        self,
        data: Path | str | DataSet,
        out: Path | str | None = None,
        *,
        time: float | None = None,
        steps: int | None = None,
        workers: int = 0,
        cache_mb: float = 1024,
        transform: Transform | None = None,
        folds: int | None = None,
        extend: int | None = None,
        loggers: Sequence[Logger] = (),
        classes: Path | str | None = None,
        ignore: Sequence[int] = (),
        strategy: processes.Strategy = "ddp",
        console: Console | None = None,
    ) -> "Segmenter":
        """Train on a folder of images and masks; resumes the run in `out` (default `runs/<name of data>`).

        time: seconds the whole training may take (default an hour), or steps: how many. Files are checked first.
        workers: loader processes. cache_mb: memory for decoded pictures, in MiB, of a folder that is opened here.
        transform: one of torchvision v2 for every augmented crop (docs/augmentation.md); give it again to resume.
        folds: so many runs, `out/fold-1` and so on, each validated on pictures of its own; they predict together.
        extend: so many steps more of a finished run. loggers: who is told of losses and scores (`train.loggers`).
        strategy: of several processes, "ddp" or "fsdp" (docs/training.md).
        """
        console = processes.voice(console or Console())
        if not isinstance(data, DataSet):
            data = open_dataset(data, classes=Path(classes) if classes else None, ignore=ignore, cache_mb=cache_mb)
        folder = Path(out) if out else Path("runs") / data.root.resolve().name
        for note in data.notes:
            console.print(note, markup=False, highlight=False)
        _verify(data, console)
        given = {key: value for key, value in (("time", time), ("steps", steps)) if value is not None}
        wishes = {**self._wishes, **given}
        how: dict[str, Any] = {
            "workers": workers, "transform": transform, "loggers": loggers, "extend": extend, "console": console,
            "strategy": strategy,
        }  # fmt: skip
        if folds is not None:
            self._cross_validate(data, folder, folds, wishes, how)
        elif folds_in(folder):
            raise RecipeError(f"{folder}: holds a cross-validation; give its --folds again, or another -o")
        else:
            self._train(data, folder, wishes, how)
        return self

    def _train(self, data: DataSet, folder: Path, wishes: dict[str, Any], how: dict[str, Any]) -> Evaluation | None:
        """One run, its scores and its page; the scores where they were not there yet."""
        console = how["console"]
        saved = folder / "recipe.toml"
        held = processes.from_first(lambda: Recipe.load(saved) if saved.exists() else None)
        if held is not None and held.fold and "fold" not in wishes:  # one fold of several, by its own folder
            wishes, data = {**wishes, "fold": held.fold}, fold_of(data, *held.fold)

        def drafted() -> Recipe:
            if held is not None and how["extend"]:
                return again(data, held, **wishes)
            return draft(data, held=held, say=lambda text: console.print(f"[bold yellow]{text}[/]"), **wishes)

        recipe = processes.from_first(drafted)
        if not processes.first() and fingerprint(data) != recipe.fingerprint:
            raise DataError(f"{data.root}: holds other images or classes here than where the run's first process is")
        bundle, page = train(recipe, data, folder, **how), folder / "report.html"
        self._predictor = Predictor(*load_bundle(bundle), device=_device())
        judged = page.exists() and page.stat().st_mtime >= bundle.stat().st_mtime
        if judged or "val" not in data.splits or not processes.first():
            return None
        result = self.evaluate(data, "val")
        write_atomically(folder / "metrics.json", json.dumps({"val": result.summary()}, indent=1).encode())
        report_run(folder, result, data.splits["val"], self.predictor.labels, self.card, splits=data.splits)
        return result

    def _cross_validate(
        self, data: DataSet, folder: Path, folds: int, wishes: dict[str, Any], how: dict[str, Any]
    ) -> None:
        """A run for every fold, in its share of the time; then the scores of all pictures by who had not seen them."""
        if (folder / "recipe.toml").exists():
            raise RecipeError(f"{folder}: holds a single run; give another -o for a cross-validation")
        if how["extend"]:
            raise RecipeError(f"--extend takes one run; extend the folds one by one, -o {folder / 'fold-1'} and so on")
        if len(folds_in(folder)) > folds:
            raise RecipeError(f"{folder}: holds {len(folds_in(folder))} folds, this command asks for {folds}")
        parts = [fold_of(data, fold, folds) for fold in range(1, folds + 1)]
        if wishes.get("steps") is None:
            wishes = {**wishes, "time": (wishes.get("time") or 3600.0) / folds}
        results = []
        for fold, part in enumerate(parts, 1):
            how["console"].print(f"fold {fold} of {folds}", highlight=False)
            found = self._train(part, folder / f"fold-{fold}", {**wishes, "fold": (fold, folds)}, how)
            if processes.first():
                results.append(found or self.evaluate(part, "val"))
        self._predictor = Predictor(*load_network(folder), device=_device())
        if not processes.first():
            return
        whole = pooled(results)
        single = [result.miou for result in results]
        numbers: dict[str, Any] = {"val": whole.summary(), "folds": single}
        write_atomically(folder / "metrics.json", json.dumps(numbers, indent=1).encode())
        every, *each = ("-" if miou is None else f"{miou:.3f}" for miou in (whole.miou, *single))
        how["console"].print(
            f"mIoU of all {len(whole.names)} pictures, each by the network that had not seen it: {every}; of the "
            f"folds: {', '.join(each)}",
            highlight=False,
        )

    def predict(self, images: Any) -> Any:
        """A Prediction for a path, PIL image or (H, W, C) array; a list of Predictions for a list of them."""
        return (
            [self.predictor(image) for image in images] if isinstance(images, (list, tuple)) else self.predictor(images)
        )

    def evaluate(self, data: Path | str | DataSet, split: str | None = None, **options: Any) -> Evaluation:
        """Count the predictions over a split: default `test` where there is one, else `val`, else everything."""
        if not isinstance(data, DataSet):
            data = open_like_run(self.card, data)
        name = choose_split(data, split)
        return evaluate(
            lambda sample: self.predictor.labels(sample.image), data.splits[name], self.labels, name, **options
        )

    def score(self, data: Path | str | DataSet, split: str | None = None) -> dict[str, Any]:
        """`evaluate` as plain numbers: miou, per_class, pixel_accuracy, policy, interval, split."""
        return self.evaluate(data, split).summary()

    def save(self, path: Path | str) -> None:
        """Write the bundle: one .safetensors file with weights and card."""
        if isinstance(self.model, Ensemble):
            raise WeightsError(f"{path}: the networks of a cross-validation are no single bundle; distil them into one")
        save_bundle(path, self.model, self.card)

    @property
    def predictor(self) -> Predictor:
        if self._predictor is None:
            raise WeightsError("this Segmenter is not trained yet; call .fit(data) or use atrous.load(bundle)")
        return self._predictor

    @property
    def model(self) -> nn.Module:
        """The network; its input is normalised, see the card's mean and std."""
        return self.predictor.model

    @property
    def card(self) -> Card:
        return self.predictor.card

    @property
    def labels(self) -> LabelSet:
        return self.card.labels


def _verify(data: DataSet, console: Console) -> None:
    """Check every file that a training reads, and print what the doctor warns of, at most `MOST_WARNINGS` lines."""
    witness = Witness(data.labels, data.root)
    try:
        data.verify([split for split in ("train", "val") if split in data.splits], visit=witness.see)
    except DataError as error:
        raise DataError(f"{error}; `atrous check {data.root}` names every fault with its remedy") from error
    warnings = witness.warnings()
    for finding in warnings[:MOST_WARNINGS]:
        console.print(finding_line(finding, data.root), markup=False, highlight=False)
    if len(warnings) > MOST_WARNINGS:
        console.print(f"{len(warnings) - MOST_WARNINGS} more warnings: atrous check {data.root}", markup=False)


def wishes_of(file: Path, length: bool = True) -> dict[str, Any]:
    """What a recipe, or a part of one, decides, as options of a Segmenter; length: its time and steps too."""
    decided = Recipe.decided(file)
    left = FROM_DATA if length else {*FROM_DATA, "time", "steps", "validate_every", "warmup"}
    weights = decided.get("weights")
    values = {name: value for name, value in decided.items() if name not in left}
    return values | {"pretrained": {"random": False, "pretrained": True}.get(weights, weights)} if weights else values


def load(source: Path | str, *, device: str | None = None, **options: Any) -> Segmenter:
    """A trained Segmenter from a bundle file, a run folder (of a cross-validation: all its networks, averaged) or the
    name of weights, those of others fetched once; or from a file of `atrous export`, .onnx or .xml, by what stands
    in it.

    options: backend, decode, calibration, recall, refine, refine_options and those of cutting, of `atrous.Predictor`.
    """
    path = located(source)
    if path.is_dir():
        if not (path / "model.safetensors").exists() and folds_in(path):
            segmenter = Segmenter()
            segmenter._predictor = Predictor(*load_network(path), device=device or _device(), **options)
            return segmenter
        if not (path / "model.safetensors").exists():
            unfinished = (path / "recipe.toml").exists()
            raise WeightsError(
                f"{path}: holds a run that is not finished; run the same `atrous train` command again"
                if unfinished
                else f"{path}: holds no model.safetensors; give a run folder of `atrous train` or a bundle"
            )
        path /= "model.safetensors"
    if not path.exists():
        raise WeightsError(
            f"{path}: no such bundle or run folder, nor the name of published weights; "
            f"train one with `atrous train DATA -o {source}`, or see `atrous models`{absence()}"
        )
    segmenter = Segmenter()
    if path.suffix in EXPORTED:
        if (backend := options.pop("backend", "auto")) not in ("auto", EXPORTED[path.suffix]):
            raise ModelError(f"{path}: runs on {EXPORTED[path.suffix]} alone; leave --backend {backend} off")
        segmenter._predictor = Predictor(*open_exported(path), **options)
    else:
        segmenter._predictor = Predictor(*load_bundle(path), device=device or _device(), **options)
    return segmenter


def open_like_run(card: Card, data: Path | str, *, classes: Path | None = None, ignore: Sequence[int] = ()) -> DataSet:
    """A data set with a card's classes; the folder it was trained on keeps the share that was held out.

    A fold has there the pictures of its own as `val`; of all folds together only `test` is left, the rest was seen.
    """
    same = bool(card.recipe) and Path(card.recipe["data"]).resolve() == Path(data).resolve()
    labels = LabelSet.from_toml(classes) if classes else card.labels
    if ignore:
        labels = dataclasses.replace(labels, ignore=tuple(sorted({*labels.ignore, *ignore})))
    if labels.names != card.labels.names:
        raise DataError(f"{classes}: must name the model's classes, which are {', '.join(card.labels.names)}")
    if not same:
        return open_dataset(data, labels=labels, holdout=0)
    opened = open_dataset(data, labels=labels)
    fold, folds = card.recipe.get("fold") or (0, 0)
    if fold:
        return fold_of(opened, fold, folds)
    if folds:
        unseen = {name: pairs for name, pairs in opened.splits.items() if name == "test"}
        if not unseen:
            raise DataError(
                f"{data}: every picture was seen by some of the {folds} networks; the honest score, each picture by "
                "the one that had not seen it, is in the run's metrics.json; judge on other data"
            )
        return dataclasses.replace(opened, splits=unseen)
    return opened


def choose_split(data: DataSet, split: str | None) -> str:
    """The split asked for, or `test`, else `val`, else whatever is there; DataError names those that exist."""
    if split is not None and split not in data.splits:
        raise DataError(f"{data.root}: has no split {split!r}; it has {', '.join(data.splits)}")
    return split or next((name for name in ("test", "val") if name in data.splits), next(iter(data.splits)))


def _device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"
