"""Rates, layers, freezing and parts of a batch, without training."""

import pytest
import torch
from lightning_fabric import Fabric
from torch import nn

from atrous.errors import RecipeError
from atrous.losses import make_loss
from atrous.models import create_model
from atrous.train.objective import Normalise, Objective
from atrous.train.optimizer import backward, encoder_layers, frozen_at, make_optimizer, rate_at, shares_of
from atrous.train.recipe import Recipe

KNOWN = {
    "atrous": "0", "data": "d", "fingerprint": "f", "train_images": 1, "model": "unet", "in_channels": 3,
    "mean": (0,), "std": (1,), "crop": (8, 8), "lr": 1.0, "batch": 4, "steps": 10,
}  # fmt: skip
WEIGHT = torch.tensor([0.5, 3.0, 1.0])


def recipe(**fields: object) -> Recipe:
    return Recipe(**(KNOWN | fields))


def test_rates_of_the_schedules() -> None:
    poly = recipe(warmup=2, power=1.0)
    assert [round(rate_at(poly, step), 4) for step in (0, 1, 2, 6, 9)] == [0.3333, 0.6667, 1.0, 0.5, 0.125]
    cosine = recipe(warmup=2, schedule="cosine")
    assert [round(rate_at(cosine, step), 4) for step in (0, 1, 2, 6, 9)] == [0.3333, 0.6667, 1.0, 0.5, 0.0381]


def test_one_cycle_is_that_of_torch() -> None:
    ours = recipe(warmup=6, steps=20, schedule="one_cycle", lr=0.2)
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.2)
    theirs = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.2, total_steps=20, pct_start=0.3)
    for step in range(20):
        assert rate_at(ours, step) == pytest.approx(theirs.get_last_lr()[0], rel=1e-6), step
        optimizer.step()
        if step < 19:
            theirs.step()


def test_an_extension_follows_the_longer_schedule_from_where_the_run_had_ended() -> None:
    short, longer = recipe(power=1.0, steps=10), recipe(power=1.0, steps=20)
    both = recipe(power=1.0, steps=20, extended=((10, 10),))
    assert [rate_at(both, step) for step in range(10)] == [rate_at(short, step) for step in range(10)]
    assert [rate_at(both, step) for step in range(10, 20)] == [rate_at(longer, step) for step in range(10, 20)]
    thrice = recipe(power=1.0, steps=40, extended=((10, 10), (20, 20)))
    assert rate_at(thrice, 15) == rate_at(longer, 15)
    assert rate_at(thrice, 20) == 0.5


def test_layers_of_an_encoder_learn_the_slower_the_nearer_to_the_image() -> None:
    names = ["encoder.net.conv1.weight", "encoder.net.bn1.weight", "encoder.net.layer1.0.conv1.weight",
             "encoder.net.layer1.0.downsample.0.weight", "encoder.net.layer1.1.conv1.weight",
             "encoder.net.norm.weight", "encoder.net.blocks.2.1.conv.weight"]  # fmt: skip
    assert list(encoder_layers(names).values()) == [0, 0, 0, 0, 1, 1, 2]
    model = create_model("unet", classes=3, encoder="test_resnet")
    groups = make_optimizer(recipe(layer_decay=0.5, encoder_lr=0.8), model).param_groups
    factor = {id(p): group["factor"] for group in groups for p in group["params"]}
    by_name = {name: factor[id(p)] for name, p in model.named_parameters()}
    assert by_name["head.score.weight"] == 1.0
    assert by_name["encoder.net.layer4.0.conv1.weight"] == pytest.approx(0.8 * 0.5)
    assert by_name["encoder.net.layer3.0.conv1.weight"] == pytest.approx(0.8 * 0.25)
    assert by_name["encoder.net.conv1.0.weight"] < by_name["encoder.net.layer1.0.conv1.weight"]
    plain = make_optimizer(recipe(encoder_lr=0.8), model).param_groups
    assert {group["factor"] for group in plain} == {0.8, 1.0}


