"""Constants of training that no parity test sees, with their sources: what a page drops, and how its layers start.

Both are measured on networks that were built, in the order in which their layers run, and never by a layer's name. A
third table holds the numbers of recipes, optimisers and losses.
"""

import inspect
import math
from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from forms import FOREIGN_SMALL, SMALL, sized
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd
from torch.nn.modules.dropout import _DropoutNd

from atrous.losses import OHEM, RMI, BorderCrossEntropy, ClDice, Focal, Overlap, Tversky, make_loss
from atrous.models import MODELS, create_model
from atrous.models.foreign import FOREIGN
from atrous.plan.facts import Facts
from atrous.plan.rules import choices_for_images
from atrous.train.objective import Objective
from atrous.train.optimizer import make_optimizer, rate_at
from atrous.train.recipe import Recipe
from atrous.train.step import MOST_SKIPPED

CLASSES = 7
"""As no other layer of the small networks is wide."""


def small(name: str, options: dict[str, Any]) -> nn.Module:
    torch.manual_seed(0)
    return create_model(name, **{"classes": CLASSES, **(SMALL | FOREIGN_SMALL)[name], **options})


# ------------------------------------------------------------------------------------------------------- dropout


class Drops(NamedTuple):
    """What a page drops in one pass: (kind, rate, what the next convolution gives) -> how often.

    unlike: what the source has, where the page has something else.
    """

    page: str
    options: dict[str, Any]
    expected: dict[tuple[str, float, str], int]
    source: str
    unlike: str = ""


def one(kind: str, rate: float, ahead_of: str = "classes", times: int = 1) -> dict[tuple[str, float, str], int]:
    return {(kind, rate, ahead_of): times}


VGG = one("Dropout", 0.5, "features") | one("Dropout", 0.5)
WHOLE_CHANNELS = "Dropout2d, which drops whole channels"
MMSEG = "mmsegmentation, decode_head.py: dropout_ratio 0.1"

