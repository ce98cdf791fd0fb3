"""Eight-bit networks: calibrated on a data set's training pictures, judged on held-out ones.

NNCF quantises for OpenVINO, and ONNX Runtime's static quantisation for ONNX. What 8 bits cost is
measured: mIoU before and after, on the split that `eval` would take. If the drop is larger than
allowed, nothing is written.
"""

import json
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from atrous.bundle import Card
from atrous.datasets import open_dataset
from atrous.errors import DataError, MissingExtra, ModelError, let_through
from atrous.evaluate.evaluation import evaluate
from atrous.export.files import openvino_files, refuse_targets, write_export
from atrous.predict import Predictor
from atrous.predict.backends import Backend, onnx, openvino
from atrous.predict.backends.exported import Exported
from atrous.predict.backends.graph import Graph, describe_graph, tail_rule, with_metadata
from atrous.predict.backends.onnx import kept_onnx
from atrous.sample import Sample

PICTURES = 100
"""The most pictures that calibrate."""
EIGHT_BITS = ["Conv", "Clip", "Relu", "MatMul", "Gemm", "Add", "Concat", "GlobalAveragePool", "MaxPool"]
"""Operators that ONNX Runtime fuses with their activation, so that values are rounded once, after it. Before a ReLU6
values reach 100, and of 256 steps over those only fifteen would fall into 0..6."""


@dataclass(frozen=True)
class Drop:
    """The mIoU, 0..1, in float32 and in int8, over the images of a split."""

    before: float
    after: float
    images: int
    split: str


def quantised(
    model: nn.Module,
    card: Card,
    out: Path,
    data: Path,
    *,
    to: str = "onnx",
    tail: str = "beside",
    max_drop: float,
    overwrite: bool = False,
) -> tuple[list[Path], Drop]:
    """Write an 8-bit file for ONNX Runtime or OpenVINO.

    Args:
        data: a folder of images and masks with the card's classes. Its training pictures calibrate; its test
            pictures, else val, else all, judge.
        max_drop: the most mIoU, 0..1, that 8 bits may cost.
        overwrite: replace files that are there and are not from this program.

    Returns:
        The files that were written, and what 8 bits cost.

    Raises:
        ModelError: mIoU falls by more than `max_drop`. Nothing is written then.
        DataError: a file that is there would be lost.
    """
    if to not in ("onnx", "openvino") or tail != "beside":
        raise ModelError("--int8 needs --to onnx or openvino, and --tail beside; change them, or leave out --int8")
    if not overwrite:
        refuse_targets(out, card, to)
    pairs = open_dataset(data, labels=card.labels)
    splits = pairs.splits
    judged = next((name for name in ("test", "val") if name in splits), next(iter(splits)))
    calibrating = splits.get("train", splits[judged])
    graph = Graph(model.cpu(), card)
    rule, plain = tail_rule(graph, card), Predictor(model, card)
    step = max(1, len(calibrating) // PICTURES)
    images = [_batch(plain, calibrating[index]) for index in range(0, len(calibrating), step)][:PICTURES]
    about = json.loads(
        describe_graph(graph, card, rule, precision="int8", smallest=min(min(i.shape[2:]) for i in images))
    )
    with tempfile.TemporaryDirectory() as folder:
        made, run = (by_nncf if to == "openvino" else by_onnxruntime)(kept_onnx(graph, card), images, Path(folder))
        backend = Exported(f"{to} int8", run, {**about, "smallest": 1})
        before, after = (_miou(card, one, splits[judged], judged) for one in (plain, backend))
        drop = Drop(before, after, len(splits[judged]), judged)
        if not after >= before - max_drop:
            raise ModelError(
                f"int8 takes mIoU from {before:.4f} to {after:.4f} on {drop.images} images of {judged}, more than "
                f"{max_drop:g}; nothing was written, give --max-drop {before - after:.3f} to accept it"
            )
        text = json.dumps({**about, "int8": {"miou_float32": before, "miou_int8": after, "split": judged}})
        files = {".onnx": with_metadata(made, text)} if to == "onnx" else openvino_files(made, text, Path(folder))
        return write_export(files, text, graph, card, out, to), drop


def _miou(card: Card, network: Predictor | Backend, samples: Sequence[Sample], split: str) -> float:
    predictor = network if isinstance(network, Predictor) else Predictor(network, replace(card, decoding={}))
    return float(evaluate(lambda one: predictor.labels(one.image), samples, card.labels, split).summary()["miou"])


def _batch(predictor: Predictor, one: Sample) -> np.ndarray:
    """An image as the graph's input, (1, C, H, W) float32."""
    pixels = predictor.pixels(one.image)
    return np.ascontiguousarray(pixels.transpose(2, 0, 1)[None], np.float32)


def by_nncf(onnx_file: bytes, images: list[np.ndarray], folder: Path) -> tuple[Any, Any]:
    """Quantise for OpenVINO: the network, and a function that runs it. images: (1, C, H, W) each, for calibration."""
    runtime = openvino.load_openvino()
    try:
        import nncf
    except ImportError:
        raise MissingExtra("int8 for OpenVINO needs NNCF; run `pip install 'atrous[openvino]'`") from None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        network = nncf.quantize(
            runtime.Core().read_model(onnx_file),
            nncf.Dataset(images),
            preset=nncf.QuantizationPreset.MIXED,
            subset_size=len(images),
        )
    return network, openvino.compiled(network)


def by_onnxruntime(onnx_file: bytes, images: list[np.ndarray], folder: Path) -> tuple[bytes, Any]:
    """Quantise for ONNX Runtime: the file's bytes, and a function that runs them. folder: for temporary files."""
    onnx.load_runtime()
    from onnxruntime import quantization

    class Images(quantization.CalibrationDataReader):
        """One image after another, of any size."""

        def __init__(self) -> None:
            self.left: Iterator[np.ndarray] = iter(images)

        def get_next(self) -> dict[str, np.ndarray] | None:
            image = next(self.left, None)
            return None if image is None else {"image": image}

    (folder / "float.onnx").write_bytes(onnx_file)
    try:
        quantization.quantize_static(
            folder / "float.onnx",
            folder / "int8.onnx",
            Images(),
            quant_format=quantization.QuantFormat.QDQ,
            op_types_to_quantize=EIGHT_BITS,
            nodes_to_exclude=_of_sizes(onnx_file),
            per_channel=True,
            reduce_range=True,  # seven bits for weights: without VNNI sums of u8 x s8 saturate
        )
    except Exception as error:  # whatever the quantiser meets
        let_through(error)
        raise DataError(f"ONNX Runtime cannot quantise this network ({str(error).splitlines()[0][:200]})") from error
    made = (folder / "int8.onnx").read_bytes()
    return made, onnx.session(made)


def _of_sizes(onnx_file: bytes) -> list[str]:
    """The nodes that compute sizes, such as those of padding. They stay exact: a size in 8 bits is another size."""
    from onnx import load_from_string  # comes with the quantiser

    pixels, others = {"image"}, []
    for node in load_from_string(onnx_file).graph.node:
        if node.op_type != "Shape" and not pixels.isdisjoint(node.input):
            pixels.update(node.output)
        elif node.op_type in EIGHT_BITS:
            others.append(node.name)
    return others
