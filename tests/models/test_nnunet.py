"""nnU-Net: counts of the real one, its logits where it is installed, and its planned topology."""

import re

import numpy as np
import pytest
import torch
from parity import compare, label, note
from torch import nn

from atrous.errors import ModelError
from atrous.models.nnunet import NNUNet, nnunet2d, nnunet3d, topology
from atrous.ops.resize import resize

SEVEN = (32, 64, 128, 256, 512, 512, 512)

COUNTS = [
    (nnunet3d, 3, {}, 31_196_399),
    (nnunet3d, 14, {}, 31_205_254),
    (nnunet3d, 16, {}, 31_206_864),
    (nnunet2d, 14, {}, 46_348_834),
    (nnunet2d, 14, {"features": SEVEN}, 33_489_940),
    (nnunet3d, 2, {"residual": True}, 102_349_770),
    (nnunet3d, 3, {"residual": True}, 102_350_575),
    (nnunet3d, 14, {"residual": True}, 102_359_430),
    (nnunet3d, 16, {"residual": True}, 102_361_040),
    (nnunet3d, 3, {"residual": True, "features": (32, 64, 128, 256, 320, 320, 320)}, 141_890_738),
    (nnunet2d, 3, {"residual": True, "features": SEVEN}, 105_918_322),
]


def count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize("build, classes, options, parameters", COUNTS)
def test_parameters(build: object, classes: int, options: dict[str, object], parameters: int) -> None:
    with torch.device("meta"):
        ours = count(build(classes, in_channels=1, aux=True, **options))  # type: ignore[operator]
    assert ours == parameters
    told = label(build.__name__, {"classes": classes, "in_channels": 1, "aux": True, **options})  # type: ignore[attr-defined]
    note(told, "published count", counts=(ours, parameters))


def test_a_plan_of_thick_slices() -> None:
    kernels, strides = topology((40, 224, 192), (3, 1, 1))
    assert kernels == [(1, 3, 3), *[(3, 3, 3)] * 5]
    assert strides == [(1, 1, 1), (1, 2, 2), (2, 2, 2), (2, 2, 2), (2, 2, 2), (1, 2, 2)]
    with torch.device("meta"):
        assert count(nnunet3d(14, in_channels=1, kernels=kernels, strides=strides, aux=True)) == 30_713_158


def test_topology_is_nnunets() -> None:
    assert topology((512, 512), (1, 1)) == ([(3, 3)] * 8, [(1, 1), *[(2, 2)] * 7])
    assert topology((128, 128, 128), (1, 1, 1)) == ([(3, 3, 3)] * 6, [(1, 1, 1), *[(2, 2, 2)] * 5])
    assert topology((7, 7), (1, 1)) == ([(3, 3)], [(1, 1)])
    assert topology((7, 11), (1, 1)) == ([(3, 3)], [(1, 1)])
    assert topology((7, 12), (1, 1)) == ([(3, 3), (3, 3)], [(1, 1), (1, 2)])


def test_topology_is_that_of_the_real_one() -> None:
    theirs = pytest.importorskip("nnunetv2.experiment_planning.experiment_planners.network_topology")
    rng = np.random.default_rng(0)
    for _ in range(300):
        axes = int(rng.integers(2, 4))
        patch, spacing = rng.integers(4, 400, axes).tolist(), rng.choice([0.5, 0.8, 1, 2.5, 3, 5], axes).tolist()
        _, strides, kernels, _, _ = theirs.get_pool_and_conv_props(spacing, patch, 4, 999999)
        assert topology(patch, spacing) == ([tuple(k) for k in kernels], [tuple(s) for s in strides])


def rename(key: str) -> str | None:
    """Ours for a key of dynamic_network_architectures; None for the copies that it lists too."""
    if ".all_modules." in key or key.startswith("decoder.encoder."):
        return None
    for theirs, ours in (
        (r"encoder\.stem\.convs\.0\.", "stem."),
        (r"encoder\.stages\.(\d+)\.0\.convs\.(\d+)\.", r"down.\1.\2."),
        (r"encoder\.stages\.(\d+)\.blocks\.(\d+)\.conv1\.", r"down.\1.\2.first."),
        (r"encoder\.stages\.(\d+)\.blocks\.(\d+)\.conv2\.", r"down.\1.\2.second."),
        (r"encoder\.stages\.(\d+)\.blocks\.(\d+)\.skip\.(\d)\.conv", r"down.\1.\2.skip.\3"),
        (r"encoder\.stages\.(\d+)\.blocks\.(\d+)\.skip\.0\.norm", r"down.\1.\2.skip.1"),
        (r"encoder\.stages\.(\d+)\.blocks\.(\d+)\.skip\.1\.norm", r"down.\1.\2.skip.2"),
        (r"decoder\.stages\.(\d+)\.convs\.(\d+)\.", r"merge.\1.\2."),
        (r"decoder\.transpconvs\.", "up."),
        (r"decoder\.seg_layers\.", "scores."),
    ):
        key = re.sub(theirs, ours, key)
    return key.replace(".conv.", ".0.").replace(".norm.", ".1.")