DROPS = [
    Drops("attention_unet", {}, {}, "Oktay et al. 2018: none"),
    Drops("bisenetv2", {}, one("Dropout", 0.1), "CoinCheung/BiSeNet, bisenetv2.py: SegmentHead"),
    Drops("ccnet", {}, one("Dropout", 0.1), "speedinghzl/CCNet, ccnet.py: RCCAModule", WHOLE_CHANNELS),
    Drops("danet", {}, one("Dropout", 0.1), "junfu1115/DANet, danet.py: conv8", WHOLE_CHANNELS),
    Drops("deconvnet", {}, {}, "the released net: none"),
    Drops("deeplabv1", {}, VGG, "the released LargeFOV net: drop6, drop7"),
    Drops("deeplabv2", {}, {}, "the released ResNet-101 net: none"),
    Drops("deeplabv2", {"encoder": "vgg16", "width": 4}, {key: 4 * n for key, n in VGG.items()},
          "the released VGG16 net: drop6 and drop7 in each of four branches"),
    Drops("deeplabv3", {}, one("Dropout", 0.5, "features"), "torchvision: after ASPP's projection"),
    Drops("deeplabv3", {"cascade": True}, {}, "Chen et al. 2017: none"),
    Drops("deeplabv3plus", {}, one("Dropout", 0.1, "features"), "TensorFlow's DeepLab: keep_prob 0.9 after ASPP"),
    Drops("dpn", {}, VGG, "VGG16"),
    Drops("encnet", {}, one("Dropout", 0.1), "PyTorch-Encoding, sseg/encnet.py: conv6", WHOLE_CHANNELS),
    Drops("enet", {}, one("Dropout2d", 0.01, "features", 5) | one("Dropout2d", 0.1, "features", 21)
          | one("Dropout2d", 0.1), "Paszke et al. 2016, section 4: 0.01 before bottleneck 2.0, 0.1 after it"),
    Drops("fastscnn", {}, one("Dropout", 0.1), "Tramac/Fast-SCNN-pytorch: Classifer"),
    Drops("fcn", {}, one("Dropout", 0.1), "torchvision: FCNHead"),
    Drops("fcn", {"stride": 32, "skips": (16, 8)}, one("Dropout", 0.1), "torchvision: FCNHead"),
    Drops("fcn16s", {}, VGG, "the released net: drop6, drop7"),
    Drops("fcn32s", {}, VGG, "the released net: drop6, drop7"),
    Drops("fcn8s", {}, VGG, "the released net: drop6, drop7"),
    Drops("fpn", {}, one("Dropout2d", 0.2), "segmentation_models_pytorch: FPN"),
    Drops("hrnet_ocr", {}, one("Dropout2d", 0.05), "HRNet-OCR, seg_hrnet_ocr.py: SpatialOCR_Module"),
    Drops("hrnet_ocr", {"head": "hrnet"}, one("Dropout", 0.05), "HRNet-Semantic-Segmentation, seg_hrnet.py", "none"),
    Drops("icnet", {}, {}, "the released net: none"),
    Drops("lraspp", {}, {}, "torchvision: none"),
    Drops("nnunet2d", {}, {}, "nnU-Net: none"),
    Drops("nnunet3d", {}, {}, "nnU-Net: none"),
    Drops("parsenet", {}, VGG, "DeepLab's LargeFOV, which it builds on"),
    Drops("pointrend", {}, one("Dropout", 0.1, "features"), "that of its page, deeplabv3plus"),
    Drops("pspnet", {}, one("Dropout", 0.1), "hszhao/semseg, pspnet.py", WHOLE_CHANNELS),
    Drops("refinenet", {}, one("Dropout", 0.5), "the authors' code: ahead of the classifier"),
    Drops("reseg", {}, {}, "Visin et al. 2016: none"),
    Drops("segformer", {}, one("Dropout", 0.1), "transformers: classifier_dropout_prob (NVlabs has Dropout2d)"),
    Drops("segnet", {}, {}, "the released net: none"),
    Drops("segnet", {"dropout": 0.5}, one("Dropout", 0.5, "features", 6), "Bayesian SegNet: pools and decoder, 3 to 5"),
    Drops("segnet_basic", {}, {}, "the released net: none"),
    Drops("segnet_basic", {"dropout": 0.5}, one("Dropout", 0.5, "features", 4), "Bayesian SegNet Basic"),
    Drops("unet", {}, {}, "segmentation_models_pytorch: none"),
    Drops("unet2015", {}, one("Dropout", 0.5, "features", 2), "the released phseg_v5: levels of 512 and 1024"),
    Drops("unet3d", {}, {}, "Cicek et al. 2016: none"),
    Drops("unetpp", {}, {}, "Zhou et al. 2018: none"),
    Drops("upernet", {}, one("Dropout", 0.1), MMSEG, WHOLE_CHANNELS),
    Drops("vnet", {}, {}, "the released net: none"),
    *(Drops(name, {}, one("Dropout2d", 0.1), MMSEG) for name in sorted(FOREIGN) if "mmseg" in name),
    Drops("smp_deeplabv3", {}, one("Dropout", 0.5, "features"), "segmentation_models_pytorch 0.6"),
    Drops("smp_deeplabv3plus", {}, one("Dropout", 0.5, "features"), "segmentation_models_pytorch 0.6"),
    Drops("smp_fpn", {}, one("Dropout2d", 0.2), "segmentation_models_pytorch 0.6"),
    Drops("smp_pspnet", {}, one("Dropout2d", 0.2), "segmentation_models_pytorch 0.6"),
]  # fmt: skip


def drops(model: nn.Module, image: torch.Tensor) -> Counter[tuple[str, float, str]]:
    """The dropouts that work while a model trains, and the convolution that runs after each."""
    ran: list[nn.Module] = []
    for layer in model.modules():
        if isinstance(layer, _DropoutNd | _ConvNd | nn.Linear):
            layer.register_forward_hook(lambda module, *_: ran.append(module))
    model.train()(image)
    found: Counter[tuple[str, float, str]] = Counter()
    for place, layer in enumerate(ran):
        if isinstance(layer, _DropoutNd) and layer.p > 0:
            after = next(other for other in ran[place:] if not isinstance(other, _DropoutNd))
            wide = after.out_channels if isinstance(after, _ConvNd) else after.out_features
            found[type(layer).__name__, layer.p, "classes" if wide == CLASSES else "features"] += 1
    return found


