"""Judging label maps of the size of the Cityscapes validation set: 500 PNG pairs of 1024 x 2048.

    python benchmarks/evaluation.py [--maps 500] [--keep FOLDER]

Against the pixel-level evaluator of cityscapesscripts, instance scores off, from files and from memory, in turn 25 maps
at a time on one thread; both must say the same. Its Cython part is in its repository only, not in the package:
`CYTHONIZE_EVAL= python setup.py build_ext --inplace` there; without it the script says so.
"""

import argparse
import os

os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", MKL_NUM_THREADS="1")

import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest.mock import patch

import cv2
import numpy as np
import torch
from parts.street import street
from parts.timing import there
from PIL import Image

from atrous.evaluate.evaluation import Evaluation, evaluate, from_folder
from atrous.io import read_mask
from atrous.labels import CITYSCAPES19, LabelSet
from atrous.sample import Sample

IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
LABELS = LabelSet(CITYSCAPES19.names, CITYSCAPES19.colours, IDS, ignore=tuple(i for i in range(34) if i not in IDS))
TARGETS = {"from files": 2.0, "from memory": 1.8}
STEP = 25


class Masks(Sequence[Sample]):
    """The truth of a split without its photos, decoded when asked for."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths = paths

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: Any) -> Any:
        path = self.paths[index]
        mask = LABELS.to_indices(read_mask(path), path)
        return Sample(np.empty((*mask.shape, 0), np.uint8), mask, path=path)


class Held:
    """A picture in memory for a script that opens files: numpy takes the array as it is."""

    def __init__(self, pixels: np.ndarray) -> None:
        self.pixels, self.size = pixels, pixels.shape[::-1]

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        return self.pixels


def write_maps(folder: Path, count: int) -> None:
    """`truth/` and `predictions/` in the ids of the data set, as Pillow writes them; what is there already stays."""
    ids = np.zeros(256, np.uint8)
    ids[:19] = IDS
    for name in ("truth", "predictions"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for index in range(count):
        paths = [folder / name / f"{index:04}.png" for name in ("predictions", "truth")]
        if not all(path.exists() for path in paths):
            for path, labels in zip(paths, street(np.random.default_rng(index)), strict=True):
                Image.fromarray(ids[labels]).save(path)


def peer() -> ModuleType | None:
    """The evaluator's script, quiet; None where it is not installed."""
    if not there("cityscapesscripts", "cityscapesscripts"):
        return None
    arguments, sys.argv = sys.argv, sys.argv[:1]  # it reads them when imported
    from cityscapesscripts.evaluation import evalPixelLevelSemanticLabeling as script

    sys.argv = arguments
    script.args.quiet, script.args.JSONOutput, script.args.evalInstLevelScore = True, False, False
    script.args.evalPixelAccuracy = False
    print(f"  cityscapesscripts {'with' if script.CSUPPORT else 'WITHOUT'} its Cython part")
    return script


def theirs(script: ModuleType, paths: Sequence[tuple[Path, Path]]) -> dict[str, Any]:
    return script.evaluateImgLists([str(one) for one, _ in paths], [str(other) for _, other in paths], script.args)


def check(ours: Evaluation, other: dict[str, Any], script: ModuleType) -> None:
    """The matrices are equal pixel by pixel, and so are the scores to 1e-12."""
    matrix = np.asarray(other["confMatrix"])[np.ix_(IDS, IDS)].astype(np.int64)
    assert (ours.confusion[:, :-1] == matrix).all()
    true, predicted, hit = ours.counts.sum(0)
    for k, name in enumerate(LABELS.names):
        union = true[k] + predicted[k] - hit[k]
        iou = hit[k] / union if union else float("nan")
        np.testing.assert_allclose(iou, other["classScores"][name], rtol=0, atol=1e-12)


def compare(folder: Path, count: int, script: ModuleType | None) -> dict[str, dict[str, list[float]]]:
    """Seconds per STEP maps of both, from files and from memory."""
    predict = from_folder(folder / "predictions", LABELS)
    names = [f"{index:04}.png" for index in range(count)]
    paths = [(folder / "predictions" / name, folder / "truth" / name) for name in names]
    taken: dict[str, dict[str, list[float]]] = {way: {"atrous": [], "peer": []} for way in TARGETS}

    def timed(way: str, who: str, run: Callable[[], Any]) -> Any:
        start = time.perf_counter()
        result = run()
        taken[way][who].append(time.perf_counter() - start)
        return result

    evaluate(predict, Masks([paths[0][1]]), LABELS, "val")  # compiled, or read from the cache
    parts = [paths[first : first + STEP] for first in range(0, count, STEP)]
    for part in parts:
        files = Masks([truth for _, truth in part])
        ours = timed("from files", "atrous", partial(evaluate, predict, files, LABELS, "val"))
        if script:
            check(ours, timed("from files", "peer", partial(theirs, script, part)), script)
    for part in parts:
        samples = list(Masks([truth for _, truth in part]))
        look_up = partial(_of, {sample.path: predict(sample) for sample in samples})
        ours = timed("from memory", "atrous", partial(evaluate, look_up, samples, LABELS, "val"))
        if script:
            held = {str(path): Held(read_mask(path)) for pair in part for path in pair}
            with patch.object(script, "Image", SimpleNamespace(open=held.__getitem__)):
                check(ours, timed("from memory", "peer", partial(theirs, script, part)), script)
    return taken


def _of(labels: dict[Path, np.ndarray], sample: Sample) -> np.ndarray:
    assert sample.path is not None
    return labels[sample.path]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--maps", type=int, default=500)
    parser.add_argument("--keep", type=Path, help="folder for the maps, which stay there for a next time")
    given = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    print(f"Evaluation of {given.maps} label maps of 1024 x 2048, 19 classes, one thread")
    with TemporaryDirectory() as temporary:
        folder = given.keep or Path(temporary)
        write_maps(folder, given.maps)
        taken = compare(folder, given.maps, peer())
    for way, times in taken.items():
        total = sum(times["atrous"])
        print(f"  {way:12} atrous {total:7.2f} s ({1000 * total / given.maps:.1f} ms a map)", end="")
        if times["peer"]:
            ratio = median(b / a for a, b in zip(times["atrous"], times["peer"], strict=True))
            told = "reached" if ratio >= TARGETS[way] else "MISSED"
            print(f"; cityscapesscripts {sum(times['peer']):7.2f} s; median ratio {ratio:.2f} x", end="")
            print(f"  target {TARGETS[way]:g}: {told}, equal to 1e-12", end="")
        print()


if __name__ == "__main__":
    main()
