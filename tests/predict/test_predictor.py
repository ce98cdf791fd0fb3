from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile
import torch
from brightness import Brightness, photo, predictor
from PIL import Image

from atrous.bundle import Card
from atrous.errors import DataError, ModelError
from atrous.io import ArrayPicture, read_mask
from atrous.labels import CAMVID11, LabelSet
from atrous.predict import Predictor


def expected(image: np.ndarray) -> np.ndarray:
    return (image.astype(float).mean(2) > 127.5).astype(np.uint8)


def test_array_file_and_pil_image_agree(tmp_path: Path) -> None:
    image = photo()
    Image.fromarray(image).save(tmp_path / "a.png")
    for given in (image, tmp_path / "a.png", str(tmp_path / "a.png"), Image.fromarray(image)):
        prediction = predictor()(given)
        np.testing.assert_array_equal(prediction.labels, expected(image))
    assert prediction.probabilities.shape == (2, 30, 41)
    np.testing.assert_allclose(prediction.probabilities.sum(0), 1, atol=1e-6)
    np.testing.assert_array_equal(prediction.probabilities.argmax(0), prediction.labels)


@pytest.mark.parametrize("window", [16, 25, 30])
def test_windows_of_a_pixelwise_network_give_the_whole(window: int) -> None:
    image = photo(70, 53)
    whole, tiled = predictor(window=0)(image), predictor(window=window)(image)
    np.testing.assert_array_equal(tiled.labels, whole.labels)
    np.testing.assert_allclose(tiled.probabilities, whole.probabilities, atol=1e-5)


def test_units_of_the_training_images() -> None:
    image = photo()
    with pytest.warns(UserWarning, match="the image has 16 bits, but the model was trained on uint8 images"):
        np.testing.assert_array_equal(predictor()(image.astype(np.uint16) * 257).labels, expected(image))
    with pytest.warns(UserWarning, match="the image has 8 bits, but the model was trained on uint16 images"):
        np.testing.assert_array_equal(predictor(dtype="uint16")(image).labels, expected(image))
    np.testing.assert_array_equal(predictor()(image.astype(np.float64)).labels, expected(image))
    with pytest.raises(DataError, match=r"lie in 0\.\.1.*multiply by 255"):
        predictor()(image / 255)
    with pytest.raises(DataError, match="every value is NaN"):
        predictor()(np.full((4, 4, 3), np.nan))


@pytest.mark.parametrize("dtype", ["int32", "uint32", "int64", "uint64", "float32", "float64", ">u2"])
def test_whole_numbers_in_the_trained_range_are_right_whatever_the_type(dtype: str) -> None:
    image = photo()
    np.testing.assert_array_equal(predictor()(image.astype(dtype)).labels, expected(image))
    deep, model = image.astype(np.uint16) * 235, predictor(dtype="uint16")
    np.testing.assert_array_equal(model(deep.astype(dtype)).labels, model(deep).labels)


def test_bool_is_black_and_white() -> None:
    grey = photo()[..., 0]
    np.testing.assert_array_equal(predictor(channels=1)(grey > 99).labels, (grey > 99).astype(np.uint8))


@pytest.mark.parametrize(
    "change, told",
    [
        (lambda image: (image - 120.0) / 60, r"lie in -2\..*not normalised"),
        (lambda image: image.astype(np.uint16) * 16, r"16 bits and values up to 4080, .* scale its range to 0\.\.255"),
        (lambda image: image.astype(np.int32) * 235, r"lie in 0\.\.5\.992e\+04, .* of as many bits"),
        (
            lambda image: torch.from_numpy(image.copy()).permute(2, 0, 1),
            r"41 channels, .* the channels last: \(H, W, C\)",
        ),
        (lambda image: image + 1j, "is not a picture"),
    ],
)
def test_other_units_are_refused_in_one_sentence(change: Callable[[np.ndarray], Any], told: str) -> None:
    with pytest.raises(DataError, match=told):
        predictor()(change(photo()))


def test_units_of_a_picture_that_is_read_by_rows_are_judged_by_all_of_them() -> None:
    image = photo(90, 20)
    for wrong in (image.astype(np.uint16) * 16, ((image - 120.0) / 60).astype(np.float32)):
        with pytest.raises(DataError, match=r"scale its range|not normalised"):
            list(predictor(window=32).bands(ArrayPicture(wrong, held=False)))


def test_a_tensor_is_an_array() -> None:
    image = photo()
    np.testing.assert_array_equal(predictor()(torch.from_numpy(image.copy())).labels, expected(image))
    np.testing.assert_array_equal(predictor()(torch.from_numpy(image.copy()).bfloat16()).labels.shape, image.shape[:2])


def pictures() -> dict[str, Image.Image]:
    colour = Image.fromarray(photo())
    grey, palette = colour.convert("L"), colour.quantize(9)
    palette.info["transparency"] = 3
    return {
        "1.png": grey.convert("1"), "1.tif": grey.convert("1"), "l.jpg": grey, "la.png": grey.convert("LA"),
        "p.png": colour.quantize(9), "p.gif": colour.quantize(9), "pt.png": palette, "rgb.webp": colour,
        "rgba.png": Image.fromarray(np.dstack([photo(), photo()[..., 0]])), "cmyk.jpg": colour.convert("CMYK"),
        "cmyk.tif": colour.convert("CMYK"), "ycbcr.tif": colour.convert("YCbCr"), "i.tif": grey.convert("I"),
        "f.tif": grey.convert("F"), "i16.png": Image.fromarray(np.asarray(grey).astype(np.uint16)),
    }  # fmt: skip


