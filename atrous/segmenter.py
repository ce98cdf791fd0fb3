"""The facade: fit, predict, score, save, load."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch import nn

from atrous.batches import Transform
from atrous.bundle import Card, load_bundle, save_bundle
from atrous.datasets import DataSet, open_dataset
from atrous.errors import DataError, ModelError, WeightsError, nearest
from atrous.evaluate import Evaluation, evaluate
from atrous.files import write_atomically
from atrous.labels import LabelSet
from atrous.models import list_models
from atrous.plan import draft
from atrous.predict import Predictor
from atrous.predict.backends import EXPORTED, open_exported
from atrous.recipe import Recipe
from atrous.report import report_run
from atrous.train import train
from atrous.zoo.cards import CARDS
from atrous.zoo.fetch import bundle_of

FROM_DATA = {
    "atrous", "data", "fingerprint", "train_images", "val_images", "in_channels", "weights", "dtype", "mean", "std",
    "transform",
}  # fmt: skip
"""Fields of a recipe that nobody chooses by name."""


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
        classes: Path | str | None = None,
        ignore: Sequence[int] = (),
        console: Console | None = None,
    ) -> "Segmenter":
        """Train on a folder of images and masks; resumes the run in `out` (default `runs/<name of data>`).

        time: seconds the whole training may take (default an hour), or steps: how many. Files are checked first.
        workers: loader processes. cache_mb: memory for decoded pictures, in MiB, of a folder that is opened here.
        transform: one of torchvision v2 for every augmented crop (docs/augmentation.md); give it again to resume.
        """
        console = console or Console()
        if not isinstance(data, DataSet):
            data = open_dataset(data, classes=Path(classes) if classes else None, ignore=ignore, cache_mb=cache_mb)
        folder = Path(out) if out else Path("runs") / data.root.resolve().name
        for note in data.notes:
            console.print(note, markup=False, highlight=False)
        data.verify([split for split in ("train", "val") if split in data.splits])
        held = Recipe.load(folder / "recipe.toml") if (folder / "recipe.toml").exists() else None
        wishes = {
            **self._wishes,
            **{key: value for key, value in (("time", time), ("steps", steps)) if value is not None},
        }
        recipe = draft(data, held=held, say=lambda text: console.print(f"[bold yellow]{text}[/]"), **wishes)
        bundle = train(recipe, data, folder, workers=workers, transform=transform, console=console)
        self._predictor = Predictor(*load_bundle(bundle), device=_device())
        if "val" in data.splits and not (folder / "report.html").exists():
            result = self.evaluate(data, "val")
            write_atomically(folder / "metrics.json", json.dumps({"val": result.summary()}, indent=1).encode())
            report_run(folder, result, data.splits["val"], self.predictor.labels, self.card, splits=data.splits)
        return self

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


def load(source: Path | str, *, device: str | None = None, **options: Any) -> Segmenter:
    """A trained Segmenter from a bundle file, a run folder or the name of published weights, which are fetched once;
    or from a file of `atrous export`, .onnx or .xml, by what stands in it.

    options: backend, decode, calibration, recall, refine, refine_options and those of cutting, of `atrous.Predictor`.
    """
    path = Path(source)
    if path.is_dir():
        if not (path / "model.safetensors").exists():
            unfinished = (path / "recipe.toml").exists()
            raise WeightsError(
                f"{path}: holds a run that is not finished; run the same `atrous train` command again"
                if unfinished
                else f"{path}: holds no model.safetensors; give a run folder of `atrous train` or a bundle"
            )
        path /= "model.safetensors"
    elif str(source) in CARDS and not path.exists():
        path = bundle_of(str(source))
    if not path.exists():
        raise WeightsError(
            f"{path}: no such bundle or run folder, nor the name of published weights; "
            f"train one with `atrous train DATA -o {source}`, or see `atrous models`"
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
    """A data set with a card's classes; the folder it was trained on keeps the share that was held out."""
    same = bool(card.recipe) and Path(card.recipe["data"]).resolve() == Path(data).resolve()
    labels = LabelSet.from_toml(classes) if classes else card.labels
    if ignore:
        labels = dataclasses.replace(labels, ignore=tuple(sorted({*labels.ignore, *ignore})))
    if labels.names != card.labels.names:
        raise DataError(f"{classes}: must name the model's classes, which are {', '.join(card.labels.names)}")
    return open_dataset(data, labels=labels) if same else open_dataset(data, labels=labels, holdout=0)


def choose_split(data: DataSet, split: str | None) -> str:
    """The split asked for, or `test`, else `val`, else whatever is there; DataError names those that exist."""
    if split is not None and split not in data.splits:
        raise DataError(f"{data.root}: has no split {split!r}; it has {', '.join(data.splits)}")
    return split or next((name for name in ("test", "val") if name in data.splits), next(iter(data.splits)))


def _device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"
