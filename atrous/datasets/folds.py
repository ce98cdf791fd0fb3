"""k-fold cross-validation: every training picture is validated once, by a network that has not seen it."""

from dataclasses import replace
from hashlib import sha256

from atrous.datasets.pairs import DataSet
from atrous.errors import DataError


def fold_of(data: DataSet, fold: int, folds: int) -> DataSet:
    """The data with fold `fold` (from 1 on) of `folds` as `val` and all other pictures of train and val as `train`.

    Pictures are dealt out by the SHA-256 of their names: which fold one is in depends on the names alone, and folds
    differ by one picture at most. `test` stays as it is. Raises DataError where there are fewer pictures than folds.
    """
    train, val = data.splits["train"], data.splits.get("val")
    pool = [*train.pairs, *(val.pairs if val is not None else ())]
    if not 2 <= folds <= len(pool):
        raise DataError(f"{data.root}: has {len(pool)} pictures to train on, from which {folds} folds cannot be made; "
                        f"expected 2 to {len(pool)}")  # fmt: skip
    order = sorted(pool, key=lambda pair: (sha256(pair.image.stem.encode()).hexdigest(), str(pair.image)))
    held = {id(pair) for pair in order[fold - 1 :: folds]}
    parts = {
        "train": train._of([pair for pair in pool if id(pair) not in held]),
        "val": train._of([pair for pair in pool if id(pair) in held]),
    }
    rest = {name: pairs for name, pairs in data.splits.items() if name not in parts}
    return replace(data, splits={**parts, **rest}, held_out=False)
