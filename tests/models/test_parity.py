"""The networks are the papers': parameter counts, sizes, kernels, and torchvision's own logits."""

import numpy as np
import pytest
import torch
import torchvision
from parity import compare, label, note
from torch import nn

from atrous.errors import ModelError
from atrous.models import create_model
from atrous.models.fcn import Bilinear, fcn8s, fcn16s, fcn32s, warm_start
from atrous.models.unet import unet2015
from atrous.ops.resize import resize
from atrous.zoo.convert.torchvision import OURS, from_torchvision

SLOW = pytest.mark.slow

COUNTS = [
    ("enet", {"classes": 11}, 350_438),
    ("enet", {"classes": 12}, 350_582),
    ("enet", {"classes": 19}, 351_590),
    ("enet", {}, 351_878),
    ("bisenetv2", {"classes": 19}, 3_358_883),
    ("bisenetv2", {"classes": 19, "aux": True}, 3_358_883 + 11_445_372),
    ("fastscnn", {"classes": 19}, 1_153_027),
    ("hrnet_ocr", {"classes": 19, "encoder": "hrnet_w18"}, 12_080_036),
    pytest.param("hrnet_ocr", {"classes": 19}, 70_371_446, marks=SLOW),
    pytest.param("hrnet_ocr", {"classes": 19, "encoder": "hrnet_w18", "head": "hrnet"}, 9_640_849, marks=SLOW),
    pytest.param("hrnet_ocr", {"classes": 19, "encoder": "hrnet_w32", "head": "hrnet"}, 29_546_035, marks=SLOW),
    pytest.param("hrnet_ocr", {"classes": 19, "head": "hrnet"}, 65_858_659, marks=SLOW),
    ("fcn32s", {}, 134_346_581),
    ("fcn16s", {}, 134_357_354),
    ("fcn8s", {}, 134_362_751),
    ("fcn8s", {"classes": 11}, 134_314_081),
    ("fcn8s", {"classes": 19}, 134_353_017),
    ("fcn8s", {"classes": 60}, 134_552_564),
    ("fcn8s", {"classes": 150}, 134_990_594),
    ("fcn32s", {"learned": True}, 136_152_917),
    ("fcn16s", {"learned": True}, 134_815_994),
    ("fcn8s", {"learned": True}, 134_489_759),
    ("deconvnet", {}, 251_805_653),
    ("segnet", {}, 29_455_125),
    ("segnet", {"classes": 11}, 29_449_355),
    ("segnet", {"classes": 12}, 29_449_932),
    ("segnet", {"classes": 37}, 29_464_357),
    ("segnet", {"classes": 11, "dropout": 0.5}, 29_449_355),
    ("segnet_basic", {"classes": 11}, 1_416_587),
    ("unet2015", {"classes": 1, "in_channels": 1}, 31_030_593),
    ("unet2015", {"classes": 2, "in_channels": 1}, 31_030_658),
    ("unet2015", {"classes": 2}, 31_031_810),
    ("unet2015", {"classes": 21}, 31_033_045),
    ("unet2015", {"classes": 1}, 31_031_745),
    ("unet2015", {"classes": 2, "in_channels": 1, "variant": "phseg_v5"}, 31_100_354),
    ("fcn", {}, 32_957_013),
    ("fcn", {"aux": True}, 35_322_218),
    ("fcn", {"classes": 19}, 32_955_987),
    ("fcn", {"classes": 150}, 33_023_190),
    ("fcn", {"encoder": "resnet101"}, 51_949_141),
    ("fcn", {"encoder": "resnet101", "classes": 19}, 51_948_115),
    ("fcn", {"encoder": "resnet101", "classes": 150}, 52_015_318),
    ("fcn", {"encoder": "resnet101", "aux": True}, 54_314_346),
    ("deeplabv3", {"stride": 8}, 39_638_869),
    ("deeplabv3", {"stride": 8, "aux": True}, 42_004_074),
    ("deeplabv3", {"classes": 19}, 39_638_355),
    ("deeplabv3", {"classes": 150}, 39_672_022),
    ("deeplabv3", {"encoder": "resnet101"}, 58_630_997),
    ("deeplabv3", {"encoder": "resnet101", "aux": True}, 60_996_202),
    ("fpn", {}, 26_118_613),
    ("fpn", {"encoder": "resnet50c", "smooth": True}, 28_498_165),
    ("upernet", {"encoder": "resnet50c"}, 64_051_573),
    ("upernet", {"encoder": "resnet50c", "aux": True}, 66_416_778),
    ("danet", {"encoder": "resnet50c", "classes": 19, "aux": True}, 47_481_883),  # with its branches' classifiers
    ("ccnet", {"encoder": "resnet50c", "classes": 19}, 47_461_364),
    ("encnet", {"encoder": "resnet50c", "classes": 19}, 33_527_270 - 9_747),  # without the layer of the SE-loss
    ("segformer", {"classes": 19}, 3_719_027),
    ("segformer", {"classes": 150}, 3_752_694),
    ("segformer", {"encoder": "mit_b1", "classes": 150}, 13_715_798),
    ("segformer", {"encoder": "mit_b2", "classes": 150}, 27_461_974),
    pytest.param("segformer", {"encoder": "mit_b3", "classes": 150}, 47_337_814, marks=SLOW),
    pytest.param("segformer", {"encoder": "mit_b4", "classes": 150}, 64_108_374, marks=SLOW),
    pytest.param("segformer", {"encoder": "mit_b5", "classes": 150}, 84_708_694, marks=SLOW),
    ("deeplabv3plus", {}, 26_696_133),
    ("deeplabv3plus", {"encoder": "resnet101"}, 45_688_261),
    ("deeplabv3plus", {"encoder": "xception65"}, 41_055_413),
    ("deeplabv3plus", {"encoder": "xception65", "classes": 19}, 41_054_899),
    ("deeplabv3plus", {"encoder": "xception71"}, 43_477_837),
    ("deeplabv3", {"encoder": "resnet101", "classes": 19}, 58_630_483),
    ("deeplabv3", {"encoder": "resnet101", "classes": 150}, 58_664_150),
    ("deeplabv3", {"encoder": "mobilenet_v3_large"}, 11_025_477),
    ("deeplabv3", {"encoder": "mobilenet_v3_large", "aux": True}, 11_029_328),
    ("deeplabv3", {"encoder": "mobilenet_v3_large", "classes": 19}, 11_024_963),
    ("deeplabv3", {"encoder": "mobilenet_v3_large", "classes": 150}, 11_058_630),
    ("deeplabv1", {}, 20_505_429),
    ("deeplabv1", {"fc6": "7x7"}, 134_346_581),
    ("deeplabv1", {"fc6": "4x4"}, 65_140_565),
    ("deeplabv1", {"fc6": "4x4_rate8"}, 65_140_565),
    ("deeplabv2", {"encoder": "vgg16"}, 37_877_652),
    ("deeplabv2", {}, 44_048_532),
    ("pspnet", {"encoder": "resnet50c"}, 46_611_829),
    ("pspnet", {"encoder": "resnet50c", "aux": True}, 48_977_034),
    ("pspnet", {"encoder": "resnet101c", "aux": True}, 67_969_162),
    ("lraspp", {}, 3_221_538),
    ("lraspp", {"encoder": "mobilenet_v3_large"}, 3_221_538),
    ("lraspp", {"classes": 19}, 3_221_198),
    ("lraspp", {"classes": 150}, 3_243_468),
]


