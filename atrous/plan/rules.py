"""From a data set and a few wishes to a complete recipe, except for what is measured.

Rules for photos; `choices_for_images` holds what is different for other images:
- crop: the median image in multiples of 32, at most 320 on a side. Small images are seen whole, and
  steps on a CPU are fast.
- batch: 8 on a GPU, 4 on a CPU. In an hour a CPU sees few images, and twice the steps over the same
  images reached the lower validation loss.
- scale: 2/3 to 3/2. At the papers' 1/2 much of a crop lies outside a small image, and 2 helps in
  long runs only.
- optimiser: AdamW at 1e-3, the pretrained encoder at half of it. This works for many encoders
  without a search.
- mean and std: those of the encoder's weights; without weights, those of the training images.
- refine_lr: 10. Adam moves each parameter by about the rate per step, and a CRF's parameters start
  at 1 to 10, where a network's weights start at hundredths.
- class_weights: (median / frequency)^(1/4). Rare classes are learned in a short run, at little cost
  for common ones.
- ema: 0.998. A moving average of the weights makes short runs more accurate at no cost.
"""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import torch

from atrous import __version__
from atrous.bundle import Card, load_bundle
from atrous.datasets import DataSet
from atrous.doctor.balance import RARE
from atrous.doctor.findings import as_percent
from atrous.errors import DataError, ModelError, RecipeError, WeightsError, nearest
from atrous.evaluate.seen import fingerprint_of
from atrous.models import MODELS, build_model
from atrous.models.refined import page_of
from atrous.plan.facts import KINDS, UP, Facts, facts_of
from atrous.plan.memory import Fit, Needs, fit, total_memory
from atrous.plan.statistics import normalisation
from atrous.plan.volumes import draft_volumes
from atrous.predict.loading import bundle_in, digest
from atrous.progress import say
from atrous.sample import FULL_SCALE
from atrous.train.recipe import Recipe
from atrous.train.run import fitting_tensors
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
    say: Callable[[str], None] = say,
    **wishes: Any,
) -> Recipe:
    """Make a recipe for a data set.

    Args:
        data: the data set, with a split `train`.
        model: a name of `atrous models`; default deeplabv3plus.
        encoder: a name of timm; default tf_efficientnet_lite0.
        pretrained: None: ImageNet weights if they can be had, else `say` is told. True: they must
            be there. False: random weights. A string: a file of encoder weights.
        held: the recipe of a run that goes on (`again`).
        say: is told what a person should know, a sentence at a time.
        wishes: fields of the recipe (steps, time, batch, crop, lr, seed, ...); None means
            undecided. `init` is a bundle, run or published name, whose network and normalisation
            are taken over. `distil` is a teacher, whose digest is kept, so that the run never goes
            on with another.

    Returns:
        The recipe. What is measured (steps, precision, ...) is still open.

    Raises:
        AtrousError: a name is unknown, a wish does not fit a recipe, or weights that were asked for
            are missing.
    """
    own: dict[str, Any] = {"model": model, "encoder": encoder, "pretrained": pretrained}
    if held is not None:
        return again(data, held, **own, **wishes)
    return drafted(data, **own, say=say, wishes=wishes).recipe


class Choice(NamedTuple):
    """A value of a recipe, and the reason for it."""

    value: Any
    why: str


class Draft(NamedTuple):
    """A recipe, the facts behind it (plain data, for JSON), and the reasons, by field."""

    recipe: Recipe
    facts: dict[str, Any]
    reasons: dict[str, str]


