"""torch.export takes the networks as they are, at one size and at another, and gives their logits."""

import pytest
import torch
from forms import VOLUMES

from atrous.models import create_model
from atrous.models.foreign import FOREIGN

FORMS = [
    ("unet", {"encoder": "test_resnet"}),
    ("unet2015", {"width": 1}),
    ("unetpp", {"encoder": "test_resnet", "channels": (8, 8, 8, 8)}),
    ("unetpp", {"encoder": "plain", "width": 2}),
    ("attention_unet", {"encoder": "test_resnet", "channels": (8, 8, 8, 8)}),
    ("nnunet2d", {"features": (4, 6, 8)}),
    ("nnunet2d", {"features": (4, 6, 8), "residual": True}),
    ("nnunet3d", {"features": (4, 6), "residual": True}),
    ("unet3d", {"width": 1}),
    ("vnet", {"width": 2}),
    ("deeplabv1", {"width": 2}),
    ("deeplabv2", {"encoder": "test_resnet"}),
    ("deeplabv2", {"encoder": "vgg16", "width": 2, "scales": (1.0, 0.75, 0.5)}),
    ("deeplabv3", {"encoder": "test_resnet", "grid": (2,)}),
    ("deeplabv3", {"encoder": "test_resnet", "cascade": True}),
    ("deeplabv3plus", {"encoder": "test_resnet", "stride": 8}),
    ("deeplabv3plus", {"encoder": "test_vit"}),
    ("pspnet", {"encoder": "test_resnet"}),
    ("parsenet", {"width": 2}),
    ("lraspp", {"encoder": "mobilenet_v3_large"}),
    ("ccnet", {"encoder": "test_resnet", "channels": 16}),
    ("danet", {"encoder": "test_resnet", "channels": 16}),
    ("encnet", {"encoder": "test_resnet", "channels": 16}),
    ("fpn", {"encoder": "test_resnet"}),
    ("fpn", {"encoder": "test_vit3"}),
    ("refinenet", {"encoder": "test_resnet", "channels": (16, 8, 8, 8)}),
    ("segformer", {"channels": 32}),
    ("upernet", {"encoder": "test_resnet", "channels": 16}),
    ("upernet", {"encoder": "test_vit", "channels": 16}),
    ("bisenetv2", {"channels": 8}),
    ("enet", {}),
    ("fastscnn", {}),
    ("hrnet_ocr", {"encoder": "test_resnet", "channels": 8}),
    ("hrnet_ocr", {"encoder": "hrnet_w18_small", "head": "hrnet"}),
    ("icnet", {"encoder": "test_resnet", "channels": 8}),
    ("pointrend", {"encoder": "test_resnet", "width": 8, "cells": 300}),
    ("pointrend", {"base": "enet", "width": 8, "cells": 300}),
    ("reseg", {"encoder": "test_resnet", "units": (4, 3), "width": 3}),
    *((name, {"encoder": "test_resnet"}) for name in sorted(FOREIGN)),
    ("smp_unet", {"encoder": "mit_b0"}),
]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The tensor attributes .*_flat_weights")  # torch's own GRU, which exports well
@pytest.mark.parametrize("name, options", FORMS, ids=str)
@torch.no_grad()
def test_exported(name: str, options: dict[str, object]) -> None:
    torch.manual_seed(0)
    model = create_model(name, classes=3, **options).eval()  # type: ignore[arg-type]
    for size in ((4, 9, 12), (2, 3, 5)) if name in VOLUMES else ((64, 96), (33, 47)):
        image = torch.randn(1, 3, *size)
        program = torch.export.export(model, (image,))
        torch.testing.assert_close(program.module()(image), model(image), rtol=1e-4, atol=1e-4)
