"""torch.export takes DeepLab, PSPNet, ParseNet and LR-ASPP as they are, at two sizes, and gives their logits."""

import pytest
import torch

from atrous.models import create_model

FORMS = [
    ("deeplabv1", {"width": 2}),
    ("deeplabv2", {"encoder": "test_resnet"}),
    ("deeplabv2", {"encoder": "vgg16", "width": 2, "scales": (1.0, 0.75, 0.5)}),
    ("deeplabv3", {"encoder": "test_resnet", "grid": (2,)}),
    ("deeplabv3", {"encoder": "test_resnet", "cascade": True}),
    ("deeplabv3plus", {"encoder": "test_resnet", "stride": 8}),
    ("pspnet", {"encoder": "test_resnet"}),
    ("parsenet", {"width": 2}),
    ("lraspp", {"encoder": "mobilenet_v3_large"}),
]


@pytest.mark.slow
@pytest.mark.parametrize("name, options", FORMS, ids=lambda v: v if isinstance(v, str) else "-".join(map(str, v)))
@torch.no_grad()
def test_exported(name: str, options: dict[str, object]) -> None:
    torch.manual_seed(0)
    model = create_model(name, classes=3, **options).eval()
    for size in ((64, 96), (33, 47)):
        image = torch.randn(1, 3, *size)
        program = torch.export.export(model, (image,))
        torch.testing.assert_close(program.module()(image), model(image), rtol=1e-4, atol=1e-4)
