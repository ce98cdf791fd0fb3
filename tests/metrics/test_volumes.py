"""Scores of volumes by hand: voxels of 10 x 10 x 10 mm, so 1 ml each, in rows that are one voxel thick."""

import json
import math
from statistics import mean, stdev
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atrous.labels import LabelSet
from atrous.metrics import SurfaceScores, VolumeScores
from atrous.metrics.volumes import AGREEMENT, CASES, INTERVALS, LESIONS, MISSES, OVERLAP, SURFACES

SPACING, SHAPE = (10.0, 10.0, 10.0), (3, 4, 10)
DIAGONAL = math.sqrt(30**2 + 40**2 + 100**2)


def row(*places: int, label: int = 1, shape: tuple[int, int, int] = SHAPE) -> np.ndarray:
    labels = np.zeros(shape, np.uint8)
    labels[1, 1, list(places)] = label
    return labels


CASES_BY_HAND = {  # (prediction, truth)
    "anna-1": (row(1, 2, 3, 4, 5), row(1, 2, 3, 4)),  # a voxel too much
    "anna-2": (row(), row(3, 4)),  # missed
    "bert-1": (row(6, 7), row()),  # invented
    "bert-2": (row(2, 3, 4), row(2, 3, 4)),
}


def patient_of(name: str) -> str:
    return name.split("-")[0]


def scores(cases: Any = CASES_BY_HAND, names: Any = ("background", "organ"), **options: Any) -> dict[str, Any]:
    metric = VolumeScores(names, **options)
    for name, (guess, truth) in cases.items():
        metric.update(guess, truth, SPACING, name)
    found = metric.compute()
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    return found


def organ(**options: Any) -> dict[str, Any]:
    return dict(scores(**options)["per_class"]["organ"])


def test_cases_are_counted() -> None:
    found = organ()
    assert [found[key] for key in ("cases", "found", "missed", "invented")] == [4, 2, 1, 1]


def test_dice() -> None:
    found = organ()["dice"]
    assert found["mean"] == pytest.approx((8 / 9 + 0 + 0 + 1) / 4)
    assert found["mean_of_found"] == pytest.approx((8 / 9 + 1) / 2)


def test_nsd() -> None:
    assert organ()["nsd"]["mean"] == pytest.approx((8 / 9 + 0 + 0 + 1) / 4), "one of nine voxels is 10 mm off"
    assert organ(tolerance_mm=10)["nsd"]["mean_of_found"] == 1


def test_hd95() -> None:
    found = organ()["hd95"]  # of 0, 0, 0, 0, 10 the 95th percentile is 8
    assert found["mean"] == pytest.approx((8 + DIAGONAL + DIAGONAL + 0) / 4)
    assert found["mean_of_found"] == pytest.approx(4)


def test_assd() -> None:
    found = organ()["assd"]
    assert found["mean"] == pytest.approx((10 / 9 + DIAGONAL + DIAGONAL + 0) / 4)
    assert found["mean_of_found"] == pytest.approx(10 / 9 / 2)


def test_what_a_miss_costs() -> None:
    assert organ(missed=100)["hd95"]["mean"] == pytest.approx((8 + 100 + 100 + 0) / 4)
    for endless in ("inf", math.inf):
        found = organ(missed=endless)
        assert (found["hd95"]["mean"], found["hd95"]["interval"]) == (None, None)
        assert found["hd95"]["mean_of_found"] == pytest.approx(4)
    assert scores(missed="inf")["cases"][1]["hd95"] is None


def test_volumes() -> None:
    found = organ(cluster=patient_of)
    assert found["truth_ml"]["mean"] == (4 + 2 + 0 + 3) / 4
    assert found["prediction_ml"]["mean"] == (5 + 0 + 2 + 3) / 4
    assert found["truth_ml"]["interval"] == [1.5, 3.0], "of anna 3 ml, of bert 1.5"


