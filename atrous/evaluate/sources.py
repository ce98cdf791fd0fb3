"""Judging whatever made the predictions (a run, a bundle, a folder of any tool's label maps), and comparing several."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from atrous.bundle import Card
from atrous.datasets import DataSet, open_dataset
from atrous.errors import AtrousError, DataError, nearest
from atrous.evaluate.evaluation import Evaluation, evaluate, from_folder
from atrous.metrics import BoundaryF, BoundaryIoU, Calibration, ErrorKinds, TrimapCurve, scores
from atrous.metrics.foreign import TOOLS, Foreign
from atrous.ops.stats import by_cluster
from atrous.ops.stats import compare as paired
from atrous.predict.ensemble import folds_in
from atrous.sample import Sample
from atrous.segmenter import Segmenter, choose_split, load, open_like_run
from atrous.zoo.fetch import published_names

Progress = Callable[[Iterable[int], int], Iterable[int]]


@dataclass(frozen=True)
class Judged:
    """What was judged: its evaluation, the data, and what predicts again. card: None for a folder of label maps."""

    source: Path
    result: Evaluation
    data: DataSet
    predict: Callable[[Sample], np.ndarray]
    card: Card | None


def examine(
    source: Path,
    data: Path,
    split: str | None = None,
    *,
    classes: Path | None = None,
    ignore: Sequence[int] = (),
    full: bool = False,
    as_tool: str | None = None,
    cluster: str | None = None,
    block: int = 1,
    decode: str = "argmax",
    calibration: str = "none",
    refine: str | None = None,
    refine_options: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> Judged:
    """Evaluate a run, a bundle or a folder of label maps on a split of `data`; pictures stream through, none is kept.

    full: boundary scores and kinds of errors too, and calibration where a network gives probabilities. as_tool: a name
    of `TOOLS`, whose number comes with a reason. cluster: a regular expression; what it finds in an image's name is
    what the image is one of. block: neighbours drawn together by the bootstrap; not with clusters. decode, calibration:
    of `atrous.Predictor`, for what `atrous calibrate` fitted; refine, refine_options too.
    """
    if as_tool is not None and as_tool not in TOOLS:
        raise AtrousError(f"--as {as_tool}: unknown tool; {nearest(as_tool, list(TOOLS))}")
    if cluster and block > 1:
        raise AtrousError("--cluster and --block were both given; draw whole clusters, or runs of neighbours")
    wishes: dict[str, Any] = {"decode": decode, "calibration": calibration}
    if refine or refine_options:
        wishes |= {"refine": refine, "refine_options": refine_options}
    opened, segmenter = _open(source, data, classes, ignore, **wishes)
    name = choose_split(opened, split)
    count, ignored = len(opened.labels), opened.labels.ignore_index
    metrics: dict[str, Any] = {}
    if full:
        metrics = {
            "boundary_iou": BoundaryIoU(count, ignored),
            "boundary_f": BoundaryF(count, ignored),
            "trimap": TrimapCurve(count, ignored),
            "errors": ErrorKinds(count, ignored),
        }
    if as_tool:
        metrics["as"] = Foreign(as_tool, count, ignored)
    asked = _Asked(segmenter, Calibration(count, ignored)) if segmenter else None
    if full and asked:
        metrics["calibration"] = asked
    predict = asked or from_folder(source, opened.labels)
    result = evaluate(
        predict,
        opened.splits[name],
        opened.labels,
        name,
        progress=progress,
        metrics=metrics,
        cluster=_finder(cluster) if cluster else None,
        block=block,
    )
    return Judged(source, result, opened, predict, segmenter.card if segmenter else None)


def judge(source: Path, data: Path, split: str | None = None, **options: Any) -> Evaluation:
    """The evaluation alone of `examine`, which has the options."""
    return examine(source, data, split, **options).result


def compare_all(
    sources: Sequence[str],
    data: Path | None = None,
    split: str | None = None,
    *,
    classes: Path | None = None,
    ignore: Sequence[int] = (),
    cluster: str | None = None,
    block: int = 1,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Judge every source on the same images and compare each with every later one; plain values for JSON.

    sources: paths; several seeds of one thing as "a1,a2,a3". data: default what the first run was trained on.
    """
    if len(sources) < 2:
        raise AtrousError("nothing to compare: give two runs, bundles or folders of label maps at least")
    sides = [[Path(part) for part in source.split(",") if part] for source in sources]
    data = data or trained_on(sides[0][0])
    results = [
        [
            judge(path, data, split, classes=classes, ignore=ignore, cluster=cluster, block=block, progress=progress)
            for path in side
        ]
        for side in sides
    ]
    check_alike(list(chain(*sides)), list(chain(*results)))
    return compare_results(sources, results, block=block)


def check_alike(sources: Sequence[Path], results: Sequence[Evaluation]) -> None:
    """DataError where one was not judged on the same images and classes as the first."""
    for path, result in zip(sources, results, strict=True):
        if result.names != results[0].names or result.labels.names != results[0].labels.names:
            raise DataError(f"{path}: was not judged on the same images and classes as {sources[0]}")


