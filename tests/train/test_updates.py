"""What moves the weights, over every model: which parameters decay, how fast each learns, how far a gradient goes, what
is averaged, and that nothing under `ignore` takes part."""

import pytest
import torch
from forms import SMALL
from lightning_fabric import Fabric
from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.optim.swa_utils import AveragedModel

from atrous.layers.norm import InstanceNorm
from atrous.losses import make_loss
from atrous.models import create_model
from atrous.models.refined import refined
from atrous.train.objective import Normalise, Objective
from atrous.train.optimizer import make_optimizer
from atrous.train.recipe import Recipe
from atrous.train.run import moving_average
from atrous.train.step import gradient_norm

NORMS = (_NormBase, nn.GroupNorm, nn.LayerNorm, InstanceNorm, nn.PReLU)
"""Layers none of whose parameters may decay; the slopes of a PReLU among them (He et al. 2015, section 2)."""


def recipe(**fields: object) -> Recipe:
    known = {"atrous": "0", "data": "d", "fingerprint": "f", "train_images": 1, "model": "unet", "in_channels": 3,
             "mean": (0,), "std": (1,), "crop": (8, 8), "lr": 1.0, "batch": 4, "steps": 10}  # fmt: skip
    return Recipe(**(known | fields))


def by_name(model: nn.Module, key: str, **fields: object) -> dict[str, float]:
    """What the group of every parameter says of it."""
    groups = make_optimizer(recipe(**fields), model).param_groups
    found = {id(p): group[key] for group in groups for p in group["params"]}
    assert sum(len(group["params"]) for group in groups) == len(found)
    return {name: found[id(p)] for name, p in model.named_parameters() if p.requires_grad}


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
@pytest.mark.parametrize("name", sorted(SMALL))
def test_weights_decay_and_neither_biases_nor_norms(name: str, optimizer: str) -> None:
    model = create_model(name, classes=4, **SMALL[name])  # type: ignore[arg-type]
    decays = by_name(model, "weight_decay", weight_decay=0.03, optimizer=optimizer)
    still = {id(p) for layer in model.modules() if isinstance(layer, NORMS) for p in layer.parameters(recurse=False)}
    layers = (nn.modules.conv._ConvNd, nn.Linear, nn.GRU)
    moved = {id(p) for layer in model.modules() if isinstance(layer, layers) for p in layer.parameters(recurse=False)}
    for key, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        if id(parameter) in still or "bias" in key.rpartition(".")[2]:
            assert decays[key] == 0, key
        elif id(parameter) in moved:
            assert decays[key] == 0.03, key


@pytest.mark.parametrize("name", [name for name in sorted(SMALL) if "encoder" in SMALL[name]])
def test_an_encoder_learns_at_its_own_rate(name: str) -> None:
    model = create_model(name, classes=4, **SMALL[name])  # type: ignore[arg-type]
    factors = by_name(model, "factor", encoder_lr=0.25)
    inside = {id(p) for p in model.encoder.parameters()}
    assert 0 < len(inside) < len(factors)
    for key, parameter in model.named_parameters():
        assert factors[key] == (0.25 if id(parameter) in inside else 1.0), key
    assert set(by_name(model, "factor").values()) == {1.0}


def test_a_refiner_learns_faster_and_does_not_decay() -> None:
    page = create_model("unet", classes=3, encoder="test_resnet", channels=(8, 8, 8, 8, 8))
    model = refined(page, "crfrnn", mean=(127.5,) * 3, std=(64.0,) * 3, dtype="uint8")
    factors, decays = (by_name(model, key, encoder_lr=0.5, refine_lr=7.0) for key in ("factor", "weight_decay"))
    assert {factors[key] for key in factors if key.startswith("layer.")} == {7.0}
    assert {decays[key] for key in decays if key.startswith("layer.")} == {0.0}
    assert {factors[key] for key in factors if key.startswith("model.encoder.")} == {0.5}
    assert {factors[key] for key in factors if not key.startswith(("layer.", "model.encoder."))} == {1.0}


def test_a_step_shrinks_weights_and_leaves_biases() -> None:
    """Without a gradient AdamW takes lr times decay off what decays, and nothing off the rest."""
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
    for parameter in model.parameters():
        nn.init.ones_(parameter)
        parameter.grad = torch.zeros_like(parameter)
    make_optimizer(recipe(lr=0.5, weight_decay=0.1), model).step()
    assert torch.allclose(model[0].weight, torch.tensor(0.95))
    for parameter in (model[0].bias, model[1].weight, model[1].bias):
        assert (parameter == 1).all()


