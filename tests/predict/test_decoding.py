"""A fitted decoding applied: labels, probabilities, sets; whole and in windows."""

from dataclasses import replace

import numpy as np
import pytest
from brightness import Brightness, photo, predictor

from atrous.errors import ModelError
from atrous.predict import Predictor

FITTED = {
    "offsets": {"iou": [0.3, -0.3], "dice": [-0.2, 0.2]},
    "temperature": 2.0,
    "vector": {"scale": [1.0, 0.5], "shift": [0.25, -0.25]},
    "thresholds": {"0.9": [0.45, 0.4], "0.5": [0.6, None]},
}


def decoded(**options: object) -> Predictor:
    return Predictor(Brightness(), replace(predictor().card, decoding=FITTED), **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("window", [0, 16])
def test_offsets_move_the_labels_and_nothing_else(window: int) -> None:
    image = photo()
    plain = decoded(window=window)(image)
    moved = decoded(window=window, decode="iou")(image)
    np.testing.assert_array_equal(moved.labels, (plain.logits + np.array([[[0.3]], [[-0.3]]])).argmax(0))
    assert (moved.labels != plain.labels).any()
    np.testing.assert_allclose(moved.probabilities, plain.probabilities, atol=1e-6)


@pytest.mark.parametrize("window", [0, 16])
def test_calibration_moves_the_probabilities_and_nothing_else(window: int) -> None:
    image = photo()
    plain, by_t, by_v = (decoded(window=window, calibration=name)(image) for name in ("none", "temperature", "vector"))
    for moved, z in ((by_t, plain.logits / 2), (by_v, plain.logits * [[[1.0]], [[0.5]]] + [[[0.25]], [[-0.25]]])):
        np.testing.assert_array_equal(moved.labels, plain.labels)
        np.testing.assert_allclose(moved.probabilities, np.exp(z) / np.exp(z).sum(0), atol=1e-5)


def test_uncertain_where_the_set_has_not_one_class() -> None:
    prediction = decoded(recall=0.9)(photo())
    p = prediction.probabilities
    np.testing.assert_array_equal(prediction.uncertain, (p[0] >= 0.45) == (p[1] >= 0.4))
    assert 0 < prediction.uncertain.mean() < 1
    without = decoded(recall=0.5)(photo())  # class 1 has no promise and is always in: alone only where 0 is out
    np.testing.assert_array_equal(without.uncertain, without.probabilities[0] >= 0.6)


@pytest.mark.parametrize("options, words", [
    ({"decode": "ioux"}, "unknown decode 'ioux'; did you mean 'iou'"),
    ({"calibration": "vectr"}, "unknown calibration 'vectr'"),
    ({"recall": 0.8}, "recall of 0.8, only for 0.9, 0.5; run `atrous calibrate RUN --recall 0.8`"),
    ({"recall": 0.9, "calibration": "vector"}, "give --recall or --calibration"),
])  # fmt: skip
def test_wishes_that_cannot_be(options: dict[str, object], words: str) -> None:
    with pytest.raises(ModelError, match=words):
        decoded(**options)


def test_what_was_never_fitted() -> None:
    with pytest.raises(ModelError, match="never fitted; run `atrous calibrate RUN`"):
        predictor(decode="iou")
    with pytest.raises(ModelError, match="without a recall to keep"):
        _ = predictor()(photo()).uncertain
