"""Judging whatever made the predictions (a run, a bundle, a folder of any tool's label maps), and comparing several."""

import re
from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from atrous.datasets import DataSet, open_dataset
from atrous.errors import AtrousError, DataError, nearest
from atrous.evaluate import Evaluation, evaluate, from_folder
from atrous.metrics import BoundaryF, BoundaryIoU, Calibration, ErrorKinds, TrimapCurve
from atrous.metrics.foreign import TOOLS, Foreign
from atrous.ops.stats import by_cluster
from atrous.ops.stats import compare as paired
from atrous.sample import Sample
from atrous.segmenter import Segmenter, choose_split, load, open_like_run

Progress = Callable[[Iterable[int], int], Iterable[int]]


def judge(
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
    progress: Progress | None = None,
) -> Evaluation:
    """Evaluate a run, a bundle or a folder of label maps on a split of `data`; pictures stream through, none is kept.

    full: boundary scores and kinds of errors too, and calibration where a network gives probabilities. as_tool: a name
    of `TOOLS`, whose number comes with a reason. cluster: a regular expression; what it finds in an image's name is
    what the image is one of. block: neighbours drawn together by the bootstrap; not with clusters.
    """
    if as_tool is not None and as_tool not in TOOLS:
        raise AtrousError(f"--as {as_tool}: unknown tool; {nearest(as_tool, list(TOOLS))}")
    if cluster and block > 1:
        raise AtrousError("--cluster and --block were both given; draw whole clusters, or runs of neighbours")
    opened, segmenter = _open(source, data, classes, ignore)
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
    calibration = Calibration(count, ignored) if full and segmenter else None
    result = evaluate(
        from_folder(source, opened.labels) if segmenter is None else _asking(segmenter, calibration),
        opened.splits[name],
        opened.labels,
        name,
        progress=progress,
        metrics=metrics,
        cluster=_finder(cluster) if cluster else None,
        block=block,
    )
    if calibration is not None and calibration.pixels:
        result.extras["calibration"] = calibration.compute()
    return result


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
    data = data or _trained_on(sides[0][0])
    results = [
        [
            judge(path, data, split, classes=classes, ignore=ignore, cluster=cluster, block=block, progress=progress)
            for path in side
        ]
        for side in sides
    ]
    first = results[0][0]
    for path, result in zip(chain(*sides), chain(*results), strict=True):
        if result.names != first.names or result.labels.names != first.labels.names:
            raise DataError(f"{path}: was not judged on the same images and classes as {sides[0][0]}")

    def counts(result: Evaluation) -> np.ndarray:
        return result.counts if result.clusters is None else by_cluster(result.counts, result.clusters)

    pairs = []
    for i in range(len(sides)):
        for j in range(i + 1, len(sides)):
            found = paired([counts(r) for r in results[i]], [counts(r) for r in results[j]], block=block)
            pairs.append(
                {
                    "a": sources[i],
                    "b": sources[j],
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
            source: round(float(np.mean([r.summary()["miou"] for r in side])), 6)
            for source, side in zip(sources, results, strict=True)
        },
        "pairs": pairs,
        "split": first.split,
        "images": len(first.names),
        "unit": unit,
        "method": f"paired 95 % percentile bootstrap and permutation test over {unit}"
        + (f" in runs of {block}" if block > 1 else ""),
    }


def _asking(segmenter: Segmenter, calibration: Calibration | None) -> Callable[[Sample], np.ndarray]:
    """The network's labels of a sample; its probabilities go to the calibration where there is one."""

    def answer(sample: Sample) -> np.ndarray:
        prediction = segmenter.predictor(sample.image)
        if calibration is not None and sample.mask is not None:
            calibration.update(prediction.probabilities, sample.mask)
        return prediction.labels

    return answer


def _open(source: Path, data: Path, classes: Path | None, ignore: Sequence[int]) -> tuple[DataSet, Segmenter | None]:
    """The data with the classes that apply, and the network where the source is one."""
    if source.suffix == ".safetensors" or any(
        (source / name).exists() for name in ("recipe.toml", "model.safetensors")
    ):
        segmenter = load(source)
        return open_like_run(segmenter.card, data, classes=classes, ignore=ignore), segmenter
    if not source.is_dir():
        raise AtrousError(f"{source}: no such run folder, bundle or folder of predictions")
    return open_dataset(data, classes=classes, ignore=ignore, holdout=0), None


def _trained_on(source: Path) -> Path:
    """The data of a run; a folder of label maps does not know its own."""
    if not (source / "model.safetensors").exists() and source.suffix != ".safetensors":
        raise AtrousError(f"{source}: is no trained run, so that --data DATA is needed")
    return Path(load(source).card.data)


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
