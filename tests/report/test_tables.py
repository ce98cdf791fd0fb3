import numpy as np
import pytest

from atrous.labels import LabelSet
from atrous.metrics import scores
from atrous.report.tables import ConfusedPair, class_rows, confused_pairs, confusion, rows

NAMES = ("sky", "road", "car")
MATRIX = np.array([[80, 20, 0], [5, 95, 0], [0, 0, 0]])


def test_rows_are_shares_of_the_truth() -> None:
    table = confusion(MATRIX, NAMES)
    assert table.rows == table.columns == list(NAMES)
    np.testing.assert_allclose(table.cells[:2], [[0.8, 0.2, 0], [0.05, 0.95, 0]])
    assert np.isnan(table.cells[2]).all()


def test_predictions_that_are_no_class_have_a_column_when_there_are_any() -> None:
    outside = np.column_stack([MATRIX, [100, 0, 0]])
    table = confusion(outside, NAMES)
    assert table.columns == [*NAMES, "no class"]
    np.testing.assert_allclose(table.cells[0], [0.4, 0.1, 0, 0.5])
    assert confusion(np.column_stack([MATRIX, [0, 0, 0]]), NAMES).columns == list(NAMES)


def test_many_classes_are_folded_and_rows_still_sum_to_one() -> None:
    rng = np.random.default_rng(3)
    matrix = rng.integers(1, 100, (50, 51))
    matrix[[4, 40]] *= 1000
    table = confusion(matrix, [f"c{k}" for k in range(50)], most=3)
    assert table.rows == ["c4", "c40", "the other 48"]
    assert table.columns == [*table.rows, "no class"]
    np.testing.assert_allclose(table.cells.sum(1), 1)
    others = [k for k in range(50) if k not in (4, 40)]
    total = matrix[others].sum()
    expected = [matrix[others, 4].sum(), matrix[others, 40].sum(), matrix[np.ix_(others, others)].sum()]
    np.testing.assert_allclose(table.cells[2], [*np.array(expected) / total, matrix[others, 50].sum() / total])


def test_pairs_come_most_pixels_first_and_never_from_the_diagonal() -> None:
    assert confused_pairs(MATRIX, NAMES) == [ConfusedPair("sky", "road", 20, 0.2), ConfusedPair("road", "sky", 5, 0.05)]
    assert confused_pairs(MATRIX, NAMES, most=1) == [ConfusedPair("sky", "road", 20, 0.2)]
    outside = np.column_stack([MATRIX, [0, 0, 9]])
    assert confused_pairs(outside, NAMES)[1] == ConfusedPair("car", "no class", 9, 1.0)
    assert confused_pairs(np.diag([3, 4, 5]), NAMES) == []
    assert MATRIX[0, 0] == 80, "the caller's matrix stays as it was"


def test_class_rows_carry_their_intervals_and_the_baseline() -> None:
    labels = LabelSet(NAMES, ((1, 2, 3), (4, 5, 6), (7, 8, 9)))
    made = class_rows(labels, scores(MATRIX), {"sky": (0.7, 0.8), "car": None}, scores(MATRIX.T))
    assert [row.name for row in made] == list(NAMES)
    assert made[0].colour == "rgb(1, 2, 3)"
    assert made[0].iou == pytest.approx(80 / 105)
    assert [row.interval for row in made] == [(0.7, 0.8), None, None]
    assert (made[1].recall, made[1].baseline) == pytest.approx((0.95, 95 / 120))
    assert (made[1].pixels, made[1].share) == (100, 0.5)
    assert np.isnan(made[2].iou)


def test_rows_leave_out_classes_without_any_number() -> None:
    nan = float("nan")
    made = rows(LabelSet(NAMES), [np.array([0.1, nan, nan]), np.array([0.2, 0.4, nan])])
    assert [row.name for row in made] == ["sky", "road"]
    assert made[0].values == [0.1, 0.2]
