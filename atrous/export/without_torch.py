"""Label a few pictures by an exported ONNX network, without importing torch, which would take longer than the rest.

The labels are those of `Predictor`, except for ties. Whatever needs more than labels uses `Predictor`.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from atrous.errors import AtrousError, DataError, MissingExtra, WeightsError, let_through
from atrous.export.runner import Network
from atrous.io import image_size, overlay_of, read_valid, write_fitting, write_mask
from atrous.labels import LabelSet
from atrous.predict.loading import EXPORTED, Kind, kind_of
from atrous.visual import overlay

PIXELS = 4_000_000
"""The most pixels of all pictures together. With more, the fused tail of `atrous.ops` pays for torch's import."""


def suits(model: Path, paths: Sequence[Path]) -> bool:
    """Whether `label_pictures` is faster than `Predictor`: the model is an .onnx file, and there is little to do."""
    if kind_of(model) is not Kind.EXPORTED or EXPORTED[model.suffix] != "onnx":
        return False
    try:
        return sum(height * width for height, width, _ in map(image_size, paths)) <= PIXELS
    except AtrousError:  # named when its turn comes
        return len(paths) <= 4


def label_pictures(model: Path, targets: Mapping[Path, Path], out: Path, progress: Any) -> list[str]:
    """Write the label map of each picture to its target, and OUT/overlays/<stem>.jpg.

    Returns:
        A sentence for each picture that failed.

    Raises:
        WeightsError: the file is not an exported network.
    """
    network, failed = _open(model), []
    labels = LabelSet.from_dict(network.about["card"]["labels"])
    for path in progress(list(targets), len(targets)):
        try:
            image, valid = read_valid(path)
            found = network(_pixels(image, network.about)).astype(labels.dtype)
            if valid is not None:
                found[~valid] = labels.ignore_index
            write_mask(targets[path], found, labels, mark=True)
            write_fitting(overlay_of(path, out), overlay(image, found, labels), mark=True)
        except AtrousError as error:
            failed.append(str(error) if str(path) in str(error) else f"{path}: {error}")
    return failed


def takes(model: Path, paths: Sequence[Path]) -> bool:
    """Whether all pictures that can be read have the network's units and channels; grey ones become three."""
    about = _open(model).about
    for path in paths:
        try:
            image, _ = read_valid(path)
        except AtrousError:
            continue
        if not _fits(image, about):
            return False
    return True


def _fits(image: np.ndarray, about: Mapping[str, Any]) -> bool:
    channels = len(about["mean"])
    return image.dtype.name == about["dtype"] and (image.shape[2] == channels or (image.shape[2], channels) == (1, 3))


def _open(model: Path) -> Network:
    try:
        return Network(model)
    except ImportError:
        raise MissingExtra("this file needs ONNX Runtime; run `pip install 'atrous[export]'`") from None
    except KeyError:
        raise WeightsError(f"{model}: carries no atrous metadata; make the file with `atrous export`") from None
    except Exception as error:  # ONNX Runtime's errors share no base
        let_through(error)
        raise WeightsError(f"{model}: ONNX Runtime cannot open it ({str(error).splitlines()[0][:200]})") from error


def _pixels(image: np.ndarray, about: Mapping[str, Any]) -> np.ndarray:
    channels = len(about["mean"])
    if not _fits(image, about):
        raise DataError(
            f"a {image.dtype} picture of {image.shape[2]} channels; expected {about['dtype']} and {channels} channels"
        )
    if min(image.shape[:2]) < about["smallest"]:
        raise DataError(
            f"the image has {image.shape[0]}x{image.shape[1]} pixels, but the exported network takes sides from "
            f"{about['smallest']} on; use the bundle it was made from"
        )
    return image if image.shape[2] == channels else np.repeat(image, channels, axis=2)
