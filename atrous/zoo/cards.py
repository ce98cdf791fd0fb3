"""Weights by name: what `atrous predict --model NAME` and `atrous.load(NAME)` fetch, and what is known of them.

Addresses, sizes, scores and the first digits of a checksum of torchvision's are those of its own metadata. Of weights
at Hugging Face no checksum is known here: what protects them is https, pickles read with weights_only=True, and that
every tensor must be there, be expected and have its shape. A score is given where its source was read; the others stand
in the same paper's tables.
"""

from dataclasses import dataclass, field
from typing import Any

from atrous.bundle import Card, load_card
from atrous.labels import ADE150, CITYSCAPES19, VOC21, LabelSet
from atrous.zoo.shipped import shipped

COCO = "COCO's terms: torchvision's weights may carry those of the data they were trained on, COCO with VOC's classes"
NVIDIA = "NVIDIA Source Code License for SegFormer: non-commercial, for research or evaluation only"
OPENMMLAB = "MIT at openmmlab, from whose weights smp's authors made them; smp-hub states no licence"


@dataclass(frozen=True)
class Weights:
    """Published weights: how they are imported, where they are, and what their makers say of them.

    family: the name in `atrous models` of the network. source, model, encoder: as for `atrous import`. urls: tried in
    this order. sha256: all its digits, or the first ones, or "" where it is unknown. megabytes: 2**20 bytes each, 0
    where unknown. metrics: published ones, per data set. The mean and standard deviation are ImageNet's.
    """

    family: str
    source: str
    model: str
    encoder: str | None
    labels: LabelSet
    urls: tuple[str, ...]
    licence: str
    sha256: str = ""
    megabytes: float = 0.0
    metrics: dict[str, Any] = field(default_factory=dict)


def _torchvision(model: str, encoder: str, file: str, megabytes: float, miou: float, accuracy: float) -> Weights:
    """One of torchvision's six; the end of a file's name is the beginning of its checksum."""
    digits = file.rsplit("-", 1)[1].removesuffix(".pth")
    published = {"miou": miou, "pixel_accuracy": accuracy, "source": "torchvision's metadata, images resized to 520"}
    return Weights(
        model, "torchvision", model, encoder, VOC21, (f"https://download.pytorch.org/models/{file}",), COCO,
        digits, megabytes, {"COCO val2017, VOC's classes": published},
    )  # fmt: skip


def _segformer(size: int, data: str, crop: str, scores: dict[str, Any]) -> Weights:
    """NVIDIA's SegFormer at Hugging Face; some of its repositories have no .safetensors file."""
    base = f"https://huggingface.co/nvidia/segformer-b{size}-finetuned-{data}-{crop}/resolve/main/"
    urls = (f"{base}model.safetensors", f"{base}pytorch_model.bin")
    labels = ADE150 if data == "ade" else CITYSCAPES19
    return Weights("segformer", "hf", f"segformer-b{size}", None, labels, urls, NVIDIA, metrics=scores)


def _smp(family: str, model: str, encoder: str, repository: str, labels: LabelSet, licence: str) -> Weights:
    """One of smp's hub."""
    url = f"https://huggingface.co/smp-hub/{repository}/resolve/main/model.safetensors"
    return Weights(family, "smp", model, encoder, labels, (url,), licence)


PAPER = "arXiv 2105.15203"
ADE_SCORES: dict[int, dict[str, Any]] = {
    size: {"ADE20K val": {"miou": miou, "source": PAPER}} for size, miou in {0: 37.4, 4: 50.3, 5: 51.0}.items()
}
CITY_SCORES: dict[int, dict[str, Any]] = {5: {"Cityscapes val, several scales": {"miou": 84.0, "source": PAPER}}}

CARDS: dict[str, Weights] = {
    "deeplabv3-mobilenetv3-voc": _torchvision(
        "deeplabv3", "mobilenet_v3_large", "deeplabv3_mobilenet_v3_large-fc3c493d.pth", 42.301, 60.3, 91.2
    ),
    "deeplabv3-resnet101-voc": _torchvision(
        "deeplabv3", "resnet101", "deeplabv3_resnet101_coco-586e9e4e.pth", 233.217, 67.4, 92.4
    ),
    "deeplabv3-resnet50-voc": _torchvision(
        "deeplabv3", "resnet50", "deeplabv3_resnet50_coco-cd0a2569.pth", 160.515, 66.4, 92.4
    ),
    "fcn-resnet101-voc": _torchvision("fcn", "resnet101", "fcn_resnet101_coco-7ecb50ca.pth", 207.711, 63.7, 91.9),
    "fcn-resnet50-voc": _torchvision("fcn", "resnet50", "fcn_resnet50_coco-1167a1af.pth", 135.009, 60.5, 91.4),
    "lraspp-mobilenetv3-voc": _torchvision(
        "lraspp", "mobilenet_v3_large", "lraspp_mobilenet_v3_large-d234d4ea.pth", 12.490, 57.9, 91.2
    ),
    **{
        f"segformer-b{size}-ade": _segformer(
            size, "ade", "640-640" if size == 5 else "512-512", ADE_SCORES.get(size, {})
        )
        for size in range(6)
    },
    **{
        f"segformer-b{size}-cityscapes": _segformer(size, "cityscapes", "1024-1024", CITY_SCORES.get(size, {}))
        for size in range(6)
    },
    **{
        f"smp-segformer-b{size}-ade": _smp(
            "segformer",
            "Segformer",
            f"mit_b{size}",
            f"segformer-b{size}-{'640x640' if size == 5 else '512x512'}-ade-160k",
            ADE150,
            NVIDIA,
        )
        for size in range(6)
    },
    **{
        f"smp-segformer-b{size}-cityscapes{end}": _smp(
            "segformer", "Segformer", f"mit_b{size}", f"segformer-b{size}-{crop}-city-160k", CITYSCAPES19, NVIDIA
        )
        for size, crop, end in (
            *((size, "1024x1024", "") for size in range(6)),
            *((0, crop, f"-{crop}") for crop in ("512x1024", "640x1280", "768x768")),
        )
    },
    **{
        f"smp-upernet-convnext-{size}-ade": _smp(
            "upernet", "UPerNet", f"tu-convnext_{size}", f"upernet-convnext-{size}", ADE150, OPENMMLAB
        )
        for size in ("tiny", "small", "base", "large", "xlarge")
    },
}
"""Name -> weights."""


def describe_weights() -> list[str]:
    """A line for each of the weights trained here and of CARDS: name, classes, what they score, licence."""
    lines = []
    for name, path in shipped().items():
        own = load_card(path)
        lines.append(f"{name:<37} {len(own.labels):>3} classes  {score(own)}; {own.licence}")
    for name, card in CARDS.items():
        scores = "; ".join(f"mIoU {score['miou']} on {data}" for data, score in card.metrics.items())
        lines.append(f"{name:<37} {len(card.labels):>3} classes  {scores}{'; ' if scores else ''}{card.licence}")
    return lines


def weights_of(family: str) -> list[str]:
    """The names of the weights of a network of `atrous models`."""
    own = [name for name, path in shipped().items() if load_card(path).model == family]
    return own + [name for name, card in CARDS.items() if card.family == family]


def score(card: Card) -> str:
    """'mIoU 0.652 (0.631 to 0.670) on test of CamVid, ...' of weights trained here."""
    found = card.metrics["test"]
    low, high = found["interval"]
    return f"mIoU {found['miou']:.3f} ({low:.3f} to {high:.3f}) on test of {card.data}"
