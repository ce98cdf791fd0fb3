"""FCN: which deconvolutions learn, what starts at zero, export. Counts, sizes and kernels are in test_parity.py."""

import pytest
import torch
from torch import nn

from atrous.errors import ModelError
from atrous.models import create_model
from atrous.models.fcn import VGGFCN, Bilinear, fcn8s, fcn16s, fcn32s, warm_start

BUILDERS = pytest.mark.parametrize("build", [fcn32s, fcn16s, fcn8s])


def scored(model: nn.Module) -> nn.Module:
    """The model, evaluating, with scores that are not zero."""
    for parameter in model.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=0.1)
    return model.eval()


@BUILDERS
@pytest.mark.parametrize("learned, deconvolutions", [
    (False, {32: 0, 16: 0, 8: 0}),
    ("skips", {32: 0, 16: 16, 8: 2 * 16}),
    (True, {32: 64**2, 16: 16 + 32**2, 8: 2 * 16 + 16**2}),
])  # fmt: skip
def test_the_deconvolutions_asked_for_learn(build: object, learned: object, deconvolutions: dict[int, int]) -> None:
    model: VGGFCN = build(3, width=1, learned=learned)  # type: ignore[operator]
    layers = [layer for layer in model.modules() if isinstance(layer, Bilinear)]
    assert sum(p.numel() for layer in layers for p in layer.parameters()) == 9 * deconvolutions[model.stride]
    image = torch.randn(1, 3, 40, 50)
    assert (model.logits_at_stride(image) is None) == (learned is True)
    scored(model)(image).square().mean().backward()
    assert all(p.grad is not None and p.grad.any() for layer in layers for p in layer.parameters())
    assert not any("upscore" in key for key in build(3, width=1).state_dict())  # type: ignore[operator]


@torch.no_grad()
def test_learned_kernels_start_as_the_fixed_ones_and_warm_start_carries_them() -> None:
    torch.manual_seed(0)
    fixed, learned, image = fcn8s(3, width=2), fcn8s(3, width=2, learned="skips"), torch.randn(1, 3, 40, 50)
    learned.load_state_dict(scored(fixed).state_dict(), strict=False)
    assert torch.equal(learned.eval()(image), fixed(image))
    coarser = fcn16s(3, width=2, learned="skips")
    coarser.upscore2.weight.normal_()
    assert torch.equal(warm_start(learned, coarser).upscore2.weight, coarser.upscore2.weight)


@pytest.mark.parametrize("learned", ["all", 2, None])
def test_other_wishes_are_refused(learned: object) -> None:
    with pytest.raises(ModelError, match=r"learned of fcn16s is .*; give True, False or 'skips'"):
        create_model("fcn16s", 2, width=1, learned=learned)


@torch.no_grad()
def test_skips_of_any_encoder_are_scored_and_added_to_the_upsampled_scores() -> None:
    torch.manual_seed(0)
    model, image = (
        create_model("fcn", 3, encoder="test_resnet", stride=32, skips=[8, 16]).eval(),
        torch.randn(1, 3, 75, 130),
    )
    plain = create_model("fcn", 3, encoder="test_resnet", stride=32).eval()
    plain.load_state_dict(model.state_dict(), strict=False)
    features = dict(zip(model.encoder.strides, model.encoder(image), strict=True))
    coarse = model.head.score(features[32])
    start, _ = model.logits_at_stride(image)
    torch.testing.assert_close(start, _up(_up(coarse, features[16]), features[8]))  # skips score zero at the start
    for score in model.head.scores:
        nn.init.normal_(score.weight)
        nn.init.normal_(score.bias)
    middle = _up(coarse, features[16]) + model.head.scores[0](features[16])
    fine, _ = model.logits_at_stride(image)
    torch.testing.assert_close(fine, _up(middle, features[8]) + model.head.scores[1](features[8]))
    torch.testing.assert_close(model(image), nn.functional.interpolate(fine, (75, 130), mode="bilinear"))


def _up(scores: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    return nn.functional.interpolate(scores, like.shape[2:], mode="bilinear")


@pytest.mark.parametrize(
    "skips, words",
    [
        ((4, 6), "no skip at stride 6"),
        ((32,), "no skip at stride 32"),
        (16, "skips of fcn is 16"),
    ],
)
def test_skips_that_are_not_there(skips: object, words: str) -> None:
    with pytest.raises(ModelError, match=words):
        create_model("fcn", 3, encoder="test_resnet", stride=32, skips=skips)


@pytest.mark.parametrize("name, options", [("fcn32s", {"width": 2}), ("fcn16s", {"width": 2, "padding": "same"}),
                                           ("fcn8s", {"width": 2}), ("fcn", {"encoder": "test_resnet"})])  # fmt: skip
@pytest.mark.parametrize("size", [(64, 96), pytest.param((33, 65), marks=pytest.mark.slow)])
@torch.no_grad()
def test_it_exports(name: str, options: dict[str, object], size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    model, image = scored(create_model(name, classes=3, **options)), torch.randn(1, 3, *size)  # type: ignore[arg-type]
    torch.testing.assert_close(torch.export.export(model, (image,)).module()(image), model(image))


@pytest.mark.slow
@pytest.mark.parametrize("name, options", [("fcn8s", {"width": 2}), ("fcn", {"encoder": "test_resnet"})])
@torch.no_grad()
def test_one_export_serves_all_sizes(name: str, options: dict[str, object]) -> None:
    torch.manual_seed(0)
    model = scored(create_model(name, classes=3, **options))  # type: ignore[arg-type]
    any_size = {2: torch.export.Dim.DYNAMIC, 3: torch.export.Dim.DYNAMIC}
    exported = torch.export.export(model, (torch.randn(1, 3, 64, 96),), dynamic_shapes=(any_size,)).module()
    for size in ((64, 96), (33, 65), (225, 260)):
        image = torch.randn(1, 3, *size)
        torch.testing.assert_close(exported(image), model(image))
