import cv2
import exact_field
import numpy as np
import pytest
from skimage import data

import atrous
from atrous.errors import AtrousError, DataError
from atrous.refine import (
    PRESETS,
    bilateral_solver,
    dense_crf,
    unary_from_labels,
    unary_from_logits,
    unary_from_probabilities,
)


def crops(height: int = 26, width: int = 31) -> list[np.ndarray]:
    """A dozen pieces of three photographs, as they are, from edges and texture."""
    photos = [data.astronaut(), data.coffee(), data.chelsea()]
    places = [(60, 200), (150, 120), (100, 260), (210, 180)]
    return [photo[y : y + height, x : x + width] for photo in photos for y, x in places]


def guess(image: np.ndarray, labels: int = 4, seed: int = 0) -> np.ndarray:
    """(K, H, W) probabilities as of a weak network at stride 4: by brightness, blurred, with errors as coarse."""
    grey = cv2.GaussianBlur(image.mean(-1), (0, 0), 2)
    centres = np.quantile(grey, (np.arange(labels) + 0.5) / labels)
    errors = np.random.default_rng(seed).normal(0, 1, (labels, 7, 8))
    errors = np.stack([cv2.resize(one, grey.shape[::-1]) for one in errors])
    return exact_field.softmax(errors - np.square((grey - centres[:, None, None]) / 25)).astype(np.float32)


def test_near_the_exact_field_on_photographs() -> None:
    """What the lattice (and pydensecrf's as well) leaves out: docs/crf.md. Stronger weights leave out more."""
    agreement = []
    for seed, image in enumerate(crops()):
        p = guess(image, seed=seed)
        near, exact = (dense_crf(p, image, preset="deeplab_v2", exact=exact).argmax(0) for exact in (False, True))
        agreement.append((near == exact).mean())
    assert np.mean(agreement) >= 0.97, agreement
    assert min(agreement) >= 0.9, agreement


def test_exact_equals_brute_force() -> None:
    """Features, weights and clipping written down once more."""
    image = crops()[0]
    p = guess(image)
    p[:, :2] = [[[1.0]], [[0.0]], [[0.0]], [[0.0]]]
    y, x = np.mgrid[:26, :31]
    places = np.stack([x, y], -1).reshape(-1, 2)
    colours = image.reshape(-1, 3).astype(float)
    bilateral = exact_field.kernel(np.concatenate([places / 20, colours / 10], 1))
    terms = [
        (exact_field.normalised(exact_field.kernel(places / 2), "after", False), -1.5 * np.eye(4)),
        (exact_field.normalised(bilateral, "after", False), -2.0 * np.eye(4)),
    ]
    expected = exact_field.field(-np.log(np.maximum(p.reshape(4, -1), 1e-5)), terms, 4).reshape(p.shape)
    found = dense_crf(
        p,
        image,
        gaussian=(2, 1.5),
        bilateral=(20, 10, 2.0),
        iterations=4,
        normalisation="after",
        self_term=False,
        exact=True,
    )
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=3e-6)


def test_presets_and_what_wins_over_them() -> None:
    image = crops()[1]
    p = guess(image)
    for name, preset in PRESETS.items():
        written = dense_crf(
            p,
            image,
            gaussian=preset.gaussian,
            bilateral=preset.bilateral,
            iterations=preset.iterations,
            normalisation=preset.normalisation,
        )
        np.testing.assert_array_equal(dense_crf(p, image, preset=name), written)
    assert (PRESETS["deeplab_v2"].gaussian, PRESETS["deeplab_v2"].bilateral) == ((1, 3), (67, 3, 4))
    other = dense_crf(p, image, preset="deeplab_v2", gaussian=(3, 3), bilateral=(80, 13, 10))
    np.testing.assert_array_equal(other, dense_crf(p, image))
    np.testing.assert_allclose(dense_crf(p, image, iterations=0), p, atol=1e-4)
    np.testing.assert_allclose(dense_crf(p, image, gaussian=(3, 0), bilateral=(80, 13, 0)), p, atol=1e-4)
    assert atrous.refine.dense_crf is dense_crf


def test_relabelled() -> None:
    image = crops()[2]
    p, order = guess(image, 9), np.random.default_rng(0).permutation(9)
    np.testing.assert_allclose(dense_crf(p[order], image), dense_crf(p, image)[order], atol=1e-4)


def test_an_image_of_any_type() -> None:
    """Grey with and without a channel axis; 16 bits and floats with a width in their own units; volumes by plane."""
    image = crops()[3]
    p = guess(image)
    grey = dense_crf(p, image[..., 0])
    np.testing.assert_array_equal(dense_crf(p, image[..., :1]), grey)
    np.testing.assert_allclose(
        dense_crf(p, image.astype(np.uint16) * 256, bilateral=(80, 13 * 256, 10)), dense_crf(p, image), atol=1e-4
    )
    np.testing.assert_allclose(dense_crf(p, image / 256, bilateral=(80, 13 / 256, 10)), dense_crf(p, image), atol=1e-4)
    np.testing.assert_allclose(dense_crf(p.astype(np.float64), image.astype(np.int32)), dense_crf(p, image), atol=1e-6)


