"""One torch thread (28 times faster on small networks than two), no network, a user cache that is thrown away.

OpenMP's threads that have no work spin for a short while only. By default they spin for long, and where two processes
share two cores each then takes the other's time. OpenMP reads the number when torch loads it.
"""

import os
from collections.abc import Iterator
from itertools import count
from pathlib import Path

os.environ.setdefault("GOMP_SPINCOUNT", "3000")

import pytest
import torch

torch.set_num_threads(1)
os.environ["HF_HUB_OFFLINE"] = "1"


KERNELS = ("compat", "ops", "refine")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The tests of kernels come first, so that one of two processes compiles them and the other one finds them made."""
    items.sort(key=lambda item: item.path.parent.name not in KERNELS)


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """(data, run): a finished run of eight steps, made once. A test that changes either works on a copy."""
    from runs import fit
    from worlds import make_world

    root = tmp_path_factory.mktemp("trained")
    world = make_world(root / "world")
    fit(world, root / "run")
    return world, root / "run"


@pytest.fixture(scope="session")
def caches(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Paths for folders; `mktemp` would look through all that exist, for each of thousands of tests."""
    folder = tmp_path_factory.mktemp("caches")
    return (folder / str(number) for number in count())


@pytest.fixture(autouse=True)
def user_cache(caches: Iterator[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """Measured choices and downloads of a test stay in the test's own folder."""
    folder = next(caches)
    folder.mkdir()
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