@pytest.mark.parametrize(
    "key, differences", [("volume_ml", [1, -2, 2, 0]), ("volume_percent", [100 / 4.5, -200, 200, 0])]
)
def test_agreement(key: str, differences: list[float]) -> None:
    """Bland & Altman 1986: bias and bias -+ 1.96 standard deviations, of n - 1."""
    found = organ()[key]
    assert found["bias"] == pytest.approx(mean(differences))
    assert found["low"] == pytest.approx(mean(differences) - 1.96 * stdev(differences))
    assert found["high"] == pytest.approx(mean(differences) + 1.96 * stdev(differences))
    by_patient = organ(cluster=patient_of)[key]  # anna twice, bert twice, or both: each is more than 2.5 % of the draws
    draws = [differences[:2] * 2, differences[2:] * 2, differences]
    for name, sign in (("interval", 0), ("low_interval", -1), ("high_interval", 1)):
        values = [mean(draw) + sign * 1.96 * stdev(draw) for draw in draws]
        assert by_patient[name] == pytest.approx([min(values), max(values)]), name


def test_agreement_of_one_case_has_no_limits() -> None:
    one = organ(cases={"a": CASES_BY_HAND["anna-1"]})["volume_ml"]
    assert (one["bias"], one["low"], one["high"]) == (1, None, None)


def test_intervals_are_over_patients() -> None:
    """Of two patients the draws are both, or one twice: the ends are the means of each."""
    by_patient = organ(cluster=patient_of)
    assert by_patient["dice"]["interval"] == pytest.approx([4 / 9, 1 / 2])
    assert by_patient["dice"]["interval_of_found"] == pytest.approx([8 / 9, 1])
    assert by_patient["lesions"]["precision"]["interval"] == pytest.approx([1 / 2, 1])
    assert organ()["dice"]["interval"][1] > 0.6, "each case on its own may be drawn more often"
    assert scores(cluster=patient_of)["patients"] == 2
    assert scores()["patients"] == scores()["images"] == 4
    alone = organ(cluster=lambda name: "one")
    assert alone["dice"]["interval"] is alone["volume_ml"]["interval"] is alone["lesions"]["f1"]["interval"] is None
    assert alone["dice"]["mean"] == by_patient["dice"]["mean"]


def test_a_class_of_one_patient_has_no_interval() -> None:
    cases = {"a": (row(1), row(1)), "b": (row(), row()), "c": (row(), row())}
    found = scores(cases)["per_class"]["organ"]
    assert (found["cases"], found["dice"]["mean"], found["dice"]["interval"]) == (1, 1, None)
    both = {"a": (row(1), row(1)), "b": (row(), row(2))}
    found = scores(both)["per_class"]["organ"]["dice"]
    assert (found["interval"], found["interval_of_found"]) == ([0, 1], None)


def test_lesions() -> None:
    """True regions at 0, 2-3 (diagonally joined to another line), 6 and 9; two are found, one is invented."""
    truth, guess = row(0, 2, 3, 6, 9, label=2), row(0, 3, 8, label=2)
    truth[2, 2, 4] = 2  # touches 3 with a corner: the same region
    guess[1, 1, 8], guess[1, 3, 8] = 0, 2
    found = scores({"a": (guess, truth), "b": (truth, truth)}, ("background", "organ", "lesion"))["per_class"]["lesion"]
    lesions = found["lesions"]
    assert [lesions[key] for key in ("found", "missed", "invented")] == [2 + 4, 2, 1]
    assert lesions["sensitivity"]["value"] == pytest.approx(6 / 8)
    assert lesions["precision"]["value"] == pytest.approx(6 / 7)
    assert lesions["f1"]["value"] == pytest.approx(12 / 15)
    assert lesions["sensitivity"]["interval"] == pytest.approx([2 / 4, 1])
    half = scores({"a": (guess, truth)}, ("background", "organ", "lesion"), overlap=0.4)["per_class"]["lesion"]
    assert half["lesions"]["found"] == 1, "of the region of three voxels only a third is predicted"
    nothing = organ(cases={"a": (row(), row(1))})["lesions"]
    assert (nothing["sensitivity"]["value"], nothing["precision"]["value"], nothing["f1"]["value"]) == (0, None, 0)