def test_more_channels_than_dimensions() -> None:
    """Twelve channels that are mixtures of three: what three alone give, exactly."""
    image = crops()[4].astype(float)
    mix = np.linalg.qr(np.random.default_rng(0).normal(size=(12, 12)))[0][:3]
    p = guess(image)
    twelve = dense_crf(p, image @ mix, exact=True, iterations=3)
    np.testing.assert_allclose(twelve, dense_crf(p, image, exact=True, iterations=3), atol=1e-3)


def test_volumes_with_spacing() -> None:
    """Planes far apart are refined each for itself; half the spacing and half the widths are the same."""
    small = crops(13, 15)[:3]
    image, p = np.stack([crop[..., 0] for crop in small]), np.stack([guess(crop) for crop in small], 1)
    options = {"gaussian": (3.0, 3.0), "bilateral": (20.0, 13.0, 5.0), "exact": True, "iterations": 3}
    apart = dense_crf(p, image, spacing=(1e4, 1, 1), **options)
    for i in range(3):
        np.testing.assert_allclose(apart[:, i], dense_crf(p[:, i], image[i], **options), atol=1e-5)
    together = dense_crf(p, image, **options)
    assert np.abs(together - apart).max() > 0.1
    scaled = dense_crf(
        p, image, spacing=(0.5, 0.5, 0.5), **options | {"gaussian": (1.5, 3.0), "bilateral": (10.0, 13.0, 5.0)}
    )
    np.testing.assert_allclose(scaled, together, atol=1e-5)


def test_unaries() -> None:
    image = crops()[5]
    p = guess(image)
    z = np.log(p) + np.random.default_rng(0).normal(size=p.shape[1:])
    from_p = dense_crf(p, image)
    np.testing.assert_allclose(dense_crf(z, image, unary="logits"), from_p, atol=1e-4)
    np.testing.assert_allclose(dense_crf(unary_from_probabilities(p), image, unary="energies"), from_p, atol=1e-6)
    assert unary_from_logits(np.array([[0.0], [-100.0]])).max() == pytest.approx(-np.log(1e-5))
    labels = np.array([[0, 2], [1, 3]])
    energy = unary_from_labels(labels, 3, 0.7)
    np.testing.assert_allclose(np.exp(-energy[:, 0, 0]), 1 / 3, rtol=1e-6)
    np.testing.assert_allclose(np.exp(-energy[:, 0, 1]), [0.15, 0.7, 0.15], rtol=1e-6)
    known = unary_from_labels(labels, 4, 0.7, zero_unsure=False)
    np.testing.assert_allclose(np.exp(-known[:, 0, 0]), [0.7, 0.1, 0.1, 0.1], rtol=1e-6)
    np.testing.assert_allclose(np.exp(-unary_from_probabilities(p, certainty=0.5)), 0.5 * p + 0.125, rtol=1e-5)


def test_labels_get_cleaner() -> None:
    """Ten per cent of wrong labels over a picture of two tones: the CRF mends nearly all of them."""
    rng = np.random.default_rng(0)
    truth = (np.add.outer(np.arange(40), np.arange(50)) > 45).astype(int)
    image = np.clip(80 + 90 * truth[..., None] + rng.normal(0, 10, (40, 50, 3)), 0, 255).astype(np.uint8)
    noisy = np.where(rng.random(truth.shape) < 0.1, 1 - truth, truth)
    found = dense_crf(unary_from_labels(noisy, 2, zero_unsure=False), image, unary="energies").argmax(0)
    assert (noisy != truth).mean() > 0.08
    assert (found != truth).mean() < 0.005


P, IMAGE = np.full((2, 4, 5), 0.5, np.float32), np.zeros((4, 5, 3), np.uint8)


