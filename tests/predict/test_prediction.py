"""How a Prediction shows itself."""

import re

import numpy as np

from atrous import LabelSet, Prediction


def prediction(shares: dict[str, int]) -> Prediction:
    """One row of pixels, so many of each class."""
    labels = np.repeat(np.arange(len(shares)), list(shares.values()))[None].astype(np.uint8)
    image = np.zeros((*labels.shape, 3), np.uint8)
    colours = tuple((10 * k, 1, 2) for k in range(len(shares)))
    return Prediction(labels, LabelSet(tuple(shares), colours=colours), image, lambda: np.zeros((1, 1, 1), np.float32))


def test_text_names_the_three_largest_classes() -> None:
    assert repr(prediction({"a": 1, "b": 6, "c": 2, "d": 1})) == "Prediction(1x10: b 60%, c 20%, a 10%)"


def test_a_notebook_shows_picture_and_legend() -> None:
    page = prediction({"<sky>": 3, "road": 1, "none": 0})._repr_html_()
    assert page.startswith('<img src="data:image/jpeg;base64,')
    assert "&lt;sky&gt; 75.0%" in page
    assert "road 25.0%" in page
    assert "none" not in page, "classes without a pixel are left out"
    assert re.findall(r"rgb\((\d+), 1, 2\)", page) == ["0", "10"]


def test_the_legend_is_short_where_classes_are_many() -> None:
    page = prediction({f"class{k:02}": 20 - k for k in range(15)})._repr_html_()
    assert "class11" in page
    assert "class12" not in page
    assert "and 3 more" in page
