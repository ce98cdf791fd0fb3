"""From a data set and a few wishes to a complete recipe (but for what is measured).

Rules for photos, each with its reason; `choose` has what other pictures want else:
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
from typing import Any, NamedTuple, cast

import numpy as np
import torch

from atrous import __version__
from atrous.bundle import Card, load_bundle
from atrous.datasets import DataSet, channel_statistics
from atrous.doctor.balance import RARE
from atrous.doctor.findings import as_percent
from atrous.errors import DataError, ModelError, RecipeError, WeightsError, nearest
from atrous.models import MODELS, create_model
from atrous.models.refined import page_of
from atrous.plan.facts import KINDS, SIZES, UP, Facts, facts_of
from atrous.plan.memory import Fit, Needs, fit, free_memory
from atrous.predict.ensemble import digest
from atrous.sample import FULL_SCALE
from atrous.train.recipe import Recipe
from atrous.train.run import fitting
from atrous.zoo.fetch import located

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
    init, a wish: a bundle, run or name to start from, whose network and normalisation are taken over. distil: one to
    learn from, whose digest is kept, so that a run never goes on with another.
    """
    return drafted(data, model=model, encoder=encoder, pretrained=pretrained, held=held, say=say, wishes=wishes).recipe


class Choice(NamedTuple):
    """A value of a recipe and why."""

    value: Any
    why: str


class Draft(NamedTuple):
    """recipe, the facts it rests on, and for its fields the reasons."""

    recipe: Recipe
    facts: Facts
    reasons: dict[str, str]


def drafted(
    data: DataSet,
    *,
    model: str | None,
    encoder: str | None,
    pretrained: bool | str | None,
    held: Recipe | None,
    say: Callable[[str], None],
    wishes: dict[str, Any],
) -> Draft:
    """`draft` with its reasons."""
    card = None
    asked = {key for key, value in {**wishes, "model": model, "encoder": encoder}.items() if value is not None}
    if wishes.get("init") is not None:
        source = Path(wishes["init"])
        wishes["init"] = str(source / "model.safetensors" if source.is_dir() else source)
    if wishes.get("distil") is not None:
        wishes["distil_digest"] = digest(Path(wishes["distil"]))
        wishes["distil"] = str(wishes["distil"])
    if wishes.get("init") is not None and held is None:
        card, network_of = _start(wishes["init"], model, encoder, data, say, wishes)
        model, encoder, pretrained, wishes = card.model, card.options.get("encoder"), False, wishes | network_of
    model = model or (held.model if held else DEFAULT_MODEL)
    if model not in MODELS and not card and not held:
        raise ModelError(f"unknown model {model!r}; {nearest(model, list(MODELS))}")
    if model in MODELS and "encoder" in inspect.signature(MODELS[model]).parameters:
        encoder = encoder or (held.encoder if held else DEFAULT_ENCODER)
    facts = facts_of(data)
    network: dict[str, Any] = {"in_channels": data.channels}
    if encoder is not None:
        network["encoder"] = encoder
    fields: dict[str, Any] = {key: value for key, value in wishes.items() if value is not None}
    fields.setdefault("options", held.options if held and held.model == model else {})
    if "steps" not in fields:
        fields.setdefault("time", 3600.0)
    chosen = choose(facts)
    if held is not None:  # what was decided by the memory and the pictures of its day
        chosen |= {key: Choice(getattr(held, key), "as in the run so far") for key in {*chosen, "accumulate"} & PLANNED}
    elif model in MODELS:
        own: dict[str, Any] = {key: fields[key] for key in ("stride", "channels") if key in fields}
        needs = Needs(model, len(data.labels), {**network, **own, **fields["options"]})
        batch, crop = fields.get("batch", chosen["batch"].value), fields.get("crop", chosen["crop"].value)
        chosen |= fitted(fit(needs, batch, tuple(crop), free_memory()), chosen["crop"], {"crop", "accumulate"} - asked)
    if held is not None and (pretrained is None or held.init):  # its bundle's weights took the encoder's place
        weights, mean, std = held.weights, held.mean, held.std
    elif card is not None:
        weights, mean, std = "random", card.mean, card.std
    else:
        weights, mean, std = _weights(model, network | fields["options"], pretrained, data, facts, say)
    train, val = data.splits["train"], data.splits.get("val", ())
    recipe = Recipe.checked(
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
        **{key: choice.value for key, choice in chosen.items()} | fields,
    )
    reasons = {key: choice.why for key, choice in chosen.items()} | _network_reasons(recipe, facts)
    return Draft(recipe, facts, reasons | dict.fromkeys(asked & set(Recipe.model_fields), "as asked"))