def compare_results(names: Sequence[str], results: Sequence[Sequence[Evaluation]], *, block: int = 1) -> dict[str, Any]:
    """Each of the named sides with every later one. results: of each side, per seed, on the same images."""
    first = results[0][0]

    def counts(result: Evaluation) -> np.ndarray:
        return result.counts if result.clusters is None else by_cluster(result.counts, result.clusters)

    pairs = []
    for i in range(len(names)):
        for j in range(i + 1, len(names)):
            found = paired([counts(r) for r in results[i]], [counts(r) for r in results[j]], block=block)
            pairs.append(
                {
                    "a": names[i],
                    "b": names[j],
                    "difference": round(found.difference, 6),
                    "interval": [round(value, 6) for value in found.interval],
                    "p": round(found.p, 6),
                    "told_apart": found.told_apart,
                    "more_images": found.more,
                }
            )
    unit = "images" if first.clusters is None else "clusters"
    return {
        "scores": {
            name: round(float(np.mean([scores(r.confusion)["miou"] for r in side])), 6)
            for name, side in zip(names, results, strict=True)
        },
        "pairs": pairs,
        "split": first.split,
        "images": len(first.names),
        "unit": unit,
        "method": f"paired 95 % percentile bootstrap and permutation test over {unit}"
        + (f" in runs of {block}" if block > 1 else ""),
    }


class _Asked:
    """Asks a network for labels, and gives the probabilities of its last answer to a calibration: a metric itself."""

    def __init__(self, segmenter: Segmenter, calibration: Calibration) -> None:
        self.predictor, self.calibration = segmenter.predictor, calibration

    def __call__(self, sample: Sample) -> np.ndarray:
        self.last = self.predictor(sample.image)
        return self.last.labels

    def update(self, _: np.ndarray, target: np.ndarray) -> None:
        self.calibration.update(self.last.probabilities, target)

    def compute(self) -> dict[str, Any]:
        return self.calibration.compute() if self.calibration.pixels else {}


def _open(
    source: Path, data: Path, classes: Path | None, ignore: Sequence[int], **wishes: Any
) -> tuple[DataSet, Segmenter | None]:
    """The data with the classes that apply, and the network where the source is one."""
    if _is_run(source):
        segmenter = load(source, **wishes)
        return open_like_run(segmenter.card, data, classes=classes, ignore=ignore), segmenter
    if not source.is_dir():
        raise AtrousError(f"{source}: no such run folder, bundle or folder of predictions")
    if wishes != {"decode": "argmax", "calibration": "none"}:
        raise AtrousError(
            f"{source}: label maps are decided already; --decode, --calibration and --refine need a run "
            "(`atrous refine` sharpens folders)"
        )
    return open_dataset(data, classes=classes, ignore=ignore, holdout=0), None


def held_out(run: Path, data: Path | None, split: str | None) -> tuple[Segmenter, DataSet, str, Path]:
    """A network, data with its classes, the split to fit something on (default `val`), and the bundle to keep it in.

    data: default what the network was trained on. Refuses the split that was trained on.
    """
    if _is_named(run):
        raise AtrousError(
            f"{run}: weights with a name are not changed; keep a copy, `atrous.load({str(run)!r}).save(FILE)` in "
            "Python, and give that"
        )
    if folds_in(run):
        raise AtrousError(f"{run}: its networks answer together, there is no bundle to keep this in; give one fold")
    origin = data or trained_on(run)
    segmenter = load(run)
    opened = open_like_run(segmenter.card, origin)
    name = choose_split(opened, split or ("val" if "val" in opened.splits else None))
    if name == "train" and origin.resolve() == Path(segmenter.card.data).resolve():
        raise AtrousError(
            "the network has seen the pictures of `train`, where its scores are too sure; give another --split"
        )
    return segmenter, opened, name, run / "model.safetensors" if run.is_dir() else run


def trained_on(source: Path) -> Path:
    """The data of a run; a folder of label maps does not know its own, and a run's may have moved."""
    if not source.exists() and not _is_named(source):
        raise AtrousError(f"{source}: no such run folder, bundle or folder of predictions")
    if not _is_run(source):
        raise AtrousError(f"{source}: is no trained run, so that --data DATA is needed")
    data = Path(load(source).card.data)
    if not data.exists():
        raise DataError(f"{source}: was trained on {data}, which is not there; say where it is with --data DATA")
    return data


def _is_named(source: Path) -> bool:
    """Whether it is the name of weights, and no file or folder."""
    return not source.exists() and str(source) in published_names()


def _is_run(source: Path) -> bool:
    if source.suffix == ".safetensors" or _is_named(source):
        return True
    return any((source / name).exists() for name in ("recipe.toml", "model.safetensors")) or bool(folds_in(source))


def _finder(pattern: str) -> Callable[[str], str]:
    """Image name -> what the pattern's first group, or all of it, finds there; an error names the image it misses."""
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise AtrousError(f"--cluster {pattern}: not a regular expression ({error})") from error

    def find(name: str) -> str:
        match = compiled.search(name)
        if match is None:
            raise AtrousError(f"--cluster {pattern}: finds nothing in the image name {name!r}")
        return str(match[1] if compiled.groups else match[0])

    return find