def test_what_is_frozen_gets_no_gradient_and_keeps_its_statistics() -> None:
    torch.manual_seed(0)
    model = create_model("unet", classes=3, encoder="test_resnet")
    objective = Objective(model, make_loss("ce"), Normalise((127.0,) * 3, (60.0,) * 3))
    image, labels = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8), torch.randint(0, 3, (2, 32, 32))

    def moved(what: str | None) -> tuple[set[str], set[str]]:
        objective.freeze(what)  # type: ignore[arg-type]
        before = {name: buffer.clone() for name, buffer in model.named_buffers()}
        objective.zero_grad()
        objective(image, labels).backward()
        graded = {name for name, p in model.named_parameters() if p.grad is not None}
        return graded, {name for name, buffer in model.named_buffers() if not torch.equal(buffer, before[name])}

    every, buffers = moved(None)
    assert every == {name for name, _ in model.named_parameters()}
    graded, moving = moved("encoder")
    assert graded == {name for name in every if not name.startswith("encoder.")}
    assert moving == {name for name in buffers if not name.startswith("encoder.")}
    graded, moving = moved("norms")
    lost = every - graded
    assert lost
    assert all(name.startswith("encoder.") and dict(model.named_parameters())[name].ndim == 1 for name in lost)
    assert moving == {name for name in buffers if not name.startswith("encoder.")}
    graded, moving = moved("all_norms")
    assert "head.decoder.0.0.0.weight" in graded
    assert not moving
    assert moved(None) == (every, buffers)
    assert frozen_at(recipe(freeze="encoder", freeze_steps=3), 2) == "encoder"
    assert frozen_at(recipe(freeze="encoder", freeze_steps=3), 3) is None
    assert frozen_at(recipe(freeze="encoder"), 9) == "encoder"


def test_a_network_without_an_encoder_says_so() -> None:
    objective = Objective(nn.Conv2d(3, 2, 1), make_loss("ce"), Normalise((0.0,) * 3, (1.0,) * 3))
    with pytest.raises(RecipeError, match="no encoder to freeze"):
        objective.freeze("encoder")
    objective.freeze("all_norms")


def group_normed() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.GroupNorm(2, 8), nn.ReLU(), nn.Conv2d(8, 3, 1))


@pytest.mark.parametrize("kind", ["frozen batch norms", "group norms", "overlapping classes"])
def test_parts_of_a_batch_give_the_gradients_of_the_whole(kind: str) -> None:
    torch.manual_seed(1)
    model = create_model("unet", classes=3, encoder="test_resnet") if "batch" in kind else group_normed()
    objective = Objective(model, make_loss("ce", 255, WEIGHT), Normalise((127.0,) * 3, (60.0,) * 3))
    objective.freeze("all_norms")
    images = torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8)
    labels = torch.randint(0, 3, (4, 32, 32))
    if "classes" in kind:
        labels = torch.randint(0, 2, (4, 3, 32, 32))
    labels[0, ..., :30], labels[1] = 255, 0  # parts that differ in pixels and in classes
    fabric = Fabric(accelerator="cpu", devices=1)
    module = fabric.setup_module(objective)

    def gradients(shares: list[float]) -> tuple[float, torch.Tensor]:
        objective.zero_grad()
        loss = backward(fabric, module, images, labels, shares)
        return loss, torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])

    loss, whole = gradients([1.0])
    assert whole.abs().max() > 1e-3
    for parts in (2, 3, 4):
        shares = shares_of(labels, parts, 255, WEIGHT)
        assert sum(shares) == pytest.approx(1)
        in_parts, gradient = gradients(shares)
        assert in_parts == pytest.approx(loss, abs=1e-5)
        assert (gradient - whole).abs().max() < 1e-5
    assert (gradients([0.25] * 4)[1] - whole).abs().max() > 1e-3  # what counts all parts alike is another gradient


def test_shares_of_nothing_are_equal_and_impossible_parts_are_refused() -> None:
    assert shares_of(torch.full((4, 2, 2), 255), 2, 255, WEIGHT) == [0.5, 0.5]
    assert shares_of(torch.tensor([0, 0, 255, 1]).view(4, 1, 1), 4, 255, None) == pytest.approx(
        [1 / 3, 1 / 3, 0, 1 / 3]
    )
    with pytest.raises(ValueError, match="accumulate=5 parts cannot be made of batch=4"):
        recipe(accumulate=5)
    with pytest.raises(ValueError, match="freeze_steps without freeze"):
        recipe(freeze_steps=5)
