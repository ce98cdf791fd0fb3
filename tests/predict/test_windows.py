"""Tiles that equal the whole, averages over flips and scales, windows chosen by memory."""

from typing import Any

import numpy as np
import pytest
import torch
from brightness import photo, predictor
from forms import SEAMLESS, build

from atrous.bundle import Card
from atrous.errors import ModelError
from atrous.inspect import Halo, halo
from atrous.labels import LabelSet
from atrous.predict import Predictor
from atrous.predict.memory import PredictionNeeds, bytes_of
from atrous.predict.windows import Cutting, choose_cut

SLOW = {"attention_unet", "deconvnet", "deeplabv2", "enet", "fcn32s", "segnet", "unetpp"}


def of_page(name: str, options: dict[str, object], **wishes: object) -> Predictor:
    torch.manual_seed(0)
    model = build(name, options).eval()
    card = Card(name, {}, LabelSet(tuple(f"class {k}" for k in range(model.classes))), (127.5,) * 3, (60.0,) * 3)
    return Predictor(model, card, **wishes)


@pytest.mark.parametrize(
    "name, options", [pytest.param(*row, marks=[pytest.mark.slow] * (row[0] in SLOW)) for row in SEAMLESS]
)
def test_exact_tiles_have_the_labels_of_the_whole(name: str, options: dict[str, object]) -> None:
    whole = of_page(name, options, window=0)
    found = halo(whole.model)
    assert isinstance(found, Halo)
    step = found.align[0]
    window = found.before[0] + found.after[0] + 2 * step
    window = max(window, -(-3 * (found.before[0] + found.after[0]) // 2 // step) * step)
    side = (-(-(window + 3 * step) // found.multiple[0]) * found.multiple[0], 64)
    odd = (0, 0) if found.multiple[0] > 1 else (step // 2 + 1, 7)
    image = np.random.default_rng(0).integers(0, 256, (side[0] + odd[0], side[1] + odd[1], 3), np.uint8)
    tiled = of_page(name, options, window=window, exact=True)
    assert tiled.cut(image.shape).kind == "exact"
    expected, seen = whole(image), tiled(image)
    assert len(list(tiled._bands(_source(image), tiled.cut(image.shape)))) > 1
    np.testing.assert_array_equal(seen.labels, expected.labels)
    np.testing.assert_allclose(seen.logits, expected.logits, atol=2e-5 * np.abs(expected.logits).max())
    assert len(np.unique(expected.labels)) > 1


def _source(image: np.ndarray) -> object:
    from atrous.io import ArrayPicture

    return ArrayPicture(image)


@pytest.mark.parametrize("name, reason", [("deeplabv3plus", "mean over all places"), ("nnunet2d", "instance norm")])
def test_exact_refuses_with_the_reason_and_names_the_approximation(name: str, reason: str) -> None:
    with pytest.raises(ModelError, match=rf"{reason}.*blended.*approximation"):
        of_page(name, {}, exact=True)(photo())


def test_exact_refuses_windows_that_hold_no_halo_and_sides_that_do_not_fit() -> None:
    around = Halo((32, 32), (32, 32), (16, 16), (16, 16), (60, 60))
    with pytest.raises(ModelError, match="at least 96x96 pixels, --window 64 is too small"):
        choose_cut(Cutting(window=64, exact=True), (800, 800, 3), around, None)
    with pytest.raises(ModelError, match="multiples of 16, but the image is 801x800; pad it"):
        choose_cut(Cutting(exact=True), (801, 800, 3), around, None)
    with pytest.raises(ModelError, match="one pass of the network"):
        Cutting(exact=True, flip=True)


@pytest.mark.parametrize("window", [0, 16])
def test_with_flips_the_mirrored_picture_has_mirrored_labels(window: int) -> None:
    thing = of_page("unet2015", {"width": 2}, flip=True, window=window, scales=(1.0, 1.25))
    image = np.random.default_rng(1).integers(0, 256, (40, 48, 3), np.uint8)
    one, other = thing(image), thing(np.ascontiguousarray(image[:, ::-1]))
    np.testing.assert_allclose(other.logits[:, :, ::-1], one.logits, atol=1e-4)
    assert (other.labels[:, ::-1] == one.labels).mean() > 0.999


def test_scores_are_means_over_flips_and_scales() -> None:
    parts = [of_page("unet2015", {"width": 2}, window=0, scales=(scale,)) for scale in (0.5, 1.0)]
    image = np.random.default_rng(1).integers(0, 256, (24, 32, 3), np.uint8)
    image.flags.writeable = False  # as decoders give it; torch must not warn
    both = of_page("unet2015", {"width": 2}, window=0, scales=(0.5, 1.0), flip=True)(image)
    logits = [part(image).logits for part in parts]
    logits += [part(np.ascontiguousarray(image[:, ::-1])).logits[:, :, ::-1] for part in parts]
    np.testing.assert_allclose(both.logits, np.mean(logits, 0), atol=1e-5)
    np.testing.assert_array_equal(both.labels, both.logits.argmax(0))


def test_uniform_windows_are_plain_means() -> None:
    image = photo(30, 40)
    thing = of_page("unet2015", {"width": 2}, window=20, overlap=0.5, weights="uniform")
    logits = thing(image).logits
    corner = of_page("unet2015", {"width": 2}, window=0)(np.ascontiguousarray(image[:20, :20])).logits
    np.testing.assert_allclose(logits[:, :5, :5], corner[:, :5, :5], atol=1e-5)  # a single window reaches there


def test_memory_chooses_the_largest_windows_that_fit_and_refuses_less() -> None:
    needs = PredictionNeeds(predictor().model, 2, 3, 1)
    shape = (20_000, 30_000, 3)
    sizes = [needs.of((side, side), shape[1], blended=True) for side in (1024, 512, 128)]
    assert sizes[0] > sizes[1] > sizes[2] > needs.before
    for limit, side in ((sizes[0] + 1, 1024), (sizes[1] + 1, 512), (sizes[2] + 1, 128)):
        assert choose_cut(Cutting(max_ram=int(limit)), shape, None, needs).window == (side, side)
    with pytest.raises(ModelError, match=r"20000x30000 pixels takes .* even in windows of 128x128.*--max-ram"):
        choose_cut(Cutting(max_ram=int(sizes[2]) - 1), shape, None, needs)
    with pytest.raises(ModelError, match="even whole, as was asked for"):
        choose_cut(Cutting(window=0, max_ram=10**9), shape, None, needs)
    assert choose_cut(Cutting(max_ram=10**12), (100, 100, 3), None, needs).kind == "whole"


@pytest.mark.parametrize(
    ("wish", "side", "count"),
    [
        ({"window": 1}, 300, "90,000"),
        ({"window": 64, "overlap": 0.999}, 300, "56,169"),
        ({"window": 3, "overlap": np.nextafter(1, 0)}, 300, "88,804"),
        ({"window": 4, "overlap": 0.5, "flip": True}, 2000, "998,001"),
    ],
)
def test_windows_without_end_are_refused_with_their_number(wish: dict[str, Any], side: int, count: str) -> None:
    with pytest.raises(ModelError, match=f"takes {count} windows of .*; give a larger --window or a smaller --overlap"):
        choose_cut(Cutting(**wish), (side, side, 3), None, None)


@pytest.mark.parametrize("wish", [{"window": 32}, {"window": 64, "overlap": 0.75}, {"window": 256, "overlap": 0.85}])
def test_usual_windows_are_taken_at_every_size(wish: dict[str, Any]) -> None:
    for side in 40, 300, 5000, 40_000:
        choose_cut(Cutting(**wish), (side, side, 3), None, None)
    choose_cut(Cutting(window=2), (20, 20, 3), None, None)


def test_amounts_of_memory() -> None:
    assert bytes_of("2GB") == 2 * 10**9
    assert bytes_of("1.5 GiB") == 3 * 2**29
    assert bytes_of("500mb") == 5 * 10**8
    with pytest.raises(ModelError, match="not an amount of memory"):
        bytes_of("plenty")


@pytest.mark.parametrize(
    "wish, said",
    [
        ({"overlap": 1.0}, r"must be in \[0, 1\)"),
        ({"weights": "gausian"}, "did you mean 'gaussian'"),
        ({"scales": (0.0,)}, "expected one or more factors"),
    ],
)
def test_wishes_that_cannot_be(wish: dict[str, object], said: str) -> None:
    with pytest.raises(ModelError, match=said):
        predictor(**wish)
