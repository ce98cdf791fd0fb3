"""torch.export takes the networks of other toolkits as they are, at one size and at another."""

import pytest
import torch

from atrous.models import create_model
from atrous.models.foreign import FOREIGN

FORMS = [(name, {"encoder": "test_resnet"}) for name in sorted(FOREIGN)] + [("smp_unet", {"encoder": "mit_b0"})]


@pytest.mark.slow
@pytest.mark.parametrize("name, options", FORMS, ids=lambda v: v if isinstance(v, str) else "")
@torch.no_grad()
def test_exported(name: str, options: dict[str, object]) -> None:
    torch.manual_seed(0)
    model = create_model(name, classes=3, **options).eval()  # type: ignore[arg-type]
    for size in ((64, 96), (33, 47)):
        image = torch.randn(1, 3, *size)
        program = torch.export.export(model, (image,))
        torch.testing.assert_close(program.module()(image), model(image), rtol=1e-4, atol=1e-4)