def drafted(
    data: DataSet,
    *,
    model: str | None,
    encoder: str | None,
    pretrained: bool | str | None,
    say: Callable[[str], None],
    wishes: dict[str, Any],
    memory: float | None = None,
) -> Draft:
    """`draft`, with the facts and the reasons. memory: bytes of the GPU that volumes are planned for."""
    card = None
    if data.labels.mode == "exclusive" and len(data.labels) < 2:
        raise DataError(
            f"{data.root}: 1 class; expected at least 2, such as a background: one alone is nothing to learn"
        )
    asked = {key for key, value in {**wishes, "model": model, "encoder": encoder}.items() if value is not None}
    wishes = _located(wishes)
    if data.dimensions > 2:
        if encoder or isinstance(pretrained, str) or pretrained:
            raise ModelError("networks of volumes have no encoder of images; leave out --encoder and --pretrained")
        return Draft(*draft_volumes(data, model=model, wishes=wishes, memory=memory))
    if wishes.get("init") is not None:
        card, network_of = _start(wishes["init"], model, encoder, data, say, wishes)
        model, encoder, pretrained, wishes = card.model, card.options.get("encoder"), False, wishes | network_of
    model = model or DEFAULT_MODEL
    if model not in MODELS and not card:
        raise ModelError(f"unknown model {model!r}; {nearest(model, list(MODELS))}")
    if model in MODELS and "encoder" in inspect.signature(MODELS[model]).parameters:
        encoder = encoder or DEFAULT_ENCODER
    facts = facts_of(data)
    network: dict[str, Any] = {"in_channels": data.channels}
    if encoder is not None:
        network["encoder"] = encoder
    fields: dict[str, Any] = {key: value for key, value in wishes.items() if value is not None}
    fields.setdefault("options", {})
    if "steps" not in fields:
        fields.setdefault("time", 3600.0)
    chosen = choices_for_images(facts)
    if model in MODELS:
        own: dict[str, Any] = {key: fields[key] for key in ("stride", "channels") if key in fields}
        needs = Needs(model, len(data.labels), {**network, **own, **fields["options"]})
        batch, crop = fields.get("batch", chosen["batch"].value), fields.get("crop", chosen["crop"].value)
        found = fit(needs, batch, tuple(crop), total_memory())
        chosen |= choices_for_memory(found, chosen["crop"], {"crop", "accumulate"} - asked)
    if card is not None:
        weights, mean, std = "random", card.mean, card.std
    else:
        weights, mean, std = _weights(model, network | fields["options"], pretrained, data, facts, say)
    train, val = data.training, data.splits.get("val", ())
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
        valid_area=data.valid_area,
        mean=mean,
        std=std,
        **network,
        **{key: choice.value for key, choice in chosen.items()} | fields,
    )
    reasons = {key: choice.why for key, choice in chosen.items()} | _network_reasons(recipe, facts)
    return Draft(
        recipe, facts.summary(data.labels.names), reasons | dict.fromkeys(asked & set(Recipe.model_fields), "as asked")
    )


def choices_for_images(facts: Facts) -> dict[str, Choice]:
    """What follows from the images alone: the choices for photos, changed for other kinds."""
    gpu, kind = torch.cuda.is_available(), KINDS[facts.kind]
    chosen = {
        "batch": Choice(8 if gpu else 4, "on a GPU steps are cheap" if gpu
                        else "without a GPU an hour sees few images: twice the steps reached the lower loss"),
        "crop": crop_of(facts),
        "scale": Choice((2 / 3, 3 / 2), "at 1/2 much of a crop lies outside its image, and 2 helps in long runs only"),
        "vflip": Choice(0.0, f"{kind}: they have an up"),
        "lr": Choice(1e-3, "AdamW at this rate suits many encoders without a search"),
        "encoder_lr": Choice(0.5, "a pretrained encoder has less to learn"),
        "ema": Choice(0.998, "a moving average of the weights makes short runs more accurate at no cost"),
        "loss": Choice("ce", "cross-entropy with class weights is enough for the shares of these classes"),
        "class_weights": weights_of(facts),
    }  # fmt: skip
    if facts.kind == "photos":
        return chosen
    if facts.up is None:
        chosen["vflip"] = Choice(0.0, f"{kind}; {facts.pictures} are too few to tell whether they have an up")
    else:
        found = f"{kind}; they agree by {facts.up:.2f} on what is above (from {UP} on they have an up)"
        chosen["vflip"] = Choice(0.5 if facts.turnable else 0.0, found)
    if facts.kind != "deep":
        chosen |= {key: Choice(0.0, "there are no colours to change") for key in ("saturation", "hue")}
    if facts.kind == "bands":
        chosen["scale"] = Choice((1.0, 1.0), "a sensor sees the ground at one scale")
        told = "the values of the bands tell the classes apart: they are not changed"
        chosen |= {key: Choice(0.0, told) for key in ("brightness", "contrast")}
    shares = facts.shares[facts.shares > 0]
    if len(shares) and shares.min() < RARE:
        chosen["loss"] = Choice("ce + dice", f"the rarest class has {as_percent(shares.min())} of the pixels: Dice "
                                "counts the overlap of each class, however small the class is")  # fmt: skip
    return chosen


