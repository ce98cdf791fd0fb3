"""How far each backend's labels equal those of float32 torch on a trained network: what the gate of `auto` is set from.

    python benchmarks/gate.py [RUN DATA] [--split val] [--images 100]

RUN: a run, bundle or name of weights; default the shipped CamVid weights, with DATA from the environment's CAMVID.
Per backend over all images: the share of equal labels, and of those where float32's best logit leads the second by more
than 0.1; the smallest share of any image beside it. Timed by `atrous bench`, not here.
"""

import argparse
import os
from pathlib import Path

import numpy as np
from parts.timing import there

from atrous.evaluate.data import open_like_run
from atrous.predict import Predictor
from atrous.predict.backends import open_backend
from atrous.predict.backends.choice import GATE, SURE_GATE, agreement, candidates
from atrous.segmenter import load


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", nargs="?", default="camvid-deeplabv3plus-lite0")
    parser.add_argument("data", nargs="?", default=os.environ.get("CAMVID"))
    parser.add_argument("--split", default="val")
    parser.add_argument("--images", type=int, default=100)
    asked = parser.parse_args()
    if asked.data is None:
        print("  no data to compare on: give RUN and DATA, or set CAMVID to the folder of CamVid")
        return
    segmenter = load(asked.run)
    model, card = segmenter.model, segmenter.card
    pairs = open_like_run(card, Path(asked.data)).splits[asked.split]
    chosen = np.unique(np.linspace(0, len(pairs) - 1, min(asked.images, len(pairs))).astype(int))
    plain = open_backend("torch", model, card, fold=False)
    predictor = Predictor(model, card)
    print(f"{asked.run}, {len(chosen)} images of {asked.split}; the gate: {GATE:.1%}, {SURE_GATE:.2%} of the sure")
    for name, options in candidates().items():
        package = {"onnx": "onnxruntime", "openvino": "openvino"}.get(name.split()[0])
        if package and not there(package, package):
            continue
        backend = open_backend(name.split()[0], model, card, **options)
        found = []
        for index in chosen:
            pixels = predictor.pixels(pairs[int(index)].image)
            found.append(agreement(plain(pixels), backend(pixels)))
        shares = np.array([(one.all, one.sure) for one in found])
        (mean, sure), (least, least_sure) = shares.mean(0), shares.min(0)
        print(f"  {name:16} {mean:.5%} (least {least:.4%}), sure {sure:.5%} (least {least_sure:.4%})")


if __name__ == "__main__":
    main()
