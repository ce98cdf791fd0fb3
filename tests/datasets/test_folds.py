"""Folds: every picture is held out once; nothing here imports torch."""

from pathlib import Path

import pytest
from worlds import make_world

from atrous.datasets import open_dataset
from atrous.datasets.folds import fold_of
from atrous.errors import DataError


def test_every_picture_is_held_out_once_and_the_test_pictures_never(tmp_path: Path) -> None:
    data = open_dataset(make_world(tmp_path, train=7, val=3))
    every = sorted([*data.splits["train"].names, *data.splits["val"].names])
    parts = [fold_of(data, fold, 3) for fold in (1, 2, 3)]
    held = [part.splits["val"].names for part in parts]
    assert sorted(name for names in held for name in names) == every
    assert sorted(len(names) for names in held) == [3, 3, 4]
    for part in parts:
        assert sorted([*part.splits["train"].names, *part.splits["val"].names]) == every
        assert part.splits["test"].names == data.splits["test"].names
        assert part.splits["val"][0].mask is not None
    assert fold_of(data, 2, 3).splits["val"].names == held[1]


def test_folds_follow_from_names_alone_and_too_many_are_refused(tmp_path: Path) -> None:
    make_world(tmp_path, train=4, val=2)
    before = fold_of(open_dataset(tmp_path), 1, 2).splits["val"].names
    for kind in ("images", "masks"):  # val moves into train
        for path in (tmp_path / "val" / kind).iterdir():
            path.rename(tmp_path / "train" / kind / path.name)
        (tmp_path / "val" / kind).rmdir()
    (tmp_path / "val").rmdir()
    data = open_dataset(tmp_path)
    assert data.held_out
    assert sorted(fold_of(data, 1, 2).splits["val"].names) == sorted(before)
    for folds in (1, 7):
        with pytest.raises(DataError, match="expected 2 to 6"):
            fold_of(data, 1, folds)
