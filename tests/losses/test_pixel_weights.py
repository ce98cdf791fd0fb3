"""Cross-entropy with weights for pixels, and with those of borders between cells."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from atrous.losses import BorderCrossEntropy, CrossEntropy, pixel_cross_entropy
from atrous.ops.border import border_weights


def test_weights_of_one_are_the_plain_loss_and_others_the_sum_by_hand() -> None:
    torch.manual_seed(0)
    logits, labels = torch.randn(2, 3, 4, 5), torch.randint(0, 3, (2, 4, 5))
    labels[0, 1] = 255
    ones = torch.ones(2, 4, 5)
    torch.testing.assert_close(pixel_cross_entropy(logits, labels, ones), CrossEntropy()(logits, labels))
    weights = torch.rand(2, 4, 5)
    total = sum(
        -weights[n, y, x] * logits[n, :, y, x].log_softmax(0)[labels[n, y, x]]
        for n in range(2) for y in range(4) for x in range(5) if labels[n, y, x] != 255
    )  # fmt: skip
    torch.testing.assert_close(pixel_cross_entropy(logits, labels, weights), total / 35)


@pytest.mark.parametrize("shape", [(4, 5), (2, 3, 4)])
def test_ignored_and_weightless_pixels_change_nothing(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    labels, weights = torch.randint(0, 3, (2, *shape)), torch.rand(2, *shape)
    labels[0, 0], weights[1, 1] = 255, 0
    free = (labels == 255) | (weights == 0)
    one = torch.randn(2, 3, *shape)
    other = torch.where(free[:, None], 100 * torch.randn(2, 3, *shape), one)
    results = []
    for logits in (one, other):
        logits.requires_grad_()
        loss = pixel_cross_entropy(logits, labels, weights)
        loss.backward()
        results.append((loss.detach(), logits.grad))
    assert torch.equal(results[0][0], results[1][0])
    assert torch.equal(results[0][1], results[1][1])
    kept = ~free
    expected = pixel_cross_entropy(one.movedim(1, -1)[kept].detach(), labels[kept], weights[kept])
    torch.testing.assert_close(results[0][0], expected)
    assert pixel_cross_entropy(one.detach(), torch.full((2, *shape), 255), weights) == 0


def two_cells() -> torch.Tensor:
    """Three cells with gaps of one and of three pixels: (1, 12, 20)."""
    cells = torch.zeros(1, 12, 20, dtype=torch.long)
    cells[:, 2:10, 1:7], cells[:, 2:10, 8:13], cells[:, 2:10, 16:19] = 1, 2, 3
    return cells


@pytest.mark.parametrize("balance", [True, False])
def test_borders_are_those_of_the_labels_cells(balance: bool) -> None:
    cells, generator = two_cells(), torch.Generator().manual_seed(0)
    labels = torch.tensor([0, 1, 2, 2])[cells]  # the narrow gap is between two classes
    logits = torch.randn(1, 3, 12, 20, generator=generator)
    weights = torch.from_numpy(border_weights(cells[0].numpy(), weight=7, sigma=3, balance=balance))[None]
    loss = BorderCrossEntropy(border=7, sigma=3, balance=balance)
    torch.testing.assert_close(loss(logits, labels), pixel_cross_entropy(logits, labels, weights))
    labels[0, 5, 3] = 255
    hole = cells[0].numpy().copy()
    hole[5, 3] = 0
    weights = torch.from_numpy(border_weights(hole, weight=7, sigma=3, balance=balance))[None]
    torch.testing.assert_close(loss(logits, labels), pixel_cross_entropy(logits, labels, weights))


def test_cells_at_a_corner_are_two_and_masks_have_borders_of_their_own() -> None:
    labels = torch.zeros(1, 8, 8, dtype=torch.long)
    labels[:, :4, :4] = labels[:, 4:, 4:] = 1
    cells = np.zeros((8, 8), np.int32)
    cells[:4, :4], cells[4:, 4:] = 1, 2
    weights = torch.from_numpy(border_weights(cells))[None]
    logits = torch.randn(1, 2, 8, 8, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(BorderCrossEntropy()(logits, labels), pixel_cross_entropy(logits, labels, weights))
    masks = torch.stack([labels[0], torch.zeros(8, 8, dtype=torch.long)])[None]
    each = F.binary_cross_entropy_with_logits(logits, masks.float(), reduction="none")
    expected = (each[:, 0] * weights).sum() + each[:, 1].sum()
    torch.testing.assert_close(BorderCrossEntropy()(logits, masks), expected / 128)


def test_a_closed_gap_costs_more_than_a_hole_in_a_cell() -> None:
    labels = (two_cells() > 0).long()
    scores = 10.0 * F.one_hot(labels, 2).movedim(-1, 1)
    gap, hole = scores.clone(), scores.clone()
    gap[:, :, 4, 7], hole[:, :, 4, 4] = scores[:, :, 4, 4], scores[:, :, 4, 7]
    assert BorderCrossEntropy()(gap, labels) > 4 * BorderCrossEntropy()(hole, labels)
    assert CrossEntropy()(gap, labels).item() == pytest.approx(CrossEntropy()(hole, labels).item(), rel=1e-5)
