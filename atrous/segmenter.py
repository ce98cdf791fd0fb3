"""The facade: fit, predict, score, save, load."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Unpack, overload

import numpy as np
from PIL.Image import Image
from rich.console import Console
from torch import nn

from atrous.bundle import Card, load_bundle, save_bundle
from atrous.datasets import DataSet, open_dataset
from atrous.datasets.folder import Pair
from atrous.datasets.folds import fold_of
from atrous.doctor import Witness, finding_line
from atrous.errors import DataError, ModelError, RecipeError, WeightsError, memory_in_words, nearest
from atrous.evaluate.data import Chosen, choose_pictures, choose_split
from atrous.evaluate.evaluation import Evaluation, evaluate, pooled
from atrous.evaluate.seen import keep_trace
from atrous.files import write_atomically
from atrous.io.paths import refuse_among
from atrous.labels import LabelSet
from atrous.models import list_models
from atrous.plan import check_wishes, draft, fingerprint
from atrous.predict import Prediction, Predictor
from atrous.predict.ensemble import Ensemble
from atrous.predict.loading import RECIPE, default_device, folds_in, load_network, load_predictor, predictor_of
from atrous.predict.predictor import PredictorOptions
from atrous.progress import Bar, Over, command, say
from atrous.report import report_run
from atrous.sample import Sample
from atrous.train import processes
from atrous.train.batches import Transform
from atrous.train.loggers import Logger
from atrous.train.loop import train
from atrous.train.options import RecipeOptions
from atrous.train.recipe import FROM_DATA, Recipe
from atrous.train.surroundings import left_as_found

MOST_WARNINGS = 5
"""Of the data that are printed before a training."""


class Segmenter:
    """A network that learns from a folder and labels pictures.

    Args:
        model: a name of `atrous.list_models()`; default "deeplabv3plus".
        encoder: any timm encoder; default "tf_efficientnet_lite0".
        pretrained: True for ImageNet weights, a file of them, False for random ones; default ImageNet's where they can
            be had.
        wishes: any field of a recipe (`steps`, `batch`, `lr`, `crop`, ...; docs/recipe.md).

    Raises:
        ModelError: a name or an option that does not exist.

    Example:
        >>> import atrous
        >>> atrous.Segmenter("unet", steps=100)
        Segmenter('unet', steps=100, not trained)
    """

    def __init__(
        self,
        model: str | None = None,
        encoder: str | None = None,
        pretrained: bool | str | None = None,
        **wishes: Unpack[RecipeOptions],
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
    @left_as_found()
    @memory_in_words()
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
        valid_area: str | None = None,
        strategy: processes.Strategy = "ddp",
        console: Console | None = None,
    ) -> "Segmenter":
        """Train on a folder of images and masks. The same call again resumes the run in `out`.

        All files are checked before training starts.

        Args:
            data: the folder, in any layout of docs/data.md, or an open data set.
            out: the run's folder; default `runs/<name of data>`.
            time: seconds that the whole training may take; default 3600.
            steps: how many training steps, instead of `time`.
            workers: loader processes. The result does not depend on them.
            cache_mb: memory for decoded pictures, in MiB, where `data` is a folder.
            transform: a transform of torchvision v2 for every augmented crop (docs/augmentation.md). Give it again to
                resume.
            folds: train this many networks, in `out/fold-1` and so on, each validated on other pictures. They predict
                together.
            extend: give a finished run this many more steps.
            loggers: objects that are told of losses and scores (`atrous.train.loggers.Logger`).
            classes: a classes.toml, instead of the data set's own.
            ignore: mask values that count nowhere, besides the data set's own.
            valid_area: the folder of fields of view, as `open_dataset` takes it.
            strategy: "ddp" or "fsdp", for several processes (docs/training.md).
            console: where progress is printed; default the standard output.

        Returns:
            The Segmenter itself, trained.

        Raises:
            DataError: the data cannot be used; names the file.
            RecipeError: `out` holds a run of another recipe.
            Interrupted: a stop was asked for; everything is saved.
        """
        console = processes.voice(console or Console())
        root = data.root if isinstance(data, DataSet) else Path(data)
        folder = Path(out) if out else Path("runs") / root.resolve().name
        given = {key: value for key, value in (("time", time), ("steps", steps)) if value is not None}
        wishes = {**self._wishes, **given}
        check_wishes(wishes, resumes=(folder / RECIPE).exists())
        processes.check_strategy(strategy)
        if not isinstance(data, DataSet):
            with Bar(console, "read masks", 0) as bar:
                data = open_dataset(
                    root,
                    classes=Path(classes) if classes else None,
                    ignore=ignore,
                    valid_area=valid_area,
                    cache_mb=cache_mb,
                    progress=bar.at,
                )
        pairs = [pair for split in data.splits.values() for pair in split.pairs]
        refuse_among(folder, root, [file for pair in pairs for file in (pair.image, pair.mask)])
        for note in data.notes:
            say(note, console)
        _verify(data, console)
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
        saved = folder / RECIPE
        held = processes.from_first(lambda: Recipe.load(saved) if saved.exists() else None)
        if held is not None and held.fold and "fold" not in wishes:  # one fold of several, by its own folder
            wishes, data = {**wishes, "fold": held.fold}, fold_of(data, *held.fold)

        def drafted() -> Recipe:
            return draft(data, held=held, say=lambda text: say(text, console, "bold yellow"), **wishes)

        recipe = processes.from_first(drafted)
        if not processes.first() and fingerprint(data) != recipe.fingerprint:
            raise DataError(f"{data.root}: holds other images or classes here than where the run's first process is")
        bundle, page = train(recipe, data, folder, **how), folder / "report.html"
        self._predictor = predictor_of(*load_bundle(bundle), device=default_device())
        judged = page.exists() and page.stat().st_mtime >= bundle.stat().st_mtime
        if judged or "val" not in data.splits or not processes.first():
            return None
        result = self.evaluate(data, "val")
        write_atomically(folder / "metrics.json", json.dumps({"val": result.summary()}, indent=1).encode())
        if data.dimensions == 2:
            report_run(folder, result, data.splits["val"], self.predictor.labels, self.card, splits=data.splits)
        return result

    def _cross_validate(
        self, data: DataSet, folder: Path, folds: int, wishes: dict[str, Any], how: dict[str, Any]
    ) -> None:
        """A run for every fold, in its share of the time; then the scores of all pictures by who had not seen them."""
        if (folder / "recipe.toml").exists():
            raise RecipeError(f"{folder}: holds a single run; give another -o for a cross-validation")
        if not folds_in(folder) and (folder / "metrics.json").exists():
            raise RecipeError(f"{folder}: holds metrics.json but no folds; give another folder")
        if how["extend"]:
            raise RecipeError(f"--extend takes one run; extend the folds one by one, -o {folder / 'fold-1'} and so on")
        if len(folds_in(folder)) > folds:
            raise RecipeError(f"{folder}: holds {len(folds_in(folder))} folds, this command asks for {folds}")
        parts = [fold_of(data, fold, folds) for fold in range(1, folds + 1)]
        if wishes.get("steps") is None:
            wishes = {**wishes, "time": (wishes.get("time") or 3600.0) / folds}
        results = []
        for fold, part in enumerate(parts, 1):
            say(f"fold {fold} of {folds}", how["console"])
            found = self._train(part, folder / f"fold-{fold}", {**wishes, "fold": (fold, folds)}, how)
            if processes.first():
                results.append(found or self.evaluate(part, "val"))
        self._predictor = predictor_of(*load_network(folder), device=default_device())
        if not processes.first():
            return
        whole = pooled(results)
        single = [result.miou for result in results]
        numbers: dict[str, Any] = {"val": whole.summary(), "folds": single}
        write_atomically(folder / "metrics.json", json.dumps(numbers, indent=1).encode())
        every, *each = ("-" if miou is None else f"{miou:.3f}" for miou in (whole.miou, *single))
        say(
            f"mIoU of all {len(whole.names)} pictures, each by the network that had not seen it: {every}; of the "
            f"folds: {', '.join(each)}",
            how["console"],
        )

    @overload
    def predict(self, images: Image | np.ndarray | Path | str) -> Prediction: ...
    @overload
    def predict(self, images: list[Any] | tuple[Any, ...]) -> list[Prediction]: ...
    def predict(self, images: Any) -> Prediction | list[Prediction]:
        """Label an image, or several.

        Args:
            images: a path, a PIL image or an (H, W[, C]) array in the units of the training images; or a list of them.

        Returns:
            A `Prediction`; a list of them for a list.
        """
        return (
            [self.predictor(image) for image in images] if isinstance(images, (list, tuple)) else self.predictor(images)
        )

    def evaluate(
        self,
        data: Path | str | DataSet,
        split: str | None = None,
        *,
        progress: Over | None = None,
        metrics: Mapping[str, Any] | None = None,
        cluster: Callable[[str], str] | None = None,
        block: int = 1,
    ) -> Evaluation:
        """Count the predictions over a split of labelled data.

        Args:
            data: a folder or an open data set with this network's classes.
            split: "train", "val" or "test"; default "test" where there is one, else "val", else everything. In a
                folder, pictures that the network was trained on are left out, as in `choose_pictures`.
            progress, metrics, cluster, block: as in `atrous.evaluate.evaluation.evaluate`.
        """
        if isinstance(data, DataSet):
            chosen = Chosen(data, choose_split(data, split))
        else:
            chosen = choose_pictures(data, split, [self.card], labels=self.labels)
        result = evaluate(
            lambda sample: self.predictor.of(sample).labels,
            chosen.pairs,
            self.labels,
            chosen.split,
            progress=progress,
            metrics=metrics,
            cluster=cluster,
            block=block,
        )
        return replace(result, left_out=chosen.left_out, trained_on=chosen.trained_on, remark=chosen.remark)

    def score(self, data: Path | str | DataSet, split: str | None = None) -> dict[str, Any]:
        """`evaluate` as plain numbers: miou, per_class, pixel_accuracy, policy, interval, split."""
        return self.evaluate(data, split).summary()

    def save(self, path: Path | str) -> None:
        """Write the bundle: one .safetensors file with weights and card.

        Raises:
            WeightsError: these are several networks, of a cross-validation.
        """
        if isinstance(self.model, Ensemble):
            raise WeightsError(f"{path}: the networks of a cross-validation are no single bundle; distil them into one")
        save_bundle(path, self.model, self.card)

    def __repr__(self) -> str:
        if self._predictor is None:
            model, *rest = ((key, value) for key, value in self._wishes.items() if key == "model" or value is not None)
            given = [repr(model[1])] * (model[1] is not None) + [f"{key}={value!r}" for key, value in rest]
            return f"Segmenter({', '.join([*given, 'not trained'])})"
        card = self.card
        encoder = f" on {card.options['encoder']}" if card.options.get("encoder") else ""
        parts = [f"{card.model}{encoder}", f"{len(card.labels)} classes"]
        if card.data:
            parts.append(f"trained on {Path(card.data).name.split(',')[0]}")
        judged = [split for split in ("test", "val") if (card.metrics.get(split) or {}).get("miou") is not None]
        parts += [f"mIoU {card.metrics[split]['miou']:.3f} on {split}" for split in judged[:1]]
        return f"Segmenter({', '.join(parts)})"

    @property
    def predictor(self) -> Predictor:
        """What labels raw images.

        Raises:
            WeightsError: this Segmenter is not trained yet.
        """
        if self._predictor is None:
            raise WeightsError("this Segmenter is not trained yet; call .fit(data) or use atrous.load(bundle)")
        return self._predictor

    @property
    def model(self) -> nn.Module:
        """The network; its input is normalised, see the card's mean and std."""
        return self.predictor.model

    @property
    def card(self) -> Card:
        """What the bundle says about itself: network, classes, normalisation, recipe, scores, licence."""
        return self.predictor.card

    @property
    def labels(self) -> LabelSet:
        """The classes."""
        return self.card.labels


