"""The interface alone, and number by number against pydensecrf where it was built ([bench], Python 3.11 and 3.12)."""

from types import ModuleType

import numpy as np
import pytest
from skimage import data

import atrous.compat.densecrf as dcrf
from atrous.compat.densecrf import utils
from atrous.errors import DataError
from atrous.refine import dense_crf

HEIGHT, WIDTH, LABELS = 60, 80, 6
IMAGE = np.ascontiguousarray(data.coffee()[100 : 100 + HEIGHT, 200 : 200 + WIDTH])


def probabilities(labels: int = LABELS, shape: tuple[int, int] = (HEIGHT, WIDTH)) -> np.ndarray:
    """Blocks of 4 x 4 pixels with one guess each."""
    rng = np.random.default_rng(0)
    coarse = rng.dirichlet(np.full(labels, 0.5), (-(-shape[0] // 4), -(-shape[1] // 4)))
    fine = coarse.repeat(4, 0).repeat(4, 1)[: shape[0], : shape[1]]
    return np.ascontiguousarray(fine.transpose(2, 0, 1), np.float32)


def refined(package: ModuleType, helpers: ModuleType, compat: object, normalization: int) -> tuple:
    """(Q of `inference`, Q and KL of each of three single steps) with all ways to add a pairwise term."""
    crf = package.DenseCRF2D(WIDTH, HEIGHT, LABELS)
    crf.setUnaryEnergy(helpers.unary_from_softmax(probabilities()))
    crf.addPairwiseGaussian(sxy=3, compat=compat, normalization=normalization, kernel=package.FULL_KERNEL)
    crf.addPairwiseBilateral(
        sxy=(40, 30), srgb=(13, 14, 15), rgbim=IMAGE, compat=5, kernel=package.DIAG_KERNEL, normalization=normalization
    )
    features = helpers.create_pairwise_bilateral((20, 20), (10,), IMAGE[..., 0])
    crf.addPairwiseEnergy(features, compat=2, normalization=package.NORMALIZE_SYMMETRIC)
    once = np.array(crf.inference(5))
    q, one, other = crf.startInference()
    energies = []
    for _ in range(3):
        crf.stepInference(q, one, other)
        energies.append(crf.klDivergence(q))
    return once, np.array(q), energies


@pytest.mark.parametrize("normalization", [1, 2, 3, 0])
@pytest.mark.parametrize("form", ["weight", "vector", "matrix"])
def test_equals_pydensecrf(form: str, normalization: int) -> None:
    theirs = pytest.importorskip(
        "pydensecrf.densecrf", reason="pydensecrf2 is not installed; pip install 'atrous[bench]'"
    )
    helpers = pytest.importorskip("pydensecrf.utils")
    rng = np.random.default_rng(1)
    compat = {"weight": 3, "vector": -4 * rng.random(LABELS), "matrix": rng.normal(size=(LABELS, LABELS))}[form]
    compat = compat if form == "weight" else compat.astype(np.float32)
    ours, other = refined(dcrf, utils, compat, normalization), refined(theirs, helpers, compat, normalization)
    for q, expected in zip(ours[:2], other[:2], strict=True):
        off = np.abs(q - expected).max(0)
        if normalization == dcrf.NO_NORMALIZATION:  # sums of hundreds: float32 decides ties
            assert (off < 1e-3).mean() > 0.999
        else:
            assert off.max() < 1e-4
    np.testing.assert_allclose(ours[2], other[2], rtol=1e-4)


@pytest.mark.parametrize("sets", [((1, 3), (67, 3, 4)), ((3, 3), (80, 13, 10))])
@pytest.mark.parametrize("photo", ["coffee", "astronaut"])
def test_marginals_of_photographs(photo: str, sets: tuple) -> None:
    """Within 1e-3 on 99.9 % of the pixels, at the sizes of VOC."""
    theirs = pytest.importorskip(
        "pydensecrf.densecrf", reason="pydensecrf2 is not installed; pip install 'atrous[bench]'"
    )
    image = np.ascontiguousarray(getattr(data, photo)()[:321, :400])
    p = probabilities(8, (321, 400))
    (sxy, weight), (wide, srgb, strong) = sets
    crf = theirs.DenseCRF2D(400, 321, 8)
    crf.setUnaryEnergy(utils.unary_from_softmax(p))
    crf.addPairwiseGaussian(sxy=sxy, compat=weight)
    crf.addPairwiseBilateral(sxy=wide, srgb=srgb, rgbim=image, compat=strong)
    expected = np.array(crf.inference(10)).reshape(p.shape)
    found = dense_crf(p, image, gaussian=sets[0], bilateral=sets[1])
    assert (np.abs(found - expected).max(0) < 1e-3).mean() > 0.999
    half = dense_crf(p, image, gaussian=sets[0], bilateral=sets[1], half=True)
    assert (half.argmax(0) == expected.argmax(0)).mean() > 0.999


def test_equals_helpers_of_pydensecrf() -> None:
    theirs = pytest.importorskip("pydensecrf.utils", reason="pydensecrf2 is not installed; pip install 'atrous[bench]'")
    labels = np.random.default_rng(0).integers(0, 5, (6, 7))
    for arguments, options in (((labels, 4, 0.7), {}), ((labels, 5, 0.6), {"zero_unsure": False})):
        expected = theirs.unary_from_labels(*arguments, **options)
        np.testing.assert_allclose(utils.unary_from_labels(*arguments, **options), expected, rtol=1e-6)
    p = probabilities()
    for options in ({}, {"scale": 0.7}, {"scale": 0.5, "clip": None}):
        expected = theirs.unary_from_softmax(p, **options)
        np.testing.assert_allclose(utils.unary_from_softmax(p, **options), expected, atol=1e-6)
    volume = np.random.default_rng(0).random((3, 4, 5))
    for arguments in (
        ((3, 4), (5, 6, 7), IMAGE, 2),
        ((1, 2, 3), 0.1, volume),
        ((3, 4), 5, IMAGE.transpose(2, 0, 1), 0),
    ):
        expected = theirs.create_pairwise_bilateral(*arguments)
        np.testing.assert_allclose(utils.create_pairwise_bilateral(*arguments), expected, rtol=1e-6)
    expected = theirs.create_pairwise_gaussian((1, 2, 3), (4, 5, 6))
    np.testing.assert_allclose(utils.create_pairwise_gaussian((1, 2, 3), (4, 5, 6)), expected, rtol=1e-6)


def test_equals_dense_crf() -> None:
    """The interface says what `dense_crf` says; single steps are what `inference` does at once."""
    p = probabilities()
    crf = dcrf.DenseCRF2D(WIDTH, HEIGHT, LABELS)
    crf.setUnaryEnergy(utils.unary_from_softmax(p))
    crf.addPairwiseGaussian(sxy=3, compat=3)
    crf.addPairwiseBilateral(sxy=80, srgb=13, rgbim=IMAGE, compat=10)
    found = crf.inference(4)
    assert found.shape == (LABELS, HEIGHT * WIDTH)
    np.testing.assert_allclose(found.reshape(p.shape), dense_crf(p, IMAGE, iterations=4), atol=1e-5)
    q, one, other = crf.startInference()
    np.testing.assert_allclose(q, p.reshape(LABELS, -1) / p.reshape(LABELS, -1).sum(0), atol=1e-4)
    energies = [crf.klDivergence(q)]
    for _ in range(4):
        crf.stepInference(q, one, other)
        energies.append(crf.klDivergence(q))
    np.testing.assert_allclose(q, found, atol=1e-5)
    assert energies[-1] < energies[0]


def test_general_features_and_logistic_unary() -> None:
    """`DenseCRF` with features of `create_pairwise_*`; energies as a product; constants by name and by number."""
    p = probabilities()
    crf = dcrf.DenseCRF(HEIGHT * WIDTH, LABELS)
    energies = utils.unary_from_softmax(p)
    crf.setUnaryEnergy(np.eye(LABELS, dtype=np.float32), energies)
    crf.addPairwiseEnergy(utils.create_pairwise_gaussian((3, 3), (HEIGHT, WIDTH)), compat=3, normalization=2)
    by_product = crf.inference(3)
    crf.setUnary(dcrf.ConstUnary(energies))
    np.testing.assert_allclose(crf.inference(3), by_product, atol=1e-6)
    assert dcrf.NORMALIZE_AFTER == 2
    assert dcrf.FULL_KERNEL == 2
    after = dense_crf(p, IMAGE, bilateral=(1, 1, 0), iterations=3, normalisation="after")
    assert np.abs(by_product.reshape(p.shape) - after).mean() < 5e-3  # rows before columns: another lattice


def test_older_names_warn() -> None:
    with pytest.warns(DeprecationWarning, match="unary_from_labels"):
        energy = utils.compute_unary(np.array([[0, 1], [2, 1]]), 2)
    np.testing.assert_allclose(energy, -np.log(0.5))
    with pytest.warns(DeprecationWarning, match="unary_from_softmax"):
        np.testing.assert_allclose(utils.softmax_to_unary(np.full((2, 1, 1), 0.5)), -np.log(0.5), rtol=1e-6)


def test_bad_input() -> None:
    crf = dcrf.DenseCRF2D(5, 4, 3)
    with pytest.raises(DataError, match="setUnaryEnergy first"):
        crf.inference(1)
    with pytest.raises(DataError, match=r"expected \(3, 20\)"):
        crf.setUnaryEnergy(np.zeros((3, 4, 5)))
    with pytest.raises(DataError, match=r"expected \(4, 5, 3\)"):
        crf.addPairwiseBilateral(80, 13, np.zeros((5, 4, 3), np.uint8), 10)
    with pytest.raises(DataError, match=r"expected \(dimensions, 20\)"):
        crf.addPairwiseEnergy(np.zeros((20, 2)), 3)


def crf_of(image: np.ndarray, energies: np.ndarray | None = None, srgb: float = 13) -> np.ndarray:
    crf = dcrf.DenseCRF2D(WIDTH, HEIGHT, LABELS)
    crf.setUnaryEnergy(utils.unary_from_softmax(probabilities()) if energies is None else energies)
    crf.addPairwiseBilateral(sxy=20, srgb=srgb, rgbim=image, compat=10)
    return crf.inference(2)


def test_colours_and_energies_in_other_units() -> None:
    for wrong in (IMAGE / 255.0, (IMAGE - 120.0) / 60, IMAGE > 128):
        with pytest.raises(DataError, match=r"colours are taken in 0\.\.255"):
            crf_of(wrong)
        with pytest.raises(DataError, match=r"colours are taken in 0\.\.255"):
            utils.create_pairwise_bilateral((20, 20), (13, 13, 13), wrong, 2)
    crf_of(IMAGE / 255.0, srgb=0.05)
    with pytest.warns(UserWarning, match=r"colours are taken in 0\.\.255"):
        crf_of(IMAGE.astype(np.uint16) * 257)
    broken = IMAGE.astype(np.float32)
    broken[0, 0, 0] = np.nan
    with pytest.raises(DataError, match="nan or infinite"):
        crf_of(broken)
    flat = probabilities().reshape(LABELS, -1)
    with pytest.raises(DataError, match=r"unary energies are in 0\.\.1 .* these are probabilities"):
        crf_of(IMAGE, flat)
    with pytest.raises(DataError, match="unary energies have values that are nan"):
        crf_of(IMAGE, flat * np.nan)
