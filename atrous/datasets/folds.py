"""k-fold cross-validation: every picture validates once a network that has not seen it."""

from dataclasses import replace

from atrous.datasets.dataset import DataSet, name_hash
from atrous.errors import DataError


def fold_of(data: DataSet, fold: int, folds: int) -> DataSet:
    """Make one fold of a data set: `val` is the fold, `train` is the rest of train and val.

    The pictures are dealt out in the order of the SHA-256 of their names. So the names alone
    decide, and the folds differ by at most one picture.

    Args:
        data: The data set; its `test` stays as it is.
        fold: 1 to `folds`.
        folds: The number of folds, 2 or more.

    Returns:
        The data set with its new `train` and `val`.

    Raises:
        DataError: There are fewer pictures than folds, or fewer than two folds.
    """
    train, val = data.training, data.splits.get("val")
    pool = [*train.pairs, *(val.pairs if val is not None else ())]
    if len(pool) < 2:
        raise DataError(f"{data.root}: one training picture; folds need two or more, train without them")
    if not 2 <= folds <= len(pool):
        raise DataError(
            f"{data.root}: {folds} folds cannot be made from {len(pool)} training pictures; "
            f"expected 2 to {len(pool)} folds"
        )
    order = sorted(pool, key=lambda pair: (name_hash(pair.image), str(pair.image)))
    held = {id(pair) for pair in order[fold - 1 :: folds]}
    parts = {
        "train": train._of([pair for pair in pool if id(pair) not in held]),
        "val": train._of([pair for pair in pool if id(pair) in held]),
    }
    rest = {name: pairs for name, pairs in data.splits.items() if name not in (*parts, "all")}
    return replace(data, splits={**parts, **rest}, held_out=False)
