"""What holds for every loss in recipes: points, images, volumes; exclusive and multilabel."""

import pytest
import torch

from atrous.errors import ModelError
from atrous.losses import LOSSES, make_loss

EVERY = [
    "active_contour", "border_ce", "boundary", "ce", "cldice", "dice", "dice(region=sample, squared=true, smooth=1)",
    "dice(background=false)", "focal", "focal(gamma=0.5)", "focal_tversky", "generalised_dice",
    "generalised_dice(region=sample)", "jaccard", "lovasz", "lovasz(region=sample)", "lovasz(form=hinge)", "ohem",
    "ohem(threshold=0.1, least=0.5)", "rmi(stride=1)", "rmi(stride=2, side=2)", "tversky", "tversky(region=sample)",
    "ce + 0.5 * dice",
]  # fmt: skip
SHAPES = [(40,), (9, 11), (6, 7, 6)]
every = pytest.mark.parametrize("text", EVERY)
either = pytest.mark.parametrize("mode", ["exclusive", "multilabel"])


def sample(
    mode: str, shape: tuple[int, ...], images: int = 2, ignored: float = 0.3, seed: int = 0
) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits in float64 and labels of three classes in lumps of two pixels."""
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(images, 3, *shape, generator=generator, dtype=torch.float64)
    lead, high = ((images,), 3) if mode == "exclusive" else ((images, 3), 2)
    labels = torch.randint(0, high, (*lead, *((side + 1) // 2 for side in shape)), generator=generator)
    for axis, side in enumerate(shape, start=len(lead)):
        labels = labels.repeat_interleave(2, axis).narrow(axis, 0, side)
    labels = labels.clone()
    labels[torch.rand(labels.shape, generator=generator) < ignored] = 255
    return logits, labels


def value_and_slope(text: str, logits: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    logits = logits.clone().requires_grad_()
    value = make_loss(text)(logits, labels)
    value.backward()
    return value.detach(), logits.grad


def hidden(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Where the logits belong to nothing that counts."""
    ignored = labels == 255
    return ignored if labels.shape == logits.shape else ignored[:, None].expand_as(logits)


def has_neighbours(text: str) -> bool:
    return text.startswith(("boundary", "rmi"))


def test_every_name_is_here() -> None:
    assert {text.partition("(")[0] for text in EVERY} >= set(LOSSES)


@every
@either
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_what_lies_under_ignore_changes_nothing(text: str, mode: str, shape: tuple[int, ...]) -> None:
    one, labels = sample(mode, shape, ignored=0.005 if text.startswith("rmi") else 0.3)
    under = hidden(one, labels)
    value, slope = value_and_slope(text, one.float(), labels)
    assert value.isfinite()
    assert slope.isfinite().all()
    assert not slope[under].any()
    assert slope[~under].any() or (len(shape) == 1 and has_neighbours(text))
    for fill in (-1e4, torch.nan):
        value_2, slope_2 = value_and_slope(text, one.float().masked_fill(under, fill), labels)
        assert torch.equal(value, value_2)
        assert torch.equal(slope, slope_2)


@every
@either
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_nothing_counted_gives_zero(text: str, mode: str, shape: tuple[int, ...]) -> None:
    logits, labels = sample(mode, shape, ignored=1.1)
    value, slope = value_and_slope(text, logits, labels)
    assert value == 0
    assert not slope.any()


@every
@either
def test_ignored_points_are_as_if_cut_out(text: str, mode: str) -> None:
    logits, labels = sample(mode, (40,), images=1, ignored=0)
    labels[..., 25:] = 255
    loss = make_loss(text)
    torch.testing.assert_close(loss(logits, labels), loss(logits[..., :25], labels[..., :25]))


@every
@either
@pytest.mark.parametrize("shape", [(4, 5), (3, 4, 3)], ids=str)
def test_the_gradient(text: str, mode: str, shape: tuple[int, ...]) -> None:
    logits, labels = sample(mode, shape, images=2, ignored=0.02 if text.startswith("rmi") else 0.2, seed=1)
    loss = make_loss(text)
    assert torch.autograd.gradcheck(lambda z: loss(z, labels), logits.requires_grad_(), fast_mode=True)