def test_the_table_of_cases() -> None:
    found = scores(cluster=patient_of)
    assert [one["case"] for one in found["cases"]] == list(CASES_BY_HAND)
    assert [one["outcome"] for one in found["cases"]] == ["found", "missed", "invented", "found"]
    assert found["cases"][0] == {
        "case": "anna-1", "patient": "anna", "class": "organ", "outcome": "found", "dice": pytest.approx(8 / 9),
        "nsd": pytest.approx(8 / 9), "hd95": pytest.approx(8), "assd": pytest.approx(10 / 9), "truth_ml": 4,
        "prediction_ml": 5, "lesions_found": 1, "lesions_missed": 0, "lesions_invented": 0,
    }  # fmt: skip
    assert found["cases"][1]["hd95"] == found["cases"][2]["assd"] == pytest.approx(DIAGONAL)
    assert found["pairs_ml"] == {"organ": [[4, 5], [2, 0], [0, 2], [3, 3]]}
    assert found["policy"] == [CASES, OVERLAP, MISSES["diagonal"], SURFACES, AGREEMENT, LESIONS, INTERVALS]
    assert scores(missed=7)["policy"][2] == MISSES["number"]


def test_spacing_is_in_mm() -> None:
    metric = VolumeScores(["background", "organ"])
    metric.update(row(1, 2), row(1), (2.0, 3.0, 4.0))
    (case,) = metric.compute()["cases"]
    assert case["truth_ml"] == pytest.approx(0.024)
    assert case["assd"] == pytest.approx(4 / 3)


def test_what_is_ignored_counts_nowhere() -> None:
    truth, guess = row(1, 2), row(1, 2, 5)
    clean = scores({"a": (guess, truth)}, missed=1)["cases"]
    truth[:, :, 3:5] = truth[:, :, 7:] = 255
    for label in (0, 1, 9, 255):
        guess[:, :, 3:5] = guess[:, :, 7:] = label  # between the regions: they stay two
        assert scores({"a": (guess, truth)}, missed=1)["cases"] == clean
    with pytest.raises(ValueError, match="neither a class"):
        scores({"a": (guess, truth)}, ignore_index=None)
    truth[truth == 255] = 0
    guess[guess == 255] = 9
    assert scores({"a": (guess, truth)}, ignore_index=None, missed=1)["cases"] == clean, (
        "what is no class is not the organ"
    )


def test_background_and_classes_that_are_nowhere() -> None:
    labels = LabelSet(("organ", "other"))
    found = scores({"a": (row(1), row(1))}, labels, background=None)["per_class"]
    assert found["organ"]["dice"]["mean"] == found["other"]["dice"]["mean"] == 1
    assert list(scores(names=["organ", "other"], background=1, cases={"a": (row(), row())})["per_class"]) == ["organ"]
    nowhere = organ(cases={"a": (row(), row())})
    assert (nowhere["cases"], nowhere["dice"]["mean"], nowhere["volume_ml"]["bias"]) == (0, None, None)
    assert scores({})["per_class"]["organ"]["lesions"]["f1"] == {"value": None, "interval": None}


