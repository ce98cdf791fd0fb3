"""Networks of version 0.1 without their files: the names of their tensors, values made from the names, and logits.

`tests/data/former.json` was written by version 0.1.0 itself:

    git worktree add ../old b61aa17 && cd ../old
    PYTHONPATH=. python THIS_FILE ../atrous/tests/data/former.json
"""

import json
import sys
from math import prod
from pathlib import Path
from typing import Any
from zlib import crc32

import torch
from torch import nn

FILE = Path(__file__).parents[1] / "data" / "former.json"
SIZE = (33, 65)

FORMS: list[tuple[str, dict[str, Any]]] = [
    ("attention_unet", {"encoder": "test_resnet", "channels": [16, 12, 8, 8], "aux": True}),
    ("ccnet", {"encoder": "test_resnet", "channels": 16, "aux": True}),
    ("danet", {"encoder": "test_resnet", "channels": 16, "aux": True}),
    ("deeplabv1", {"width": 4}),
    ("deeplabv3", {"encoder": "test_resnet", "aux": True}),
    ("deeplabv3", {"encoder": "test_resnet", "cascade": True, "aux": True}),
    ("deeplabv3plus", {"encoder": "test_resnet", "aux": True}),
    ("encnet", {"encoder": "test_resnet", "channels": 16, "codewords": 5, "aux": True}),
    ("fcn", {"encoder": "test_resnet", "stride": 32, "skips": [16, 8], "aux": True}),
    ("fpn", {"encoder": "test_resnet", "smooth": True}),
    ("hrnet_ocr", {"encoder": "test_resnet", "channels": 16}),
    ("hrnet_ocr", {"encoder": "test_resnet", "head": "hrnet"}),
    ("lraspp", {"encoder": "test_resnet", "width": 16}),
    ("parsenet", {"width": 4}),
    ("parsenet", {"encoder": "test_resnet"}),
    ("pointrend", {"encoder": "test_resnet", "width": 16, "cells": 600}),
    ("pspnet", {"encoder": "test_resnet", "aux": True}),
    ("refinenet", {"encoder": "test_resnet", "channels": [16, 8, 8, 8]}),
    ("segformer", {"encoder": "test_resnet", "channels": 32}),
    ("unet", {"encoder": "test_resnet", "zoom": 1.5}),
    ("unet", {"encoder": "test_resnet", "skips": False}),
    ("upernet", {"encoder": "test_resnet", "channels": 16, "aux": True}),
]


def filled(shapes: dict[str, tuple[int, ...]]) -> dict[str, torch.Tensor]:
    """A tensor of every name and shape whose values follow from the name, such that signals keep their size."""
    return {name: _values(name, shape) for name, shape in shapes.items()}


def _values(name: str, shape: tuple[int, ...]) -> torch.Tensor:
    if name.endswith("num_batches_tracked"):
        return torch.tensor(1)
    generator = torch.Generator().manual_seed(crc32(name.encode()))
    if name.endswith(("running_var", "scale", "log_rates")) or (name.endswith("weight") and len(shape) == 1):
        return torch.rand(shape, generator=generator) + 0.5
    return torch.randn(shape, generator=generator) * (2 / max(1, prod(shape[1:]))) ** 0.5


def seen(model: nn.Module) -> list[list[float]]:
    """Of each output on one image the logits of two pixels."""
    page: Any = model.eval()
    image = torch.randn(1, 3, *SIZE, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        outputs = page.outputs(image) if hasattr(page, "outputs") else (page(image),)
    return [[*one[0, :, 16, 32].tolist(), *one[0, :, 0, 1].tolist()] for one in outputs]


def record(out: Path) -> None:
    """What the atrous at hand gives; the names of encoders, which never moved, are left out."""
    from atrous.models import create_model

    rows = []
    for name, options in FORMS:
        model = create_model(name, classes=3, **options)
        state = {key: tuple(tensor.shape) for key, tensor in model.state_dict().items()}
        model.load_state_dict(filled(state))
        own = {key: list(shape) for key, shape in state.items() if "encoder." not in key}
        rows.append({"name": name, "options": options, "tensors": own, "logits": seen(model)})
    out.write_text("[\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]\n")


if __name__ == "__main__":
    record(Path(sys.argv[1]))
