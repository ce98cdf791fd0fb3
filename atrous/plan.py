"""From a data set and a few wishes to a complete recipe (but for what is measured).

Rules, each with its reason:
- crop: the median image, at most 320 a side, in multiples of 32: whole tiles where they are small, fast steps on a CPU.
- batch 8 on a GPU, 4 on a CPU: there an hour is short of pictures, not of memory, and twice the steps over the same
  pictures reached the lower validation loss.
- zoom 2/3 to 3/2: at the papers' 1/2 much of a small picture's crop lies outside it, and only long runs pay for 2.
- AdamW, lr 1e-3, the pretrained encoder at half of it: robust over encoders without a search.
- normalisation: the one the encoder's weights were made with; without weights, the training images' own statistics.
- a CRF's few parameters at ten times the rate (`refine_lr`): Adam moves each by about the rate per step, and they start
  at 1 to 10 where weights of networks start at hundredths.
- class weights (median / frequency)^(1/4): rare classes are learned within a short run, common ones hardly pay for it.
- a moving average of the weights, as slow as a tenth of the run at most: free accuracy in short runs.
"""

import inspect
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from atrous import __version__
from atrous.bundle import Card, load_bundle
from atrous.datasets import DataSet, channel_statistics
from atrous.ensemble import digest
from atrous.errors import DataError, ModelError, RecipeError, WeightsError, nearest
from atrous.models import MODELS, create_model
from atrous.recipe import Recipe
from atrous.run import fitting, page_of
from atrous.sample import FULL_SCALE

DEFAULT_MODEL, DEFAULT_ENCODER = "deeplabv3plus", "tf_efficientnet_lite0"
MAX_CROP = 320


def draft(
    data: DataSet,
    *,
    model: str | None = None,
    encoder: str | None = None,
    pretrained: bool | str | None = None,
    held: Recipe | None = None,
    say: Callable[[str], None] = print,
    **wishes: Any,
) -> Recipe:
    """A recipe for `data`. `wishes` are recipe fields (steps, time, batch, crop, lr, seed, ...); None means undecided.

    pretrained: None takes ImageNet weights where they can be had and says so where not; True insists (WeightsError);
    False starts from random weights; a string is a file of encoder weights. held: the recipe of a run that goes on.
    init, a wish: a bundle or run to start from, whose network and normalisation are taken over. distil: one to learn
    from, whose digest is kept, so that a run never goes on with another.
    """
    card = None
    if wishes.get("init") is not None:
        source = Path(wishes["init"])
        wishes["init"] = str(source / "model.safetensors" if source.is_dir() else source)
    if wishes.get("distil") is not None:
        wishes["distil_digest"] = digest(Path(wishes["distil"]))
        wishes["distil"] = str(wishes["distil"])
    if wishes.get("init") is not None and held is None:
        card, network_of = _start(wishes["init"], model, encoder, data, say)
        model, encoder, pretrained, wishes = card.model, card.options.get("encoder"), False, wishes | network_of
    model = model or (held.model if held else DEFAULT_MODEL)
    if model not in MODELS and not card and not held:
        raise ModelError(f"unknown model {model!r}; {nearest(model, list(MODELS))}")
    if model in MODELS and "encoder" in inspect.signature(MODELS[model]).parameters:
        encoder = encoder or (held.encoder if held else DEFAULT_ENCODER)
    train, val = data.splits["train"], data.splits.get("val", ())
    fields: dict[str, Any] = {key: value for key, value in wishes.items() if value is not None}
    fields = {
        "batch": 8 if torch.cuda.is_available() else 4,
        "scale": (2 / 3, 3 / 2),
        "lr": 1e-3,
        "encoder_lr": 0.5,
        "ema": 0.998,
        **fields,
    }
    fields.setdefault("crop", crop_for(data))
    fields.setdefault("class_weights", class_weights(train.frequencies()))
    if "steps" not in fields:
        fields.setdefault("time", 3600.0)
    network: dict[str, Any] = {"in_channels": data.channels}
    if encoder is not None:
        network["encoder"] = encoder
    fields.setdefault("options", held.options if held and held.model == model else {})
    if held is not None and pretrained is None:
        weights, mean, std = held.weights, held.mean, held.std
    elif card is not None:
        weights, mean, std = "random", card.mean, card.std
    else:
        weights, mean, std = _weights(model, network | fields["options"], pretrained, data, say)
    return Recipe.checked(
        str(data.root),
        atrous=__version__,
        data=str(data.root),
        fingerprint=fingerprint(data),
        train_images=len(train),
        val_images=len(val),
        model=model,
        weights=weights,
        dtype=str(data.dtype),
        mean=mean,
        std=std,
        **network,
        **fields,
    )


