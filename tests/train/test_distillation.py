"""What a teacher adds to the loss."""

import dataclasses

import pytest
import torch
from torch import nn
from torch.nn import functional

from atrous.bundle import Card
from atrous.errors import RecipeError
from atrous.labels import LabelSet
from atrous.losses import make_loss
from atrous.train.distillation import Teacher, check_teacher
from atrous.train.objective import Normalise, Objective

LABELS = LabelSet(("a", "b", "c"))
CARD = Card("unet", {}, LABELS, mean=(100.0, 110.0, 120.0), std=(50.0, 60.0, 70.0))


def parts(seed: int = 0) -> tuple[nn.Module, torch.Tensor, torch.Tensor, torch.Tensor]:
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3))
    image = torch.randint(0, 256, (2, 3, 5, 6), dtype=torch.uint8)
    labels = torch.randint(0, 3, (2, 5, 6))
    labels[0, :2] = 255
    return net, image, torch.randn(2, 3, 5, 6, requires_grad=True), labels


def test_it_is_the_divergence_of_softened_probabilities() -> None:
    net, image, logits, labels = parts()
    found = Teacher(net, CARD, temperature=3.0, weight=0.7)(image, logits, labels)
    taught = net.eval()(
        (image.float() - torch.tensor(CARD.mean).view(1, 3, 1, 1)) / torch.tensor(CARD.std).view(1, 3, 1, 1)
    )
    every = functional.kl_div((logits / 3).log_softmax(1), (taught / 3).softmax(1), reduction="none").sum(1)
    torch.testing.assert_close(found, 0.7 * 9 * every[labels != 255].mean())
    assert found > 0.01
    own = Teacher(net, CARD)
    assert own(image, own.model(own.normalise(image)), labels).abs() < 1e-6


def test_of_overlapping_classes_each_has_its_own() -> None:
    net, image, logits, _ = parts()
    labels = torch.randint(0, 2, (2, 3, 5, 6))
    labels[0, 1, :2] = 255
    teacher = Teacher(net, CARD, temperature=2.0)
    p = (teacher.model(teacher.normalise(image)) / 2).sigmoid().double()
    q = (logits / 2).sigmoid().double()
    every = p * (p / q).log() + (1 - p) * ((1 - p) / (1 - q)).log()
    torch.testing.assert_close(
        teacher(image, logits, labels).double(), 4 * every[labels != 255].mean(), rtol=1e-5, atol=1e-7
    )


def test_what_is_ignored_changes_neither_value_nor_gradient() -> None:
    net, image, logits, labels = parts()
    teacher = Teacher(net, CARD)
    value = teacher(image, logits, labels)
    (gradient,) = torch.autograd.grad(value, logits)
    assert not gradient[0, :, :2].any()
    other = logits.detach().clone()
    other[0, :, :2] = float("nan")
    assert teacher(image, other, labels) == value
    assert teacher(image, logits, torch.full_like(labels, 255)) == 0


def test_a_teacher_never_learns() -> None:
    net, image, _, labels = parts()
    student = nn.Conv2d(3, 3, 1)
    objective = Objective(student, make_loss("ce"), Normalise(CARD.mean, CARD.std), teacher=Teacher(net, CARD))
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    alone = Objective(student, make_loss("ce"), Normalise(CARD.mean, CARD.std))(image, labels)
    objective.train()
    loss = objective(image, labels)
    loss.backward()
    assert loss > alone
    assert all(p.grad is None for p in net.parameters())
    assert all(torch.equal(net.state_dict()[name], tensor) for name, tensor in before.items())
    assert student.weight.grad is not None


def test_another_kind_of_teacher_is_refused() -> None:
    check_teacher("t", CARD, labels=LABELS, channels=3, dtype="uint8")
    with pytest.raises(RecipeError, match=r"t: knows the classes a, b, c .* the data has a, c, b"):
        check_teacher("t", CARD, labels=LabelSet(("a", "c", "b")), channels=3, dtype="uint8")
    with pytest.raises(RecipeError, match="multilabel"):
        check_teacher("t", CARD, labels=dataclasses.replace(LABELS, mode="multilabel"), channels=3, dtype="uint8")
    with pytest.raises(RecipeError, match="uint8 images of 3 channels, but the data's are uint16 of 1"):
        check_teacher("t", CARD, labels=LABELS, channels=1, dtype="uint16")
