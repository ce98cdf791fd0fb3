"""Dense CRF against pydensecrf: 21 labels, 10 iterations, two photographs in two sizes, two sets of parameters.

    python benchmarks/densecrf.py [--rounds 5] [--photos china flower] [--heights 321 500] [--only speed|memory|start]

From probabilities to marginals, lattices included on both sides. Speed: in turn, medians; pydensecrf has one thread.
Memory: each in a process of its own, the peak above what its imports take and the whole. Start: a second process, from
its start to the first result. The photographs are scikit-learn's; pydensecrf2 comes with 'atrous[bench]'.
"""

import argparse
import resource
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from statistics import geometric_mean

import cv2
import numpy as np
from parts.timing import interleaved, there

from atrous.refine import PRESETS, dense_crf

SETS = ("deeplab_v2", "pydensecrf")
LABELS, ITERATIONS, WIDTH = 21, 10, 500
WAYS = {
    "two threads": {"threads": 2},
    "two threads, float16": {"threads": 2, "half": True},
    "one thread": {"threads": 1},
}
TARGETS = {"two threads": 2.8, "two threads, float16": 3.3, "one thread": 1.8}
LEAST = 1.9
START = 1.5


def picture(name: str, height: int) -> np.ndarray:
    """(height, 500, 3) uint8, one of scikit-learn's."""
    found = find_spec("sklearn")
    photo = cv2.imread(str(Path(str(found and found.origin)).parent / "datasets" / "images" / f"{name}.jpg"))
    return np.ascontiguousarray(cv2.resize(photo, (WIDTH, height), interpolation=cv2.INTER_AREA)[..., ::-1])


def scores(height: int) -> np.ndarray:
    """(21, height, 500) probabilities, smooth as a network's at stride 16."""
    rng = np.random.default_rng(0)
    coarse = rng.normal(0, 3, (height // 16 + 1, WIDTH // 16 + 1, LABELS)).astype(np.float32)
    logits = np.ascontiguousarray(cv2.resize(coarse, (WIDTH, height)).transpose(2, 0, 1))
    p = np.exp(logits - logits.max(0))
    return p / p.sum(0)


def theirs(p: np.ndarray, image: np.ndarray, name: str) -> np.ndarray:
    from pydensecrf.densecrf import DenseCRF2D
    from pydensecrf.utils import unary_from_softmax

    preset = PRESETS[name]
    crf = DenseCRF2D(p.shape[2], p.shape[1], len(p))
    crf.setUnaryEnergy(unary_from_softmax(p))
    crf.addPairwiseGaussian(sxy=preset.gaussian[0], compat=preset.gaussian[1])
    sxy, srgb, weight = preset.bilateral
    crf.addPairwiseBilateral(sxy=sxy, srgb=srgb, rgbim=image, compat=weight)
    return np.array(crf.inference(ITERATIONS)).reshape(p.shape)


def ours(p: np.ndarray, image: np.ndarray, name: str, **options: object) -> np.ndarray:
    return dense_crf(p, image, preset=name, iterations=ITERATIONS, **options)


def speed(photos: list[str], heights: list[int], rounds: int) -> None:
    print(f"Speed, {LABELS} labels, {ITERATIONS} iterations: how many times as fast as pydensecrf")
    ratios: dict[str, list[float]] = {way: [] for way in WAYS}
    for photo in photos:
        for height in heights:
            image, p = picture(photo, height), scores(height)
            for name in SETS:
                expected = theirs(p, image, name)
                same = [(np.abs(ours(p, image, name, **o) - expected).max(0) < 1e-3).mean() for o in WAYS.values()]
                ways = {"pydensecrf": lambda a=(p, image, name): theirs(*a)}
                for way, options in WAYS.items():
                    ways[way] = lambda a=(p, image, name), o=options: ours(*a, **o)
                seconds = interleaved(ways, rounds)
                line = f"  {photo:7}{height} x {WIDTH} {name:11} {1000 * seconds['pydensecrf']:6.0f} ms"
                for way in WAYS:
                    ratios[way].append(seconds["pydensecrf"] / seconds[way])
                    line += f"   {way} {1000 * seconds[way]:5.0f} ms {ratios[way][-1]:4.2f} x"
                print(line + f"   marginals within 1e-3: {same[0]:.5f}, float16 {same[1]:.5f}", flush=True)
    for way, values in ratios.items():
        mean, least = geometric_mean(values), min(values)
        met = mean >= TARGETS[way] and (way == "one thread" or least >= LEAST)
        print(f"  {way:22} {mean:4.2f} x, least {least:4.2f}   target {TARGETS[way]}: {'reached' if met else 'MISSED'}")


def memory(photos: list[str], heights: list[int]) -> None:
    print("Peak memory above the imports' own, MB (whole process)")
    for height in heights:
        for name in SETS:
            line = f"  {photos[0]:7}{height} x {WIDTH} {name:11}"
            for way in ("theirs", "ours", "half"):
                here = [sys.executable, __file__, "--peak", way, photos[0], str(height), name]
                line += f"   {way} {subprocess.run(here, capture_output=True, text=True, check=True).stdout.strip()}"
            print(line, flush=True)


def peak(way: str, photo: str, height: int, name: str) -> None:
    """Runs one way once and prints how far the process grew."""
    small = np.full((2, 8, 8), 0.5, np.float32), np.zeros((8, 8, 3), np.uint8)
    run = {"theirs": theirs, "ours": ours, "half": lambda *a: ours(*a, half=True)}[way]
    run(*small, name)
    image, p = picture(photo, height), scores(height)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    run(p, image, name)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(f"{(after - before) / 1024:.0f} ({after / 1024:.0f})")


def start() -> None:
    code = (
        "import sys, time, numpy as np, atrous.refine\n"
        "p = np.full((21, 100, 100), 1 / 21, np.float32)\n"
        "atrous.refine.dense_crf(p, np.zeros((100, 100, 3), np.uint8))\n"
        "print(time.time() - float(sys.argv[1]))"
    )
    taken = []
    for _ in range(6):
        here = [sys.executable, "-c", code, str(time.time())]
        taken.append(float(subprocess.run(here, capture_output=True, text=True, check=True).stdout))
    seconds = sorted(taken[1:])[2]
    verdict = "reached" if seconds < START else "MISSED"
    print(f"From a process's start to its first result, 100 x 100: {seconds:.2f} s   target {START}: {verdict}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--photos", nargs="+", default=["china", "flower"])
    parser.add_argument("--heights", type=int, nargs="+", default=[321, 500])
    parser.add_argument("--only", choices=["speed", "memory", "start"])
    parser.add_argument("--peak", nargs=4, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.peak:
        way, photo, height, name = given.peak
        peak(way, photo, int(height), name)
        return
    compared = there("pydensecrf", "pydensecrf2") and there("sklearn", "scikit-learn")
    if compared and given.only in (None, "speed"):
        speed(given.photos, given.heights, given.rounds)
    if compared and given.only in (None, "memory"):
        memory(given.photos, given.heights)
    if given.only in (None, "start"):
        start()


if __name__ == "__main__":
    main()
