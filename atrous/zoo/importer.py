"""Turn another toolkit's weights into a bundle: every tensor is used, and none is invented."""

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
from atrous.errors import ModelError, WeightsError, let_through, nearest
from atrous.files import refuse_stream
from atrous.io.claims import refuse_foreign
from atrous.labels import VOC21, LabelSet
from atrous.models import build_model
from atrous.zoo.convert import hf, mmseg, smp, torchvision

SOURCES: dict[str, ModuleType] = {"hf": hf, "mmseg": mmseg, "smp": smp, "torchvision": torchvision}
"""The toolkits that `--from` takes.

Each module has `name_of(model, encoder)`, `OURS[name]` and `convert(state, name)`. It may also have
AUX: the prefix of an auxiliary head's tensors
NOTE: a remark that goes into the card of every import
options_of(state, name): options of our network that only the weights tell
spare(key, name): whether the file stores a tensor that the network never uses
"""

NNUNET = "nnunet"
"""A further one, whose checkpoints come with plans that tell all: `atrous.zoo.nnunet`."""

MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
"""ImageNet's, for RGB images in 0..255; all these toolkits train their networks with them."""

SHOWN = 3
"""At most so many tensors of one kind are named in a message."""


@dataclass
class Misfit:
    """Why weights cannot be loaded.

    Attributes:
        missing: Tensors of our network that the file does not give, by our names.
        unexpected: Tensors of the file that our network has no place for, by their names.
        shapes: Tensors of another shape, by their names, with both shapes.
    """

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
    overwrite: bool = False,
    **told: Any,
) -> Card:
    """Turn a file of another toolkit's weights into a bundle that gives the same logits.

    The card holds the options with which the logits agree, and ImageNet's mean and deviation.

    Args:
        path: A .safetensors file, or .pth, .pt or .bin with tensors only.
        source: The toolkit, a key of SOURCES.
        model: The network, by our name or the toolkit's.
        encoder: The toolkit's name of the encoder; None if `model` says it.
        classes: How many classes the network has, at least 1.
        out: Where the bundle is written, a .safetensors file.
        labels: The classes; default VOC's for 21 classes of torchvision, else class_0, class_1, ...
        told: Further fields of the card, such as `data`, `licence` and `metrics`.

    Returns:
        The card of the bundle.

    Raises:
        ModelError: The source, model or encoder is unknown.
        WeightsError: The file cannot be read or does not fit; nothing is written then.

    Example:
        >>> import_weights("fcn.pth", "torchvision", "fcn", "resnet50", 21, "fcn.safetensors").model
        'fcn'
    """
    toolkit, path, out = toolkit_of(source), Path(path), Path(out)
    if classes < 1:
        raise ModelError(f"--classes {classes}: give the number of classes of the network, at least 1")
    refuse_out(out, overwrite=overwrite)
    name = toolkit.name_of(model, encoder)
    state = read_state(path)
    ours, options = toolkit.OURS[name]
    if hasattr(toolkit, "options_of"):
        options = options | toolkit.options_of(state, name)
    if hasattr(toolkit, "AUX") and any(key.startswith(toolkit.AUX) for key in state):
        options = options | {"aux": True}
    network = build_model(ours, classes=classes, **options)
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


def refuse_out(out: Path, *, overwrite: bool) -> None:
    """Refuse a name that is none of a bundle, and a file that is there and not ours, unless it may be replaced."""
    if out.suffix != ".safetensors":
        raise WeightsError(f"{out}: a bundle is a .safetensors file; give such a name with -o")
    if not overwrite:
        refuse_foreign(out)


def read_state(path: Path) -> dict[str, torch.Tensor]:
    """Read the named tensors of a .safetensors, .pth, .pt or .bin file, onto the CPU.

    Pickles are read with weights_only=True. If the file holds a dictionary called `state_dict` or
    `model`, that one is taken. The prefix `module.` is dropped where every name has it.
    Raises WeightsError if the file cannot be read or holds anything else.
    """
    try:
        refuse_stream(path)
        state = load_file(path) if path.suffix == ".safetensors" else _unpickle(path)
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read ({error.strerror or error}); give a file of weights") from error
    except SafetensorError as error:
        raise WeightsError(f"{path}: not a readable .safetensors file ({error}); get it again") from error
    if isinstance(state, Mapping):
        state = next((state[key] for key in ("state_dict", "model") if isinstance(state.get(key), Mapping)), state)
    if not isinstance(state, Mapping) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise WeightsError(f"{path}: holds {type(state).__name__}, expected named tensors; save model.state_dict()")
    parallel = all(str(key).startswith("module.") for key in state)
    return {str(key).removeprefix("module.") if parallel else str(key): value for key, value in state.items()}


def load_strictly(
    network: nn.Module, state: Mapping[str, torch.Tensor], toolkit: ModuleType, name: str
) -> Misfit | None:
    """Load a toolkit's weights into our network; if they do not fit, leave it as it is and say why.

    Only a batch norm's `num_batches_tracked` may be missing: the logits do not depend on it, and
    old files lack it.

    Args:
        network: Our network for `name`, with the right number of classes.
        state: The tensors, by the toolkit's names.
        toolkit: A module of SOURCES.
        name: The toolkit's name of the network, as its `name_of` returns it.

    Returns:
        None if the weights were loaded, else what does not fit.
    """
    given, misfit = fitting(network, state, toolkit, name)
    if misfit is None:
        network.load_state_dict({**network.state_dict(), **given})
    return misfit


def fitting(
    network: nn.Module, state: Mapping[str, torch.Tensor], toolkit: ModuleType, name: str
) -> tuple[dict[str, torch.Tensor], Misfit | None]:
    """As `load_strictly`, but the network is only looked at, and may be one without memory.

    Returns:
        (the tensors by our names, None), or with what does not fit.
    """
    own, given, strange = network.state_dict(), dict[str, torch.Tensor](), []
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
    return given, Misfit(missing, strange, shapes) if missing or strange or shapes else None


def toolkit_of(source: str) -> ModuleType:
    """A module of SOURCES; ModelError, with the nearest name, if there is none."""
    if source in SOURCES:
        return SOURCES[source]
    if source == NNUNET:
        raise ModelError(f"--from {NNUNET}: its plans tell the network and the classes; use `zoo.nnunet.import_nnunet`")
    raise ModelError(f"--from {source}: unknown toolkit; {nearest(source, [*SOURCES, NNUNET])}")


def _unpickle(path: Path) -> object:
    if path.suffix not in (".pth", ".pt", ".bin"):
        raise WeightsError(f"{path}: unknown kind of file; give .safetensors, or .pth, .pt or .bin with tensors only")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception as error:  # a damaged pickle can raise anything
        let_through(error)
        raise WeightsError(
            f"{path}: refused, because it is damaged or holds more than tensors, which could run code; "
            "save model.state_dict() alone, preferably as .safetensors"
        ) from error


def _first(names: list[str]) -> str:
    return ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")
