"""One contract over every model: sizes, channels, one image, batches, gradients, tails, state."""

from itertools import pairwise

import pytest
import torch
from forms import (
    DEEP,
    FOREIGN_SMALL,
    SIZES,
    SMALL,
    WITHOUT_ENCODER,
    build,
    every_form,
    sized,
)

from atrous.errors import ModelError, WeightsError
from atrous.models import create_model, list_models


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


@every_form
@pytest.mark.parametrize("channels", [1, 3, 5])
def test_every_parameter_learns_from_any_channels(name: str, options: dict[str, object], channels: int) -> None:
    model = build(name, options, channels).train()
    size = sized(name, (64, 96))
    image = torch.randn(2, channels, *size)
    outputs = model.outputs(image) if hasattr(model, "outputs") else (model(image),)
    scales = 4 if options.get("scales") else 1  # the fused logits and those of three scales
    coarse = 1 if name == "hrnet_ocr" and "head" not in options else 0  # OCR's coarse logits are part of the network
    assert len(outputs) == (DEEP.get(name, 2) if options.get("aux") else scales + coarse)
    assert all(output.shape == (2, 4, *size) for output in outputs)
    sum(output.square().mean() for output in outputs).backward()
    assert [
        key
        for key, p in model.named_parameters()
        if p.requires_grad and (p.grad is None or not p.grad.isfinite().all())
    ] == []


@every_form
def test_one_image_trains(name: str, options: dict[str, object]) -> None:
    model = build(name, options).train()
    for size in (sized(name, (1, 1)), sized(name, (33, 65))):
        logits = model(torch.randn(1, 3, *size))
        assert logits.shape == (1, 4, *size)
        logits.square().mean().backward()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters() if parameter.grad is not None)


@every_form
@torch.no_grad()
def test_a_batch_is_its_images(name: str, options: dict[str, object]) -> None:
    model, batch = build(name, options).eval(), torch.randn(2, 3, *sized(name, (33, 65)))
    together, alone = model(batch), torch.cat([model(image[None]) for image in batch])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(together[0], together[1], atol=1e-3)


@every_form
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


@pytest.mark.parametrize("name", ["deeplabv3", "deeplabv3plus", "fcn"])
@torch.no_grad()
def test_the_main_output_is_forward(name: str) -> None:
    model, image = build(name, {"aux": True}).eval(), torch.randn(1, 3, 33, 65)
    assert torch.equal(model.outputs(image)[0], model(image))
    assert create_model(name, classes=4, **SMALL[name]).aux is None


@pytest.mark.parametrize("name", sorted(DEEP))
@torch.no_grad()
def test_the_first_of_deep_outputs_is_forward(name: str) -> None:
    model, image = build(name, {"aux": True}).eval(), torch.randn(1, 3, *sized(name, (33, 65)))
    outputs = model.outputs(image)
    assert torch.equal(outputs[0], model(image))
    assert not any(torch.equal(one, other) for one, other in pairwise(outputs))
    assert len(build(name, {}).outputs(image)) == 1


def test_names() -> None:
    assert list_models() == [
        "attention_unet",
        "bisenetv2",
        "ccnet",
        "danet",
        "deconvnet",
        "deeplabv1",
        "deeplabv2",
        "deeplabv3",
        "deeplabv3plus",
        "dpn",
        "encnet",
        "enet",
        "fastscnn",
        "fcn",
        "fcn16s",
        "fcn32s",
        "fcn8s",
        "fpn",
        "hrnet_ocr",
        "icnet",
        "lraspp",
        "nnunet2d",
        "nnunet3d",
        "parsenet",
        "pointrend",
        "pspnet",
        "refinenet",
        "reseg",
        "segformer",
        "segnet",
        "segnet_basic",
        "unet",
        "unet2015",
        "unet3d",
        "unetpp",
        "upernet",
        "vnet",
    ]
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
    ("deeplabv1", {"fc6": "5x5"}, "fc6 '5x5' of deeplabv1 is unknown; use 'largefov'"),
    ("deeplabv1", {"width": 0}, "width 0"),
    ("deeplabv2", {"rates": (0, 6)}, r"rates \(0, 6\)"),
    ("deeplabv2", {"scales": (0.5, 1.0)}, r"scales \(0.5, 1.0\)"),
    ("deeplabv3", {"stride": 32}, "stride 32"),
    ("deeplabv3", {"grid": (1, 2)}, r"grid \(1, 2\) does not fit encoder 'resnet50', whose last stage has 3 units"),
    ("deeplabv3", {"rates": (6, 12.5)}, r"rates \(6, 12.5\)"),
    ("deeplabv3", {"encoder": "mobilenet_v3_large", "stride": 8}, "with stride 8; use 16 or 32"),
    ("dpn", {"window": 4}, "window 4 of dpn is no odd number"),
    ("dpn", {"context": 2.5}, "context 2.5 of dpn"),
    ("dpn", {"mixtures": 0}, "mixtures 0 of dpn"),
    ("lraspp", {"encoder": "test_vit"}, "needs some at 8"),
    ("lraspp", {"width": 0}, "width 0"),
    ("parsenet", {"scale": 0}, "scale 0"),
    ("pspnet", {"bins": (0, 1)}, r"bins \(0, 1\)"),
    ("deeplabv3plus", {"stride": [8]}, r"stride \[8\]"),
    ("segformer", {"stride": 16}, "'mit_b0' has features at strides .* cannot be built with stride 16"),
    ("refinenet", {"channels": (8, 8), "encoder": "test_resnet"}, "4 levels and refinenet 2 widths"),
    ("ccnet", {"recurrence": 0, "encoder": "test_resnet"}, "recurrence 0"),
    ("enet", {"slopes": "pixel"}, "slopes 'pixel'"),
    ("enet", {"dropout": 0.1}, "dropout 0.1 of enet is not two shares"),
    ("bisenetv2", {"dropout": 1}, "dropout 1 of bisenetv2"),
    ("bisenetv2", {"head": 0}, "head 0"),
    ("fastscnn", {"dropout": "no"}, "dropout 'no' of fastscnn"),
    ("hrnet_ocr", {"head": "fcn"}, "head 'fcn'"),
    ("icnet", {"encoder": "hrnet_w18_small"}, "cannot be built with stride 8"),
    ("icnet", {"channels": 0}, "channels 0 leave icnet none"),
    ("pointrend", {"base": "pointrend"}, "cannot render itself"),
    ("pointrend", {"base": "enet", "encoder": "resnet18"}, "model 'enet' has no option 'encoder'"),
    ("pointrend", {"cells": 0, "encoder": "test_resnet"}, "cells of pointrend is 0"),
    ("reseg", {"units": (100, 0), "encoder": "test_resnet"}, r"units \(100, 0\)"),
    ("reseg", {"stride": 6, "encoder": "test_resnet"}, "stride 6 is no power of two"),
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
