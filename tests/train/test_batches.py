from hashlib import sha256
from itertools import chain
from pathlib import Path

import pytest
from runs import recipe
from worlds import make_world

from atrous.datasets import open_dataset
from atrous.train.batches import batches, keys_of_step


def test_every_epoch_shows_every_picture_once() -> None:
    keys = list(chain.from_iterable(keys_of_step(step, 4, 6, seed=1) for step in range(6)))
    for epoch in range(4):
        assert sorted(index for e, index in keys if e == epoch) == list(range(6))
    assert [i for e, i in keys if e == 0] != [i for e, i in keys if e == 1]
    assert keys_of_step(3, 4, 6, seed=1) != keys_of_step(3, 4, 6, seed=2)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_batch_depends_on_seed_and_step_alone(tmp_path: Path, workers: int) -> None:
    pairs = open_dataset(make_world(tmp_path)).splits["train"]

    def digests(start: int, workers: int, seed: int = 0) -> list[str]:
        stream = batches(pairs, recipe(seed=seed), start, 5, workers=workers)
        return [sha256(images.numpy().tobytes() + labels.numpy().tobytes()).hexdigest() for images, labels, _ in stream]

    whole = digests(0, 0)
    assert digests(0, workers) == whole
    assert digests(3, workers) == whole[3:]
    assert digests(0, workers, seed=9) != whole
    images, labels, _ = next(batches(pairs, recipe(), 0, 1))
    assert tuple(images.shape) == (4, 3, 32, 48)
    assert tuple(labels.shape) == (4, 32, 48)
