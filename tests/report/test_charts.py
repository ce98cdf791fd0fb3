import math

import pytest

from atrous.report.charts import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, chart, series, thin, ticks, training_charts

LOG = [
    {"step": 20, "loss": 1.0, "lr": 0.001},
    {"step": 10, "loss": 2.0, "lr": 0.002},
    {"step": 20, "val_loss": 1.5, "val_miou": 0.4},
]


def test_series_keeps_finite_numbers_in_order_of_steps() -> None:
    broken = [{"loss": 3.0}, {"step": 5}, {"step": 30, "loss": math.nan}, {"step": 40, "loss": None}, {}]
    assert series([*LOG, *broken], "loss") == [(10.0, 2.0), (20.0, 1.0)]


def test_charts_of_a_log_and_of_parts_of_it() -> None:
    assert [one.title for one in training_charts(LOG)] == ["Loss", "Validation mIoU", "Learning rate"]
    assert [line.name for line in training_charts(LOG)[0].lines] == ["training", "validation"]
    assert [one.title for one in training_charts(LOG[2:])] == ["Loss", "Validation mIoU"]
    assert training_charts([]) == []


def test_points_lie_where_the_ticks_say() -> None:
    made = chart("Loss", {"training": [(0, 0.0), (50, 1.0), (100, 2.0)]})
    assert made is not None
    x, y = ({text: place for place, text in found} for found in (made.x_ticks, made.y_ticks))
    assert made.lines[0].dots == [(x["0"], y["0"]), ((x["0"] + x["100"]) / 2, y["1"]), (x["100"], y["2"])]
    assert (x["0"], x["100"]) == (LEFT, WIDTH - RIGHT)
    assert (y["0"], y["2"]) == (HEIGHT - BOTTOM, TOP)
    assert "from 0 to 2" in made.summary


def test_an_accuracy_axis_need_not_begin_at_zero() -> None:
    points = {"validation": [(1.0, 0.61), (2.0, 0.68)]}
    high, zero = chart("mIoU", points, zero=False), chart("mIoU", points)
    assert high is not None
    assert zero is not None
    assert float(high.y_ticks[0][1]) > 0.5
    assert float(zero.y_ticks[0][1]) == 0


def test_thinning_averages_neighbours() -> None:
    points = [(float(k), float(k % 2)) for k in range(1000)]
    few = thin(points, 100)
    assert len(few) == 100
    assert {y for _, y in few} == {0.5}
    assert few[0][0] == 4.5
    assert thin(points[:100], 100) == points[:100]


@pytest.mark.parametrize(
    "low, high, expected",
    [
        (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (0, 1500, [0, 500, 1000, 1500]),
        (0, 3e-4, [0, 1e-4, 2e-4, 3e-4]),
        (0.31, 0.64, [0.3, 0.4, 0.5, 0.6, 0.7]),
        (0, 0, [0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (-3, 2, [-3, -2, -1, 0, 1, 2]),
    ],
)
def test_ticks_are_round_and_enclose(low: float, high: float, expected: list[float]) -> None:
    assert ticks(low, high) == expected


@pytest.mark.parametrize("value", [1.0, -2.5, 1e-9, 7e12])
def test_ticks_of_one_value_surround_it(value: float) -> None:
    made = ticks(value, value)
    assert made[0] <= value <= made[-1]
    assert made[-1] > made[0]