PLANNED = {"crop", "accumulate", "loss", "scale", "vflip", "brightness", "contrast", "saturation", "hue"}
"""Fields that a run which goes on keeps unless somebody asks for others."""


def choose(facts: Facts) -> dict[str, Choice]:
    """What follows from the pictures alone: the defaults for photos, and what other kinds want else."""
    gpu, kind = torch.cuda.is_available(), KINDS[facts.kind]
    chosen = {
        "batch": Choice(8 if gpu else 4, "on a GPU: steps are cheap" if gpu
                        else "without a GPU an hour is short of pictures: twice the steps reached the lower loss"),
        "crop": crop_of(facts),
        "scale": Choice((2 / 3, 3 / 2), "at 1/2 much of a crop lies outside its picture, and 2 pays in long runs only"),
        "vflip": Choice(0.0, f"{kind}: they have an up"),
        "lr": Choice(1e-3, "AdamW at this rate is robust over encoders without a search"),
        "encoder_lr": Choice(0.5, "what is pretrained has less to learn"),
        "ema": Choice(0.998, "a moving average of the weights is free accuracy in short runs"),
        "loss": Choice("ce", "cross-entropy with weights is enough for the shares of these classes"),
        "class_weights": weights_of(facts),
    }  # fmt: skip
    if facts.kind == "photos":
        return chosen
    if facts.up is None:
        chosen["vflip"] = Choice(0.0, f"{kind}, but {facts.pictures} are too few to tell whether they have an up")
    else:
        found = f"{kind}; they agree by {facts.up:.2f} on what is above (from {UP} on they have an up)"
        chosen["vflip"] = Choice(0.5 if facts.turnable else 0.0, found)
    if facts.kind != "deep":
        chosen |= {key: Choice(0.0, "there are no colours to change") for key in ("saturation", "hue")}
    if facts.kind == "bands":
        chosen["scale"] = Choice((1.0, 1.0), "a sensor sees the ground at one scale")
        told = "what a band says is what tells the classes apart: it is not changed"
        chosen |= {key: Choice(0.0, told) for key in ("brightness", "contrast")}
    shares = facts.shares[facts.shares > 0]
    if len(shares) and shares.min() < RARE:
        chosen["loss"] = Choice("ce + dice", f"the rarest class has {as_percent(shares.min())} of the pixels: Dice "
                                "counts each class by its overlap, however small it is")  # fmt: skip
    return chosen


def fitted(found: Fit, crop: Choice, free_to_choose: set[str]) -> dict[str, Choice]:
    """crop and accumulate, by the memory at hand, but for what somebody asked for."""
    known = "" if found.free is None else f" of {found.free / 1e9:.1f} GB that are free"
    need = f"a step takes about {found.needs / 1e9:.1f} GB{known}"
    whole = tuple(found.crop) == tuple(crop.value)
    chosen = {
        "accumulate": Choice(found.accumulate, need + ("" if found.accumulate == 1 else " when its batch is cut")),
        "crop": crop if whole else Choice(found.crop, need),
    }
    return {key: choice for key, choice in chosen.items() if key in free_to_choose}


def _network_reasons(recipe: Recipe, facts: Facts) -> dict[str, str]:
    """Why this network, its weights and their units."""
    white = "what belongs to the encoder's weights" if facts.kind == "photos" and recipe.weights != "random" else ""
    norm = white or f"the training pictures' own: no weights are made for {KINDS[facts.kind]}" if (
        recipe.weights != "random") else "the training pictures' own, since there are no weights to go by"  # fmt: skip
    found = {
        "model": "sharp borders at little cost" if recipe.model == DEFAULT_MODEL else "",
        "encoder": "the best for its time on two cores, and its weights can be had offline (the [demo] extra)"
        if recipe.encoder == DEFAULT_ENCODER else "",
        "weights": "ImageNet's shorten the way to the first good edges" if recipe.weights == "pretrained"
        else "random, which costs accuracy" if recipe.weights == "random" else "",
        "mean": norm,
        "std": norm,
        "steps": "as many as fit the time, validations included",
    }  # fmt: skip
    return {key: why for key, why in found.items() if why}