@pytest.mark.parametrize("row", DROPS, ids=lambda row: f"{row.page}-{row.options}" if row.options else row.page)
def test_what_is_dropped(row: Drops) -> None:
    image = torch.randn(2, 3, *sized(row.page, (33, 65)))
    found = drops(small(row.page, row.options), image)
    assert found == Counter(row.expected), row.source + (f", which has {row.unlike}" if row.unlike else "")


UNLISTED = sorted({*MODELS, *FOREIGN} - {row.page for row in DROPS})


@pytest.mark.parametrize("name", UNLISTED)
def test_a_page_without_a_row_drops_what_its_options_say(name: str) -> None:
    """So that a new page needs a row only where its source has more to say than its own option."""
    found = drops(small(name, {}), torch.randn(2, 3, *sized(name, (33, 65))))
    options = inspect.signature({**MODELS, **FOREIGN}[name]).parameters.values()
    assert {rate for _, rate, _ in found} <= {option.default for option in options if "dropout" in option.name}


TENTH = ["ccnet", "danet", "deeplabv3", "deeplabv3plus", "encnet", "fastscnn", "fcn", "mmseg_fcn", "pspnet", "upernet"]


@pytest.mark.parametrize("name", TENTH)
def test_an_auxiliary_head_drops_a_tenth(name: str) -> None:
    """torchvision's FCNHead, DANet's classifiers: a tenth ahead of the classes, in each of the auxiliary heads."""
    plain, with_aux = small(name, {}), small(name, {"aux": True})
    heads = {"danet": 2, "fastscnn": 2}.get(name, 1)
    rates = Counter(layer.p for layer in with_aux.modules() if isinstance(layer, _DropoutNd))
    assert rates - Counter(layer.p for layer in plain.modules() if isinstance(layer, _DropoutNd)) == {0.1: heads}


# --------------------------------------------------------------------------------------------------------- starts

Layers = Callable[[nn.Module], list[nn.Module]]


class Start(NamedTuple):
    """How the weights of some layers of a page are drawn, and that their biases are (or are not) zero."""

    page: str
    options: dict[str, Any]
    which: str
    law: str
    bias: bool | None
    source: str
    unlike: str = ""


def fans(weight: torch.Tensor) -> tuple[int, int]:
    """Inputs of one output, and outputs of one input, as torch counts them (of deconvolutions the other way round)."""
    taps = weight[0, 0].numel()
    return weight.shape[1] * taps, weight.shape[0] * taps


LAWS: dict[str, Callable[[int, int], tuple[str, float]]] = {
    "normal 0.01": lambda i, o: ("normal", 0.01),
    "normal 0.001": lambda i, o: ("normal", 0.001),
    "trunc 0.02": lambda i, o: ("normal", 0.02),
    "zero": lambda i, o: ("zero", 0.0),
    "he": lambda i, o: ("normal", math.sqrt(2 / i)),
    "he fan_out": lambda i, o: ("normal", math.sqrt(2 / o)),
    "he 0.01": lambda i, o: ("normal", math.sqrt(2 / (1 + 0.01**2) / i)),
    "mean of fans": lambda i, o: ("normal", math.sqrt(4 / (i + o))),
    "torch": lambda i, o: ("uniform", math.sqrt(1 / (3 * i))),
}
"""Name -> (inputs, outputs) -> kind and standard deviation."""

CHOICES: dict[str, Layers] = {
    "classes": lambda model: [m for m in convolutions(model) if m.out_channels == model.classes],
    "others": lambda model: [m for m in convolutions(model) if m.out_channels != model.classes],
    "upward": lambda model: [m for m in convolutions(model) if up(m)],
    "every": lambda model: convolutions(model),
    "encoder's": lambda model: [m for m in model.modules() if isinstance(m, nn.Linear) and m.out_features != 48],
    "head's": lambda model: [m for m in model.modules() if isinstance(m, nn.Linear) and m.out_features == 48],
    "points": lambda model: [m for m in model.modules() if isinstance(m, nn.Conv1d)],
    "contexts": lambda model: [m for m in convolutions(model) if m.weight.shape[0] == 5 * CLASSES],
}


def up(layer: nn.Module) -> bool:
    return isinstance(layer, nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d)


def convolutions(model: nn.Module) -> list[Any]:
    """Of the page and not of an encoder that timm or a table of our own starts."""
    encoder = getattr(model, "encoder", None)
    theirs = set() if encoder is None or not hasattr(encoder, "net") else set(encoder.modules())
    return [m for m in model.modules() if isinstance(m, _ConvNd) and m not in theirs]