def choices_for_memory(found: Fit, crop: Choice, undecided: set[str]) -> dict[str, Choice]:
    """`crop` and `accumulate` that fit the memory, if undecided. crop: the choice so far."""
    known = "" if found.total is None else f" of {found.total / 1e9:.1f} GB of memory"
    need = f"a step takes about {found.needs / 1e9:.1f} GB{known}"
    whole = tuple(found.crop) == tuple(crop.value)
    chosen = {
        "accumulate": Choice(
            found.accumulate, need + ("" if found.accumulate == 1 else " when its batch is cut into parts")
        ),
        "crop": crop if whole else Choice(found.crop, need),
    }
    return {key: choice for key, choice in chosen.items() if key in undecided}


def _network_reasons(recipe: Recipe, facts: Facts) -> dict[str, str]:
    """Why this network, these weights and this normalisation."""
    if recipe.init:
        weights, norm = "the tensors come from `init`", "they belong to the bundle of `init`"
    elif recipe.weights == "random":
        weights, norm = "random weights cost accuracy", "of the training images, since the weights are random"
    else:
        weights = "those of ImageNet shorten the training" if recipe.weights == "pretrained" else ""
        norm = f"of the training images: no weights are made for {KINDS[facts.kind]}"
        if facts.kind == "photos":
            norm = "they belong to the encoder's weights"
    found = {
        "model": "sharp borders at little cost" if recipe.model == DEFAULT_MODEL else "",
        "encoder": "the most accurate for its time on two cores; its weights come with the [demo] extra, offline"
        if recipe.encoder == DEFAULT_ENCODER
        else "",
        "weights": weights,
        "mean": norm,
        "std": norm,
        "steps": "as many as fit the time, with validations",
    }
    return {key: why for key, why in found.items() if why}


def again(data: DataSet, held: Recipe, *, pretrained: bool | str | None = None, **wishes: Any) -> Recipe:
    """The recipe of a run with the data of now and with wishes, to be compared with the old one.

    What was measured or planned when the run began, perhaps on another machine, stays as it is.

    Args:
        data: the data as they are now.
        held: the run's recipe.
        pretrained: as `draft` takes it.
        wishes: fields of the recipe; None leaves a field as it is.
    """
    now = {
        "fingerprint": fingerprint(data), "train_images": len(data.training),
        "val_images": len(data.splits.get("val", ())), "in_channels": data.channels, "dtype": str(data.dtype),
        "valid_area": data.valid_area,
    }  # fmt: skip
    asked = {key: value for key, value in _located(wishes).items() if value is not None}
    if "options" in asked:
        asked["options"] = held.options | asked["options"]
    if pretrained is not None and not held.init:  # the bundle of `init` has replaced the encoder's weights
        asked["weights"] = pretrained if isinstance(pretrained, str) else "pretrained" if pretrained else "random"
    return Recipe.checked(str(data.root), **held.model_dump() | now | asked)


def _located(wishes: dict[str, Any]) -> dict[str, Any]:
    """The wishes, `init` and `distil` as a recipe writes them."""
    found = dict(wishes)
    if found.get("init") is not None:
        found["init"] = str(bundle_in(found["init"]))
    if found.get("distil") is not None:
        found |= {"distil": str(found["distil"]), "distil_digest": digest(Path(found["distil"]))}
    return found


