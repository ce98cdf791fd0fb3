"""Parameters of encoders, heads and imported networks are as many as counted from the originals."""

import pytest
import torch
from parity import label, note
from torch import nn

from atrous.encoders import encoder
from atrous.models import create_model
from atrous.models.fcn import fcn8s

SLOW = pytest.mark.slow


def count(*parts: nn.Module) -> int:
    return sum(p.numel() for part in parts for p in part.parameters())


ENCODERS = [
    ("vgg16", 14_714_688),
    ("resnet18", 11_176_512),
    ("resnet34", 21_284_672),
    ("resnet50", 23_508_032),
    pytest.param("resnet101", 42_500_160, marks=SLOW),
    ("resnet50c", 23_527_264),
    pytest.param("resnet101c", 42_519_392, marks=SLOW),
    ("mobilenet_v3_large", 2_971_952),
    pytest.param("xception65", 37_867_312, marks=SLOW),
    pytest.param("hrnet_w18", 9_562_260, marks=SLOW),
    pytest.param("hrnet_w32", 29_305_536, marks=SLOW),
    pytest.param("hrnet_w48", 65_325_120, marks=SLOW),
]


@pytest.mark.parametrize("name, published", ENCODERS)
def test_encoders(name: str, published: int) -> None:
    with torch.device("meta"):
        ours = count(encoder(name))
    assert ours == published
    note(f"encoder {name}", "the original without classifier", counts=(ours, published))


HEADS = [
    ("fcn", {}, 9_448_981),
    ("fcn", {"aux": True}, 9_448_981 + 2_365_205),
    ("deeplabv3", {"stride": 8}, 16_130_837),
    ("deeplabv3plus", {}, 3_188_101),
    ("fpn", {"encoder": "resnet50c", "smooth": True}, 4_970_901),
    ("danet", {"encoder": "resnet50c", "classes": 19, "aux": True}, 23_954_619),
    ("encnet", {"encoder": "resnet50c", "classes": 19}, 10_000_006 - 9_747),  # without the layer of the SE-loss
    pytest.param("hrnet_ocr", {"encoder": "hrnet_w18", "classes": 19}, 78_589 + 2_439_187, marks=SLOW),
    pytest.param("hrnet_ocr", {"classes": 19}, 533_539 + 4_512_787, marks=SLOW),
]


@pytest.mark.parametrize("name, options, published", HEADS)
def test_heads(name: str, options: dict[str, object], published: int) -> None:
    with torch.device("meta"):
        network = create_model(name, **options)  # type: ignore[arg-type]
    assert count(network) - count(network.encoder) == published


def test_pieces_of_fcn8s() -> None:
    with torch.device("meta"):
        network = fcn8s()
    layers = network.encoder.convs
    assert [count(layers[name]) for name in ("fc6", "fc7")] == [102_764_544, 16_781_312]
    scores = (network.score_fr, network.score_pool4, network.score_pool3)
    assert [count(score) for score in scores] == [86_037, 10_773, 5_397]


def test_norms_of_torchvisions_fcn_keep_as_many_numbers() -> None:
    with torch.device("meta"):
        norms = [layer for layer in create_model("fcn").modules() if isinstance(layer, nn.BatchNorm2d)]
    assert sum(buffer.numel() for layer in norms for buffer in layer.buffers()) == 54_198


FOREIGN = [
    ("smp_unet", {"encoder": "resnet18"}, 14_331_109),
    ("smp_unet", {}, 24_439_269),
    ("smp_unet", {"encoder": "resnet50"}, 32_524_005),
    pytest.param("smp_unet", {"encoder": "resnet101"}, 51_516_133, marks=SLOW),
    ("smp_fpn", {"encoder": "resnet50"}, 26_118_613),
    ("smp_deeplabv3", {"encoder": "resnet50"}, 39_638_869),
    pytest.param("smp_deeplabv3", {"encoder": "resnet101"}, 58_630_997, marks=SLOW),
    ("smp_deeplabv3plus", {"encoder": "resnet18"}, 12_334_437),
    ("smp_deeplabv3plus", {}, 22_442_597),
    ("smp_deeplabv3plus", {"encoder": "resnet50"}, 26_682_725),
    pytest.param("smp_deeplabv3plus", {"encoder": "resnet101"}, 45_674_853, marks=SLOW),
    pytest.param("smp_deeplabv3plus", {"encoder": "xception65"}, 41_042_005, marks=SLOW),
    ("smp_upernet", {"encoder": "resnet50"}, 37_289_813),
    ("smp_segformer", {"classes": 150}, 3_752_694),
    ("mmseg_fcn", {"classes": 19, "aux": True}, 49_497_734),
    pytest.param("smp_segformer", {"classes": 150, "encoder": "mit_b5", "channels": 768}, 84_708_694, marks=SLOW),
]


@pytest.mark.parametrize("name, options, published", FOREIGN)
def test_networks_of_other_toolkits(name: str, options: dict[str, object], published: int) -> None:
    with torch.device("meta"):
        ours = count(create_model(name, **options))  # type: ignore[arg-type]
    assert ours == published
    note(label(name, options), "published count", counts=(ours, published))


def test_pspnet_of_smp_has_what_its_file_has_but_for_the_stages_it_never_uses() -> None:
    with torch.device("meta"):
        network, whole = create_model("smp_pspnet", encoder="resnet50"), encoder("resnet50").net
    assert count(network) + count(whole.layer3, whole.layer4) == 24_393_173