@pytest.mark.parametrize("axes", [2, 3])
@pytest.mark.parametrize("residual", [False, True])
@torch.no_grad()
def test_weights_of_the_real_one_give_its_logits(axes: int, residual: bool) -> None:
    unet = pytest.importorskip("dynamic_network_architectures.architectures.unet")
    torch.manual_seed(0)
    strides, kernels = ((1, 2, 2), ((3, 3), (3, 3), (3, 3))) if axes == 2 else ((1, (1, 2, 2), 2), ((1, 3, 3), 3, 3))
    features, blocks, up_blocks = (6, 8, 10), (1, 2, 2), (1, 2)
    build = unet.ResidualEncoderUNet if residual else unet.PlainConvUNet
    theirs = build(
        2, 3, features, (nn.Conv2d, nn.Conv3d)[axes - 2], kernels, strides, blocks, 4, up_blocks, conv_bias=True,
        norm_op=(nn.InstanceNorm2d, nn.InstanceNorm3d)[axes - 2], norm_op_kwargs={"eps": 1e-5, "affine": True},
        nonlin=nn.LeakyReLU, nonlin_kwargs={"inplace": True}, deep_supervision=True,
    )  # fmt: skip
    for parameter in theirs.parameters():
        nn.init.normal_(parameter, std=0.2)
    options = {"features": features, "kernels": kernels, "strides": strides, "blocks": blocks, "up_blocks": up_blocks}
    ours = (nnunet2d, nnunet3d)[axes - 2](4, in_channels=2, residual=residual, aux=True, **options)  # type: ignore[arg-type]
    ours.load_state_dict({name: value for key, value in theirs.state_dict().items() if (name := rename(key))})
    image = torch.randn(2, 2, *((32, 48) if axes == 2 else (8, 16, 24)))
    for mine, native in zip(ours.outputs(image), theirs(image), strict=True):
        native = resize(native, tuple(image.shape[2:]))
        name = label(f"nnunet{axes}d", {"residual": residual})
        compare(name, "dynamic-network-architectures, small", mine, native, networks=(ours, theirs))


def test_weights_start_as_the_real_ones() -> None:
    torch.manual_seed(0)
    model = nnunet2d(2, in_channels=3, features=(32, 64), residual=True)
    spread = float(model.down[1][0].first[0].weight.detach().std())
    assert spread == pytest.approx((2 / (1.0001 * 32 * 9)) ** 0.5, rel=0.03)
    blocks = [block for stage in model.down for block in stage]
    assert not any(block.second[1].weight.any() for block in blocks)
    assert not any(p.any() for key, p in model.named_parameters() if key.endswith("0.bias"))


@torch.no_grad()
def test_an_odd_map_is_rounded_up_and_its_end_goes_on() -> None:
    torch.manual_seed(0)
    model = nnunet2d(2, in_channels=1, features=(4, 6), residual=True).eval()
    seen: list[tuple[int, ...]] = []
    for stage in model.down:
        stage.register_forward_hook(lambda module, inputs, output: seen.append(tuple(output.shape[2:])))
    assert model(torch.randn(1, 1, 9, 14)).shape == (1, 2, 9, 14)
    assert seen == [(9, 14), (5, 7)]
    mean = model.down[1][0].skip[0](torch.arange(5.0).view(1, 1, 1, 5))
    assert mean.flatten().tolist() == [0.5, 2.5, 4.0]


@pytest.mark.parametrize("build, options, words", [
    (nnunet2d, {"features": (8,)}, "1 stages"),
    (nnunet2d, {"features": (8, 8), "strides": (1, 2, 2)}, "strides .* should be 2"),
    (nnunet3d, {"features": (8, 8), "blocks": (1,)}, "blocks .* should be 2"),
    (nnunet3d, {"features": (8, 8), "kernels": ((3, 3), 3)}, "does not fit 3 axes"),
    (nnunet3d, {"features": (8, 8), "kernels": (2, 3)}, "should be odd"),
    (nnunet2d, {"features": (8, 8), "strides": (2, 2)}, "first stride"),
])  # fmt: skip
def test_impossible_plans_are_one_sentence(build: object, options: dict[str, object], words: str) -> None:
    with pytest.raises(ModelError, match=words):
        build(2, in_channels=1, **options)  # type: ignore[operator]


def test_images_and_volumes_are_told_apart() -> None:
    with pytest.raises(ModelError, match=r"takes volumes \(N, C, D, H, W\)"):
        nnunet3d(2, in_channels=1, features=(2, 2))(torch.zeros(1, 1, 8, 8))
    with pytest.raises(ModelError, match=r"takes images \(N, C, H, W\)"):
        nnunet2d(2, in_channels=1, features=(2, 2))(torch.zeros(1, 1, 8, 8, 8))
    assert isinstance(nnunet2d(2, in_channels=1, features=(2, 2)), NNUNet)