@pytest.mark.parametrize("name", pictures())
@pytest.mark.parametrize("loaded", [False, True])
def test_a_pillow_image_of_any_mode_is_its_file(tmp_path: Path, name: str, loaded: bool) -> None:
    pictures()[name].save(tmp_path / name)
    with Image.open(tmp_path / name) as picture:
        if loaded:
            picture.load()
        np.testing.assert_array_equal(predictor()(picture).labels, predictor()(tmp_path / name).labels)


@pytest.mark.parametrize("order, shades", [("<", "minisblack"), (">", "minisblack"), ("<", "miniswhite")])
def test_a_pillow_image_of_sixteen_bits_is_its_file(tmp_path: Path, order: str, shades: str) -> None:
    deep, model = photo()[..., 0].astype(np.uint16) * 235, predictor(channels=1, dtype="uint16")
    tifffile.imwrite(tmp_path / "a.tif", deep, byteorder=order, photometric=shades)
    with Image.open(tmp_path / "a.tif") as picture:
        picture.load()
        np.testing.assert_array_equal(model(picture).labels, model(tmp_path / "a.tif").labels)
    cv2.imwrite(str(tmp_path / "rgb.png"), photo().astype(np.uint16) * 257)
    model = predictor(dtype="uint16")
    with Image.open(tmp_path / "rgb.png") as picture:
        np.testing.assert_array_equal(model(picture).labels, model(tmp_path / "rgb.png").labels)


@pytest.mark.parametrize("suffix", ["png", "gif", "webp", "tif"])
def test_of_several_frames_one_is_to_be_chosen(tmp_path: Path, suffix: str) -> None:
    frames = [Image.fromarray(photo()), Image.fromarray(255 - photo())]
    frames[0].save(tmp_path / f"a.{suffix}", save_all=True, append_images=frames[1:])
    with pytest.raises(DataError, match=r"several frames|holds 2 pages"):
        predictor()(tmp_path / f"a.{suffix}")
    with Image.open(tmp_path / f"a.{suffix}") as picture:
        for _ in range(2):
            with pytest.raises(DataError, match=r"several frames|holds 2 pages"):
                predictor()(picture)
            picture.load()
        picture.seek(1)
        assert predictor()(picture.copy()).labels.shape == (30, 41)


def test_pixels_without_a_value_are_labelled_by_the_others_and_count_nowhere(tmp_path: Path) -> None:
    image = np.full((6, 8, 3), 200.0)
    image[2, 3, 1] = np.nan
    image[4:] = np.inf
    prediction = predictor()(image)
    assert prediction.valid is not None
    assert (int((~prediction.valid).sum()), prediction.valid[2, 3]) == (17, False)
    assert (prediction.labels == 1).all()
    assert prediction.areas() == {"dark": 0.0, "bright": 1.0}
    prediction.save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "a.png"), np.where(prediction.valid, 1, 255))
    (binary,) = prediction.to_hf()
    assert np.count_nonzero(binary["mask"]) == 31
    assert predictor(refine="crf")(image).valid is not None


def test_channels() -> None:
    grey = photo()[:, :, 0]
    np.testing.assert_array_equal(predictor()(grey).labels, (grey > 127.5).astype(np.uint8))
    assert predictor(channels=1)(photo()).labels.shape == (30, 41)
    assert predictor()(np.zeros((5, 6, 4), np.uint8)).labels.shape == (5, 6)
    with pytest.raises(DataError, match="12 channels, but the model was trained on 3"):
        predictor()(np.zeros((5, 6, 12), np.uint8))
    for wrong in (np.zeros((0, 4, 3)), np.zeros(5), np.array("x")):
        with pytest.raises(DataError, match="is not a picture"):
            predictor()(wrong)


def test_ways_out(tmp_path: Path) -> None:
    prediction = predictor()(photo())
    prediction.save(tmp_path / "labels.png")
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "labels.png")), prediction.labels)
    assert prediction.overlay().size == (41, 30)
    assert sum(prediction.areas().values()) == pytest.approx(1)
    entries = prediction.to_hf()
    assert [entry["label"] for entry in entries] == ["dark", "bright"]
    np.testing.assert_array_equal(np.asarray(entries[1]["mask"]) > 0, prediction.labels == 1)
    assert "dark" in repr(prediction)


def test_labels_are_written_in_the_data_sets_own_values(tmp_path: Path) -> None:
    assert CAMVID11.values == tuple(range(11))
    thing = predictor()
    thing.card = Card("unet", {}, LabelSet(("dark", "bright"), values=(0, 255), ignore=()), (127.5,) * 3, (127.5,) * 3)
    prediction = thing(photo())
    prediction.save(tmp_path / "labels.png")
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "labels.png")), prediction.labels * 255)


class Lost(Brightness):
    """Answers nan where the picture is bright, or forbids the first class."""

    def __init__(self, answer: float) -> None:
        super().__init__()
        self.answer = answer

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        logits = super().forward(image)
        return torch.cat([torch.where(logits[:, :1] < 0, self.answer, logits[:, :1]), logits[:, 1:]], 1)


@pytest.mark.parametrize("wishes", [{}, {"window": 16}, {"flip": True}, {"refine": "crf"}])
def test_a_network_that_answers_nan_is_an_error(wishes: dict[str, Any]) -> None:
    with pytest.raises(ModelError, match="the network answers nan"):
        Predictor(Lost(np.nan), predictor().card, **wishes)(photo())


@pytest.mark.parametrize("wishes", [{}, {"window": 16}, {"flip": True}])
def test_a_class_that_a_network_forbids_is_never_chosen(wishes: dict[str, Any]) -> None:
    found = Predictor(Lost(-np.inf), predictor().card, **wishes)(photo())
    np.testing.assert_array_equal(found.labels, expected(photo()))
    assert np.isfinite(found.probabilities).all()
