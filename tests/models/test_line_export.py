"""torch.export takes HRNet, OCR, the fast networks, PointRend and ReSeg as they are, at one size and at another."""

import pytest
import torch

from atrous.models import create_model

FORMS = [
    ("bisenetv2", {"head": 8}),
    ("enet", {}),
    ("fastscnn", {}),
    ("hrnet_ocr", {"encoder": "test_resnet", "channels": 8}),
    ("hrnet_ocr", {"encoder": "hrnet_w18_small", "head": "hrnet"}),
    ("icnet", {"encoder": "test_resnet", "channels": 8}),
    ("pointrend", {"encoder": "test_resnet", "width": 8, "cells": 300}),
    ("pointrend", {"base": "enet", "width": 8, "cells": 300}),
    ("reseg", {"encoder": "test_resnet", "units": (4, 3), "width": 3}),
]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The tensor attributes .*_flat_weights")  # torch's own GRU, which exports well
@pytest.mark.parametrize("name, options", FORMS, ids=lambda v: v if isinstance(v, str) else "")
@torch.no_grad()
def test_exported(name: str, options: dict[str, object]) -> None:
    torch.manual_seed(0)
    model = create_model(name, classes=3, **options).eval()  # type: ignore[arg-type]
    for size in ((64, 96), (33, 47)):
        image = torch.randn(1, 3, *size)
        program = torch.export.export(model, (image,))
        torch.testing.assert_close(program.module()(image), model(image), rtol=1e-4, atol=1e-4)
