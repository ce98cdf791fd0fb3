"""Export a trained network to a file of another runtime. The file is compared with the network before it is written.

    onnx           NAME.onnx, and beside it NAME_run.py, which needs only numpy and onnxruntime to run it
    openvino       NAME.xml and NAME.bin
    torch-export   NAME.pt2, for `torch.export.load`

Every file takes raw pixels of any batch, height and width. It carries all that is needed to use it:
classes, colours, units, the last resize. `check_export` compares the very bytes that would be written,
at five sizes, odd ones among them.
"""

import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from atrous.bundle import Card
from atrous.errors import ModelError, let_through, nearest
from atrous.export import runner
from atrous.files import NAMED, alone, write_atomically
from atrous.io.claims import refuse_foreign
from atrous.io.marks import marked
from atrous.predict.backends import graph as graphs
from atrous.predict.backends import onnx, openvino
from atrous.predict.backends.graph import KEY, Graph, describe_graph, sample, tail_rule, to_program, with_metadata
from atrous.predict.backends.onnx import kept_onnx
from atrous.predict.backends.tails import TailRule

SUFFIX = {"onnx": ".onnx", "openvino": ".xml", "torch-export": ".pt2"}
PARTS = {"onnx": ("_run.py", ".onnx"), "openvino": (".bin", ".xml"), "torch-export": (".pt2",)}
"""How the names of the files end that an export writes, in this order."""
TAILS = ("beside", "inside")
AGREEMENT = 0.999
"""The share of equal labels that an exported float32 network must reach at every size."""

SMALL = (1, 8, 16, 33)
"""Smaller sides that are tried too, to say from which side on the file can be used."""

Run = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class ExportCheck:
    """What the comparison found. agreement: the lowest share of equal labels; difference: the largest of logits,
    None with labels inside; smallest: the least side that gives the right labels; sizes: what was compared."""

    agreement: float
    difference: float | None
    smallest: int
    sizes: list[list[int]] = field(default_factory=list)


def export_network(
    model: nn.Module,
    card: Card,
    out: Path,
    *,
    to: str = "onnx",
    tail: str = "beside",
    triton: bool = False,
    overwrite: bool = False,
) -> tuple[list[Path], ExportCheck]:
    """Export a network for another runtime.

    Args:
        model, card: of a bundle.
        out: the file, or its name without suffix; with `triton` the folder of a model repository.
        to: "onnx", "openvino" or "torch-export".
        tail: "beside": the file gives logits and the rule of the last resize. "inside": it gives labels.
        triton: add the network to a Triton model repository, under its name.
        overwrite: replace files that are there and are not from this program.

    Returns:
        The files that were written, the main one first, and what the comparison found.

    Raises:
        ModelError: the network cannot be exported for any size, or the file gives other labels. Nothing is
            written then.
        DataError: a file that is there would be lost.
    """
    for what, value, known in (("target", to, tuple(SUFFIX)), ("tail", tail, TAILS)):
        if value not in known:
            raise ModelError(f"unknown {what} {value!r}; {nearest(value, known)}")
    if triton and to == "torch-export":
        raise ModelError("a Triton repository takes onnx or openvino; give another --to")
    if not overwrite:
        refuse_targets(out, card, to, triton)
    graph = Graph(model.cpu(), card, inside=tail == "inside")
    rule = None if graph.inside else tail_rule(graph, card)
    with tempfile.TemporaryDirectory() as folder:
        made, run = BUILDERS[to](graph, card, Path(folder))
        checked = check_export(run, graph, card, rule)
        text = describe_graph(
            graph, card, rule, smallest=checked.smallest, agreement=checked.agreement, checked=checked.sizes
        )
        return write_export(made(text), text, graph, card, out, to, triton), checked


def write_export(
    files: dict[str, bytes], text: str, graph: Graph, card: Card, out: Path, to: str, triton: bool = False
) -> list[Path]:
    """Write the files, by their suffixes, each whole or not at all. The main file comes last."""
    if triton:
        return _write_repository(files, text, graph, card, out, to)
    if to == "onnx":
        files = {"_run.py": marked(Path(runner.__file__).read_bytes(), ".py"), **files}
    paths = _targets(out, card, to, triton=False)
    with alone(paths[0].parent, f".{_stem(out).name[:NAMED]}.lock"):  # files of two networks would not fit each other
        for path, data in zip(paths, files.values(), strict=True):
            write_atomically(path, data)
    return paths[::-1]


def refuse_targets(out: Path, card: Card, to: str, triton: bool = False) -> None:
    """Raise a DataError if a file that an export would write is there, and is not from this program."""
    for path in _targets(out, card, to, triton):
        refuse_foreign(path)


def _targets(out: Path, card: Card, to: str, triton: bool) -> list[Path]:
    """The files that an export writes, in this order; of a repository those that others may have written."""
    if triton:
        folder = out / card.model
        models = [folder / "1" / f"model{suffix}" for suffix in PARTS[to] if not suffix.endswith(".py")]
        return [*models, folder / f"{KEY}.json", folder / "config.pbtxt"]
    return [_stem(out).with_name(_stem(out).name + suffix) for suffix in PARTS[to]]


def _stem(out: Path) -> Path:
    return out.with_suffix("") if out.suffix in SUFFIX.values() else out