@pytest.mark.parametrize(
    "probabilities, image, options, words",
    [
        (P, IMAGE[:3], {}, "of the same size"),
        (P * np.nan, IMAGE, {}, "nan"),
        (P, IMAGE * np.nan, {}, "nan or infinite"),
        (P[:1], IMAGE, {}, "1 class"),
        (P[:, :0], IMAGE[:0], {}, "no pixel"),
        (P, IMAGE, {"gaussian": (-3, 3)}, "widths over 0"),
        (P, IMAGE, {"bilateral": (80, 0, 3)}, "widths over 0"),
        (P, IMAGE, {"bilateral": (80, 13)}, "expected 3 numbers"),
        (np.broadcast_to(np.float32(0), (70_000, 4, 5)), IMAGE, {}, "70,000 classes"),
        (np.broadcast_to(np.float32(0), (70_000, 4, 5)), IMAGE, {"unary": "logits"}, "65,536"),
        (P * 5, IMAGE, {}, "softmax"),
        (P * np.inf, IMAGE, {"unary": "logits"}, "nan or infinite"),
        (P, IMAGE, {"unary": "logit"}, "did you mean 'logits'"),
        (P, IMAGE, {"preset": "deeplab"}, "did you mean 'deeplab_v"),
        (P, IMAGE, {"iterations": -1}, "iterations is -1"),
        (P, IMAGE, {"iterations": np.nan}, "iterations is nan"),
        (P, IMAGE, {"threads": -1}, "threads is -1"),
        (P, IMAGE, {"gaussian": "ab"}, "gaussian is ab; expected 2 numbers"),
        (P, IMAGE, {"gaussian": (1e-12, 3)}, "larger widths"),
        (P, IMAGE, {"bilateral": (1e-12, 13, 10)}, "larger widths"),
        (P, IMAGE + np.float32(1e12), {}, "values beyond 4294967296"),
        (-1e38 * P, IMAGE, {"unary": "energies"}, "values beyond 1e\\+30"),
        (P, IMAGE, {"normalisation": "mode"}, "unknown normalisation"),
        (P, IMAGE, {"spacing": (1, 2, 3)}, "spacing"),
    ],
)
def test_bad_input(probabilities: np.ndarray, image: np.ndarray, options: dict, words: str) -> None:
    with pytest.raises(AtrousError, match=words) as caught:
        dense_crf(probabilities, image, **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "labels, classes, certainty, words",
    [([[0.5]], 2, 0.7, "float64"), ([[4]], 3, 0.7, "0..3"), ([[1]], 1, 0.7, "2 classes"), ([[1]], 2, 1.0, "below 1")],
)
def test_bad_labels(labels: list, classes: int, certainty: float, words: str) -> None:
    with pytest.raises(AtrousError, match=words):
        unary_from_labels(np.array(labels), classes, certainty)


UNFIT = {
    "0..1": lambda image: image / 255.0,
    "normalised": lambda image: (image - 120.0) / 60,
    "bool": lambda image: image > 128,
    "zeros and ones": lambda image: (image > 128).astype(int),
}


@pytest.mark.parametrize("unit", UNFIT)
def test_colours_that_the_width_cannot_tell_apart_are_refused(unit: str) -> None:
    image = crops()[0]
    p, wrong = guess(image), UNFIT[unit](image)
    for refine in (dense_crf, bilateral_solver):
        with pytest.raises(DataError, match=r"a width of 1[36] tells none of them apart; .* in 0\.\.255"):
            refine(p, wrong)
    assert dense_crf(p, wrong, bilateral=(80, 0.05, 10)).shape == p.shape  # a width in their units
    assert dense_crf(p, wrong, bilateral=(80, 13, 0)).shape == p.shape  # without colours


@pytest.mark.parametrize("factor", [16, 257])
def test_colours_of_more_bits_are_warned_of(factor: int) -> None:
    image = crops()[0]
    for refine in (dense_crf, bilateral_solver):
        with pytest.warns(UserWarning, match=r"tells nearly all of them apart; colours are taken in 0\.\.255"):
            refine(guess(image), image.astype(np.uint16) * factor)


def test_colours_in_their_range_are_taken_in_any_type() -> None:
    image = crops()[0]
    p = guess(image)
    found = dense_crf(p, image)
    for dtype in (np.float32, np.int32, np.uint16):
        np.testing.assert_array_equal(dense_crf(p, image.astype(dtype)), found)
    dark = (image // 32).astype(np.float32)
    np.testing.assert_array_equal(dense_crf(p, dark), dense_crf(p, dark.astype(np.uint8)))
    dense_crf(p, cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_RGB2LAB))
    dense_crf(p, np.zeros(image.shape))


@pytest.mark.parametrize("unary", ["logits", "energies"])
def test_probabilities_are_neither_logits_nor_energies(unary: str) -> None:
    image = crops()[0]
    with pytest.raises(AtrousError, match=f"{unary} are in 0..1 .* these are probabilities"):
        dense_crf(guess(image), image, unary=unary)  # type: ignore[arg-type]
    with pytest.raises(AtrousError, match="these are probabilities"):
        unary_from_logits(guess(image))
    for wrong in (np.log(guess(image)), guess(image) * np.nan):
        with pytest.raises(AtrousError, match=r"probabilities are out of 0\.\.1, or nan"):
            unary_from_probabilities(wrong)


@pytest.mark.parametrize("kind", ["logits", "energies"])
def test_complex_numbers_are_refused(kind: str) -> None:
    with pytest.raises(DataError, match="are of type complex64; expected real numbers"):
        dense_crf(np.zeros((2, 3, 3), np.complex64), np.zeros((3, 3, 3), np.uint8), unary=kind)
