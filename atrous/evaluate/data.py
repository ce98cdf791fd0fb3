"""The data that a network is judged on: with its classes, and without what it has seen."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from atrous.bundle import Card
from atrous.datasets import DataSet, Pairs, open_dataset
from atrous.datasets.folds import fold_of
from atrous.errors import AtrousError, DataError
from atrous.evaluate.seen import Seen, fingerprint_of
from atrous.labels import LabelSet
from atrous.predict.loading import Kind, card_of, is_network, kind_of

PROBES = 24
"""So many training pictures, evenly spaced, tell whether a folder of the same names holds the same pictures: where half
of them are known, it does."""


@dataclass(frozen=True)
class Chosen:
    """The pictures that are judged.

    Attributes:
        data: the data set; the chosen split lacks the pictures that are left out.
        split: the chosen split.
        left_out: how many pictures are left out, as a network was trained on them.
        trained_on: on how many of the judged pictures a network was trained; None where that is not known.
        remark: a sentence on this, "" where there is nothing to say.
    """

    data: DataSet
    split: str
    left_out: int = 0
    trained_on: int | None = 0
    remark: str = ""

    @property
    def pairs(self) -> Pairs:
        """The judged pictures."""
        return self.data.splits[self.split]


def classes_of_run(card: Card, classes: Path | None = None, ignore: Sequence[int] = ()) -> LabelSet:
    """The classes that masks are read with; DataError if `classes` names others than the card."""
    labels = LabelSet.from_toml(classes) if classes else card.labels
    if labels.names != card.labels.names:
        raise DataError(f"{classes}: must name the model's classes, which are {', '.join(card.labels.names)}")
    return dataclasses.replace(labels, ignore=tuple(sorted({*labels.ignore, *ignore}))) if ignore else labels


def choose_pictures(
    data: Path | str,
    split: str | None,
    networks: Sequence[Card],
    *,
    first: Sequence[str] = ("test", "val"),
    **classes: Any,
) -> Chosen:
    """Choose the pictures of a folder that networks are judged on: those that none of them was trained on.

    The data that the first network was trained on keep its held-out share, wherever they lie: they are known by the
    fingerprint in the recipe. In other data the networks' training pictures are known by their traces
    (`atrous.evaluate.seen`) and left out. Where nothing else is there, or `split` is "train", they are judged and
    counted.

    Args:
        data: the labelled data.
        split: default the first of `first` that is there, else the first one.
        networks: the cards of all networks that are judged on the same pictures.
        first: the splits that are preferred.
        classes: `classes`, `labels`, `ignore` and `valid_area` of `open_dataset`. The last is by default what the first
            network was trained with, where the data have that folder.

    Raises:
        DataError: the data cannot be used, or every picture was seen by one fold of a cross-validation.
    """
    if not networks:
        opened = open_dataset(data, holdout=0, **classes)
        return Chosen(opened, choose_split(opened, split, first), trained_on=None)
    opened, same = _open(networks[0], data, classes)
    known = networks[0].recipe["fingerprint"] if same else ""
    others = [card for card in networks if card.recipe.get("fingerprint") != known]
    seen = Seen({trace for card in others for trace in card.seen})
    if seen and not same and "val" not in opened.splits and _wanted(opened, split, first) == "val":
        opened, left_out = _held_out(opened, seen)
        if left_out:
            return _remarked(Chosen(opened, "val", left_out), others)
    name = choose_split(opened, split, first)
    chosen = Chosen(opened, name, trained_on=len(opened.splits[name]) if same and name == "train" else 0)
    if seen and not chosen.trained_on:
        chosen = _without(chosen, seen)
    return _remarked(chosen, others)


def _open(card: Card, data: Path | str, classes: Mapping[str, Any]) -> tuple[DataSet, bool]:
    """The data, and whether they are those that the network was trained on, with its held-out share."""
    if not card.recipe:
        return open_dataset(data, holdout=0, **classes), False
    area = card.recipe.get("valid_area")
    folders = (Path(data), *Path(data).glob("*/"))
    if area and not classes.get("valid_area") and any((folder / area).is_dir() for folder in folders):
        classes = {**classes, "valid_area": area}
    here = Path(card.recipe["data"]).resolve() == Path(data).resolve()
    fold, folds = card.recipe.get("fold") or (0, 0)
    opened = whole = open_dataset(data, **classes)
    if 2 <= folds <= sum(len(whole.splits.get(name, ())) for name in ("train", "val")):
        opened = fold_of(whole, fold or 1, folds)
    same = _is_of_run(card, opened, here)
    trusted = same or (here and not card.seen)
    if trusted and folds and not fold:
        unseen = {name: pairs for name, pairs in opened.splits.items() if name == "test"}
        if not unseen:
            raise DataError(
                f"{data}: some of the {folds} networks saw every picture; the honest score, each picture judged by "
                "the network that did not see it, is in the run's metrics.json; judge on other data"
            )
        return dataclasses.replace(opened, splits=unseen), same
    return (opened, same) if trusted else (open_dataset(data, holdout=0, **classes), False)


def _is_of_run(card: Card, opened: DataSet, here: bool) -> bool:
    """Whether `train` has the classes and names of the network's training pictures, and, elsewhere, shows the same."""
    pairs = opened.splits.get("train")
    if pairs is None or fingerprint_of(card.labels, pairs.names) != card.recipe.get("fingerprint"):
        return False
    probes = pairs[:: -(-len(pairs) // PROBES)]
    return here or not card.seen or 2 * sum(Seen(card.seen).among(probes)) >= len(probes)


def _wanted(opened: DataSet, split: str | None, first: Sequence[str]) -> str | None:
    """The split that is asked for, or would be the first, if there were a `val`."""
    return split or next((name for name in first if name in (*opened.splits, "val")), None)


def _held_out(opened: DataSet, seen: Seen) -> tuple[DataSet, int]:
    """The training split cut into `train`, what was seen, and `val`, what was not; and how many were seen.

    Where all or none were seen, the data as they are, and 0.
    """
    training = "train" if "train" in opened.splits else "all"
    pairs = opened.splits.get(training)
    known = seen.among(pairs) if pairs is not None else []
    if pairs is None or all(known) or not any(known):
        return opened, 0
    parts = {
        "train": pairs.choose([index for index, one in enumerate(known) if one]),
        "val": pairs.choose([index for index, one in enumerate(known) if not one]),
    }
    rest = {name: others for name, others in opened.splits.items() if name != training}
    return dataclasses.replace(opened, splits={**parts, **rest}, held_out=True), sum(known)


def _without(chosen: Chosen, seen: Seen) -> Chosen:
    """The chosen pictures without those that were seen; all of them, if all were or the split is `train`."""
    known = seen.among(chosen.pairs)
    if all(known) or chosen.split == "train":
        return dataclasses.replace(chosen, trained_on=sum(known))
    left = chosen.pairs.choose([index for index, one in enumerate(known) if not one])
    data = dataclasses.replace(chosen.data, splits={**chosen.data.splits, chosen.split: left})
    return dataclasses.replace(chosen, data=data, left_out=sum(known))


def _remarked(chosen: Chosen, others: Sequence[Card]) -> Chosen:
    """The same with the sentence that belongs to it, which the data set's notes hold too.

    others: the networks whose training data are other ones than these, as far as names tell.
    """
    root, count = chosen.data.root, len(chosen.pairs)
    if not chosen.trained_on and not all(card.seen for card in others):
        chosen = dataclasses.replace(chosen, trained_on=None)
    sentences = []
    if chosen.left_out:
        sentences.append(
            f"{root}: {chosen.left_out} of {chosen.left_out + count} pictures are left out, as they were trained on; "
            f"judged are the other {count}"
        )
    if chosen.trained_on:
        sentences.append(
            f"{root}: {chosen.trained_on} of the {count} judged pictures were trained on, so the score is too good "
            "for new pictures"
        )
    if any(card.recipe and not card.seen and not card.training for card in others):  # published ones name their data
        sentences.append(
            f"{root}: whether some of the {count} judged pictures were trained on is not known, as the bundle is of "
            "an older atrous and does not keep that; judge on pictures that are new to it"
        )
    remark = "; ".join(sentences)
    data = dataclasses.replace(chosen.data, notes=[*chosen.data.notes, remark]) if remark else chosen.data
    return dataclasses.replace(chosen, data=data, remark=remark)


def choose_split(data: DataSet, split: str | None, first: Sequence[str] = ("test", "val")) -> str:
    """The split that is asked for; by default the first of `first` that is there, else the data's first.

    Raises:
        DataError: it does not exist.
    """
    if split is not None and split not in data.splits:
        raise DataError(f"{data.root}: has no split {split!r}; it has {', '.join(data.splits)}")
    return split or next((name for name in first if name in data.splits), next(iter(data.splits)))


def trained_on(source: Path) -> Path:
    """The folder a network was trained on; raises where `source` is no network, or the folder is gone."""
    if kind_of(source) is Kind.NOTHING:
        raise AtrousError(f"{source}: no such run folder, bundle or folder of predictions")
    if not is_network(source):
        raise AtrousError(f"{source}: is not a trained run; say what to judge it on with --data DATA")
    data = Path(card_of(source).data)
    if not data.exists():
        raise DataError(f"{source}: was trained on {data}, which is not there; say where it is with --data DATA")
    return data