def check_export(run: Run, graph: Graph, card: Card, rule: TailRule | None) -> ExportCheck:
    """Compare a file with the network; ModelError where less than `AGREEMENT` of the labels are equal."""
    worst, difference = 1.0, 0.0
    for size in graph.sizes:
        for batch in (1, 2) if size == graph.sizes[0] else (1,):
            try:
                share, apart = _compare(run, graph, card, rule, size, batch)
            except ModelError:
                raise
            except Exception as error:  # a runtime's own errors share no base
                let_through(error)
                raise ModelError(
                    f"{card.model} cannot be exported for any size: at {_by(size)} the exported network fails "
                    f"({graphs.short(error)})"
                ) from error
            worst, difference = min(worst, share), max(difference, apart)
            if share < AGREEMENT:
                raise ModelError(
                    f"the exported {card.model} gives the network's labels on {share:.3%} of the pixels of a "
                    f"{_by(size)} image, expected {AGREEMENT:.1%}; nothing was written"
                )
    return ExportCheck(
        worst, None if graph.inside else difference, _smallest(run, graph, card, rule), [list(s) for s in graph.sizes]
    )


@torch.inference_mode()
def _compare(
    run: Run, graph: Graph, card: Card, rule: TailRule | None, size: tuple[int, ...], batch: int
) -> tuple[float, float]:
    """(share of equal labels, largest difference of logits) at one size."""
    image = sample(card, size, batch=batch)
    found = torch.from_numpy(np.array(run(image.numpy())))
    if rule is None:
        return float((found == graph(image)).double().mean()), 0.0
    logits, tail = graph.low(graph.normalise(image))
    if found.shape != logits.shape:
        raise ModelError(f"the exported {card.model} gives {tuple(found.shape)} logits, expected {tuple(logits.shape)}")
    told = rule.tail(size, found.shape[2:]).apply(found)
    equal = told.argmax(1) == tail.apply(logits).argmax(1)
    return float(equal.double().mean()), float((found - logits).abs().max())


def _smallest(run: Run, graph: Graph, card: Card, rule: TailRule | None) -> int:
    for side in SMALL:
        try:
            if _compare(run, graph, card, rule, (side,) * graph.axes, 1)[0] >= AGREEMENT:
                return side
        except Exception as error:  # what a runtime raises at sides that it does not take
            let_through(error)
    return min(side for size in graph.sizes for side in size)


Made = Callable[[str], dict[str, bytes]]
"""A function: the JSON of `describe_graph` -> the files that carry it, by their suffixes."""


def _onnx(graph: Graph, card: Card, folder: Path) -> tuple[Made, Run]:
    data = kept_onnx(graph, card)
    return lambda text: {".onnx": with_metadata(data, text)}, onnx.session(data)


def _openvino(graph: Graph, card: Card, folder: Path) -> tuple[Made, Run]:
    runtime = openvino.load_openvino()
    network = runtime.Core().read_model(kept_onnx(graph, card))
    return lambda text: openvino_files(network, text, folder), openvino.compiled(network)


def openvino_files(network: Any, text: str, folder: Path) -> dict[str, bytes]:
    """A network of OpenVINO as its two files, the JSON of `describe_graph` in it; folder: for temporary files."""
    network.set_rt_info(text, [KEY])
    path = folder / "network.xml"
    openvino.load_openvino().save_model(network, path, compress_to_fp16=False)
    return {".bin": path.with_suffix(".bin").read_bytes(), ".xml": path.read_bytes()}


def _torch_export(graph: Graph, card: Card, folder: Path) -> tuple[Made, Run]:
    program = to_program(graph, card)

    def saved(text: str) -> bytes:
        buffer = BytesIO()
        torch.export.save(program, buffer, extra_files={f"{KEY}.json": text})
        return buffer.getvalue()

    try:
        module = torch.export.load(BytesIO(saved(""))).module()
    except Exception as error:  # whatever the serializer meets
        let_through(error)
        raise ModelError(f"{card.model} cannot be saved by torch.export ({graphs.short(error)})") from error
    return lambda text: {".pt2": saved(text)}, lambda image: module(torch.from_numpy(image)).detach().numpy()


BUILDERS: dict[str, Callable[[Graph, Card, Path], tuple[Made, Run]]] = {
    "onnx": _onnx, "openvino": _openvino, "torch-export": _torch_export,
}  # fmt: skip


def _write_repository(files: dict[str, bytes], text: str, graph: Graph, card: Card, out: Path, to: str) -> list[Path]:
    """OUT/NAME/1/model.onnx (or model.xml and .bin), OUT/NAME/config.pbtxt, atrous.json and run.py."""
    *models, about, config_file = _targets(out, card, to, triton=True)
    labels, any_sides = graph.inside, ["-1"] * graph.axes
    output = ("labels", "TYPE_UINT8" if len(card.labels) <= 256 else "TYPE_INT32", any_sides)
    if not labels:
        output = ("logits", "TYPE_FP32", [str(len(card.labels)), *any_sides])
    config = [f'name: "{card.model}"', "max_batch_size: 8"]
    config.append('platform: "onnxruntime_onnx"' if to == "onnx" else 'backend: "openvino"')
    for kind, (name, dtype, dims) in (
        ("input", ("image", "TYPE_FP32", [str(graph.channels), *any_sides])),
        ("output", output),
    ):
        config.append(f'{kind} [ {{ name: "{name}" data_type: {dtype} dims: [ {", ".join(dims)} ] }} ]')
    config.append("dynamic_batching { }")
    with alone(about.parent):
        for path, data in zip(models, files.values(), strict=True):
            write_atomically(path, data)
        write_atomically(about, json.dumps(json.loads(text), indent=1).encode())
        write_atomically(config_file, marked("\n".join([*config, ""]).encode(), ".pbtxt"))
    return [*models[::-1], about, config_file]


def _by(size: tuple[int, ...]) -> str:
    return "x".join(map(str, size))
