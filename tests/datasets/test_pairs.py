"""Data sets of plain pairs: samples, splits, verification, cache, statistics."""

import pickle
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from make_pairs import make_pair, make_pairs
from PIL import Image

from atrous.datasets import DataSet, Pair, channel_statistics, open_dataset
from atrous.datasets import pairs as pairs_module
from atrous.datasets.dataset import hold_out
from atrous.errors import DataError
from atrous.io import read_mask
from atrous.labels import LabelSet


def with_splits(root: Path, train: int = 4, val: int = 2) -> Path:
    make_pairs(root / "train", train)
    make_pairs(root / "val", val, seed=1)
    return root


def test_samples_are_the_files_contents(tmp_path: Path) -> None:
    data = open_dataset(with_splits(tmp_path))
    assert (list(data.splits), data.channels, data.dtype, data.held_out) == (["train", "val"], 3, np.uint8, False)
    train = data.splits["train"]
    image, mask = make_pair(2)
    np.testing.assert_array_equal(train[2].image, image)
    np.testing.assert_array_equal(train[2].mask, mask)
    assert train[2].path == tmp_path / "train" / "images" / "p02.png"
    assert train.names == ["p00", "p01", "p02", "p03"]
    assert [sample.path.stem for sample in train[1:3]] == ["p01", "p02"]
    assert len(list(train)) == len(train) == 4
    with pytest.raises(ValueError):
        train[0].image[0, 0, 0] = 1


def test_mask_values_become_indices(tmp_path: Path) -> None:
    root = make_pairs(tmp_path, 3, classes=2)
    for path in (root / "masks").iterdir():
        Image.open(path).point(lambda value: value * 255).save(path)
    data = open_dataset(root, holdout=0)
    assert data.labels.values == (0, 255)
    np.testing.assert_array_equal(data.splits["all"][1].mask, make_pair(1, classes=2)[1])


def test_known_labels_are_taken_as_they_are(tmp_path: Path) -> None:
    labels = LabelSet(("a", "b", "c", "d"))
    assert open_dataset(with_splits(tmp_path), labels=labels).labels == labels


def test_a_share_is_held_out_by_name_alone(tmp_path: Path) -> None:
    root = make_pairs(tmp_path, 10)
    data = open_dataset(root)
    held = data.splits["val"].names
    assert (len(held), len(data.splits["train"]), data.held_out) == (2, 8, True)
    assert "2 of 10 training pairs are held out" in data.notes[-1]
    assert sorted(held + data.splits["train"].names) == [f"p{number:02}" for number in range(10)]
    assert open_dataset(root).splits["val"].names == held
    assert list(open_dataset(root, holdout=0).splits) == ["all"]


@pytest.mark.parametrize("count, share, held", [(2, 0.2, 1), (2, 0.99, 1), (10, 0.001, 1), (10, 0.5, 5), (3, 0.999, 2)])
def test_held_out_is_at_least_one_and_never_all(count: int, share: float, held: int) -> None:
    pairs = [Pair(Path(f"{number}.png"), Path(f"{number}.png")) for number in range(count)]
    kept, out = hold_out(pairs, share)
    assert len(out) == held
    assert sorted(kept + out, key=str) == sorted(pairs, key=str)
    reverse_kept, reverse_out = hold_out(pairs[::-1], share)
    assert (reverse_kept[::-1], reverse_out[::-1]) == (kept, out)


def test_a_single_pair_is_trained_on(tmp_path: Path) -> None:
    data = open_dataset(make_pairs(tmp_path / "one", 1))
    assert list(data.splits) == ["train"]
    assert data.notes[-1] == "one training pair: there is no validation"
    assert len(data.training) == 1
    whole = open_dataset(tmp_path / "one", holdout=0)
    assert whole.training is whole.splits["all"]


def test_splits_that_are_not_for_training_stay_whole(tmp_path: Path) -> None:
    for split in ("val", "test"):
        data = open_dataset(make_pairs(tmp_path / split / split, 3).parent)
        assert list(data.splits) == [split]
        with pytest.raises(DataError, match=f"has {split}, but nothing to train on; expected .* in train/"):
            data.training  # noqa: B018


def test_class_counts_come_from_the_check_not_from_a_second_reading(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = make_pairs(tmp_path / "data", 5)
    fresh = open_dataset(root, cache_mb=0)
    expected = fresh.training.frequencies()
    data = open_dataset(root, cache_mb=0)
    data.verify()
    monkeypatch.setattr("atrous.datasets.folder.read_mask", None)  # decoding again would fail
    assert data.training.frequencies().tolist() == expected.tolist()
    assert data.training.choose([0]).frequencies().sum() < expected.sum()


def test_a_good_data_set_verifies_once_and_is_cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = open_dataset(with_splits(tmp_path))
    seen: list[tuple[int, int]] = []
    data.verify(progress=lambda done, total: seen.append((done, total)))
    assert seen == [(done, 6) for done in range(1, 7)]
    monkeypatch.setattr(pairs_module, "read_valid", None)  # decoding again would fail
    assert all(sample.image.shape == (24, 32, 3) for pairs in data.splits.values() for sample in pairs)


@pytest.mark.parametrize(("cache_mb", "times"), [(1, 1), (0, 2)])
def test_masks_that_tell_the_classes_are_not_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache_mb: float, times: int
) -> None:
    root, read = make_pairs(tmp_path / "data", 5), Counter[str]()

    def counted(path: Path) -> np.ndarray:
        read[path.name] += 1
        return read_mask(path)

    monkeypatch.setattr("atrous.datasets.folder.read_mask", counted)
    data = open_dataset(root, cache_mb=cache_mb)
    data.verify()
    data.training.frequencies()
    assert set(read.values()) == {times}
    assert len(read) == 5


