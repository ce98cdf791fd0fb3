"""Judging whatever made the predictions: a network, or a folder of any tool's label maps."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from atrous.bundle import Card
from atrous.datasets import DataSet
from atrous.errors import AtrousError, DataError, nearest
from atrous.evaluate.data import Chosen, choose_pictures, classes_of_run, trained_on
from atrous.evaluate.evaluation import Evaluation, evaluate, from_folder
from atrous.evaluate.measures import make_measures
from atrous.metrics import BoundaryF, BoundaryIoU, Calibration, ErrorKinds, TrimapCurve
from atrous.metrics.foreign import TOOLS, Foreign
from atrous.metrics.volumes import VolumeScores
from atrous.predict import Predictor
from atrous.predict.loading import Kind, bundle_in, card_of, is_network, kind_of, load_predictor
from atrous.progress import Over
from atrous.sample import Sample


@dataclass(frozen=True)
class Judged:
    """What was judged: its evaluation, the data, and a function that predicts again.

    Attributes:
        card: the network's card; None for a folder of label maps.
    """

    source: Path
    result: Evaluation
    data: DataSet
    predict: Callable[[Sample], np.ndarray]
    card: Card | None


def judge(
    source: Path,
    data: Path,
    split: str | None = None,
    *,
    classes: Path | None = None,
    ignore: Sequence[int] = (),
    valid_area: str | None = None,
    full: bool = False,
    as_tool: str | None = None,
    cluster: str | None = None,
    block: int = 1,
    decode: str = "argmax",
    calibration: str = "none",
    refine: str | None = None,
    refine_options: Mapping[str, Any] | None = None,
    tidy: Sequence[str] = (),
    measures: Sequence[str] = (),
    networks: Sequence[Card] | None = None,
    progress: Over | None = None,
) -> Judged:
    """Evaluate a network or a folder of label maps on a split of `data`. Pictures stream through; none is kept.

    Pictures that the network was trained on are left out, see `atrous.evaluate.data.choose_pictures`.

    Args:
        source: whatever `atrous.load` takes, or a folder of any tool's label maps.
        data: the labelled data.
        split: "train", "val" or "test"; default "test" where there is one, else "val", else everything.
        classes: a classes.toml; it must name the network's classes.
        ignore: mask values that count nowhere, besides the data set's own.
        valid_area: the folder of fields of view, as `open_dataset` takes it; default the network's, where it is there.
        full: add boundary scores, kinds of errors and, where there are probabilities, calibration.
        as_tool: a name of `TOOLS`; adds the number that this tool would print, and why it differs.
        cluster: a regular expression. What it finds in an image's name is the image's video or patient,
            which the bootstrap draws as a whole.
        block: how many neighbouring images the bootstrap draws together; not with `cluster`.
        decode, calibration, refine, refine_options, tidy: of `atrous.Predictor`.
        measures: names of `atrous.evaluate.measures.MEASURES` to add.
        networks: the cards of all networks that are judged on the same pictures, see `judge_all`; default this one's.
        progress: see `atrous.progress.Over`.

    Raises:
        AtrousError: the source is nothing that can be judged, or options contradict each other.
        DataError: the data cannot be used; names the file.
    """
    if as_tool is not None and as_tool not in TOOLS:
        raise AtrousError(f"--as {as_tool}: unknown tool; {nearest(as_tool, list(TOOLS))}")
    if cluster and block > 1:
        raise AtrousError("--cluster and --block were both given; give one of them")
    wishes: dict[str, Any] = {"decode": decode, "calibration": calibration}
    if refine or refine_options:
        wishes |= {"refine": refine, "refine_options": refine_options}
    if tidy:
        wishes["tidy"] = tidy
    chosen, predictor = _open(source, data, split, networks, (classes, ignore, valid_area), **wishes)
    opened = chosen.data
    count, ignored = len(opened.labels), opened.labels.ignore_index
    full = full and opened.dimensions == 2
    metrics: dict[str, Any] = _full(count, ignored) if full else {}
    metrics |= make_measures(measures, opened.labels)
    if as_tool:
        metrics["as"] = Foreign(as_tool, count, ignored)
    asked = _Asked(predictor, Calibration(count, ignored)) if predictor else None
    if full and asked:
        metrics["calibration"] = asked
    if asked and opened.dimensions > 2:
        metrics["volumes"] = _OfCases(asked, VolumeScores(opened.labels, ignored, background=opened.labels.background,
                                                          cluster=_finder(cluster) if cluster else None))  # fmt: skip
    predict, surplus = (asked, "") if asked else _label_maps(source, chosen)
    result = evaluate(
        predict,
        chosen.pairs,
        opened.labels,
        chosen.split,
        progress=progress,
        metrics=metrics,
        cluster=_finder(cluster) if cluster else None,
        block=block,
    )
    remark = "; ".join(filter(None, (chosen.remark, surplus)))
    result = replace(result, left_out=chosen.left_out, trained_on=chosen.trained_on, remark=remark)
    return Judged(source, result, opened, predict, predictor.card if predictor else None)


def _label_maps(folder: Path, chosen: Chosen) -> tuple[Callable[[Sample], np.ndarray], str]:
    """What reads the label map of a sample, and a sentence if some label maps are of no image."""
    splits = chosen.data.splits
    others = [pair.image for name in splits.keys() - {chosen.split} for pair in splits[name].pairs]
    read, surplus = from_folder(folder, chosen.data.labels, chosen.pairs, others)
    names = ", ".join(str(path.relative_to(folder)) for path in surplus[:3]) + " ..." * (len(surplus) > 3)
    sentence = f"{folder}: {len(surplus)} label maps belong to no image of {chosen.data.root} ({names})"
    return read, sentence if surplus else ""


def _full(count: int, ignored: int) -> dict[str, Any]:
    """The metrics of a full judgement that need label maps only. count: of classes."""
    return {
        "boundary_iou": BoundaryIoU(count, ignored),
        "boundary_f": BoundaryF(count, ignored),
        "trimap": TrimapCurve(count, ignored),
        "errors": ErrorKinds(count, ignored),
    }


class _Asked:
    """Predicts labels and, as a metric, feeds the same prediction's probabilities to the calibration."""

    def __init__(self, predictor: Predictor, calibration: Calibration) -> None:
        self.predictor, self.calibration = predictor, calibration

    def __call__(self, sample: Sample) -> np.ndarray:
        self.sample, self.last = sample, self.predictor.of(sample)
        return self.last.labels

    def update(self, _: np.ndarray, target: np.ndarray) -> None:
        self.calibration.update(self.last.probabilities, target)

    def compute(self) -> dict[str, Any]:
        return self.calibration.compute() if self.calibration.pixels else {}