TORCH = "torch's own start, as in the source"

STARTS = [
    Start("fcn32s", {}, "classes", "zero", True, "the released net: no filler"),
    Start("fcn16s", {}, "classes", "zero", True, "the released net: no filler"),
    Start("fcn8s", {}, "classes", "zero", True, "the released net: no filler"),
    Start("fcn8s", {"width": 8}, "others", "he", True, "no source: VGG16's weights are to be loaded"),
    Start("deeplabv1", {"width": 32}, "classes", "normal 0.01", True, "the released net: fc8_voc12"),
    Start("deeplabv1", {"width": 8}, "others", "he", True, "no source: VGG16's weights are to be loaded"),
    Start("deeplabv2", {}, "classes", "normal 0.01", True, "the released net: fc1_voc12_c0 to c3"),
    Start("deeplabv2", {"encoder": "vgg16", "width": 16}, "classes", "normal 0.01", True, "the same: fc8_voc12_1 to 4"),
    Start("parsenet", {"width": 32}, "classes", "normal 0.01", True, "DeepLab's LargeFOV"),
    Start("dpn", {"width": 16}, "classes", "normal 0.01", True, "DeepLab's fc8"),
    Start("dpn", {}, "contexts", "normal 0.01", True, "no source: the paper does not say"),
    Start("deconvnet", {"width": 4}, "upward", "normal 0.01", True, "the released net: fillers of its deconvolutions"),
    Start("deconvnet", {"width": 4, "classes": 300}, "classes", "normal 0.01", True, "the released net: seg-score"),
    Start("segnet", {"width": 16}, "every", "he", True, "the released net: msra"),
    Start("segnet_basic", {"width": 16}, "every", "he", True, "the released net: msra"),
    Start("unet2015", {"width": 8}, "others", "unet", True, "Ronneberger et al. 2015, section 3: sqrt(2 / N)"),
    Start("vnet", {"width": 4}, "others", "mean of fans", True, "the released net: msra, AVERAGE"),
    Start("nnunet2d", {"features": (16, 32, 48)}, "others", "he 0.01", True, "nnU-Net: InitWeights_He(1e-2)"),
    Start("nnunet2d", {"features": (256, 300)}, "classes", "he 0.01", True, "nnU-Net: InitWeights_He(1e-2)"),
    Start("nnunet3d", {"features": (8, 12, 16)}, "others", "he 0.01", True, "nnU-Net: InitWeights_He(1e-2)"),
    Start("bisenetv2", {}, "others", "he", None, "Yu et al. 2020, section 5.2: He et al. (the code at hand: fan_out)"),
    Start("pointrend", {"channels": 256}, "points", "point head", True, "detectron2: c2_msra_fill, normal 0.001"),
    Start("segformer", {"channels": 48}, "encoder's", "trunc 0.02", True, "NVlabs/SegFormer: trunc_normal 0.02"),
    Start("segformer", {"channels": 48}, "head's", "torch", False, "NVlabs/SegFormer: " + TORCH),
    Start("fcn", {}, "every", "torch", False, "torchvision: " + TORCH),
    Start("deeplabv3", {}, "every", "torch", False, "torchvision: " + TORCH),
    Start("deeplabv3plus", {}, "every", "torch", False, "no source: TensorFlow's has a truncated normal, 0.06"),
    Start("pspnet", {}, "every", "torch", False, "hszhao/semseg: " + TORCH),
    Start("upernet", {}, "every", "torch", False, "CSAILVision's: " + TORCH),
    Start("lraspp", {}, "every", "torch", False, "torchvision: " + TORCH),
    Start("mmseg_fcn", {"channels": 300}, "classes", "torch", False, "mmsegmentation", "normal 0.01, biases 0"),
]


def expected(start: Start, layer: Any) -> tuple[str, float]:
    inputs, outputs = fans(layer.weight)
    if start.law == "unet":  # N is 9 times the channels, and the channels where windows do not overlap
        count = layer.in_channels * (9 if tuple(layer.kernel_size) == (3, 3) else 1)
        return "normal", math.sqrt(2 / count)
    if start.law == "point head":
        return LAWS["normal 0.001" if layer.out_channels == CLASSES else "he"](inputs, outputs)
    return LAWS[start.law](inputs, outputs)


