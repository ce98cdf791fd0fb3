"""One contract over every model: sizes, channels, one image, batches, gradients, tails, state."""

import pytest
import torch
from torch import nn

from atrous.errors import ModelError, WeightsError
from atrous.models import MODELS, create_model, list_models

SMALL: dict[str, dict[str, object]] = {
    "deeplabv3": {"encoder": "test_resnet", "stride": 8},
    "deeplabv3plus": {"encoder": "test_resnet"},
    "fcn": {"encoder": "test_resnet"},
    "fcn16s": {"width": 4},
    "fcn32s": {"width": 4},
    "fcn8s": {"width": 4},
    "unet": {"encoder": "test_resnet"},
    "unet2015": {"width": 4},
}
"""Options that make each model small; a model without a line here fails."""

FORMS = [
    *((name, {}) for name in sorted(MODELS)),
    ("deeplabv3", {"aux": True, "stride": 16}),
    ("deeplabv3plus", {"aux": True, "stride": 8, "encoder": "tf_efficientnet_lite0"}),
    ("fcn", {"aux": True}),
    ("fcn32s", {"padding": "same"}),
    ("fcn16s", {"padding": "same", "learned": True}),
    ("fcn8s", {"padding": "same", "at_once": True}),
    ("unet", {"encoder": "test_vit"}),
    ("unet", {"encoder": "test_convnext", "stride": 16}),
    ("unet2015", {"variant": "phseg_v5"}),
]

SIZES = [(1, 1), (33, 65), (127, 65), (64, 96)]

every_form = pytest.mark.parametrize(
    "name, options", FORMS, ids=lambda v: v if isinstance(v, str) else "-".join(map(str, v.values()))
)


def build(name: str, options: dict[str, object], channels: int = 3) -> nn.Module:
    """A small model with 4 classes whose zero-initialised scores are perturbed."""
    torch.manual_seed(0)
    model = create_model(name, classes=4, in_channels=channels, **{**SMALL[name], **options})
    for parameter in model.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=0.1)
    return model


@every_form
@torch.no_grad()
def test_logits_have_the_images_size_and_the_tail_gives_them(name: str, options: dict[str, object]) -> None:
    model = build(name, options).eval()
    assert model.classes == 4
    assert model.in_channels == 3
    assert hasattr(model, "encoder") == (name != "unet2015")
    for size in SIZES:
        image = torch.randn(1, 3, *size)
        logits = model(image)
        assert logits.shape == (1, 4, *size)
        assert logits.isfinite().all()
        if (low := model.logits_at_stride(image)) is not None:
            torch.testing.assert_close(low[1].apply(low[0]), logits, rtol=1e-4, atol=1e-4)


@every_form
@pytest.mark.parametrize("channels", [1, 3, 5])
def test_every_parameter_learns_from_any_channels(name: str, options: dict[str, object], channels: int) -> None:
    model = build(name, options, channels).train()
    image = torch.randn(2, channels, 64, 96)
    outputs = model.outputs(image) if hasattr(model, "outputs") else (model(image),)
    assert len(outputs) == (2 if options.get("aux") else 1)
    assert all(output.shape == (2, 4, 64, 96) for output in outputs)
    sum(output.square().mean() for output in outputs).backward()
    assert [
        key
        for key, p in model.named_parameters()
        if p.requires_grad and (p.grad is None or not p.grad.isfinite().all())
    ] == []


@every_form
def test_one_image_trains(name: str, options: dict[str, object]) -> None:
    model = build(name, options).train()
    for size in ((1, 1), (33, 65)):
        logits = model(torch.randn(1, 3, *size))
        assert logits.shape == (1, 4, *size)
        logits.square().mean().backward()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters() if parameter.grad is not None)


@every_form
@torch.no_grad()
def test_a_batch_is_its_images(name: str, options: dict[str, object]) -> None:
    model, batch = build(name, options).eval(), torch.randn(2, 3, 33, 65)
    together, alone = model(batch), torch.cat([model(image[None]) for image in batch])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(together[0], together[1], atol=1e-3)


@every_form
@torch.no_grad()
def test_state_goes_round(name: str, options: dict[str, object]) -> None:
    model, image = build(name, options).eval(), torch.randn(1, 3, 33, 65)
    other = create_model(name, classes=4, **{**SMALL[name], **options}).eval()
    assert not torch.equal(other(image), model(image))
    other.load_state_dict(model.state_dict())
    assert torch.equal(other(image), model(image))


@pytest.mark.parametrize("name", ["deeplabv3", "deeplabv3plus", "fcn"])
@torch.no_grad()
def test_the_main_output_is_forward(name: str) -> None:
    model, image = build(name, {"aux": True}).eval(), torch.randn(1, 3, 33, 65)
    assert torch.equal(model.outputs(image)[0], model(image))
    assert create_model(name, classes=4, **SMALL[name]).aux is None


def test_names() -> None:
    assert list_models() == ["deeplabv3", "deeplabv3plus", "fcn", "fcn16s", "fcn32s", "fcn8s", "unet", "unet2015"]
    assert list_models() == sorted(SMALL)


@pytest.mark.parametrize("name, options, words", [
    ("unett", {}, "unknown model 'unett'; did you mean 'unet'?"),
    (["unet"], {}, "unknown model"),
    ("unet", {"classes": 0}, "classes of unet is 0"),
    ("unet", {"classes": 2.0}, "classes of unet is 2.0"),
    ("unet2015", {"in_channels": 0}, "in_channels of unet2015 is 0"),
    ("unet", {"depth": 3}, "no option 'depth'; it takes classes, encoder"),
    ("unet2015", {"encoder": "resnet18"}, "no option 'encoder'"),
    ("unet2015", {"variant": "big"}, "variant 'big'"),
    ("unet2015", {"width": 0}, "width 0"),
    ("unet", {"channels": (8,), "encoder": "test_resnet"}, "4 skips and the decoder 1 widths"),
    ("fcn8s", {"padding": "none"}, "padding 'none'"),
    ("deeplabv3", {"stride": 32}, "stride 32"),
    ("deeplabv3plus", {"stride": [8]}, r"stride \[8\]"),
    ("deeplabv3plus", {"encoder": "test_vit"}, "needs some at 4"),
    ("fcn", {"encoder": "resnet5o"}, "unknown encoder"),
])  # fmt: skip
def test_impossible_wishes_are_one_sentence(name: str, options: dict[str, object], words: str) -> None:
    with torch.device("meta"), pytest.raises(ModelError, match=words):
        create_model(name, **options)  # type: ignore[arg-type]


def test_unet2015_has_no_pretrained_weights() -> None:
    with pytest.raises(WeightsError, match="no pretrained weights for unet2015"):
        create_model("unet2015", pretrained=True)
    create_model("unet2015", pretrained=False, width=1)