def test_the_cache_has_a_limit(tmp_path: Path) -> None:
    room_for_two = 2.5 * 24 * 32 * 4 / 2**20
    data = open_dataset(with_splits(tmp_path), cache_mb=room_for_two)
    train = data.splits["train"]
    assert [train[index] is train[index] for index in range(4)] == [True, True, False, False]
    np.testing.assert_array_equal(train[3].image, make_pair(3)[0])


def test_a_copy_for_another_process_works_and_is_small(tmp_path: Path) -> None:
    data = open_dataset(with_splits(tmp_path))
    before = len(pickle.dumps(data))
    data.verify()
    assert len(pickle.dumps(data)) == before
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(data)).splits["val"][0].mask, data.splits["val"][0].mask)


def break_size(root: Path) -> None:
    Image.fromarray(np.zeros((23, 32), np.uint8)).save(root / "val" / "masks" / "p01.png")


def break_channels(root: Path) -> None:
    Image.fromarray(np.zeros((24, 32), np.uint8)).save(root / "val" / "images" / "p01.png")


def break_value(root: Path) -> None:
    Image.fromarray(np.full((24, 32), 77, np.uint8)).save(root / "val" / "masks" / "p01.png")


def break_file(root: Path) -> None:
    path = root / "val" / "images" / "p01.png"
    path.write_bytes(path.read_bytes()[:-40])


@pytest.mark.parametrize(
    "damage, message",
    [
        (
            break_size,
            r"masks/p01.png: the mask is 23x32 pixels \(H x W\), its image p01.png is 24x32; expected equal sizes",
        ),
        (break_channels, r"images/p01.png: 1 channels of uint8, but the data set's first image has 3 of uint8"),
        (break_value, r"masks/p01.png: value 77 is out of range \(768 pixels.*--ignore 77"),
        (break_file, r"images/p01.png: damaged or incomplete picture"),
    ],
)
def test_damage_is_found_before_training(tmp_path: Path, damage: object, message: str) -> None:
    root = with_splits(tmp_path)
    data = open_dataset(root, cache_mb=0)
    damage(root)
    with pytest.raises(DataError, match=message) as caught:
        data.verify()
    assert "more of" not in str(caught.value)
    data.verify(["train"])


def test_the_first_file_is_named_and_the_others_are_counted(tmp_path: Path) -> None:
    data = open_dataset(with_splits(tmp_path, train=6), cache_mb=0)
    for number in (2, 4, 5):
        Image.fromarray(np.full((24, 32), 77, np.uint8)).save(tmp_path / "train" / "masks" / f"p{number:02}.png")
    with pytest.raises(DataError, match=r"p02.png: value 77 .*\(2 more of 8 pairs are unusable\)$"):
        data.verify()


@pytest.mark.parametrize("cached", [False, True])
def test_class_frequencies_leave_out_ignored_pixels(tmp_path: Path, cached: bool) -> None:
    root = with_splits(tmp_path)
    data: DataSet = open_dataset(root, ignore=[1])
    masks = np.concatenate([make_pair(number)[1].ravel() for number in range(4)])
    if cached:
        data.verify()
    frequencies = data.splits["train"].frequencies()
    assert frequencies.dtype == np.int64
    np.testing.assert_array_equal(frequencies, [(masks == 0).sum(), (masks == 2).sum()])


@pytest.mark.parametrize("channels, dtype", [(3, np.uint8), (1, np.uint16), (6, np.float32)])
def test_channel_statistics_equal_those_of_all_pixels(tmp_path: Path, channels: int, dtype: type) -> None:
    rng = np.random.default_rng(0)
    root = make_pairs(tmp_path, 3)
    images = [(rng.random((24, 32, channels)) * 200 + 30 * number).astype(dtype) for number in range(3)]
    for number, image in enumerate(images):
        (root / "images" / f"p{number:02}.png").unlink()
        np.save(root / "images" / f"p{number:02}.npy", image)
    pairs = open_dataset(root, holdout=0).splits["all"]
    pixels = np.concatenate([image.reshape(-1, channels) for image in images]).astype(np.float64)
    mean, deviation = channel_statistics(pairs)
    np.testing.assert_allclose(mean, pixels.mean(axis=0), rtol=1e-9)
    np.testing.assert_allclose(deviation, pixels.std(axis=0), rtol=1e-6)
    np.testing.assert_allclose(
        channel_statistics(pairs, limit=1)[0], images[0].mean(axis=(0, 1), dtype=np.float64), rtol=1e-9
    )


def test_a_split_is_verified_alone(tmp_path: Path) -> None:
    data = open_dataset(make_pairs(tmp_path / "data", 5), cache_mb=0)
    for pair in data.splits["train"].pairs:
        pair.mask.unlink()
    data.verify(["val"])
    with pytest.raises(DataError):
        data.verify(["train"])


def test_the_held_out_pairs_are_the_same_on_a_disk_that_stores_accents_apart() -> None:
    composed = [Pair(Path(f"im/\u00e9{k}.png"), Path("m.png")) for k in range(20)]
    apart = [Pair(Path(f"im/e\u0301{k}.png"), Path("m.png")) for k in range(20)]
    kept = [[pair.image.stem[-1:] for pair in hold_out(pairs, 0.3)[1]] for pairs in (composed, apart)]
    assert kept[0] == kept[1]