@pytest.mark.parametrize("clip, factor", [(1.0, 1 / 13), (6.5, 0.5), (20.0, 1.0), (0.0, 1.0)])
def test_the_norm_of_all_gradients_is_at_most_clip(clip: float, factor: float) -> None:
    fabric, net = Fabric(accelerator="cpu", devices=1), nn.Linear(1, 3)
    module, optimizer = fabric.setup(net, torch.optim.SGD(net.parameters(), lr=1.0))
    given = torch.tensor([[3.0], [4.0], [0.0]]), torch.tensor([0.0, 0.0, 12.0])  # 9 + 16 + 144 = 13^2
    net.weight.grad, net.bias.grad = (part.clone() for part in given)
    assert gradient_norm(fabric, module, optimizer, clip) == pytest.approx(13)
    torch.testing.assert_close(net.weight.grad, factor * given[0], rtol=1e-4, atol=0)
    torch.testing.assert_close(net.bias.grad, factor * given[1], rtol=1e-4, atol=0)


@pytest.mark.parametrize("decay", [0.998, 0.3])
def test_an_average_forgets_faster_at_the_start(decay: float) -> None:
    """m <- d m + (1 - d) x with d = min(decay, (1 + n) / (10 + n)); the first x as it is; whole numbers are copied."""
    net = nn.BatchNorm1d(2)
    average = AveragedModel(net, multi_avg_fn=moving_average(decay), use_buffers=True)
    expected = torch.zeros(2)
    for n in range(12):
        with torch.no_grad():
            net.weight.copy_(torch.tensor([float(n + 1), -(3.0**n)]))
            net.running_mean.fill_(n)
            net.num_batches_tracked.fill_(n)
        average.update_parameters(net)
        d = min(decay, (1 + n) / (10 + n)) if n else 0.0
        expected = d * expected + (1 - d) * net.weight.detach()
    torch.testing.assert_close(average.module.weight.detach(), expected)
    assert 0 < float(average.module.running_mean[0]) < 11
    assert int(average.module.num_batches_tracked) == 11


class Pixels(nn.Module):
    """Logits of each pixel by itself, main and auxiliary: what lies under one pixel reaches no other."""

    def __init__(self) -> None:
        super().__init__()
        self.main, self.aux = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)

    def outputs(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return self.main(image), self.aux(image)


@pytest.mark.parametrize("text", ["ce", "ohem", "focal", "ce + dice", "lovasz", "tversky", "0.5 * ce + 0.5 * jaccard"])
@pytest.mark.parametrize("mode", ["exclusive", "multilabel"])
def test_what_lies_under_ignore_reaches_no_weight(text: str, mode: str) -> None:
    torch.manual_seed(0)
    image = torch.randn(2, 3, 6, 5)
    labels = torch.randint(0, 3, (2, 6, 5)) if mode == "exclusive" else torch.randint(0, 2, (2, 3, 6, 5))
    hidden = torch.rand(2, 6, 5) < 0.4
    labels[hidden if mode == "exclusive" else hidden[:, None].expand(-1, 3, -1, -1)] = 255
    net = Objective(Pixels(), make_loss(text, 255, torch.tensor([1.0, 2, 4])), Normalise((0.0,) * 3, (1.0,) * 3))

    def told(pixels: torch.Tensor) -> list[torch.Tensor]:
        net.zero_grad()
        value = net(pixels, labels)
        value.backward()
        return [value.detach(), *(p.grad.clone() for p in net.parameters())]  # type: ignore[union-attr]

    plain = told(image)
    assert all(part.abs().max() > 0 for part in plain)
    for one, other in zip(plain, told(torch.where(hidden[:, None], 50 * image + 7, image)), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-7)
    assert not torch.allclose(plain[0], told(torch.where(hidden[:, None], image, image + 1))[0])


def test_class_weights_are_a_mean_over_what_counts_in_main_and_auxiliary_logits() -> None:
    """sum w loss / sum w over the counted pixels, of each output: weights twice as large change nothing."""
    torch.manual_seed(0)
    image, labels, page = torch.randn(1, 3, 4, 5), torch.randint(0, 3, (1, 4, 5)), Pixels()
    labels[0, 0] = 255
    weight, normalise = torch.tensor([0.5, 2.0, 3.0]), Normalise((0.0,) * 3, (1.0,) * 3)
    counted = labels[0, 1:].flatten()
    values = []
    for logits in page.outputs(image):
        p = logits[0, :, 1:].flatten(1).log_softmax(0)
        each = weight[counted] * -p[counted, torch.arange(15)]
        values.append(each.sum() / weight[counted].sum())
    expected = values[0] + 0.4 * values[1]
    for factor in (1, 2):
        net = Objective(page, make_loss("ce", 255, factor * weight), normalise)
        torch.testing.assert_close(net(image, labels), expected)