@pytest.mark.parametrize("start", STARTS, ids=lambda start: f"{start.page}-{start.which}-{start.options}")
def test_how_weights_start(start: Start) -> None:
    """Over all weights of the layers, each over its own deviation: 1 within four standard errors, and its kind."""
    layers = CHOICES[start.which](small(start.page, start.options))
    assert layers
    kinds, whole = set(), []
    for layer in layers:
        kind, deviation = expected(start, layer)
        kinds.add(kind)
        weight = layer.weight.detach().flatten()
        whole.append(weight / deviation if deviation else weight)
        if start.bias is not None and layer.bias is not None:
            assert bool((layer.bias == 0).all()) == start.bias
    (kind,), values = kinds, torch.cat(whole)
    if kind == "zero":
        assert not values.any()
        return
    assert len(values) > 1000, "too few weights to tell"
    near = 4 / math.sqrt(2 * len(values))
    assert float(values.std()) == pytest.approx(1, abs=near), start
    assert abs(float(values.mean())) < 4 / math.sqrt(len(values))
    assert (float(values.abs().max()) > 1.9) == (kind == "normal")  # an even draw ends at sqrt(3)


def parameters(name: str, shape: tuple[int, ...], **options: Any) -> list[torch.Tensor]:
    return [p.detach() for p in small(name, options).parameters() if tuple(p.shape) == shape]


def test_attention_starts_at_nothing() -> None:
    """CCNet's gamma, and DANet's alpha and beta, are 0 at the start in the authors' codes."""
    assert [float(p) for p in parameters("ccnet", (1,))] == [0.0]
    assert [float(p) for p in parameters("danet", (1,))] == [0.0, 0.0]


def test_norms_that_start_otherwise() -> None:
    """A shift of 0.001 in SegNet's and DeconvNet's released nets; a factor of 10 in ParseNet (Liu et al. 2015: 10..20).

    nnU-Net's residual units start as their skips: the last norm of each has a scale of 0.
    """
    for name in ("segnet", "segnet_basic", "deconvnet"):
        norms = [layer for layer in small(name, {}).modules() if isinstance(layer, _BatchNorm)]
        assert norms
        assert all(torch.equal(layer.bias, torch.full_like(layer.bias, 0.001)) for layer in norms)
        assert all(bool((layer.weight == 1).all()) for layer in norms)
    scales = [p for p in small("parsenet", {}).parameters() if p.ndim == 3]
    assert [set(p.flatten().tolist()) for p in scales] == [{10.0}, {10.0}]
    for residual in (False, True):
        model = small("nnunet2d", {"residual": residual})
        still = sum(1 for p in model.parameters() if p.ndim == 1 and len(p) > 0 and name_of(model, p).endswith("weight")
                    and not p.any())  # fmt: skip
        assert still == (sum((1, 3, 4)) if residual else 0)


def name_of(model: nn.Module, parameter: nn.Parameter) -> str:
    return next(name for name, p in model.named_parameters() if p is parameter)


def test_dpns_kernels_start_at_half_a_colour_and_three_cells() -> None:
    """exp(-(a d_colour^2 + b d_place^2)) is a Gaussian of deviation s where the rate is 1 / (2 s^2)."""
    (rates,) = parameters("dpn", (2,))
    torch.testing.assert_close(rates.exp(), torch.tensor([1 / (2 * 0.5**2), 1 / (2 * 3.0**2)]))


def test_encnets_dictionary() -> None:
    """Zhang et al. 2018, the authors' code: codewords within 1 / sqrt(K D), smoothing factors from -1 to 0."""
    model = small("encnet", {"channels": 200, "codewords": 32})
    words = next(p for p in model.parameters() if tuple(p.shape) == (32, 200)).detach()
    reach = (32 * 200) ** -0.5
    assert 0.99 * reach < float(words.abs().max()) <= reach
    assert float(words.std()) == pytest.approx(reach / math.sqrt(3), rel=0.05)
    scale = next(p for p in model.parameters() if tuple(p.shape) == (32,) and bool((p < 0).all())).detach()
    assert -1 <= float(scale.min()) < -0.8
    assert -0.2 < float(scale.max()) <= 0


