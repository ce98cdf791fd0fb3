"""Frozen norms stay frozen, and train nothing else away."""

import torch

from atrous.losses import LOSSES
from atrous.models import create_model
from atrous.objective import Normalise, Objective


def objective(frozen: bool) -> Objective:
    torch.manual_seed(0)
    model = create_model("unet", classes=3, encoder="test_resnet", channels=(8, 8, 8, 8, 8))
    return Objective(model, LOSSES["ce"](), Normalise((127.5,) * 3, (127.5,) * 3), frozen_norms=frozen)


def test_frozen_norms_keep_their_statistics_and_learn_their_scale() -> None:
    image, labels = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8), torch.randint(0, 3, (2, 32, 32))
    for frozen in (False, True):
        net = objective(frozen).train()
        before = {name: value.clone() for name, value in net.model.state_dict().items() if "running_" in name}
        net(image, labels).backward()
        after = net.model.state_dict()
        kept = {name for name, value in before.items() if torch.equal(value, after[name])}
        encoder = {name for name in before if name.startswith("encoder.")}
        assert kept == (encoder if frozen else set())
        assert all(parameter.grad is not None for parameter in net.parameters() if parameter.requires_grad)
    assert not objective(True).eval().model.training