class _OfCases:
    """As a metric, feeds each case with its spacing and its name to the scores of volumes."""

    def __init__(self, asked: _Asked, scores: VolumeScores) -> None:
        self.asked, self.scores = asked, scores

    def update(self, prediction: np.ndarray, target: np.ndarray) -> None:
        sample = self.asked.sample
        assert sample.path is not None
        self.scores.update(prediction, target, sample.geometry["spacing"], sample.path.name)

    def compute(self) -> dict[str, Any]:
        return self.scores.compute()


def _open(
    source: Path,
    data: Path,
    split: str | None,
    networks: Sequence[Card] | None,
    how: tuple[Path | None, Sequence[int], str | None],
    **wishes: Any,
) -> tuple[Chosen, Predictor | None]:
    """The pictures, with the classes that apply, and the network if the source is one.

    how: classes, ignore and valid_area of `judge`.
    """
    classes, ignore, area = how
    if is_network(source):
        predictor = load_predictor(source, **wishes)
        card = predictor.card
        labels = classes_of_run(card, classes, ignore)
        return choose_pictures(data, split, networks or [card], labels=labels, valid_area=area), predictor
    if not source.is_dir():
        raise AtrousError(f"{source}: no such run folder, bundle or folder of predictions")
    if wishes != {"decode": "argmax", "calibration": "none"}:
        raise AtrousError(
            f"{source}: holds label maps; --decode, --calibration, --refine and --tidy need a network "
            "(`atrous refine` sharpens folders)"
        )
    return choose_pictures(data, split, networks or [], classes=classes, ignore=ignore, valid_area=area), None


def judge_all(sources: Sequence[Path], data: Path, split: str | None = None, **options: Any) -> list[Judged]:
    """Judge every source on the same pictures: those that no network among them was trained on.

    Args:
        sources, data, split: see `judge`.
        options: of `judge`.

    Raises:
        DataError: a source was judged on other images or classes than the first.
    """
    networks = [card_of(source) for source in sources if is_network(source)]
    judged = [judge(source, data, split, networks=networks, **options) for source in sources]
    check_alike(sources, [one.result for one in judged])
    return judged


def check_alike(sources: Sequence[Path], results: Sequence[Evaluation]) -> None:
    """Raise DataError where a source was judged on other images or classes than the first."""
    for path, result in zip(sources, results, strict=True):
        if result.names != results[0].names or result.labels.names != results[0].labels.names:
            raise DataError(f"{path}: was judged on other images or classes than {sources[0]}")


def held_out(run: Path, data: Path | None, split: str | None) -> tuple[Predictor, Chosen, Path]:
    """What is needed to fit something to a network: the network, the pictures, and the bundle to write.

    Args:
        run: a run's folder, or a bundle.
        data: the labelled data; default what the network was trained on.
        split: default "val".

    Raises:
        AtrousError: the source has no bundle that can be written, or it was trained on pictures of this split.
    """
    kind = kind_of(run)
    if kind is Kind.PUBLISHED:
        raise AtrousError(
            f"{run}: published weights are not changed; make a copy, `atrous.load({str(run)!r}).save(FILE)` in "
            "Python, and give that file"
        )
    if kind is Kind.FOLDS:
        raise AtrousError(f"{run}: holds several networks, and no bundle to write this into; give one fold")
    origin = data or trained_on(run)
    predictor = load_predictor(run)
    card = predictor.card
    chosen = choose_pictures(origin, split, [card], first=("val", "test"), labels=card.labels)
    if chosen.trained_on:
        raise AtrousError(
            f"{origin}: the network was trained on the pictures of `{chosen.split}` ({chosen.trained_on} of "
            f"{len(chosen.pairs)}), so its scores there are too sure; give another --split, or other data"
        )
    return predictor, chosen, bundle_in(run)


def told(chosen: Chosen) -> dict[str, Any]:
    """What is said of the pictures beside a result on them, as plain values for JSON."""
    values = {"split": chosen.split, "left_out": chosen.left_out, "trained_on": chosen.trained_on}
    return values | {"warnings": [chosen.remark] if chosen.remark else []}


def _finder(pattern: str) -> Callable[[str], str]:
    """A function: image name -> what the pattern's first group, or the whole pattern, finds there."""
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise AtrousError(f"--cluster {pattern}: not a regular expression ({error})") from error

    def find(name: str) -> str:
        match = compiled.search(name)
        if match is None:
            raise AtrousError(f"--cluster {pattern}: does not match the image name {name!r}; change the expression")
        return str(match[1] if compiled.groups else match[0])

    return find