def test_batch_norms_are_torchs_own() -> None:
    """Momentum 0.1 and eps 1e-5 as in torchvision, mmsegmentation and smp; the pages' own, not their encoders'."""
    for name in sorted(MODELS):
        model = small(name, {})
        encoder = getattr(model, "encoder", None)
        theirs = set() if encoder is None or not hasattr(encoder, "net") else set(encoder.modules())
        norms = {(m.momentum, m.eps) for m in model.modules() if isinstance(m, _BatchNorm) and m not in theirs}
        assert norms <= {(0.1, 1e-5)}, name
    layers = [m for m in small("nnunet2d", {}).modules() if hasattr(m, "eps")]
    assert {m.eps for m in layers} == {1e-5}  # nnU-Net: InstanceNorm, eps 1e-5
    slopes = {m.negative_slope for m in small("nnunet2d", {}).modules() if isinstance(m, nn.LeakyReLU)}
    assert slopes == {0.01}
    assert {(m.size, m.alpha, m.beta) for m in small("segnet_basic", {}).modules()
            if isinstance(m, nn.LocalResponseNorm)} == {(5, 1e-4, 0.75)}  # fmt: skip


def test_mixed_transformers_convolutions_start_by_their_outputs() -> None:
    """NVlabs/SegFormer, mix_transformer.py: normal, sqrt(2 / fan_out), groups counted."""
    torch.manual_seed(0)
    model = create_model("segformer", classes=CLASSES, channels=32)
    depthwise = [m for m in model.modules() if isinstance(m, nn.Conv2d) and m.groups > 1 and m.groups == m.in_channels]
    values = torch.cat([m.weight.detach().flatten() for m in depthwise])
    assert float(values.std()) == pytest.approx(math.sqrt(2 / 9), rel=0.05)
    assert all(not m.bias.any() for m in depthwise)


# -------------------------------------------------------------------------------------------------------- numbers


class Number(NamedTuple):
    name: str
    found: Callable[[], Any]
    value: Any
    source: str


def field(name: str) -> Callable[[], Any]:
    return lambda: Recipe.model_fields[name].default


def default(thing: Any, name: str) -> Callable[[], Any]:
    return lambda: inspect.signature(thing).parameters[name].default


def chosen() -> dict[str, Any]:
    """What a plan chooses for photos on a machine without a GPU."""
    facts = Facts(9, 3, "uint8", ((400, 100),), np.array([8_000_000, 8_000_000, 500_000]), equal=False, up=None)
    return {key: choice.value for key, choice in choices_for_images(facts).items()}


def group_of(kind: str, key: str) -> Callable[[], Any]:
    model = nn.Conv2d(3, 2, 1)
    return lambda: make_optimizer(recipe(optimizer=kind), model).param_groups[0][key]


def recipe(**fields: Any) -> Recipe:
    known = {"atrous": "0", "data": "d", "fingerprint": "f", "train_images": 1, "model": "unet", "in_channels": 3,
             "mean": (0,), "std": (1,), "crop": (8, 8), "lr": 1.0, "batch": 4, "steps": 100}  # fmt: skip
    return Recipe(**(known | fields))


OWN = "our own: measured on short runs"

