from pathlib import Path

import numpy as np
import pytest
from brightness import photo, predictor
from PIL import Image

from atrous.bundle import Card
from atrous.errors import DataError
from atrous.labels import CAMVID11, LabelSet


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