def _start(
    path: str,
    model: str | None,
    encoder: str | None,
    data: DataSet,
    say: Callable[[str], None],
    wishes: dict[str, Any],
) -> tuple[Card, dict[str, Any]]:
    """The card of the bundle to start from, and its network as fields of a recipe.

    Options of the model in `wishes` override the bundle's. `say` is told which tensors are new.
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
            raise RecipeError(f"{path}: the {what} is {has} there and {asked} here; leave out --init or the other")
    own = {key: wishes[key] for key in ("stride", "channels") if wishes.get(key) is not None}
    own |= wishes.get("options") or {}
    options |= own
    more: dict[str, Any] = {key: options.pop(key) for key in ("stride", "channels") if key in options}
    with torch.device("meta"):
        fresh = page_of(build_model(card.model, classes=len(data.labels), **card.options | own))
    total, fits = len(fresh.state_dict()), fitting_tensors(page_of(net), fresh)
    new = [name for name in fresh.state_dict() if name not in fits]
    if len(new) == total:
        raise RecipeError(f"{path}: none of its tensors fits {card.model} for {len(data.labels)} classes")
    say(f"starting from {path}: {total - len(new)} of {total} tensors" + (f", new: {', '.join(new)}" if new else ""))
    return card, {**more, "options": options}


def crop_of(facts: Facts) -> Choice:
    """The crop: the median image rounded up to multiples of 32, at most MAX_CROP on a side."""
    height, width = (min(MAX_CROP, int(np.ceil(side / 32)) * 32) for side in facts.median)
    whole = height < MAX_CROP and width < MAX_CROP
    return Choice((height, width), "the median image, rounded up to 32" if whole else
                  f"the median image is {facts.median[0]:.0f} x {facts.median[1]:.0f}; at most {MAX_CROP} on a side "
                  "keeps steps fast")  # fmt: skip


def weights_of(facts: Facts) -> Choice:
    """The class weights."""
    present = facts.shares[facts.shares > 0]
    spread = (
        f"shares run from {as_percent(present.min())} to {as_percent(present.max())}" if len(present) else "no pixels"
    )
    return Choice(class_weights(facts.frequencies),
                  f"{spread}: the fourth root of median / share helps rare classes, costs others little")  # fmt: skip


def class_weights(frequencies: np.ndarray, power: float = 0.25) -> tuple[float, ...]:
    """Weights of classes in the loss: (median frequency / frequency)^power.

    Args:
        frequencies: labelled pixels of each class, (K,), >= 0.
        power: the exponent, 1 in the paper.

    Returns:
        K weights; a class without pixels gets 1.

    Source: Eigen & Fergus 2015, 1411.4734 (power 1).
    """
    present = frequencies > 0
    ratio = np.median(frequencies[present]) / np.maximum(frequencies, 1)
    return tuple(round(float(weight), 4) for weight in np.where(present, ratio**power, 1.0))


def fingerprint(data: DataSet) -> str:
    """A hash of the training images' names and the classes: a run does not go on with others."""
    return fingerprint_of(data.labels, data.training.names)


def _weights(
    model: str,
    network: dict[str, Any],
    pretrained: bool | str | None,
    data: DataSet,
    facts: Facts,
    say: Callable[[str], None],
) -> tuple[str, tuple[float, ...], tuple[float, ...]]:
    """The source of the encoder's weights, with their mean and std in the units of the pixels."""
    own = "pretrained" in inspect.signature(MODELS[model]).parameters
    if pretrained is not False and own:
        try:
            net = build_model(model, classes=len(data.labels), pretrained=pretrained or True, **network)
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
            return weights, *normalisation(data.training, str(data.dtype), say)
    elif pretrained:
        raise DataError(f"there are no pretrained weights for {model}; pass --no-pretrained")
    return "random", *normalisation(data.training, str(data.dtype), say)
