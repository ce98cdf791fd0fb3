"""ONNX Runtime: a network is exported first; an exported file is run as it is."""

import json
import os
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from atrous import __version__
from atrous.bundle import Card
from atrous.errors import MissingExtra, ModelError, WeightsError, let_through
from atrous.files import in_cache, keep
from atrous.predict.backends.exported import Exported, read_about
from atrous.predict.backends.graph import (
    KEY,
    Graph,
    by_program,
    by_tracing,
    describe_graph,
    network_fingerprint,
    sample,
    short,
    tail_rule,
)


def from_model(model: nn.Module, card: Card, *, device: str = "cpu", threads: int | None = None) -> Exported:
    """Export the network in memory, and open it. Raises MissingExtra if the [export] extra is not installed."""
    load_runtime()
    graph = Graph(model, card)
    about = json.loads(describe_graph(graph, card, tail_rule(graph, card)))
    return Exported("onnx", session(kept_onnx(graph, card), threads=threads, device=device), about)


def from_file(path: Path) -> tuple[Exported, Card]:
    """Open a file of `atrous export --to onnx`."""
    run = session(path)
    about, card = read_about(run.metadata.get(KEY), path)
    return Exported("onnx", run, about), card


def kept_onnx(graph: Graph, card: Card) -> bytes:
    """`to_onnx`, kept in the user's cache, as it takes seconds to minutes.

    The file begins with the hash of the rest, so that a damaged one is made anew.
    """
    made_by = f"{__version__} {torch.__version__} {graph.inside} {network_fingerprint(graph.model, card)}"
    path = in_cache("exported", f"{sha256(made_by.encode()).hexdigest()[:24]}.onnx.kept")
    with suppress(OSError):
        digest, _, made = path.read_bytes().partition(b"\n")
        if digest.decode(errors="replace") == sha256(made).hexdigest():
            return made
    made = to_onnx(graph, card)
    keep(path, sha256(made).hexdigest().encode() + b"\n" + made)
    return made


def to_onnx(graph: Graph, card: Card) -> bytes:
    """The graph as an ONNX file without metadata, for any batch and sides.

    Several exporters are tried. The first one counts whose file gives the network's answer at sizes that it
    was not made with.

    Raises:
        ModelError: none does; with the reason.
        MissingExtra: the [export] extra is not installed.
    """
    load_runtime()
    reason = ""
    for way in (by_tracing, by_program):
        try:
            made = way(graph, card)
            run = session(made)
            if all(_same(run, graph, sample(card, size)) for size in graph.sizes[1:]):
                return made
            reason = "its answer at other sizes is another one"
        except ImportError:
            raise MissingExtra("this network needs onnxscript; run `pip install 'atrous[export]'`") from None
        except Exception as error:  # exporters and runtimes raise whatever they meet
            let_through(error)
            reason = short(error)
    raise ModelError(f"{card.model} cannot be exported to ONNX for any size ({reason})")


@torch.inference_mode()
def _same(run: "Session", graph: Graph, image: torch.Tensor) -> bool:
    """Whether an exported graph gives the same labels, or logits equal to a thousandth of their spread."""
    expected, found = graph(image), torch.from_numpy(np.array(run(image.numpy())))
    if found.shape != expected.shape:
        return False
    if graph.inside:
        return float((found == expected).double().mean()) > 0.999
    return float((found - expected).abs().max()) <= 1e-3 * float(expected.std()) + 1e-5


class Session:
    """An ONNX graph with one input `image` and one output, ready to run."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner
        self.metadata: dict[str, str] = inner.get_modelmeta().custom_metadata_map

    def __call__(self, image: np.ndarray) -> np.ndarray:
        return self.inner.run(None, {"image": image})[0]


def session(source: Path | bytes, *, threads: int | None = None, device: str = "cpu") -> Session:
    """threads: default as many as torch has."""
    runtime = load_runtime()
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads or torch.get_num_threads()
    options.log_severity_level = 3  # errors
    wanted = ["CUDAExecutionProvider"] if device.startswith("cuda") else []
    providers = [name for name in [*wanted, "CPUExecutionProvider"] if name in runtime.get_available_providers()]
    try:
        made = runtime.InferenceSession(
            source if isinstance(source, bytes) else str(source),
            options,
            providers,
            enable_fallback=bool(wanted),  # else it tries the same again, and prints that on stdout
        )
        return Session(made)  # metadata that is no text is found there
    except Exception as error:  # its errors share no base
        let_through(error)
        name = "the exported network" if isinstance(source, bytes) else source
        raise WeightsError(f"{name}: ONNX Runtime cannot open it ({str(error).splitlines()[0][:200]})") from error


def load_runtime() -> Any:
    try:
        os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # before the import: it would keep and send events
        import onnxruntime
    except ImportError:
        raise MissingExtra("this backend needs ONNX Runtime; run `pip install 'atrous[export]'`") from None
    return onnxruntime