def again(data: DataSet, held: Recipe, **wishes: Any) -> Recipe:
    """The recipe of a run with what the data are now and what is asked for, to be compared with it; None: as it is."""
    now = {"fingerprint": fingerprint(data), "train_images": len(data.splits["train"])}
    asked = {key: value for key, value in wishes.items() if value is not None and key in Recipe.model_fields}
    return Recipe.checked(str(data.root), **held.model_dump() | now | asked)


def _start(
    path: str, model: str | None, encoder: str | None, data: DataSet, say: Callable[[str], None]
) -> tuple[Card, dict[str, Any]]:
    """The card of a bundle to start from, and its network as recipe fields; says what has no tensors there."""
    net, card = load_bundle(path)
    options = dict(card.options)
    channels = options.pop("in_channels", 3)
    for what, asked, has in (
        ("model", model, card.model),
        ("encoder", encoder, options.pop("encoder", None)),
        ("channels of the images", data.channels, channels),
        ("type of the images", str(data.dtype), card.dtype),
    ):
        if asked is not None and asked != has:
            raise RecipeError(f"{path}: the {what} is {has} there and {asked} here; leave --init or the other away")
    more: dict[str, Any] = {key: options.pop(key) for key in ("stride", "channels") if key in options}
    with torch.device("meta"):
        fresh = create_model(card.model, classes=len(data.labels), **card.options)
    total, fits = len(fresh.state_dict()), fitting(page_of(net), fresh)
    new = [name for name in fresh.state_dict() if name not in fits]
    if len(new) == total:
        raise RecipeError(f"{path}: none of its tensors fits {card.model} for {len(data.labels)} classes")
    say(f"starting from {path}: {total - len(new)} of {total} tensors" + (f", new: {', '.join(new)}" if new else ""))
    return card, {**more, "options": options}


def crop_for(data: DataSet) -> tuple[int, int]:
    """Height and width of training crops: the median image rounded up to 32, at most 320."""
    train = data.splits["train"]
    shapes = [train[index].image.shape[:2] for index in range(0, len(train), max(1, len(train) // 32))]
    height, width = (min(MAX_CROP, int(np.ceil(side / 32)) * 32) for side in np.median(shapes, axis=0))
    return height, width


def class_weights(frequencies: np.ndarray, power: float = 0.25) -> tuple[float, ...]:
    """(median frequency / frequency)^power per class (power 1: Eigen & Fergus 2015); a class without pixels gets 1."""
    present = frequencies > 0
    ratio = np.median(frequencies[present]) / np.maximum(frequencies, 1)
    return tuple(round(float(weight), 4) for weight in np.where(present, ratio**power, 1.0))


def fingerprint(data: DataSet) -> str:
    """A short name for the training images and classes, so that a run is never resumed on others."""
    text = "\n".join([repr(data.labels), *data.splits["train"].names])
    return sha256(text.encode()).hexdigest()[:16]


def _weights(
    model: str, network: dict[str, Any], pretrained: bool | str | None, data: DataSet, say: Callable[[str], None]
) -> tuple[str, tuple[float, ...], tuple[float, ...]]:
    """Where the encoder's weights come from, and the mean and std that belong to them, in raw units."""
    own = "pretrained" in inspect.signature(MODELS[model]).parameters
    if pretrained is not False and own:
        try:
            net = create_model(model, classes=len(data.labels), pretrained=pretrained or True, **network)
        except WeightsError as error:
            if pretrained is not None:
                raise
            say(f"WARNING: training from random weights, which costs accuracy: {error}")
        else:
            scale = FULL_SCALE.get(str(data.dtype))
            weights = pretrained if isinstance(pretrained, str) else "pretrained"
            if scale is not None:
                mean, std = cast(Any, net.encoder).mean, cast(Any, net.encoder).std
                return weights, tuple(scale * float(m) for m in mean), tuple(scale * float(s) for s in std)
            return weights, *_statistics(data)
    elif pretrained:
        raise DataError(f"there are no pretrained weights for {model}; pass --no-pretrained")
    return "random", *_statistics(data)


def _statistics(data: DataSet) -> tuple[tuple[float, ...], tuple[float, ...]]:
    mean, std = channel_statistics(data.splits["train"])
    return tuple(float(m) for m in mean), tuple(max(float(s), 1e-6) for s in std)
