"""Published weights by name, for `atrous predict --model NAME` and `atrous.load(NAME)`: the facts.

torchvision's addresses, sizes, scores and first digits of the checksums come from its own metadata.
For files at Hugging Face no checksum is known here. Three things protect them: they must have the
checksum that Hugging Face announces, pickles are read with weights_only=True, and every tensor
must be there, be expected and have its shape. A score is given only where its source was read; the
tables of the same papers hold the others.
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
    """Published weights: how to import them, where they are, and what their makers say about them.

    The mean and the standard deviation of their images are ImageNet's.

    Attributes:
        family: The network's name in `atrous models`.
        source: The toolkit, as `--from` of `atrous import`.
        model: The network, as `--model` of `atrous import`.
        encoder: The encoder, as `--encoder` of `atrous import`; None where `model` says it.
        labels: The classes.
        urls: Addresses of the file, tried in this order.
        licence: Shown before the download, and kept in the bundle.
        sha256: The first digits of the file's checksum, or all of them; "" if unknown.
        megabytes: The size of the file in 2**20 bytes; 0 if unknown.
        metrics: Published scores with their source, for each data set.
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
    """One of torchvision's six; the file's name ends with the first digits of its checksum."""
    digits = file.rsplit("-", 1)[1].removesuffix(".pth")
    published = {"miou": miou, "pixel_accuracy": accuracy, "source": "torchvision's metadata, images resized to 520"}
    return Weights(
        model, "torchvision", model, encoder, VOC21, (f"https://download.pytorch.org/models/{file}",), COCO,
        digits, megabytes, {"COCO val2017, VOC's classes": published},
    )  # fmt: skip


def _segformer(size: int, data: str, crop: str, scores: dict[str, Any]) -> Weights:
    """NVIDIA's SegFormer at Hugging Face; some of its repositories hold a pickle alone."""
    base = f"https://huggingface.co/nvidia/segformer-b{size}-finetuned-{data}-{crop}/resolve/main/"
    urls = (f"{base}model.safetensors", f"{base}pytorch_model.bin")
    labels = ADE150 if data == "ade" else CITYSCAPES19
    return Weights("segformer", "hf", f"segformer-b{size}", None, labels, urls, NVIDIA, metrics=scores)


def _smp(family: str, model: str, encoder: str, repository: str, labels: LabelSet, licence: str) -> Weights:
    """Weights of smp's own page at Hugging Face, smp-hub."""
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


def describe_weights(family: str | None = None) -> list[str]:
    """One line for each name, weights trained here first: name, classes, scores, licence.

    Args:
        family: list only the weights of this network.
    """
    lines = []
    for name, path in shipped().items():
        own = load_card(path)
        if family not in (None, own.model):
            continue
        lines.append(f"{name:<37} {len(own.labels):>3} classes  {_score(own)}; {own.licence}")
    for name, card in CARDS.items():
        if family not in (None, card.family):
            continue
        scores = "; ".join(f"mIoU {score['miou']} on {data}" for data, score in card.metrics.items())
        lines.append(f"{name:<37} {len(card.labels):>3} classes  {scores}{'; ' if scores else ''}{card.licence}")
    return lines


def weights_for_network(family: str) -> list[str]:
    """The names of the weights there are for a network of `atrous models`.

    Example:
        >>> weights_for_network("lraspp")
        ['lraspp-mobilenetv3-voc']
    """
    own = [name for name, path in shipped().items() if load_card(path).model == family]
    return own + [name for name, card in CARDS.items() if card.family == family]


def _score(card: Card) -> str:
    """For weights trained here: 'mIoU 0.652 (0.631 to 0.670) on test of CamVid, ...'."""
    found = card.metrics["test"]
    low, high = found["interval"]
    return f"mIoU {found['miou']:.3f} ({low:.3f} to {high:.3f}) on test of {card.data}"
