import base64

import cv2
import numpy as np
import pytest

from atrous.labels import LabelSet
from atrous.report.pictures import ImageCase, case_panes, data_uri
from atrous.visual import KIND_COLOURS

LABELS = LabelSet(("ground", "disc"), ((90, 60, 30), (220, 40, 40)))


def decoded(uri: str) -> np.ndarray:
    """(H, W, 3) RGB"""
    data = np.frombuffer(base64.b64decode(uri.split(",")[1]), np.uint8)
    return cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1]


def case(height: int = 200, width: int = 300) -> ImageCase:
    """A square that one run misses altogether and another one finds a little too large."""
    truth = np.zeros((height, width), np.uint8)
    truth[50:110, 60:120] = 1
    larger = np.zeros_like(truth)
    larger[49:110, 60:121] = 1
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    return ImageCase("c.png", image, truth, [np.zeros_like(truth), larger], [0.5, 0.9])


def test_panes_show_image_truth_and_what_each_run_made_of_it() -> None:
    made = case_panes(case(), LABELS)
    assert [(pane.kind, pane.run) for pane in made] == [
        ("image", None), ("truth", None), ("prediction", 0), ("errors", 0), ("prediction", 1), ("errors", 1),
    ]  # fmt: skip
    np.testing.assert_array_equal(decoded(made[1].uri), LABELS.to_colours(case().truth))
    np.testing.assert_array_equal(decoded(made[4].uri), LABELS.to_colours(case().predictions[1]))
    boundary, missed = KIND_COLOURS[0], KIND_COLOURS[1]
    first, second = decoded(made[3].uri), decoded(made[5].uri)
    assert first[80, 90].tolist() == list(missed), "the middle of an object that was not found"
    assert first[80, 61].tolist() == list(boundary)
    assert second[49, 90].tolist() == list(boundary)
    assert first[5, 5].min() > 190, "right is pale"


def test_panes_shrink_together_until_they_fit() -> None:
    whole, small = case_panes(case(), LABELS), case_panes(case(), LABELS, most=20_000)
    assert sum(len(pane.uri) for pane in small) * 3 / 4 <= 20_000 < sum(len(pane.uri) for pane in whole) * 3 / 4
    shapes = {decoded(pane.uri).shape for pane in small}
    assert len(shapes) == 1
    assert shapes != {(200, 300, 3)}
    assert case_panes(case(), LABELS, most=10)[0].uri, "an impossible wish ends too"


@pytest.mark.parametrize("size, sharp", [(48, True), (400, False)])
def test_small_label_maps_stay_sharp_when_enlarged(size: int, sharp: bool) -> None:
    flat = np.zeros((size, size), np.uint8)
    made = case_panes(ImageCase("c", np.zeros((size, size, 1), np.uint8), flat, [flat], [1.0]), LABELS)
    assert [pane.sharp for pane in made] == [False, sharp, sharp, sharp]


def test_predictions_that_are_no_class_are_black() -> None:
    truth = np.zeros((30, 30), np.uint8)
    made = case_panes(
        ImageCase("c", np.zeros((30, 30, 3), np.uint8), truth, [np.full((30, 30), 65534, np.uint16)], [0.0]), LABELS
    )
    assert not decoded(made[2].uri).any()


def test_class_maps_get_no_new_colours_and_photos_are_averaged() -> None:
    stripes = np.zeros((400, 400, 3), np.uint8)
    stripes[:, ::2] = 255
    assert len(np.unique(decoded(data_uri(stripes, 300, exact=True, png=10**6)))) == 2
    assert len(np.unique(decoded(data_uri(stripes, 300, exact=False, png=10**6)))) > 2
    assert data_uri(stripes, 300, exact=True, png=10).startswith("data:image/jpeg")