@pytest.mark.parametrize("name, options, count", COUNTS)
def test_parameters_are_as_many_as_published(name: str, options: dict[str, object], count: int) -> None:
    with torch.device("meta"):
        ours = sum(p.numel() for p in create_model(name, **options).parameters())  # type: ignore[arg-type]
    assert ours == count
    note(label(name, options), "published count", counts=(ours, count))


@pytest.mark.parametrize("build, sizes", [(fcn32s, [544]), (fcn16s, [34, 560]), (fcn8s, [34, 70, 568])])
def test_fcn_sizes_are_those_of_the_released_nets(build: object, sizes: list[int]) -> None:
    seen: list[int] = []
    with torch.device("meta"):
        model = build()  # type: ignore[operator]
        for layer in model.modules():
            if isinstance(layer, Bilinear):
                layer.register_forward_hook(lambda module, inputs, output: seen.append(output.shape[2]))
        assert model(torch.zeros(1, 3, 500, 500)).shape == (1, 21, 500, 500)
    assert seen == sizes


@pytest.mark.parametrize("padding", ["caffe100", "same"])
@pytest.mark.parametrize("build", [fcn32s, fcn16s, fcn8s])
def test_fcn_never_lacks_a_pixel(build: object, padding: str) -> None:
    with torch.device("meta"):
        model = build(1, in_channels=1, width=1, padding=padding)  # type: ignore[operator]
        for side in range(1, 261, 7):
            assert model(torch.zeros(1, 1, side, 261 - side)).shape[2:] == (side, 261 - side)