def _verify(data: DataSet, console: Console) -> None:
    """Check every file of the data, and print what the doctor warns of, at most `MOST_WARNINGS` lines."""
    witness = Witness(data.labels, data.root)

    def see(split: str, pair: Pair, sample: Sample) -> None:
        if data.dimensions == 2:
            witness.see(split, pair, sample)
        keep_trace(data.splits[split], pair, sample)  # the bundle will hold it

    try:
        with Bar(console, "check", 0) as bar:
            data.verify(progress=bar.at, visit=see)
    except DataError as error:
        every = command("atrous", "check", data.root)
        raise DataError(f"{error}; `{every}` names every fault with its remedy") from error
    warnings = witness.warnings()
    for finding in warnings[:MOST_WARNINGS]:
        say(finding_line(finding, data.root), console)
    if len(warnings) > MOST_WARNINGS:
        say(f"{len(warnings) - MOST_WARNINGS} more warnings: {command('atrous', 'check', data.root)}", console)


def wishes_of(file: Path, length: bool = True) -> dict[str, Any]:
    """What a recipe, or a part of one, decides, as options of a Segmenter; length: its time and steps too."""
    decided = Recipe.decided(file)
    if "atrous" in decided and "steps" in decided:  # a whole recipe: its steps were measured, to fit its time
        decided.pop("time", None)
    left = FROM_DATA if length else {*FROM_DATA, "time", "steps", "validate_every", "warmup"}
    weights = decided.get("weights")
    values = {name: value for name, value in decided.items() if name not in left}
    return values | {"pretrained": {"random": False, "pretrained": True}.get(weights, weights)} if weights else values


def load(source: Path | str, *, device: str | None = None, **options: Unpack[PredictorOptions]) -> Segmenter:
    """Open a trained network.

    Args:
        source: a bundle (.safetensors), a run's folder, that of a cross-validation (all its networks, averaged), the
            name of published weights (fetched once), or a file of `atrous export` (.onnx, .xml).
        device: of torch, such as "cpu" or "cuda:1"; default "cuda" where there is one, else "cpu".
        options: of `atrous.Predictor`: backend, decode, calibration, recall, refine, refine_options, window, ...

    Raises:
        WeightsError: nothing is there, the run is not finished, or the file cannot be read.
        ModelError: an option that this source cannot have.

    Example:
        >>> import atrous
        >>> atrous.load("camvid-deeplabv3plus-lite0")
        Segmenter(deeplabv3plus on tf_efficientnet_lite0, 11 classes, trained on CamVid, mIoU 0.681 on test)
    """
    segmenter = Segmenter()
    segmenter._predictor = load_predictor(source, device=device, **options)
    return segmenter
