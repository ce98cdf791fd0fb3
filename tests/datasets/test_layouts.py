"""Every layout is recognised, read as it was made, and converted without a change of a pixel."""

import pickle
from pathlib import Path

import make_layouts
import numpy as np
import pytest
from make_layouts import MAKERS

from atrous.datasets import LAYOUTS, open_dataset, read_folder
from atrous.datasets.convert import distinct_names, write_pairs
from atrous.datasets.folder import Pair
from atrous.errors import DataError
from atrous.io import read_mask
from atrous.labels import ADE150, CAMVID11, CITYSCAPES19, VOC21, LabelSet


@pytest.fixture(params=range(3), ids="draw {}".format)
def draw(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same trees with other masks and images."""
    monkeypatch.setattr(make_layouts, "DRAW", request.param)


@pytest.mark.usefixtures("draw")
@pytest.mark.parametrize("made", MAKERS)
def test_what_was_made_is_read(tmp_path: Path, made: str) -> None:
    layout, make = MAKERS[made]
    expected = make(tmp_path)
    folder = read_folder(tmp_path)
    assert folder.layout == layout
    assert len(folder.why.split()) > 3
    found = {pair.image.stem: folder.read_mask(pair) for pair in folder.pairs}
    assert set(found) == set(expected)
    for stem, mask in expected.items():
        np.testing.assert_array_equal(found[stem], mask, err_msg=stem)
        assert found[stem].dtype == np.uint8
    for pair in folder.pairs:
        assert folder.image_size(pair) == folder.read_image(pair).shape
        assert folder.image_size(pair)[:2] == folder.read_mask(pair).shape
        folder.labels and folder.labels.to_indices(folder.read_mask(pair))
    assert not [*folder.faults, *folder.clashes, *folder.lone_images, *folder.lone_masks, *folder.doubles]


@pytest.mark.usefixtures("draw")
@pytest.mark.parametrize("made", MAKERS)
def test_conversion_changes_no_pixel(tmp_path: Path, made: str) -> None:
    expected = MAKERS[made][1](tmp_path / "data")
    folder = read_folder(tmp_path / "data")
    calls: list[tuple[int, int]] = []
    out = write_pairs(folder, tmp_path / "new" / "out", lambda done, total: calls.append((done, total)))
    assert calls[-1] == (len(expected), len(expected))
    assert [path.name for path in out.parent.iterdir()] == ["out"], "the conversion left temporary files"
    plain = read_folder(out)
    plain.refuse_incomplete()
    assert plain.layout in ("pairs", "geotiff")
    assert {split: len(pairs) for split, pairs in plain.splits.items()} == {
        split: len(pairs) for split, pairs in folder.splits.items()
    }
    for split, pairs in folder.splits.items():
        by_stem = {pair.image.stem: pair for pair in plain.splits[split]}
        for pair, written in ((pair, by_stem[pair.image.stem]) for pair in pairs):
            np.testing.assert_array_equal(plain.read_mask(written), expected[pair.image.stem])
            np.testing.assert_array_equal(plain.read_image(written), folder.read_image(pair))
            if written.image.suffix != ".npy":
                assert written.image.read_bytes() == pair.image.read_bytes()
    if folder.labels:
        assert LabelSet.from_toml(out / "classes.toml") == folder.labels
    before, after = open_dataset(tmp_path / "data", holdout=0), open_dataset(out, holdout=0)
    assert after.labels == before.labels
    for split, samples in before.splits.items():
        by_stem = {sample.path.stem: sample for sample in after.splits[split]}
        for sample in samples:
            np.testing.assert_array_equal(by_stem[sample.path.stem].mask, sample.mask)
    with pytest.raises(DataError, match=r"out: exists already; expected a new folder"):
        write_pairs(folder, out)


@pytest.mark.parametrize("made", MAKERS)
def test_a_data_set_of_any_layout_goes_to_a_worker(tmp_path: Path, made: str) -> None:
    MAKERS[made][1](tmp_path)
    data = open_dataset(tmp_path)
    copy = pickle.loads(pickle.dumps(data))
    for split, samples in data.splits.items():
        np.testing.assert_array_equal(copy.splits[split][0].mask, samples[0].mask)


def test_every_layout_is_made_here() -> None:
    assert {layout for layout, _ in MAKERS.values()} | {"decathlon", "volumes"} == set(LAYOUTS)


def test_the_page_on_data_has_every_layout_in_its_order() -> None:
    page = (Path(__file__).parents[2] / "docs" / "data.md").read_text()
    rows = [line.split("`")[1] for line in page.splitlines() if line.startswith("| `")]
    assert rows == list(LAYOUTS)


@pytest.mark.parametrize(
    "made, labels",
    [
        ("voc", VOC21),
        ("cityscapes", CITYSCAPES19),
        ("ade20k", ADE150),
        ("camvid, colours", CAMVID11),
        ("camvid, index", CAMVID11),
        ("class_dict.csv", LabelSet(("road", "roof"), ((10, 20, 30), (200, 0, 0)))),
        ("coco", LabelSet(("background", "person", "plane", "brush"))),
        ("cvat", LabelSet(("background", "cat", "dog eared"), ((0, 0, 0), (250, 50, 83), (42, 125, 209)))),
        ("roboflow", LabelSet(("background", "cat", "dog"))),
        ("label studio", LabelSet(("background", "cat", "dog"))),
        ("labelme", LabelSet(("background", "cat", "dog"))),
        ("nnunet", LabelSet(("background", "cell"), ignore=(2,))),
        ("pairs", None),
    ],
)
def test_the_classes_are_those_of_the_layout(tmp_path: Path, made: str, labels: LabelSet | None) -> None:
    MAKERS[made][1](tmp_path)
    assert read_folder(tmp_path).labels == labels


@pytest.mark.parametrize(
    "made, splits",
    [
        ("voc", {"train": 2, "val": 1}),
        ("cityscapes", {"train": 2, "val": 1}),
        ("ade20k", {"train": 2, "val": 1}),
        ("camvid, index", {"train": 1, "val": 1, "test": 1}),
        ("coco", {"train": 2, "val": 2}),
        ("coco-stuff", {"train": 1, "val": 1}),
        ("roboflow", {"train": 1, "val": 1, "test": 1}),
        ("labelme", {"train": 1, "val": 1}),
        ("nnunet", {"train": 2, "test": 1}),
        ("cvat", {"all": 3}),
        ("label studio", {"all": 2}),
    ],
)
def test_the_splits_are_those_of_the_layout(tmp_path: Path, made: str, splits: dict[str, int]) -> None:
    MAKERS[made][1](tmp_path)
    found = {split: len(pairs) for split, pairs in read_folder(tmp_path).splits.items()}
    assert (found, list(found)) == (splits, list(splits))


def test_a_classes_file_has_the_last_word(tmp_path: Path) -> None:
    MAKERS["cvat"][1](tmp_path)
    text = 'ignore = [2]\n[[class]]\nname = "ground"\nvalue = 0\n[[class]]\nname = "animal"\nvalue = 1\n'
    (tmp_path / "classes.toml").write_text(text)
    data = open_dataset(tmp_path)
    assert (data.labels.names, data.labels.ignore) == (("ground", "animal"), (2,))


def test_a_folder_of_no_layout_is_told_what_each_would_need(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    with pytest.raises(DataError, match=r"holds photos\); expected images/ and masks/") as caught:
        read_folder(tmp_path)
    for name, layout in LAYOUTS.items():
        assert name == "pairs" or f"{name}: {layout.lacks}" in str(caught.value)


def test_a_conversion_that_fails_leaves_nothing(tmp_path: Path) -> None:
    MAKERS["voc"][1](tmp_path / "data")
    folder = read_folder(tmp_path / "data")
    mask = folder.pairs[1].mask
    mask.write_bytes(mask.read_bytes()[:-20])
    with pytest.raises(DataError, match=mask.name):
        write_pairs(folder, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


@pytest.mark.parametrize(
    "images, expected",
    [
        (["x/a.png", "x/b.png"], ["a", "b"]),
        (["x/a.png", "y/a.png", "y/b.png"], ["x_a", "y_a", "b"]),
        (["u/x/a.png", "v/x/a.png"], ["u_x_a", "v_x_a"]),
        (["x/a.png", "x/a.jpg"], ["a_png", "a_jpg"]),
        (["/a.png", "/x/a.png"], ["a", "x_a"]),
        (["/x/a.png", "/x/a.jpg", "/x/a_png.png"], ["x_a_png", "a_jpg", "x_a_png_2"]),
        (["a/x.png", "b/x.png", "../../b/x.png"], ["a_x", "b_x", "b_x_2"]),
        (["a/x.png", "b/X.png"], ["a_x", "b_X"]),
        (["a/\u00e9.png", "b/e\u0301.png"], ["a_\u00e9", "b_e\u0301"]),
        (["a.b.png"], ["a.b"]),
    ],
)
def test_names_stay_apart(images: list[str], expected: list[str]) -> None:
    assert distinct_names([Pair(Path(image), Path("m")) for image in images]) == expected


def test_geotiff_masks_keep_their_place(tmp_path: Path) -> None:
    MAKERS["geotiff"][1](tmp_path / "data")
    out = write_pairs(read_folder(tmp_path / "data"), tmp_path / "out")
    for mask in (tmp_path / "data" / "masks").iterdir():
        assert (out / "masks" / mask.name).read_bytes() == mask.read_bytes()


def test_masks_of_a_conversion_have_the_palette(tmp_path: Path) -> None:
    from PIL import Image

    MAKERS["cvat"][1](tmp_path / "data")
    out = write_pairs(read_folder(tmp_path / "data"), tmp_path / "out")
    with Image.open(out / "masks" / "a.png") as picture:
        assert picture.mode == "P"
        assert picture.getpalette()[:9] == [0, 0, 0, 250, 50, 83, 42, 125, 209]
    assert read_mask(out / "masks" / "b.png").max() == 2