@pytest.mark.parametrize("padding, shift, score", [("caffe100", 99, 12.5), ("same", 0, 15.5)])
@pytest.mark.parametrize("build", [fcn32s, fcn16s, fcn8s])
@torch.no_grad()
def test_fcn_puts_every_score_where_its_cell_looks(build: object, padding: str, shift: int, score: float) -> None:
    """Cell i of pool k looks at 2^k i + (2^k - 1) / 2 - shift, one of fc7 at 32 i + score (layers/test_vgg.py)."""
    model = build(1, in_channels=1, width=1, padding=padding).double()  # type: ignore[operator]
    image = torch.zeros(1, 1, 288, 288, dtype=torch.float64)
    for name in ("score_pool3", "score_pool4", "score_fr"):
        if hasattr(model, name):
            nn.init.ones_(getattr(model, name).weight)
    sizes = [feature.shape for feature in model.encoder(image)]
    places = ((8, 3.5 - shift), (16, 7.5 - shift), (32, score))
    for level, (stride, first) in enumerate(places):
        if stride < model.stride:
            continue
        features = [torch.zeros(size, dtype=torch.float64) for size in sizes]
        cell = round((144 - first) / stride)
        features[level][:, 0, cell, cell] = 1
        model.encoder.forward = lambda image, features=features: features
        rows = model(image)[0, 0].sum(1)
        assert float((rows * torch.arange(288)).sum() / rows.sum()) == pytest.approx(stride * cell + first, abs=1e-6)


@pytest.mark.parametrize("factor, start", [(2, [0.25, 0.75]), (8, [0.0625, 0.1875, 0.3125]), (16, [0.03125, 0.09375]),
                                           (32, [0.015625, 0.046875])])  # fmt: skip
def test_bilinear_kernels(factor: int, start: list[float]) -> None:
    layer = Bilinear(3, factor)
    line = layer.weight[1, 1, factor] / layer.weight[1, 1, factor, factor] * (1 - 0.5 / factor)
    assert line[: len(start)].tolist() == pytest.approx(start)
    assert float(line.sum()) == pytest.approx(factor)
    assert torch.equal(layer.weight[2, 2], layer.weight[2, 2].T)
    assert not layer.weight[0, 1].any()
    assert not list(layer.parameters())
    assert [p.shape for p in Bilinear(3, factor, learned=True).parameters()] == [(3, 3, 2 * factor, 2 * factor)]


@pytest.mark.parametrize("factor", [2, 4, 8])
def test_bilinear_deconvolution_is_interpolation_inside(factor: int) -> None:
    x = torch.randn(1, 3, 6, 7, dtype=torch.float64)
    half = factor // 2
    up = Bilinear(3, factor).double()(x)[:, :, half:-half, half:-half]
    inside = (..., slice(half, -half), slice(half, -half))
    torch.testing.assert_close(up[inside], resize(x, (6 * factor, 7 * factor))[inside], rtol=0, atol=1e-12)


@torch.no_grad()
def test_fcn_starts_at_zero_and_only_its_scores_learn_first() -> None:
    torch.manual_seed(0)
    model, image = fcn8s(5, width=2), torch.randn(1, 3, 40, 50)
    assert not model(image).any()
    with torch.enable_grad():
        nn.functional.cross_entropy(model.eval()(image), torch.ones(1, 40, 50, dtype=torch.long)).backward()
    assert model.score_fr.weight.grad.any()
    assert not model.encoder.convs["fc7"].weight.grad.any()


@torch.no_grad()
def test_at_once_scales_the_pools() -> None:
    torch.manual_seed(0)
    plain, scaled, image = fcn8s(2, width=2).eval(), fcn8s(2, width=2, at_once=True).eval(), torch.randn(1, 3, 40, 50)
    for name, scale in (("score_pool4", 0.01), ("score_pool3", 0.0001)):
        getattr(plain, name).weight.normal_()
        scaled.load_state_dict(plain.state_dict())
        getattr(scaled, name).weight.div_(scale)
        torch.testing.assert_close(scaled(image), plain(image))
        getattr(plain, name).weight.zero_()


@pytest.mark.parametrize("coarse, fine", [(fcn32s, fcn16s), (fcn16s, fcn8s)])
@torch.no_grad()
def test_warm_start_begins_with_the_coarser_scores(coarse: object, fine: object) -> None:
    torch.manual_seed(0)
    coarser, finer = coarse(4, width=2).eval(), fine(4, width=2).eval()  # type: ignore[operator]
    for name in ("score_fr", "score_pool4"):
        if hasattr(coarser, name):
            getattr(coarser, name).weight.normal_()
    newest = finer.score_pool4 if finer.stride == 16 else finer.score_pool3
    newest.weight.normal_()
    assert warm_start(finer, coarser) is finer
    assert not newest.weight.any()
    image = torch.randn(1, 3, 150, 180)
    scores, (before, after) = coarser._scores(image), (coarser(image), finer(image))
    padded = nn.functional.pad(scores, (2, 2, 2, 2))
    bend = max(float(padded.diff(n=2, dim=axis).abs().max()) for axis in (2, 3))
    assert float((before - after).abs().max()) <= bend / 4 + 1e-5
    assert float(before.std()) > 4 * float((before - after).std())


