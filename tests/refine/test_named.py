"""Refiners by name: each is the function of `atrous.refine`, in colours of 0..255, and a mistake is a sentence."""

import numpy as np
import pytest
import torch
from torch import nn

from atrous import refine
from atrous.bundle import Card
from atrous.errors import ModelError
from atrous.labels import LabelSet
from atrous.ops import Tail
from atrous.predict import Predictor
from atrous.refine.named import LABELERS, Refinement, names

RNG = np.random.default_rng(0)
IMAGE = np.repeat(np.repeat(RNG.integers(0, 256, (3, 4, 3)), 5, 0), 4, 1).astype(np.uint8)  # (15, 16, 3)
NOISY = RNG.dirichlet(np.ones(3), (15, 16)).transpose(2, 0, 1).astype(np.float32)


@pytest.mark.parametrize("name", names())
def test_every_name_refines(name: str) -> None:
    labels, probabilities = Refinement(name)(IMAGE, NOISY)
    assert labels.shape == (15, 16)
    assert (labels != NOISY.argmax(0)).any()
    assert np.array_equal(probabilities, NOISY) == (name in LABELERS)


def test_names_are_the_functions_with_their_options() -> None:
    _, found = Refinement("deeplab_v2", {"iterations": 2})(IMAGE, NOISY)
    np.testing.assert_allclose(found, refine.dense_crf(NOISY, IMAGE, preset="deeplab_v2", iterations=2), atol=1e-6)
    labels, _ = Refinement("graph_cut", {"smoothness": 0.3})(IMAGE, NOISY)
    assert np.array_equal(labels, refine.graph_cut(NOISY, IMAGE, smoothness=0.3))


@pytest.mark.parametrize("image, more", [
    (IMAGE.astype(np.uint16) * 257, {"dtype": "uint16"}),
    (IMAGE.astype(np.float32) * 257, {"dtype": "uint16"}),
    (IMAGE.astype(np.float32), {"dtype": "uint8"}),
    (np.concatenate([IMAGE, IMAGE[..., :1]], -1), {}),
    (IMAGE / 255.0 * 8 - 1, {"dtype": "float32", "mean": (3.0,) * 3, "std": (2.0,) * 3}),
])  # fmt: skip
def test_colours_are_those_of_eight_bits(image: np.ndarray, more: dict[str, object]) -> None:
    weak = {"gaussian": (1, 0.2), "bilateral": (4, 20, 2), "iterations": 2}
    expected = Refinement("crf", weak)(IMAGE, NOISY)[1]
    assert len(np.unique(expected.argmax(0))) == 3
    np.testing.assert_allclose(Refinement("crf", weak, **more)(image, NOISY)[1], expected, atol=2e-3)


@pytest.mark.parametrize("name, options, words", [
    ("crff", {}, "unknown refiner 'crff'.*'crf'"),
    ("crf", {"sigma": 1}, "no option 'sigma'.*bilateral"),
    ("graph_cut", {"bilateral": 1}, "no option 'bilateral'.*smoothness"),
    ("graph_cut", {"smoothness": "high"}, "smoothness of refiner 'graph_cut' is 'high'; expected a number"),
    ("graph_cut", {"method": 0}, "method of .* is 0; expected a word"),
    ("crf", {"gaussian": "ab"}, "gaussian of .* is 'ab'; expected 2 numbers or None"),
    ("crf", {"bilateral": [80, 13]}, "bilateral of .*; expected 3 numbers or None"),
    ("crf", {"iterations": 2.5}, "iterations of .* is 2.5; expected a whole number or None"),
    ("crf", {"normalisation": "half"}, "normalisation of .* expected none or mean"),
    ("trws", {"rounds": True}, "rounds of .* is True; expected a whole number"),
    ("guided_filter", {"radius": None}, "radius of .* is None; expected a whole number"),
])  # fmt: skip
def test_mistakes(name: str, options: dict[str, object], words: str) -> None:
    with pytest.raises(ModelError, match=words):
        Refinement(name, options)


class Net(nn.Module):
    """Scores that are the colours; it sees no other pixel."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return image

    def logits_at_stride(self, image: torch.Tensor) -> tuple[torch.Tensor, Tail]:
        return image, Tail((image.shape[2], image.shape[3]))


def card(**more: object) -> Card:
    return Card("x", {}, LabelSet(("r", "g", "b")), mean=(128.0,) * 3, std=(64.0,) * 3, **more)  # type: ignore[arg-type]


def test_a_predictor_refines_what_it_predicts() -> None:
    plain = Predictor(Net(), card())(IMAGE)
    predictor = Predictor(Net(), card(), refine="pydensecrf", refine_options={"iterations": 3})
    refined, expected = (
        predictor(IMAGE),
        refine.dense_crf(plain.probabilities, IMAGE, preset="pydensecrf", iterations=3),
    )
    np.testing.assert_allclose(refined.probabilities, expected, atol=1e-6)
    assert np.array_equal(refined.labels, expected.argmax(0))
    assert refined.labels.dtype == plain.labels.dtype
    assert np.array_equal(refined.logits, plain.logits)


def test_tuned_is_what_the_card_holds() -> None:
    tuned = {"use": True, "name": "graph_cut", "options": {"smoothness": 0.5}}
    found = Predictor(Net(), card(refinement=tuned), refine="tuned").refinement
    assert found is not None
    assert (found.name, found.options) == ("graph_cut", {"smoothness": 0.5})
    assert Predictor(Net(), card(refinement={**tuned, "use": False}), refine="tuned").refinement is None
    for wishes, words in [
        ({"refine": "tuned"}, "atrous tune-crf"),
        ({"refine_options": {"iterations": 2}}, "no refiner"),
        ({"refine": "crf", "recall": 0.9}, "fitted"),
    ]:
        with pytest.raises(ModelError, match=words):
            Predictor(Net(), card(), **wishes)  # type: ignore[arg-type]
    with pytest.raises(ModelError, match="tuned parameters take no options"):
        Predictor(Net(), card(refinement=tuned), refine="tuned", refine_options={"smoothness": 1})
    fitted = {"offsets": {"iou": [0, 0, 0]}}
    with pytest.raises(ModelError, match="leave out --decode"):
        Predictor(Net(), card(decoding=fitted), refine="crf", decode="iou")
