"""The data that a network is judged on: with its classes, and without what it has seen."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from atrous.bundle import Card
from atrous.datasets import DataSet, open_dataset
from atrous.datasets.folds import fold_of
from atrous.errors import AtrousError, DataError
from atrous.labels import LabelSet
from atrous.predict.loading import Kind, is_network, kind_of, load_predictor


def open_like_run(card: Card, data: Path | str, *, classes: Path | None = None, ignore: Sequence[int] = ()) -> DataSet:
    """Open a data set with a card's classes. The folder that the network was trained on keeps its held-out share.

    For one fold of a cross-validation, `val` is that fold's pictures. For all folds together only `test`
    is left, as each other picture was seen by some network.

    Raises:
        DataError: `classes` names other classes than the card, or every picture was seen.
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
                f"{data}: some of the {folds} networks saw every picture; the honest score, each picture judged by "
                "the network that did not see it, is in the run's metrics.json; judge on other data"
            )
        return dataclasses.replace(opened, splits=unseen)
    return opened


def choose_split(data: DataSet, split: str | None) -> str:
    """The split that is asked for; by default "test", else "val", else the first. DataError where it does not exist."""
    if split is not None and split not in data.splits:
        raise DataError(f"{data.root}: has no split {split!r}; it has {', '.join(data.splits)}")
    return split or next((name for name in ("test", "val") if name in data.splits), next(iter(data.splits)))


def trained_on(source: Path) -> Path:
    """The folder a network was trained on; raises where `source` is no network, or the folder is gone."""
    if kind_of(source) is Kind.NOTHING:
        raise AtrousError(f"{source}: no such run folder, bundle or folder of predictions")
    if not is_network(source):
        raise AtrousError(f"{source}: is not a trained run; say what to judge it on with --data DATA")
    data = Path(load_predictor(source).card.data)
    if not data.exists():
        raise DataError(f"{source}: was trained on {data}, which is not there; say where it is with --data DATA")
    return data