def test_merging_is_as_one() -> None:
    parts = [VolumeScores(["background", "organ"]) for _ in range(2)]
    for place, (name, pair) in enumerate(CASES_BY_HAND.items()):
        parts[place // 2].update(*pair, SPACING, name)
    parts[0].merge(parts[1])
    assert parts[0].compute() == scores()
    with pytest.raises(ValueError, match="'bert-1' was added before"):
        parts[0].merge(parts[1])
    with pytest.raises(ValueError, match=r"tolerance_mm is 2\.0 here and 1\.0 there"):
        parts[0].merge(VolumeScores(["background", "organ"], tolerance_mm=1))


def test_wrong_arguments() -> None:
    metric = VolumeScores(["background", "organ"])
    with pytest.raises(ValueError, match="one name"):
        VolumeScores(["a", "a"])
    for options in ({"tolerance_mm": -1}, {"tolerance_mm": math.nan}, {"overlap": 1}, {"resamples": 0}):
        with pytest.raises(ValueError, match="at least 1"):
            VolumeScores(["a"], **options)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="missed is 'never'"):
        VolumeScores(["a"], missed="never")  # type: ignore[arg-type]
    for guess, spacing in ((row()[0], SPACING), (row()[:, :, 1:], SPACING), (row(), (1, 1))):
        with pytest.raises(ValueError, match="of one shape"):
            metric.update(guess, row()[0] if guess.ndim == 2 else row(), spacing)
    for pace in (0, -1, math.nan, math.inf):
        with pytest.raises(ValueError, match="finite mm above 0"):
            metric.update(row(), row(), (1, pace, 1))
    metric.update(row(), row(), SPACING, "a")
    with pytest.raises(ValueError, match="'a' was added before"):
        metric.update(row(), row(), SPACING, "a")


pairs = st.tuples(st.integers(0, 2**32), st.floats(0, 0.5)).map(
    lambda seed: tuple(
        (np.random.default_rng((seed[0], side)).random((4, 5, 6)) < seed[1]).astype(np.uint8) for side in (0, 1)
    )
)


@settings(deadline=None, max_examples=60)
@given(st.lists(pairs, min_size=1, max_size=4), pairs, st.sampled_from(["diagonal", 1000.0]))
def test_a_missed_case_never_improves_a_mean(known: Any, added: Any, missed: Any) -> None:
    spacing = (3.0, 0.8, 0.5)
    metric = VolumeScores(["background", "organ"], missed=missed, resamples=1)
    for guess, truth in known:
        metric.update(guess, truth, spacing)
    before = metric.compute()["per_class"]["organ"]
    metric.update(added[0] * 0, added[1], spacing, "missed")
    after = metric.compute()["per_class"]["organ"]
    for key, sign in (("dice", 1), ("nsd", 1), ("hd95", -1), ("assd", -1)):
        if before["cases"]:
            assert sign * after[key]["mean"] <= sign * before[key]["mean"] + 1e-9
        assert after[key]["mean_of_found"] == before[key]["mean_of_found"]
    for key in ("sensitivity", "precision", "f1"):
        was, now = (one["lesions"][key]["value"] for one in (before, after))
        assert was is None or now <= was


@settings(deadline=None, max_examples=40)
@given(pairs, st.permutations(range(3)), st.tuples(*[st.booleans()] * 3))
def test_axes_may_be_in_any_order_and_turned(pair: Any, order: list[int], flips: tuple[bool, ...]) -> None:
    spacing = (3.0, 0.8, 0.5)
    turned = [np.flip(one, [a for a in range(3) if flips[a]]).transpose(order) for one in pair]
    rows = []
    for volumes, sizes in ((pair, spacing), (turned, [spacing[a] for a in order])):
        metric = VolumeScores(["background", "organ"], resamples=1)
        metric.update(*volumes, sizes)
        rows.append(metric.compute()["cases"])
    assert len(rows[0]) == len(rows[1])
    for one, other in zip(*rows, strict=True):
        assert one == {key: pytest.approx(value) if isinstance(value, float) else value for key, value in other.items()}


def test_numbers_are_those_of_the_single_scores() -> None:
    rng = np.random.default_rng(0)
    guess, truth = (rng.integers(0, 3, (5, 6, 7)).astype(np.uint8) for _ in range(2))
    metric = VolumeScores(["background", "a", "b"], tolerance_mm=1.5)
    metric.update(guess, truth, (3.0, 0.8, 0.5))
    for k, case in enumerate(metric.compute()["cases"], 1):
        one = SurfaceScores(guess == k, truth == k, (3.0, 0.8, 0.5))
        assert (case["hd95"], case["assd"], case["nsd"]) == (one.hd95(), one.assd(), one.nsd(1.5))
