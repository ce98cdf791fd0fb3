import math
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
from jinja2 import Environment, PackageLoader, StrictUndefined

from atrous.report import charts
from atrous.report.charts import (
    BOTTOM,
    HEIGHT,
    IDEAL,
    LEFT,
    RIGHT,
    TOP,
    WIDTH,
    Chart,
    bland_altman,
    chart,
    reliability_chart,
    series,
    thin,
    ticks,
    training_charts,
    trimap_chart,
)

LOG = [
    {"step": 20, "loss": 1.0, "lr": 0.001},
    {"step": 10, "loss": 2.0, "lr": 0.002},
    {"step": 20, "val_loss": 1.5, "val_miou": 0.4},
]


def test_series_keeps_finite_numbers_in_order_of_steps() -> None:
    broken = [{"loss": 3.0}, {"step": 5}, {"step": 30, "loss": math.nan}, {"step": 40, "loss": None}, {}]
    assert series([*LOG, *broken], "loss") == [(10.0, 2.0), (20.0, 1.0)]


def test_charts_of_a_log_and_of_parts_of_it() -> None:
    made = training_charts({"a": LOG})
    assert [one.title for one in made] == ["Loss", "Validation mIoU", "Learning rate"]
    assert [line.name for line in made[0].lines] == ["training", "validation"]
    assert [one.title for one in training_charts({"a": LOG[2:]})] == ["Loss", "Validation mIoU"]
    assert training_charts({"a": []}) == []


def test_several_runs_have_a_line_each() -> None:
    made = training_charts({"a": LOG, "b": LOG[:2], "c": []})
    assert [one.title for one in made] == ["Training loss", "Validation loss", "Validation mIoU"]
    assert [[line.name for line in one.lines] for one in made] == [["a", "b"], ["a"], ["a"]]


def test_the_trimap_curve_leaves_out_widths_without_pixels() -> None:
    made = trimap_chart({"run": {"widths": np.array([1, 2, 4]), "miou": np.array([np.nan, 0.5, 0.7])}})
    assert made is not None
    assert len(made.lines[0].dots) == 2
    assert made.summary == (
        "mIoU near boundaries over largest distance from a true boundary, in pixels; run: from 0.5 at 2 to 0.7 at 4"
    )
    assert trimap_chart({}) is None


def test_the_reliability_diagram_is_a_square_with_its_diagonal() -> None:
    found = {"share": np.array([0, 0.25, 0.75, 0]), "confidence": np.array([np.nan, 0.4, 0.7, np.nan]),
             "accuracy": np.array([np.nan, 0.2, 0.8, np.nan])}  # fmt: skip
    made = reliability_chart({"run": found})
    assert made is not None
    ideal, curve = made.lines
    assert (ideal.name, ideal.dots) == (IDEAL, [])
    assert ideal.points == f"{LEFT:.1f},{HEIGHT - BOTTOM:.1f} {WIDTH - RIGHT:.1f},{TOP:.1f}", "corner to corner"
    assert len(curve.dots) == 2, "empty bins have no point"
    width, height = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
    assert curve.dots[0] == (round(LEFT + 0.4 * width, 1), round(HEIGHT - BOTTOM - 0.2 * height, 1))
    assert [bar[3] for bar in made.bars] == [0, round(height / 4, 1), round(height * 3 / 4, 1), 0]
    assert all(y + tall == pytest.approx(HEIGHT - BOTTOM, abs=0.2) for _, y, _, tall in made.bars)
    assert IDEAL not in made.summary
    two = reliability_chart({"a": found, "b": found})
    assert two is not None
    assert (len(two.lines), two.bars) == (3, [])
    assert reliability_chart({}) is None


def values_at(made: Chart) -> Callable[[float], float]:
    """From heights of a chart to values, by its ticks."""
    places, texts = zip(*made.y_ticks, strict=True)
    return lambda y: float(np.interp(-y, [-place for place in places], [float(text) for text in texts]))


def test_agreement_by_hand() -> None:
    """Differences 1, -2, 4: bias 1, standard deviation 3."""
    made = bland_altman([(10, 11), (20, 18), (30, 34)], title="liver")
    assert made is not None
    assert (made.title, made.across) == ("liver: prediction - truth, ml", "mean of truth and prediction, ml")
    assert made.summary == f"{made.title}; 3 cases, bias 1, limits of agreement -4.88 to 6.88"
    value = values_at(made)
    assert [rule.text for rule in made.rules] == ["bias 1", "+1.96 SD 6.88", "-1.96 SD -4.88"]
    assert [value(rule.y) for rule in made.rules] == pytest.approx([1, 6.88, -4.88], abs=0.05)
    (cases,) = made.lines
    assert (cases.name, cases.points) == ("cases", ""), "dots are not joined"
    across = {float(text): place for place, text in made.x_ticks}
    assert [x for x, _ in cases.dots] == pytest.approx(
        np.interp([10.5, 19, 32], *zip(*across.items(), strict=True)), abs=0.1
    )
    assert [value(y) for _, y in cases.dots] == pytest.approx([1, -2, 4], abs=0.05)


def test_every_case_has_a_dot_and_odd_numbers_none() -> None:
    rng = np.random.default_rng(0)
    made = bland_altman([(math.nan, 1.0), (1.0, math.inf), *rng.random((1000, 2)).tolist()])
    assert made is not None
    assert len(made.lines[0].dots) == 1000
    assert bland_altman([]) is bland_altman([(math.nan, 1.0)]) is None


@pytest.mark.parametrize("pairs", [[(3, 4), (9, 10)], [(5, 5), (6, 6)], [(0, 0)], [(2, 1), (4, 3)], [(1, 9), (9, 1)]])
def test_texts_of_rules_stay_apart_and_inside(pairs: list[tuple[float, float]]) -> None:
    made = bland_altman(pairs)
    assert made is not None
    feet = sorted(rule.text_y for rule in made.rules)
    assert all(b - a >= 11.9 for a, b in pairwise(feet))
    assert feet[0] > TOP
    assert feet[-1] < HEIGHT - BOTTOM
    assert len(feet) == (3 if len(pairs) > 1 else 1)


def test_a_chart_with_rules_is_drawn() -> None:
    made = bland_altman([(10, 11), (20, 18), (30, 34)], title="<liver>")
    options = {"autoescape": True, "undefined": StrictUndefined, "trim_blocks": True, "lstrip_blocks": True}
    environment = Environment(loader=PackageLoader("atrous", "report"), **options)  # type: ignore[arg-type]
    page = environment.from_string('{% from "parts/chart.html" import draw with context %}{{ draw(chart) }}')
    drawn = page.render(chart=made, frame=charts)
    assert drawn.count("<circle") == drawn.count('class="ideal"') == 3
    assert "<polyline" not in drawn
    assert "&lt;liver&gt;: prediction - truth" in drawn
    assert ">+1.96 SD 6.88</text>" in drawn


def test_points_lie_where_the_ticks_say() -> None:
    made = chart("Loss", {"training": [(0, 0.0), (50, 1.0), (100, 2.0)]})
    assert made is not None
    x, y = ({text: place for place, text in found} for found in (made.x_ticks, made.y_ticks))
    assert made.lines[0].dots == [(x["0"], y["0"]), ((x["0"] + x["100"]) / 2, y["1"]), (x["100"], y["2"])]
    assert (x["0"], x["100"]) == (LEFT, WIDTH - RIGHT)
    assert (y["0"], y["2"]) == (HEIGHT - BOTTOM, TOP)
    assert "from 0 at 0 to 2 at 100" in made.summary


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
