"""A file of another toolkit's weights -> one of our bundles, strictly: every tensor is used, none is made up."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from atrous import __version__
from atrous.bundle import Card, save_bundle
from atrous.errors import ModelError, WeightsError, nearest
from atrous.labels import VOC21, LabelSet
from atrous.models import create_model
from atrous.zoo.convert import hf, mmseg, smp, torchvision

SOURCES: dict[str, ModuleType] = {"hf": hf, "mmseg": mmseg, "smp": smp, "torchvision": torchvision}
"""What `--from` takes; each has `name_of(model, encoder)`, `OURS[name]` and `convert(state, name)`.

Some have AUX, how the names of an auxiliary head begin; NOTE, what is said of every import; `options_of(state, name)`,
options that the weights tell; `spare(key, name)`, whether a tensor is stored for nothing.
"""

MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
"""ImageNet's, of RGB images in 0..255: what the networks of all these toolkits were given."""

SHOWN = 3
"""How many tensors of a kind a message names."""


@dataclass
class Misfit:
    """What keeps weights from loading: names of ours without a tensor, their tensors without a place, wrong shapes."""

    missing: list[str]
    unexpected: list[str]
    shapes: list[str]

    def __str__(self) -> str:
        parts = ((self.missing, "missing"), (self.unexpected, "unexpected"), (self.shapes, "of another shape"))
        return ", ".join(f"{len(names)} {kind} ({_first(names)})" for names, kind in parts if names)


def import_weights(
    path: Path | str,
    source: str,
    model: str,
    encoder: str | None,
    classes: int,
    out: Path | str,
    *,
    labels: LabelSet | None = None,
    **told: Any,
) -> Card:
    """Turn a file of `source`'s weights into the bundle `out`, whose logits are the source's; returns its card.

    path: .safetensors, or .pth, .pt, .bin with tensors only. model: our name or the source's; encoder: the source's,
    None where the model's name holds it. The card's options are those by which the logits agree, its mean and std are
    ImageNet's, its classes `labels`, else VOC's for torchvision's 21, else class_0, class_1, ...; told: other fields.
    Raises ModelError on an unknown source, model or encoder, WeightsError on a file that cannot be read or does not
    fit; then nothing is written.
    """
    toolkit, path, out = _toolkit(source), Path(path), Path(out)
    if classes < 1:
        raise ModelError(f"--classes {classes}: give the number of classes of the network, from 1 on")
    if out.suffix != ".safetensors":
        raise WeightsError(f"{out}: a bundle is a .safetensors file; give such a name with -o")
    name = toolkit.name_of(model, encoder)
    state = read_state(path)
    ours, options = toolkit.OURS[name]
    if hasattr(toolkit, "options_of"):
        options = options | toolkit.options_of(state, name)
    if hasattr(toolkit, "AUX") and any(key.startswith(toolkit.AUX) for key in state):
        options = options | {"aux": True}
    network = create_model(ours, classes=classes, **options)
    if misfit := load_strictly(network, state, toolkit, name):
        raise WeightsError(
            f"{path}: not the weights of {source}'s {name} with {classes} classes: {misfit}; "
            "check --model, --encoder and --classes"
        )
    if labels is None:
        voc = source == "torchvision" and classes == len(VOC21)
        labels = VOC21 if voc else LabelSet(tuple(f"class_{index}" for index in range(classes)))
    note = f"; {toolkit.NOTE}" if hasattr(toolkit, "NOTE") else ""
    told = {"data": f"{source} {name}, file {path.name}{note}"} | told
    card = Card(ours, options, labels, MEAN, STD, atrous=__version__, **told)
    save_bundle(out, network, card)
    return card


def read_state(path: Path) -> dict[str, torch.Tensor]:
    """The named tensors of a .safetensors, .pth, .pt or .bin file, on the CPU; pickles with weights_only=True.

    A dictionary in it called `state_dict` or `model` is taken instead of the whole; `module.` ahead of all is dropped.
    """
    try:
        state = load_file(path) if path.suffix == ".safetensors" else _unpickle(path)
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read ({error.strerror or error}); give a file of weights") from error
    except SafetensorError as error:
        raise WeightsError(f"{path}: not a readable .safetensors file ({error}); get it anew") from error
    if isinstance(state, Mapping):
        state = next((state[key] for key in ("state_dict", "model") if isinstance(state.get(key), Mapping)), state)
    if not isinstance(state, Mapping) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise WeightsError(f"{path}: holds {type(state).__name__}, expected named tensors; save model.state_dict()")
    parallel = all(str(key).startswith("module.") for key in state)
    return {str(key).removeprefix("module.") if parallel else str(key): value for key, value in state.items()}


def load_strictly(
    network: nn.Module, state: Mapping[str, torch.Tensor], toolkit: ModuleType, name: str
) -> Misfit | None:
    """Load `toolkit`'s weights of `name` into our network, or say what does not fit and leave it as it is.

    Only a batch norm's count of batches may be missing: it does not enter the logits, and old files lack it.
    """
    own, given, strange = network.state_dict(), {}, []
    theirs: dict[str, str] = {}
    for key, tensor in state.items():
        if hasattr(toolkit, "spare") and toolkit.spare(key, name):
            continue
        try:
            renamed = toolkit.convert({key: tensor}, name)
        except WeightsError:
            renamed = {}
        for target, value in renamed.items():
            if target in own:
                given[target], theirs[target] = value, key
        if not given.keys() & renamed.keys():
            strange.append(key)
    missing = [key for key in own if key not in given and not key.endswith("num_batches_tracked")]
    shapes = [
        f"{theirs[key]} {tuple(value.shape)} for {tuple(own[key].shape)}"
        for key, value in given.items()
        if value.shape != own[key].shape
    ]
    if missing or strange or shapes:
        return Misfit(missing, strange, shapes)
    network.load_state_dict({**own, **given})
    return None


def _toolkit(source: str) -> ModuleType:
    if source in SOURCES:
        return SOURCES[source]
    raise ModelError(f"--from {source}: unknown toolkit; {nearest(source, list(SOURCES))}")


def _unpickle(path: Path) -> object:
    if path.suffix not in (".pth", ".pt", ".bin"):
        raise WeightsError(f"{path}: unknown kind of file; give .safetensors, or .pth, .pt or .bin with tensors only")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception as error:  # a damaged pickle can raise anything
        raise WeightsError(
            f"{path}: refused, because it is damaged or holds more than tensors, which could run code; "
            "save model.state_dict() alone, best as .safetensors"
        ) from error


def _first(names: list[str]) -> str:
    return ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")
