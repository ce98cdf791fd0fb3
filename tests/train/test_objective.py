"""Frozen norms stay frozen, and train nothing else away; auxiliary outputs are weighed."""

import pytest
import torch
from torch import nn

from atrous.errors import RecipeError
from atrous.losses import LOSSES, make_loss
from atrous.models import create_model
from atrous.train.objective import Normalise, Objective


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


class Outputs(nn.Module):
    """Three outputs: the image itself, twice it, three times it."""

    def outputs(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return image, 2 * image, 3 * image


def test_auxiliary_outputs_have_one_weight_or_one_each() -> None:
    image, labels = torch.randn(2, 3, 4, 5), torch.randint(0, 3, (2, 4, 5))
    loss, normalise = LOSSES["ce"](), Normalise((0.0,) * 3, (1.0,) * 3)
    first, second, third = (loss(factor * image, labels) for factor in (1, 2, 3))
    for weight, expected in [
        (0.4, first + 0.4 * second + 0.4 * third),
        ((0.5, 0.25), first + 0.5 * second + 0.25 * third),
        (0, first),
    ]:
        torch.testing.assert_close(Objective(Outputs(), loss, normalise, aux_weight=weight)(image, labels), expected)
    with pytest.raises(RecipeError, match="aux_weight has 1 values, but the network has 2 auxiliary outputs"):
        Objective(Outputs(), loss, normalise, aux_weight=[0.5])(image, labels)


def test_masks_that_overlap_train_too() -> None:
    model = create_model("unet", classes=3, encoder="test_resnet", channels=(8, 8, 8, 8, 8))
    image, masks = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8), torch.randint(0, 2, (2, 3, 32, 32))
    net = Objective(model, make_loss("ce + dice"), Normalise((127.5,) * 3, (127.5,) * 3))
    optimiser, values = torch.optim.Adam(net.parameters(), 0.01), []
    for _ in range(8):
        optimiser.zero_grad()
        value = net(image, masks)
        value.backward()
        optimiser.step()
        values.append(value.item())
    assert values[-1] < values[0] - 0.05