def test_warm_start_refuses_another_make() -> None:
    with pytest.raises(ModelError, match="FCN-8s cannot start from FCN-32s"):
        warm_start(fcn8s(2, width=1), fcn32s(2, width=1))
    with pytest.raises(ModelError, match="of one make"):
        warm_start(fcn16s(2, width=1), fcn32s(3, width=1))


def test_unet2015_turns_572_into_388() -> None:
    seen: list[int] = []
    with torch.device("meta"):
        model = unet2015(2, in_channels=1)
        for block in (*model.down, *model.up, *model.merge):
            block.register_forward_hook(lambda module, inputs, output: seen.append(output.shape[2]))
        assert model.valid(torch.zeros(1, 1, 572, 572)).shape == (1, 2, 388, 388)
        assert model.valid(torch.zeros(1, 1, 188, 204)).shape == (1, 2, 4, 20)
        with pytest.raises(ModelError, match="190 x 204 pixels"):
            model.valid(torch.zeros(1, 1, 190, 204))
    assert seen[:13] == [568, 280, 136, 64, 28, 56, 52, 104, 100, 200, 196, 392, 388]


@pytest.mark.parametrize("variant", ["paper", "phseg_v5"])
@pytest.mark.parametrize("height, width", [(3, 5), (100, 45)])
@torch.no_grad()
def test_unet2015_mirrors_the_border(variant: str, height: int, width: int) -> None:
    torch.manual_seed(0)
    model, image = unet2015(2, in_channels=1, variant=variant, width=2).eval(), torch.randn(1, 1, height, width)  # type: ignore[arg-type]
    around = ((0, 0), (0, 0), (92, 92 + (4 - height) % 16), (92, 92 + (4 - width) % 16))
    mirrored = torch.from_numpy(np.pad(image.numpy(), around, mode="reflect"))
    assert torch.equal(model(image), model.valid(mirrored)[:, :, :height, :width])


@torch.no_grad()
def test_unet2015_starts_with_variance_two_over_n() -> None:
    torch.manual_seed(0)
    model = unet2015(2, in_channels=1, width=32)
    for layer, inputs in (
        (model.down[2][2], 9 * 128),
        (model.up[0], 512),
        (model.merge[0][0], 9 * 512),
        (model.score, 32),
    ):
        assert float(layer.weight.std()) == pytest.approx(
            (2 / inputs) ** 0.5, rel=0.2 if layer is model.score else 0.02
        )
        assert not layer.bias.any()


def test_unet2015_drops_out_the_skip_of_the_released_net_only() -> None:
    for variant, carried in (("paper", False), ("phseg_v5", True)):
        model, skips = unet2015(2, in_channels=1, variant=variant, width=2), []  # type: ignore[arg-type]
        model.merge[0].register_forward_hook(lambda module, inputs, output, skips=skips: skips.append(inputs[0]))
        model.dropout.p = 1.0
        model.train().valid(torch.randn(1, 1, 188, 188))
        half = skips[0].shape[1] // 2
        skip = skips[0][:, half:] if carried else skips[0][:, :half]
        assert bool(skip.any()) is not carried


@pytest.mark.parametrize("name", ["deeplabv3_resnet50", pytest.param("fcn_resnet50", marks=pytest.mark.slow)])
@torch.no_grad()
def test_torchvisions_weights_give_torchvisions_logits(name: str) -> None:
    torch.manual_seed(0)
    theirs = getattr(torchvision.models.segmentation, name)(weights=None, weights_backbone=None, aux_loss=True).eval()
    for module in theirs.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
            module.weight.uniform_(0.5, 1.5)
    model, options = OURS[name]
    ours = create_model(model, aux=True, **options).eval()
    ours.load_state_dict(from_torchvision(theirs.state_dict(), name))
    for size in ((65, 65), (64, 96), (129, 305)):  # at the last, a map of 17 x 39, every rate reaches beyond its centre
        image = torch.randn(1, 3, *size)
        expected, got = theirs(image), ours.outputs(image)
        torch.testing.assert_close(got[1], expected["aux"], rtol=1e-5, atol=1e-4)
        compare(
            label(model, {**options, "aux": True}),
            f"torchvision {name}",
            got[0],
            expected["out"],
            networks=(ours, theirs),
        )
