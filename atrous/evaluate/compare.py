"""Comparing runs, bundles or folders of label maps on the same images."""

from collections.abc import Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np

from atrous.errors import AtrousError
from atrous.evaluate.data import trained_on
from atrous.evaluate.evaluation import Evaluation
from atrous.evaluate.sources import judge_all
from atrous.metrics import scores
from atrous.ops.stats import by_cluster
from atrous.ops.stats import compare as paired
from atrous.progress import Over


def compare_all(
    sources: Sequence[str],
    data: Path | None = None,
    split: str | None = None,
    *,
    classes: Path | None = None,
    ignore: Sequence[int] = (),
    valid_area: str | None = None,
    cluster: str | None = None,
    block: int = 1,
    progress: Over | None = None,
) -> dict[str, Any]:
    """Judge every source on the same images, and compare each with every later one.

    Args:
        sources: runs, bundles or folders of label maps; several seeds of one thing as "a1,a2,a3".
        data: the labelled data; default what the first run was trained on.
        split: "train", "val" or "test"; default as in `choose_split`.
        classes, ignore, valid_area, cluster, block, progress: as in `atrous.evaluate.sources.judge`.

    Returns:
        Plain values for JSON: `scores` of each side, and `pairs` with `difference`, `interval`, `p` and
        `told_apart`.
    """
    if len(sources) < 2:
        raise AtrousError("nothing to compare: give at least two runs, bundles or folders of label maps")
    sides = [[Path(part) for part in source.split(",") if part] for source in sources]
    every, options = list(chain(*sides)), {"classes": classes, "ignore": ignore, "cluster": cluster, "block": block}
    options["valid_area"] = valid_area
    judged = iter(judge_all(every, data or trained_on(every[0]), split, progress=progress, **options))
    results = [[one.result for one in islice(judged, len(side))] for side in sides]
    return compare_results(sources, results, block=block)


def compare_results(names: Sequence[str], results: Sequence[Sequence[Evaluation]], *, block: int = 1) -> dict[str, Any]:
    """Compare each side with every later one. results: for each side one evaluation per seed, on the same images."""
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
        "left_out": first.left_out,
        "trained_on": first.trained_on,
        "warnings": list(dict.fromkeys(result.remark for side in results for result in side if result.remark)),
        "unit": unit,
        "method": f"paired 95 % percentile bootstrap and permutation test over {unit}"
        + (f" in runs of {block}" if block > 1 else ""),
    }