NUMBERS = [
    Number("auxiliary weight of a recipe", field("aux_weight"), 0.4, "Zhao et al. 2017, section 5.2; mmsegmentation"),
    Number("auxiliary weight of Objective", default(Objective, "aux_weight"), 0.4, "the same"),
    Number("loss", field("loss"), "ce", "every paper of the line"),
    Number("smoothing of labels", field("smoothing"), 0.0, "no paper of the line smooths"),
    Number("optimizer", field("optimizer"), "adamw", OWN),
    Number("weight decay", field("weight_decay"), 0.01, "Xie et al. 2021; Loshchilov & Hutter 2019: torch's own"),
    Number("rate of a refiner", field("refine_lr"), 10.0, OWN),
    Number("decay of layers", field("layer_decay"), 1.0, "off"),
    Number("norm of a gradient", field("clip"), 1.0, OWN),
    Number("schedule", field("schedule"), "poly", "Chen et al. 2018, section 4.1.2"),
    Number("power", field("power"), 0.9, "Chen et al. 2018, section 4.1.2"),
    Number("temperature of a teacher", field("distil_temperature"), 2.0, OWN),
    Number("weight of a teacher", field("distil_weight"), 1.0, OWN),
    Number("poly, halfway", lambda: rate_at(recipe(), 50), 0.5**0.9, "Chen et al. 2018, section 4.1.2"),
    Number("momentum of SGD", group_of("sgd", "momentum"), 0.9, "Chen et al. 2017, Zhao et al. 2017"),
    Number("Nesterov", group_of("sgd", "nesterov"), True, "Isensee et al. 2021; torchvision and semseg have it off"),
    Number("betas of AdamW", group_of("adamw", "betas"), (0.9, 0.999), "Xie et al. 2021, mmsegmentation's config"),
    Number("eps of AdamW", group_of("adamw", "eps"), 1e-8, "torch's own"),
    Number("one cycle's first rate", lambda: rate_at(recipe(schedule="one_cycle", warmup=30), 0), 1 / 25,
           "torch's OneCycleLR: div_factor"),
    Number("one cycle's last rate", lambda: rate_at(recipe(schedule="one_cycle", warmup=30), 99), 1 / 25e4,
           "torch's OneCycleLR: final_div_factor"),
    Number("planned rate", lambda: chosen()["lr"], 1e-3, OWN),
    Number("planned rate of the encoder", lambda: chosen()["encoder_lr"], 0.5, OWN),
    Number("planned average", lambda: chosen()["ema"], 0.998, OWN),
    Number("planned batch", lambda: chosen()["batch"], 4, OWN),
    Number("planned crop", lambda: chosen()["crop"], (320, 128), OWN),
    Number("planned zoom", lambda: chosen()["scale"], (2 / 3, 3 / 2), OWN),
    Number("planned class weights", lambda: chosen()["class_weights"], (1.0, 1.0, 2.0), "our own: fourth root"),
    Number("OHEM's threshold", default(OHEM, "threshold"), 0.7, "mmsegmentation: OHEMPixelSampler"),
    Number("OHEM's least share", default(OHEM, "least"), 1 / 16, "CoinCheung/BiSeNet: numel / 16"),
    Number("focal gamma", default(Focal, "gamma"), 2.0, "Lin et al. 2017, section 4"),
    Number("focal alpha", default(Focal, "alpha"), None, "class weights do its work"),
    Number("Tversky's false alarms", default(Tversky, "alpha"), 0.3, "Salehi et al. 2017, section 2.2"),
    Number("Tversky's misses", default(Tversky, "beta"), 0.7, "Salehi et al. 2017, section 2.2"),
    Number("focal Tversky", lambda: make_loss("focal_tversky").gamma, 4 / 3, "Abraham & Khan 2019, section 2.2"),
    Number("Dice's smoothing", default(Overlap, "smooth"), 0.0, "absent classes are left out instead"),
    Number("Dice's denominators", default(Overlap, "squared"), False, "nnU-Net; V-Net squares"),
    Number("Dice over", default(Overlap, "region"), "batch", "nnU-Net: batch_dice"),
    Number("weight of a border", default(BorderCrossEntropy, "border"), 10.0, "Ronneberger et al. 2015, section 3"),
    Number("width of a border", default(BorderCrossEntropy, "sigma"), 5.0, "Ronneberger et al. 2015, section 3"),
    Number("RMI's window", default(RMI, "side"), 3, "Zhao et al. 2019, section 4.1"),
    Number("RMI's cells", default(RMI, "stride"), 4, "ZJULearning/RMI: rmi_pool_size"),
    Number("RMI's eps", default(RMI, "eps"), 5e-4, "ZJULearning/RMI: _POS_ALPHA"),
    Number("clDice's erosions", default(ClDice, "iterations"), 3, "jocpae/clDice: iter_"),
    Number("clDice's smoothing", default(ClDice, "smooth"), 1.0, "jocpae/clDice: smooth"),
    Number("skipped steps of a run", lambda: MOST_SKIPPED, 20, OWN),
]  # fmt: skip


@pytest.mark.parametrize("row", NUMBERS, ids=lambda row: row.name)
def test_a_number(row: Number, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    found = row.found()
    assert found == (pytest.approx(row.value, rel=1e-6) if isinstance(row.value, float) else row.value), row.source
