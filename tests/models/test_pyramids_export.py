"""torch.export takes the pages of pyramids and of attention as they are, at two sizes, and gives their logits."""

import pytest
import torch

from atrous.models import create_model

FORMS = [
    ("ccnet", {"encoder": "test_resnet", "channels": 16}),
    ("danet", {"encoder": "test_resnet", "channels": 16}),
    ("encnet", {"encoder": "test_resnet", "channels": 16}),
    ("fpn", {"encoder": "test_resnet"}),
    ("fpn", {"encoder": "test_vit3"}),
    ("refinenet", {"encoder": "test_resnet", "channels": (16, 8, 8, 8)}),
    ("segformer", {"channels": 32}),
    ("upernet", {"encoder": "test_resnet", "channels": 16}),
    ("upernet", {"encoder": "test_vit", "channels": 16}),
    ("deeplabv3plus", {"encoder": "test_vit"}),
]


@pytest.mark.slow
@pytest.mark.parametrize("name, options", FORMS, ids=lambda v: v if isinstance(v, str) else str(v.get("encoder", "")))
@torch.no_grad()
def test_exported(name: str, options: dict[str, object]) -> None:
    torch.manual_seed(0)
    model = create_model(name, classes=3, **options).eval()
    for size in ((64, 96), (33, 47)):
        image = torch.randn(1, 3, *size)
        program = torch.export.export(model, (image,))
        torch.testing.assert_close(program.module()(image), model(image), rtol=1e-4, atol=1e-4)
