"""One contract over every model: sizes, channels, one image, batches, gradients, tails, state."""

import pytest
import torch
from forms import (
    FOREIGN_SMALL,
    FORMS,
    SIZES,
    SMALL,
    SUPERVISED,
    WITHOUT_ENCODER,
    build,
    classifiers,
    every_form,
    every_plain_form,
    sized,
)

from atrous.errors import ModelError, WeightsError
from atrous.models import MODELS, create_model, list_models
from atrous.models.page import outputs_of


@every_form
@torch.no_grad()
def test_logits_have_the_images_size_and_the_tail_gives_them(name: str, options: dict[str, object]) -> None:
    model = build(name, options).eval()
    assert model.classes == 4
    assert model.in_channels == 3
    assert hasattr(model, "encoder") == (name not in WITHOUT_ENCODER)
    for size in (sized(name, size) for size in SIZES):
        image = torch.randn(1, 3, *size)
        logits = model(image)
        assert logits.shape == (1, 4, *size)
        assert logits.isfinite().all()
        if (low := model.logits_at_stride(image)) is not None:
            torch.testing.assert_close(low[1].apply(low[0]), logits, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("channels", "name", "options"), [
    pytest.param(channels, *form, marks=() if channels == 3 or (channels == 5 and not form[1]) else pytest.mark.slow)
    for channels in (1, 3, 5)
    for form in FORMS
])  # fmt: skip
def test_every_parameter_learns_from_any_channels(channels: int, name: str, options: dict[str, object]) -> None:
    model = build(name, options, channels).train()
    size = sized(name, (64, 96))
    image = torch.randn(2, channels, *size)
    outputs = model.outputs(image) if hasattr(model, "outputs") else (model(image),)
    scales = 4 if options.get("scales") else 1  # the fused logits and those of three scales
    coarse = 1 if name == "hrnet_ocr" and "head" not in options else 0  # OCR's coarse logits are part of the network
    assert len(outputs) == (classifiers(name, options) if options.get("aux") else scales + coarse)
    assert all(output.shape == (2, 4, *size) for output in outputs)
    sum(output.square().mean() for output in outputs).backward()
    assert [
        key
        for key, p in model.named_parameters()
        if p.requires_grad and (p.grad is None or not p.grad.isfinite().all())
    ] == []


@every_plain_form
def test_one_image_trains(name: str, options: dict[str, object]) -> None:
    model = build(name, options).train()
    for size in (sized(name, (1, 1)), sized(name, (33, 65))):
        logits = model(torch.randn(1, 3, *size))
        assert logits.shape == (1, 4, *size)
        logits.square().mean().backward()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters() if parameter.grad is not None)


@every_plain_form
@torch.no_grad()
def test_a_batch_is_its_images(name: str, options: dict[str, object]) -> None:
    model, batch = build(name, options).eval(), torch.randn(2, 3, *sized(name, (33, 65)))
    together, alone = model(batch), torch.cat([model(image[None]) for image in batch])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(together[0], together[1], atol=1e-3)


@every_plain_form
@torch.no_grad()
def test_state_goes_round(name: str, options: dict[str, object]) -> None:
    model, image = build(name, options).eval(), torch.randn(1, 3, *sized(name, (33, 65)))
    other = create_model(name, classes=4, **{**(SMALL | FOREIGN_SMALL)[name], **options}).eval()
    assert not torch.equal(other(image), model(image))
    other.load_state_dict(model.state_dict())
    assert torch.equal(other(image), model(image))


@pytest.mark.slow
@every_form
@torch.no_grad()
def test_compiled(name: str, options: dict[str, object]) -> None:
    """torch.compile takes every page; the graph it finds is run without a C++ compiler."""
    torch.compiler.reset()
    model, image = build(name, options).eval(), torch.randn(1, 3, *sized(name, (33, 65)))
    torch.testing.assert_close(torch.compile(model, backend="aot_eager")(image), model(image), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", SUPERVISED)
@torch.no_grad()
def test_auxiliary_outputs_come_when_they_are_asked_for(name: str) -> None:
    image = torch.randn(1, 3, *sized(name, (33, 65)))
    assert len(outputs_of(build(name, {}).eval(), image)) == 1
    assert len(outputs_of(build(name, {"aux": True}).eval(), image)) == classifiers(name, {"aux": True}) > 1


def test_names() -> None:
    assert list_models() == sorted(MODELS)
    assert len(list_models()) >= 37


@pytest.mark.parametrize("name, options, words", [
    ("unett", {}, "unknown model 'unett'; did you mean 'unet'?"),
    (["unet"], {}, "unknown model"),
    ("unet", {"classes": 0}, "classes of unet is 0"),
    ("unet", {"classes": 2.0}, "classes of unet is 2.0; give a whole number from 1 on"),
    ("unet2015", {"in_channels": 0}, "in_channels of unet2015 is 0"),
    ("unet", {"depth": 3}, "no option 'depth'; it takes classes, encoder"),
    ("unet2015", {"encoder": "resnet18"}, "no option 'encoder'"),
    ("unet", {"channels": (8,), "encoder": "test_resnet"}, "4 skips and the decoder 1 widths"),
    ("deeplabv3", {"grid": (1, 2)}, r"grid \(1, 2\) does not fit encoder 'resnet50', whose last stage has 3 units"),
    ("deeplabv3", {"encoder": "mobilenet_v3_large", "stride": 8}, "with stride 8; use 16 or 32"),
    ("lraspp", {"encoder": "test_vit"}, "needs some at 8"),
    ("segformer", {"stride": 16}, "'mit_b0' has features at strides .* cannot be built with stride 16"),
    ("refinenet", {"channels": (8, 8), "encoder": "test_resnet"}, "4 levels and refinenet 2 widths"),
    ("icnet", {"encoder": "hrnet_w18_small"}, "cannot be built with stride 8"),
    ("pointrend", {"base": "pointrend"}, "cannot render itself"),
    ("pointrend", {"base": "enet", "encoder": "resnet18"}, "model 'enet' has no option 'encoder'"),
    ("reseg", {"encoder": "test_vit"}, "has features at strides .* needs some at 4"),
    ("fcn", {"encoder": "resnet5o"}, "unknown encoder"),
])  # fmt: skip
def test_impossible_wishes_are_one_sentence(name: str, options: dict[str, object], words: str) -> None:
    with torch.device("meta"), pytest.raises(ModelError, match=words):
        create_model(name, **options)  # type: ignore[arg-type]


def test_unet2015_has_no_pretrained_weights() -> None:
    with pytest.raises(WeightsError, match="no pretrained weights for unet2015"):
        create_model("unet2015", pretrained=True)
    create_model("unet2015", pretrained=False, width=1)