def again(data: DataSet, held: Recipe, **wishes: Any) -> Recipe:
    """The recipe of a run with what the data are now and what is asked for, to be compared with it; None: as it is."""
    now = {"fingerprint": fingerprint(data), "train_images": len(data.splits["train"])}
    asked = {key: value for key, value in wishes.items() if value is not None and key in Recipe.model_fields}
    return Recipe.checked(str(data.root), **held.model_dump() | now | asked)


def _start(
    path: str,
    model: str | None,
    encoder: str | None,
    data: DataSet,
    say: Callable[[str], None],
    wishes: dict[str, Any],
) -> tuple[Card, dict[str, Any]]:
    """The card of a bundle to start from, and its network as recipe fields; says what has no tensors there.

    Of the page's options those of `wishes` go before the bundle's.
    """
    net, card = load_bundle(located(path))
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
    own = {key: wishes[key] for key in ("stride", "channels") if wishes.get(key) is not None}
    own |= wishes.get("options") or {}
    options |= own
    more: dict[str, Any] = {key: options.pop(key) for key in ("stride", "channels") if key in options}
    with torch.device("meta"):
        fresh = page_of(create_model(card.model, classes=len(data.labels), **card.options | own))
    total, fits = len(fresh.state_dict()), fitting(page_of(net), fresh)
    new = [name for name in fresh.state_dict() if name not in fits]
    if len(new) == total:
        raise RecipeError(f"{path}: none of its tensors fits {card.model} for {len(data.labels)} classes")
    say(f"starting from {path}: {total - len(new)} of {total} tensors" + (f", new: {', '.join(new)}" if new else ""))
    return card, {**more, "options": options}


def crop_for(data: DataSet) -> tuple[int, int]:
    """Height and width of training crops: the median image rounded up to 32, at most 320."""
    train = data.splits["train"]
    sizes = [train.size(index) for index in range(0, len(train), max(1, len(train) // SIZES))]
    height, width = (min(MAX_CROP, int(np.ceil(side / 32)) * 32) for side in np.median(sizes, axis=0))
    return height, width


def crop_of(facts: Facts) -> Choice:
    """`crop_for` with its reason."""
    height, width = (min(MAX_CROP, int(np.ceil(side / 32)) * 32) for side in facts.median)
    whole = height < MAX_CROP and width < MAX_CROP
    return Choice((height, width), "the median picture, rounded up to 32" if whole else
                  f"the median picture is {facts.median[0]:.0f} x {facts.median[1]:.0f}; {MAX_CROP} a side keeps steps "
                  "fast")  # fmt: skip


def weights_of(facts: Facts) -> Choice:
    """Class weights with their reason."""
    present = facts.shares[facts.shares > 0]
    spread = (
        f"shares run from {as_percent(present.min())} to {as_percent(present.max())}" if len(present) else "no pixels"
    )
    return Choice(class_weights(facts.frequencies),
                  f"{spread}: the fourth root of median / share helps rare classes, hardly costs others")  # fmt: skip


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
    model: str,
    network: dict[str, Any],
    pretrained: bool | str | None,
    data: DataSet,
    facts: Facts,
    say: Callable[[str], None],
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
            if scale is not None and facts.kind == "photos":
                mean, std = cast(Any, net.encoder).mean, cast(Any, net.encoder).std
                return weights, tuple(scale * float(m) for m in mean), tuple(scale * float(s) for s in std)
            return weights, *_statistics(data)
    elif pretrained:
        raise DataError(f"there are no pretrained weights for {model}; pass --no-pretrained")
    return "random", *_statistics(data)


def _statistics(data: DataSet) -> tuple[tuple[float, ...], tuple[float, ...]]:
    mean, std = channel_statistics(data.splits["train"])
    return tuple(float(m) for m in mean), tuple(max(float(s), 1e-6) for s in std)
