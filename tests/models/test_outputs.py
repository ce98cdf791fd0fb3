"""What training sees: the main logits are those of prediction, auxiliary ones are others, in their order."""

import inspect
from itertools import combinations

import pytest
import torch
from forms import FORMS, build, sized
from torch import nn

from atrous.models import MODELS
from atrous.models.foreign import FOREIGN
from atrous.models.refined import refined
from atrous.models.zoomed import zoomed

OUTPUTS = {
    "attention_unet": 4, "bisenetv2": 5, "danet": 3, "fastscnn": 3, "icnet": 3, "nnunet2d": 2, "nnunet3d": 2,
    "unetpp": 4,
}  # fmt: skip
"""Outputs with `aux` of the pages with deep supervision, in their small forms; the others have two."""

PAGES = {**MODELS, **FOREIGN}
AUXILIARY = [(name, {"aux": True}) for name in sorted(PAGES) if "aux" in inspect.signature(PAGES[name]).parameters]
EVERY = [*FORMS, *(form for form in AUXILIARY if form not in FORMS)]

every = pytest.mark.parametrize("name, options", EVERY, ids=str)
auxiliary = pytest.mark.parametrize("name, options", [form for form in EVERY if form[1].get("aux")], ids=str)


def used(model: nn.Module, output: torch.Tensor) -> int:
    """How many numbers among the parameters an output depends on."""
    model.zero_grad(set_to_none=True)
    output.square().sum().backward(retain_graph=True)
    return sum(p.numel() for p in model.parameters() if p.grad is not None and p.grad.any())


@every
@torch.no_grad()
def test_the_first_output_is_forward_and_no_other_is_like_it(name: str, options: dict[str, object]) -> None:
    model, image = build(name, options).eval(), torch.randn(2, 3, *sized(name, (33, 65)))
    if not hasattr(model, "outputs"):
        assert "aux" not in options
        return
    outputs = model.outputs(image)
    assert torch.equal(outputs[0], model(image))
    if options.get("aux"):
        assert len(outputs) == OUTPUTS.get(name, 2)
    if not options.get("scales"):  # there the first is the largest of the others
        assert not any(torch.allclose(one, other, atol=1e-3) for one, other in combinations(outputs, 2))


@auxiliary
def test_prediction_has_no_auxiliary_head(name: str, options: dict[str, object]) -> None:
    """The main logits depend on as many parameters as a model has that was built without `aux`."""
    model, image = build(name, options).eval(), torch.randn(1, 3, *sized(name, (64, 96)))
    plain = build(name, {**options, "aux": False}).eval()
    count = sum(p.numel() for p in plain.parameters())
    assert count < sum(p.numel() for p in model.parameters())
    assert used(plain, plain(image)) == used(model, model(image)) == used(model, model.outputs(image)[0])


ORDER = {
    "attention_unet": "falling",  # the finest level first, which has the most below it
    "bisenetv2": "rising",  # the shallowest booster first
    "danet": "falling",  # places, which have three convolutions, then channels
    "fastscnn": "rising",  # the shared layers, then the scene's on top of them
    "icnet": "falling",  # the finer guidance first
    "unetpp": "falling",  # the deepest U-Net first
}
"""How many parameters the auxiliary outputs depend on, one after the other: what a list of `aux_weight` relies on."""


@pytest.mark.parametrize("name", sorted({name for name in OUTPUTS if OUTPUTS[name] > 2}))
def test_auxiliary_outputs_keep_their_order(name: str) -> None:
    model, image = build(name, {"aux": True}).eval(), torch.randn(1, 3, *sized(name, (64, 96)))
    counts = [used(model, output) for output in model.outputs(image)[1:]]
    assert len(set(counts)) == len(counts)
    assert counts == sorted(counts, reverse=ORDER[name] == "falling")


@torch.no_grad()
def test_coarse_logits_and_scales_come_after_the_main_ones() -> None:
    image = torch.randn(1, 3, 65, 97)
    fused, *each = build("deeplabv2", {"scales": (1.0, 0.5)}).eval().outputs(image)
    alone = build("deeplabv2", {}).eval()
    assert len(each) == 2
    torch.testing.assert_close(each[0], alone(image))  # the largest scale first, which is the image's
    assert (fused >= each[0] - 1e-5).all()
    assert not torch.equal(fused, each[0])


@pytest.mark.parametrize("wrap", ["refined", "zoomed"])
@torch.no_grad()
def test_a_wrapped_page_keeps_the_order(wrap: str) -> None:
    page, image = build("fcn", {"aux": True}).eval(), torch.randn(1, 3, 33, 65)
    whole = {
        "refined": lambda: refined(page, "convcrf", mean=(127.5,) * 3, std=(64.0,) * 3, dtype="uint8"),
        "zoomed": lambda: zoomed(page, 1.5),
    }[wrap]().eval()
    outputs = whole.outputs(image)
    assert len(outputs) == 2
    if wrap == "refined":
        assert torch.equal(outputs[0], whole(image))
        assert torch.equal(outputs[1], page.outputs(image)[1])
    else:
        torch.testing.assert_close(outputs[0], whole(image), atol=0.05, rtol=0.05)  # resized twice, and once
        enlarged = nn.functional.interpolate(image, (50, 98), mode="bilinear", align_corners=False)
        theirs = nn.functional.interpolate(page.outputs(enlarged)[1], (33, 65), mode="bilinear", align_corners=False)
        torch.testing.assert_close(outputs[1], theirs, atol=0.05, rtol=0.05)
        assert not torch.allclose(outputs[1], outputs[0], atol=0.05)


@torch.no_grad()
def test_pointrend_compares_points_first_then_the_outputs_of_its_page() -> None:
    torch.manual_seed(0)
    model = build("pointrend", {"base": "fcn", "base_options": {"aux": True}, "points": 50}).eval()
    image, labels = torch.randn(1, 3, 33, 65), torch.zeros(1, 33, 65, dtype=torch.long)
    (points, truth), *others = model.pairs(image, labels)
    assert points.shape == (1, 4, 50)
    assert truth.shape == (1, 50)
    page = next(layer for layer in model.modules() if layer is not model and hasattr(layer, "outputs"))
    assert [torch.equal(one, other) for (one, _), other in zip(others, page.outputs(image), strict=True)] == [True] * 2


def test_coarse_logits_of_hrnet_ocr_are_not_the_main_ones() -> None:
    model, image = build("hrnet_ocr", {}).eval(), torch.randn(1, 3, 64, 96)
    main, coarse = model.outputs(image)
    assert used(model, coarse) < used(model, main)  # the main ones look up the regions that the coarse ones weigh
