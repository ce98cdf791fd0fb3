"""OpenVINO: a network goes through ONNX; an exported file (.xml with its .bin) is run as it is."""

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from atrous.bundle import Card
from atrous.errors import MissingExtra, WeightsError, let_through
from atrous.predict.backends.exported import Exported, read_about
from atrous.predict.backends.graph import KEY, Graph, describe_graph, tail_rule
from atrous.predict.backends.onnx import kept_onnx

KEPT = 4
"""For how many sizes a compiled network is kept."""


def from_model(
    model: nn.Module, card: Card, *, device: str = "cpu", threads: int | None = None, precision: str = "fp32"
) -> Exported:
    """Export the network in memory, and open it. Raises MissingExtra if the [openvino] extra is not installed.

    Args:
        device: ignored; OpenVINO runs on the CPU here.
        precision: "fp32", or "bf16" on a CPU that has it.
    """
    runtime = load_openvino()
    graph = Graph(model, card)
    about = json.loads(describe_graph(graph, card, tail_rule(graph, card)))
    network = runtime.Core().read_model(kept_onnx(graph, card))
    name = "openvino" if precision == "fp32" else f"openvino {precision}"
    return Exported(name, compiled(network, threads=threads, precision=precision), about)


def from_file(path: Path) -> tuple[Exported, Card]:
    """Open a file of `atrous export --to openvino`."""
    network = read(path)
    text = network.get_rt_info([KEY]).value if network.has_rt_info([KEY]) else None
    about, card = read_about(text, path)
    return Exported("openvino", compiled(network), about), card


def read(path: Path) -> Any:
    """The network in a file, not compiled."""
    runtime = load_openvino()
    if not path.with_suffix(".bin").exists():
        raise WeightsError(f"{path}: its weights, {path.with_suffix('.bin').name}, are not beside it; copy both files")
    try:
        return runtime.Core().read_model(path)
    except RuntimeError as error:
        let_through(error)
        raise WeightsError(f"{path}: OpenVINO cannot open it ({str(error).splitlines()[0][:200]})") from error


def compiled(network: Any, *, threads: int | None = None, precision: str = "fp32") -> Any:
    """A function from (N, C, H, W) float32 pixels to the network's output. threads: default as many as torch has.

    The network is compiled anew for each size. OpenVINO 2026.4 gives wrong answers with open sides: U-Net++
    at 191 x 75 was off by a quarter of the logits' deviation, an 8-bit network on 79 % of the pixels.
    """
    runtime = load_openvino()
    settings = {
        "INFERENCE_NUM_THREADS": threads or torch.get_num_threads(),
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": {"fp32": "f32", "bf16": "bf16"}[precision],
    }
    core = runtime.Core()

    @lru_cache(maxsize=KEPT)
    def of_size(shape: tuple[int, ...]) -> Any:
        fixed = network.clone()
        fixed.reshape(list(shape))
        return core.compile_model(fixed, "CPU", settings).create_infer_request()

    def run(image: np.ndarray) -> np.ndarray:
        return of_size(image.shape).infer([image], share_inputs=True)[0]

    return run


def load_openvino() -> Any:
    """The module openvino; MissingExtra, with how to install it, if it is missing."""
    try:
        import openvino
    except ImportError:
        raise MissingExtra("this needs OpenVINO; run `pip install 'atrous[openvino]'`") from None
    return openvino
