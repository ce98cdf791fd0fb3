"""torch.export takes the U-Nets as they are, at one size and at another, and gives their logits."""

import pytest
import torch

from atrous.models import create_model

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
]


@pytest.mark.slow
@pytest.mark.parametrize("name, options", FORMS, ids=lambda v: v if isinstance(v, str) else "")
@torch.no_grad()
def test_exported(name: str, options: dict[str, object]) -> None:
    torch.manual_seed(0)
    model = create_model(name, classes=3, **options).eval()
    for size in ((4, 9, 12), (2, 3, 5)) if name in ("nnunet3d", "unet3d", "vnet") else ((64, 96), (33, 47)):
        image = torch.randn(1, 3, *size)
        program = torch.export.export(model, (image,))
        torch.testing.assert_close(program.module()(image), model(image), rtol=1e-4, atol=1e-4)
