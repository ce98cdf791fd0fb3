"""Further measures against tables computed by hand, and through the command line."""

import json
from pathlib import Path

import numpy as np
import pytest
from command_line import run
from worlds import make_world

from atrous.errors import AtrousError
from atrous.evaluate.measures import MEASURES, make_measures
from atrous.labels import LabelSet

LABELS = LabelSet(("a", "b", "c"), ignore=(255,))
TRUTH = np.array([[0, 0, 0, 0, 0], [1, 1, 0, 1, 0]], np.uint8)
GUESS = np.array([[0, 0, 0, 0, 0], [0, 1, 0, 0, 0]], np.uint8)


def scored(name: str, *pairs: tuple[np.ndarray, np.ndarray], labels: LabelSet = LABELS) -> dict[str, np.ndarray]:
    metric = make_measures([name], labels)[name]
    for guess, truth in pairs:
        metric.update(guess, truth)
    return metric.compute()


def test_surfaces_by_hand() -> None:
    found = scored("surface", (GUESS, TRUTH))
    # class b: the predicted pixel is true; true pixels are 1, 0 and 2 away from the predicted one
    assert found["hausdorff"][1] == 2
    assert found["assd"][1] == pytest.approx((1 + 0 + 2 + 0) / 4)
    assert found["nsd"][1] == 1.0, "all within two pixels"
    assert np.isnan(found["hd95"][2]), "class c is nowhere"
    assert found["images"].tolist() == [1, 1, 0]


def test_a_miss_costs_the_diagonal_and_a_perfect_image_halves_it() -> None:
    nothing, diagonal = np.zeros_like(TRUTH), np.hypot(2, 5)
    assert scored("surface", (nothing, TRUTH))["hd95"][1] == pytest.approx(diagonal)
    found = scored("surface", (nothing, TRUTH), (TRUTH, TRUTH))
    assert found["hd95"][1] == pytest.approx(diagonal / 2)
    assert found["nsd"][1] == 0.5


def test_regions_by_hand() -> None:
    found = scored("regions", (GUESS, TRUTH), (TRUTH, GUESS))
    # first: of two true regions one is found; second: one found, one of two predicted invented
    assert [found[key][1] for key in ("found", "missed", "invented")] == [2, 1, 1]
    assert found["f1"][1] == pytest.approx(4 / 6)
    assert np.isnan(found["f1"][2])


@pytest.mark.parametrize("name", ["surface", "regions", "cldice"])
def test_what_is_ignored_counts_nowhere(name: str) -> None:
    hidden, other = TRUTH.copy(), GUESS.copy()
    hidden[1, 3:] = 255
    other[1, 3:] = 2
    one, two = scored(name, (GUESS, hidden)), scored(name, (other, hidden))
    for key, values in one.items():
        np.testing.assert_array_equal(values, two[key])


def test_centrelines() -> None:
    assert scored("cldice", (TRUTH, TRUTH))["cldice"][:2].tolist() == [1, 1]
    assert scored("cldice", (np.zeros_like(TRUTH), TRUTH))["cldice"][1] == 0


def test_categories_forgive_within_a_group() -> None:
    labels = LabelSet(("car", "bus", "sky"))
    truth, guess = np.array([[0, 0, 1, 2]], np.uint8), np.array([[0, 1, 1, 2]], np.uint8)
    assert scored("categories", (guess, truth), labels=labels)["iou"]["vehicle"] == 1.0
    with pytest.raises(AtrousError, match="none of the classes is one of Cityscapes"):
        make_measures(["categories"], LABELS)
    with pytest.raises(AtrousError, match="did you mean 'surface'"):
        make_measures(["surfaces"], LABELS)


def test_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    world = make_world(tmp_path / "world")
    truth = world / "test" / "masks"
    asked = [part for name in MEASURES if name != "categories" for part in ("--metrics", name)]
    assert run("eval", truth, world, "--json", *asked) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["surface"]["hd95"] == {"ground": 0, "disc": 0, "bar": 0}
    assert found["regions"]["f1"] == {"ground": 1, "disc": 1, "bar": 1}
    assert found["cldice"]["cldice"]["bar"] == 1
    assert run("eval", truth, world, *asked) == 0
    printed = capsys.readouterr().out
    assert "surface" in printed
    assert "hd95" in printed
