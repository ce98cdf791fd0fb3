"""Organs and lesions of volumes: overlap, surfaces in mm, volumes in ml, lesions; with intervals by patient.

The policies below are part of the result, as numbers without them cannot be compared.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from atrous.labels import LabelSet
from atrous.metrics.regions import lesion_f1
from atrous.metrics.shared import check_same_settings
from atrous.metrics.surface import Missed, SurfaceScores, distance_of_a_miss, label_surfaces
from atrous.ops.confusion import count_pairs
from atrous.ops.stats import by_cluster, interval, resample_weights

CASES = (
    "a case counts for a class that is in its truth or its prediction; found: it is in both; missed: only in "
    "the truth; invented: only in the prediction"
)
OVERLAP = "Dice and NSD of a missed or invented class are 0, in the mean over all cases"
MISSES = {
    "diagonal": "HD95 and ASSD of a missed or invented class are the diagonal of its image, in the mean over all cases",
    "inf": "HD95 and ASSD of a missed or invented class are infinite; a mean that holds one is null",
    "number": "HD95 and ASSD of a missed or invented class are the mm in `missed`, in the mean over all cases",
}
SURFACES = (
    "surfaces are border voxels, each with the same weight; HD95 is the larger of both directions' 95th percentiles, "
    "ASSD the mean over the distances of both directions, NSD the share of them within the tolerance"
)
AGREEMENT = (
    "difference = prediction - truth over the cases that count; limits = bias -+ 1.96 standard deviations "
    "(Bland & Altman 1986); per cent are of the mean of both volumes, so a missed class is -200 %"
)
LESIONS = (
    "a lesion is a connected region, neighbours across faces, edges and corners; a true one is found if more than the "
    "share `overlap` of its voxels is predicted, a predicted one is invented if at most that share of it is true; "
    "sensitivity = found / (found + missed), precision = found / (found + invented), F1 their harmonic mean, over the "
    "lesions of all cases"
)
INTERVALS = (
    "95 % percentile bootstrap over patients, each drawn with all of their cases; null with fewer than 2 patients that "
    "count for the class"
)

DISTANCES = ("hd95", "assd")
MEANS = ("dice", "nsd", *DISTANCES)
LIMIT = 1.96
"""Standard deviations on either side of the bias that hold 95 % of normal differences."""


class VolumeScores:
    """Scores of each class over the cases of a data set of volumes; a miss never improves a mean.

    The policies are sentences in the result: which cases count, what a miss costs, what a lesion is. With the policy
    "diagonal" a missed case can lower a mean distance only where its image is smaller than the others' distances.

    Args:
        labels: The classes in the order of their indices: a `LabelSet`, or names.
        ignore_index: What has this true label counts nowhere. None: there is none.
        tolerance_mm: Of the normalised surface distance, in mm.
        missed: HD95 and ASSD of a missed or invented class: "diagonal" (that of its image, in mm; the default),
            "inf", or a number of mm.
        overlap: Share in [0, 1) of a lesion's voxels, see `lesion_f1`. The default 0 asks for one common voxel.
        background: The index of the class that is not judged; None judges all.
        cluster: A case's name -> its patient, for the intervals. Default: each case is a patient.
        resamples: Of the bootstrap, at least 1.

    Raises:
        ValueError: A name occurs twice, or a number is out of its range.

    Source:
        Bland & Altman, Lancet 1986 (limits of agreement); Efron 1979 (bootstrap).

    Example:
        >>> import numpy as np
        >>> truth = np.zeros((4, 9, 9), np.uint8)
        >>> truth[1:3, 2:6, 2:6] = 1
        >>> scores = VolumeScores(["background", "liver"], tolerance_mm=1.0)
        >>> scores.update(truth, truth, (3.0, 1.0, 1.0), "anna")
        >>> scores.update(truth * 0, truth, (3.0, 1.0, 1.0), "bert")
        >>> liver = scores.compute()["per_class"]["liver"]
        >>> liver["dice"]["mean"], liver["dice"]["mean_of_found"], liver["missed"]
        (0.5, 1.0, 1)
    """

    def __init__(
        self,
        labels: LabelSet | Sequence[str],
        ignore_index: int | None = 255,
        *,
        tolerance_mm: float = 2.0,
        missed: Missed = "diagonal",
        overlap: float = 0.0,
        background: int | None = 0,
        cluster: Callable[[str], str] | None = None,
        resamples: int = 2000,
    ) -> None:
        self.names = tuple(labels.names if isinstance(labels, LabelSet) else labels)
        self.ignore_index, self.tolerance_mm = ignore_index, float(tolerance_mm)
        self.missed: Missed = "inf" if missed == np.inf else missed
        self.overlap, self.background, self.resamples = overlap, background, resamples
        if len(set(self.names)) < len(self.names):
            raise ValueError(f"two of the classes {self.names} have one name")
        if not 0 <= self.tolerance_mm < np.inf or not 0 <= overlap < 1 or resamples < 1:
            raise ValueError(
                f"tolerance_mm is {tolerance_mm}, overlap {overlap}, resamples {resamples}; expected a number of at "
                "least 0, one in [0, 1), and at least 1"
            )
        distance_of_a_miss(missed, (1,), (1.0,))
        self._cluster = cluster
        self._cases: dict[str, list[dict[str, Any]]] = {}

    def update(self, prediction: np.ndarray, target: np.ndarray, spacing: Sequence[float], name: str = "") -> None:
        """Add one case.

        Args:
            prediction: (D, H, W) class indices; what is no class counts as wrong.
            target: (D, H, W) class indices, or the ignored one.
            spacing: Size of a voxel in mm along each axis, in the order (D, H, W).
            name: Of the case; default its number. A name is given once.

        Raises:
            ValueError: The volumes or the spacing are of another form, a true label is no class, or the name was given.
        """
        name = name or str(len(self._cases))
        size = tuple(float(pace) for pace in spacing)
        if prediction.shape != target.shape or target.ndim != 3 or len(size) != 3:
            raise ValueError(
                f"prediction {prediction.shape} and target {target.shape} must be (D, H, W) of one shape, "
                f"spacing {size} must have three values"
            )
        if not all(0 < pace < np.inf for pace in size):
            raise ValueError(f"the spacing is {size}; expected finite mm above 0")
        if name in self._cases:
            raise ValueError(f"the case {name!r} was added before")
        classes = len(self.names)
        counts = count_pairs(target, prediction, classes, -(2**63) if self.ignore_index is None else self.ignore_index)
        true, guessed, hit = counts.sum(1), counts[:, :classes].sum(0), np.diagonal(counts)
        shown = [k for k in range(classes) if k != self.background and true[k] + guessed[k]]
        pairs = label_surfaces(prediction, target, shown, self.ignore_index)
        ml = float(np.prod(size)) / 1000
        rows = []
        for k, surfaces in zip(shown, pairs, strict=True):
            scores = SurfaceScores.from_surfaces(*surfaces, target.shape, size, self.missed)
            lesions = self._lesions(k, prediction, target, np.concatenate(surfaces))
            rows.append(
                {
                    "case": name,
                    "class": self.names[k],
                    "outcome": "found" if true[k] and guessed[k] else "missed" if true[k] else "invented",
                    "dice": float(2 * hit[k] / (true[k] + guessed[k])),
                    "nsd": scores.nsd(self.tolerance_mm),
                    "hd95": scores.hd95(),
                    "assd": scores.assd(),
                    "truth_ml": float(true[k] * ml),
                    "prediction_ml": float(guessed[k] * ml),
                    **{f"lesions_{key}": lesions[key] for key in ("found", "missed", "invented")},
                }
            )
        self._cases[name] = rows

    def merge(self, other: "VolumeScores") -> None:
        """Add the cases of another process; ValueError if its settings differ, or a case is in both."""
        check_same_settings(
            self, other, "names", "ignore_index", "tolerance_mm", "missed", "overlap", "background", "resamples"
        )
        if both := self._cases.keys() & other._cases.keys():
            raise ValueError(f"the case {min(both)!r} was added before")
        self._cases |= other._cases

    def compute(self) -> dict[str, Any]:
        """The numbers so far, as plain values for JSON; null is what could not be measured, or is infinite.

        Returns:
            per_class: by name, for each class that is judged:

                cases, found, missed, invented  numbers of cases; the last three add up to the first
                dice, nsd, hd95, assd           mean over all cases, mean_of_found over the found ones, each with its
                                                interval [low, high]; hd95 and assd in mm
                truth_ml, prediction_ml         mean volume and interval
                volume_ml, volume_percent       agreement: bias, low and high limit, each with its interval
                lesions                         found, missed, invented; sensitivity, precision and f1, each a value
                                                with its interval

            cases: a row for each case and class: case, patient, class, outcome, dice, nsd, hd95, assd, truth_ml,
                prediction_ml, lesions_found, lesions_missed, lesions_invented.
            pairs_ml: by class name the [truth, prediction] of each row, for `atrous.report.charts.bland_altman`.
            patients, images, tolerance_mm, missed, overlap, resamples, policy: how it was measured.
        """
        patient = {name: self._cluster(name) if self._cluster else name for name in self._cases}
        people = list(dict.fromkeys(patient.values()))
        weights = np.zeros((0, len(people)))
        if len(people) > 1:
            weights = np.concatenate([*resample_weights(len(people), self.resamples, np.random.default_rng(0))])
        judged = [name for k, name in enumerate(self.names) if k != self.background]
        rows = [
            {"case": row["case"], "patient": patient[row["case"]], **row} for one in self._cases.values() for row in one
        ]
        of = {name: [row for row in rows if row["class"] == name] for name in judged}
        kind = self.missed if isinstance(self.missed, str) else "number"
        return {
            "per_class": {name: _of_class(of[name], people, weights.astype(float)) for name in judged},
            "cases": [{key: _plain(value) for key, value in row.items()} for row in rows],
            "pairs_ml": {name: [[row["truth_ml"], row["prediction_ml"]] for row in of[name]] for name in judged},
            "patients": len(people),
            "images": len(self._cases),
            "tolerance_mm": self.tolerance_mm,
            "missed": self.missed,
            "overlap": self.overlap,
            "resamples": self.resamples,
            "policy": [CASES, OVERLAP, MISSES[kind], SURFACES, AGREEMENT, LESIONS, INTERVALS],
        }

    def _lesions(self, k: int, prediction: np.ndarray, target: np.ndarray, surface: np.ndarray) -> dict[str, Any]:
        """`lesion_f1` within the box of both masks, which their surfaces span."""
        box = tuple(slice(low, high + 1) for low, high in zip(surface.min(0), surface.max(0), strict=True))
        guess, truth = prediction[box] == k, target[box] == k
        if self.ignore_index is not None:
            known = target[box] != self.ignore_index
            guess, truth = guess & known, truth & known
        return lesion_f1(guess, truth, overlap=self.overlap)


def _of_class(rows: list[dict[str, Any]], people: list[str], weights: np.ndarray) -> dict[str, Any]:
    """The numbers of one class from its rows; weights (B, patients): how often each is drawn."""
    outcome = [row["outcome"] for row in rows]
    found = np.array([one == "found" for one in outcome], bool)
    truth, guess = (np.array([row[key] for row in rows], float) for key in ("truth_ml", "prediction_ml"))
    lesions = {key: np.array([row[f"lesions_{key}"] for row in rows], float) for key in ("found", "missed", "invented")}
    over = _Patients([row["patient"] for row in rows], people, weights)
    result: dict[str, Any] = {"cases": len(rows)} | {key: outcome.count(key) for key in ("found", "missed", "invented")}
    for key in MEANS:
        values = np.array([row[key] for row in rows], float)
        mean, spread = over.ratio(values, np.ones(len(rows)))
        of_found, spread_of_found = over.ratio(np.where(found, values, 0), found.astype(float))
        result[key] = {
            "mean": mean,
            "interval": spread,
            "mean_of_found": of_found,
            "interval_of_found": spread_of_found,
        }
    for key, values in (("truth_ml", truth), ("prediction_ml", guess)):
        result[key] = dict(zip(("mean", "interval"), over.ratio(values, np.ones(len(rows))), strict=True))
    result["volume_ml"] = over.agreement(guess - truth)
    result["volume_percent"] = over.agreement(200 * (guess - truth) / (guess + truth))
    shares = {
        "sensitivity": (lesions["found"], lesions["found"] + lesions["missed"]),
        "precision": (lesions["found"], lesions["found"] + lesions["invented"]),
        "f1": (2 * lesions["found"], 2 * lesions["found"] + lesions["missed"] + lesions["invented"]),
    }
    result["lesions"] = {key: int(values.sum()) for key, values in lesions.items()} | {
        key: dict(zip(("value", "interval"), over.ratio(*pair), strict=True)) for key, pair in shares.items()
    }
    return result


class _Patients:
    """Ratios of sums over the rows of a class, and their intervals by drawing patients.

    of: the patient of each row. people: all patients. weights: (B, patients).
    """

    def __init__(self, of: list[str], people: list[str], weights: np.ndarray) -> None:
        place = {name: index for index, name in enumerate(people)}
        self._of, self._weights = of, weights[:, [place[name] for name in dict.fromkeys(of)]]

    def ratio(self, over: np.ndarray, under: np.ndarray) -> tuple[float | None, list[float] | None]:
        """sum(over) / sum(under), each (rows,), and its interval."""
        if not under.sum() or not np.isfinite(over).all():
            return None, None
        totals, enough = self._draws(np.stack([over, under], axis=1), under > 0)
        with np.errstate(invalid="ignore", divide="ignore"):
            draws = totals[:, 0] / totals[:, 1]
        return float(over.sum() / under.sum()), _ends(draws) if enough else None

    def agreement(self, difference: np.ndarray) -> dict[str, Any]:
        """Bias and limits of differences (rows,), each with its interval; the limits need two rows."""
        n = len(difference)
        if not n:
            return dict.fromkeys(("bias", "interval", "low", "low_interval", "high", "high_interval"))
        bias = float(difference.mean())
        rest = difference - bias  # sums of squares of small numbers keep their digits
        totals, enough = self._draws(np.stack([np.ones(n), rest, rest**2], axis=1), np.ones(n, bool))
        count, total, squares = totals.T
        with np.errstate(invalid="ignore", divide="ignore"):
            centre = bias + total / count
            spread = np.sqrt(np.maximum(squares - total**2 / count, 0) / np.where(count > 1, count - 1, np.nan))
        wide = LIMIT * float(rest.std(ddof=1)) if n > 1 else None
        return {
            "bias": bias,
            "interval": _ends(centre) if enough else None,
            "low": None if wide is None else bias - wide,
            "low_interval": _ends(centre - LIMIT * spread) if enough else None,
            "high": None if wide is None else bias + wide,
            "high_interval": _ends(centre + LIMIT * spread) if enough else None,
        }

    def _draws(self, values: np.ndarray, counted: np.ndarray) -> tuple[np.ndarray, bool]:
        """Sums (B, columns) of values (rows, columns), and whether two patients or more have a counted row."""
        people = {one for one, does in zip(self._of, counted, strict=True) if does}
        return self._weights @ by_cluster(values, self._of), len(people) > 1


def _ends(draws: np.ndarray) -> list[float] | None:
    low, high = interval(draws)
    return [low, high] if np.isfinite([low, high]).all() else None


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and not np.isfinite(value) else value
