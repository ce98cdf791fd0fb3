"""clDice: skeletons of simple shapes, the loss by hand, a cut that costs more than a ragged rim."""

import pytest
import torch

from atrous.losses import ClDice, Overlap
from atrous.losses.cldice import soft_skeleton


def test_a_thin_line_is_its_own_skeleton() -> None:
    line = torch.zeros(1, 1, 7, 20)
    line[..., 3, 2:18] = 1
    assert torch.equal(soft_skeleton(line, 3), line)
    assert torch.equal(soft_skeleton(line[:, :, None], 3)[:, :, 0], line)  # and in a volume


@pytest.mark.parametrize("width", [3, 5])
def test_a_bar_has_its_middle_as_skeleton(width: int) -> None:
    bar = torch.zeros(1, 1, 15, 40)
    bar[..., 7 - width // 2 : 8 + width // 2, 5:35] = 1
    rows = soft_skeleton(bar, 3)[0, 0, :, 12:28].sum(1)  # far from its ends
    assert rows.tolist() == [16.0 if row == 7 else 0.0 for row in range(15)]


def test_a_tube_has_its_axis_as_skeleton() -> None:
    tube = torch.zeros(1, 1, 20, 9, 9)
    tube[..., 3:6, 3:6] = 1
    middle = soft_skeleton(tube, 2)[0, 0, 8:12]
    assert middle[:, 4, 4].tolist() == [1.0] * 4
    assert middle.sum() == 4


def test_by_hand() -> None:
    """A line of 16 pixels, predicted without four of them and with two elsewhere, certainly."""
    labels, seen = torch.zeros(1, 9, 20, dtype=torch.long), torch.zeros(1, 9, 20, dtype=torch.long)
    labels[:, 3, 2:18] = 1
    seen[:, 3, 2:14] = seen[:, 7, 4:6] = 1
    logits = 60.0 * torch.nn.functional.one_hot(seen, 3).movedim(-1, 1)
    precision, sensitivity = (12 + 1) / (14 + 1), (12 + 1) / (16 + 1)
    expected = 1 - 2 * precision * sensitivity / (precision + sensitivity)
    assert ClDice()(logits, labels).item() == pytest.approx(expected, abs=1e-6)
    mask = (60.0 * (2 * seen - 1))[:, None]
    assert ClDice()(mask, labels[:, None]).item() == pytest.approx(expected, abs=1e-6)


def test_a_cut_costs_more_than_a_ragged_rim() -> None:
    labels = torch.zeros(1, 15, 42, dtype=torch.long)
    labels[:, 5:10] = 1
    cut, ragged = labels.clone(), labels.clone()
    cut[:, :, 20:22] = 0
    ragged[:, 5, 1:40:4] = 0
    assert (cut != labels).sum() == (ragged != labels).sum() == 10
    scores = [(30.0 * (2 * seen - 1))[:, None] for seen in (cut, ragged)]
    dice = [Overlap()(one, labels[:, None]).item() for one in scores]
    lines = [ClDice()(one, labels[:, None]).item() for one in scores]
    assert dice[0] == pytest.approx(dice[1], abs=1e-6)
    assert lines[0] > lines[1] + 0.01
