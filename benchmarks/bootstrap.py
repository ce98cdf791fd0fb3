"""10,000 resamples of 5,000 images with 150 classes: at most 3 seconds, and 300 MB more than before.

    python benchmarks/bootstrap.py [--images 5000] [--classes 150] [--resamples 10000]

Against drawing the images one resample after the other, which is measured on a hundredth of them. Each runs in a
process of its own, whose largest size is compared with that before the call.
"""

import argparse
import json
import os
import subprocess
import sys
import time

import numpy as np

from atrous.ops.stats import bootstrap, interval, miou_of_sums

SECONDS, MEGABYTES = 3.0, 300


def counts(images: int, classes: int) -> np.ndarray:
    """(n, 3, K): a tenth of the classes in each image, pixels as in a picture of half a million."""
    rng = np.random.default_rng(0)
    true = rng.integers(0, 100_000, (images, classes)) * (rng.random((images, classes)) < 0.1)
    hit = (true * rng.beta(8, 2, (images, classes))).astype(np.int64)
    return np.stack([true, rng.permuted(true - hit, axis=1) + hit, hit], axis=1)


def one_by_one(data: np.ndarray, resamples: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    draws = []
    for _ in range(resamples):
        true, predicted, hit = data[rng.integers(0, len(data), len(data))].sum(0)
        draws.append(miou_of_sums(hit, true + predicted - hit))
    return np.array(draws)


def measure(way: str, images: int, classes: int, resamples: int) -> dict[str, float]:
    """In this process: seconds of wall clock and of processor, megabytes the process grew by, the interval's ends."""
    import resource

    data = counts(images, classes)
    run = {"atrous": lambda n: bootstrap(data, resamples=n), "one by one": lambda n: one_by_one(data, n)}[way]
    run(2)  # compiled, or read from the cache
    unit = 2**20 if sys.platform == "darwin" else 2**10
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
    if sys.platform.startswith("linux"):
        with open("/proc/self/statm") as pages:
            before = int(pages.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
    start, busy = time.perf_counter(), time.process_time()
    draws = run(resamples)
    seconds, busy = time.perf_counter() - start, time.process_time() - busy
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit - before
    return dict(zip(("seconds", "busy", "grown", "low", "high"), (seconds, busy, grown, *interval(draws)), strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--classes", type=int, default=150)
    parser.add_argument("--resamples", type=int, default=10_000)
    parser.add_argument("--measure", choices=["atrous", "one by one"], help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure:
        print(json.dumps(measure(given.measure, given.images, given.classes, given.resamples)))
        return
    print(f"Bootstrap of {given.resamples:,} resamples over {given.images:,} images, {given.classes} classes")
    size = ["--images", str(given.images), "--classes", str(given.classes)]
    found: dict[str, list[dict[str, float]]] = {"atrous": [], "one by one": []}
    for _ in range(3):
        for way, resamples in (("atrous", given.resamples), ("one by one", max(given.resamples // 100, 2))):
            command = [sys.executable, __file__, "--measure", way, "--resamples", str(resamples), *size]
            found[way].append(json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout))
    ours = {key: float(np.median([run[key] for run in found["atrous"]])) for key in found["atrous"][0]}
    slow = 100 * float(np.median([run["seconds"] for run in found["one by one"]]))
    told = "reached" if ours["seconds"] <= SECONDS else "MISSED"
    print(f"  atrous        {ours['seconds']:8.2f} s ({ours['busy']:.2f} s of processor)  target {SECONDS:g}: {told}")
    told = "reached" if ours["grown"] <= MEGABYTES else "MISSED"
    print(f"                {ours['grown']:8.0f} MB more  target {MEGABYTES}: {told}")
    print(f"  one by one    {slow:8.2f} s (from a hundredth)  {slow / ours['seconds']:.0f} x")
    print(f"  interval {ours['low']:.5f} to {ours['high']:.5f}")


if __name__ == "__main__":
    main()