@every
@either
def test_classes_may_change_places(text: str, mode: str) -> None:
    """All but those of a background: there only the others."""
    exclusive = mode == "exclusive"
    behind = (text.startswith(("border_ce", "cldice")) and exclusive) or "background" in text
    logits, labels = sample(mode, (9, 11), ignored=0.05)
    order = torch.tensor([0, 2, 1] if behind else [2, 0, 1])
    changed = labels[:, order]
    if exclusive:
        changed = torch.where(labels == 255, 255, order.argsort()[labels.clamp_max(2)])
    loss = make_loss(text)
    torch.testing.assert_close(loss(logits[:, order], changed), loss(logits, labels))


@every
@either
def test_a_batch_of_twins_is_its_image(text: str, mode: str) -> None:
    text = "cldice(smooth=0)" if text == "cldice" else text  # a pixel more weighs less in more pictures
    logits, labels = sample(mode, (9, 11), images=1, ignored=0.05)
    loss = make_loss(text)
    torch.testing.assert_close(loss(logits.repeat(3, 1, 1, 1), labels.repeat(3, *[1] * (labels.ndim - 1))),
                               loss(logits, labels))  # fmt: skip


@every
@either
def test_the_truth_is_cheapest(text: str, mode: str) -> None:
    _, labels = sample(mode, (9, 11), ignored=0)
    y = labels if mode == "multilabel" else torch.nn.functional.one_hot(labels, 3).movedim(-1, 1)
    loss, right = make_loss(text), 40.0 * (2 * y - 1)
    least = loss(right, labels).item()
    for seed in range(1, 4):
        other, _ = sample(mode, (9, 11), seed=seed)
        assert least < loss(other, labels).item() - 0.01
        assert least < loss(right + 30 * other, labels).item() - 0.001
    if not text.startswith(("boundary", "rmi", "active_contour")):  # these have other minima
        assert least == pytest.approx(0, abs=1e-4)


@pytest.mark.parametrize("text", [text for text in EVERY if not text.startswith("active_contour")])
def test_absent_classes_do_not_dilute(text: str) -> None:
    """Absent classes that are never predicted change nothing; active contours divide by K."""
    logits, labels = sample("exclusive", (9, 11), ignored=0.05)
    absent = torch.full((2, 20, 9, 11), -200.0, dtype=torch.float64)
    loss = make_loss(text)
    torch.testing.assert_close(loss(torch.cat([logits, absent], 1), labels), loss(logits, labels), rtol=1e-6, atol=1e-9)


@every
@either
def test_half_precision_is_read_as_float(text: str, mode: str) -> None:
    logits, labels = sample(mode, (9, 11), ignored=0.05)
    half, loss = logits.bfloat16(), make_loss(text)
    with torch.autocast("cpu", torch.bfloat16):
        value = loss(half, labels.to(torch.uint8))
    assert value.dtype == torch.float32
    assert torch.equal(value, loss(half.float(), labels))


@every
@pytest.mark.parametrize("shape", [(1,), (1, 1), (1, 5), (1, 1, 1), (2, 1, 3)], ids=str)
def test_the_smallest_images(text: str, shape: tuple[int, ...]) -> None:
    for mode in ("exclusive", "multilabel"):
        for images in (1, 2):
            value, slope = value_and_slope(text, *sample(mode, shape, images, ignored=0))
            assert value.isfinite()
            assert slope.isfinite().all()


@every
def test_labels_of_another_shape_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"labels \(2, 4\) do not fit logits \(2, 3, 5\)"):
        make_loss(text)(torch.zeros(2, 3, 5), torch.zeros(2, 4, dtype=torch.long))


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_one_class_alone_is_refused(name: str) -> None:
    with pytest.raises(ModelError, match="of one class: its softmax is always 1"):
        make_loss(name)(torch.zeros(1, 1, 16, 16), torch.zeros(1, 16, 16, dtype=torch.long))
