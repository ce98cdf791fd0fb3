"""What `--tidy` asks for: steps by name, applied in order, through the predictor and the command line."""

import doctest
from pathlib import Path

import numpy as np
import pytest
from command_line import SMALL, run
from PIL import Image
from worlds import make_world

from atrous.errors import ModelError
from atrous.io import ArrayPicture
from atrous.predict.loading import load_predictor
from atrous.refine import tidying
from atrous.refine.tidying import parse_tidying

NAMES = ["ground", "disc", "bar"]


def test_example() -> None:
    assert doctest.testmod(tidying) == (0, 1)


def test_steps_follow_one_another() -> None:
    labels = np.array([[1, 1, 1, 0, 2], [1, 0, 1, 0, 0], [1, 1, 1, 0, 1]])
    (small,) = parse_tidying(["minimum_size=2"], NAMES)
    assert small(labels).tolist() == [[1, 1, 1, 0, 0], [1, 1, 1, 0, 0], [1, 1, 1, 0, 0]]
    (largest,) = parse_tidying(["keep_largest=disc"], NAMES)
    assert largest(labels).tolist() == [[1, 1, 1, 0, 2], [1, 0, 1, 0, 0], [1, 1, 1, 0, 0]]
    (holes,) = parse_tidying(["fill_holes=disc,bar"], NAMES)
    assert holes(labels).tolist() == [[1, 1, 1, 0, 2], [1, 1, 1, 0, 0], [1, 1, 1, 0, 1]]


@pytest.mark.parametrize(
    "text, said",
    [
        ("open", "unknown step 'open'"),
        ("keep_larges=disc", "did you mean 'keep_largest'"),
        ("minimum_size", "a number of pixels"),
        ("minimum_size=0", "a number of pixels"),
        ("minimum_size=many", "a number of pixels"),
        ("keep_largest", "name the classes"),
        ("fill_holes=,", "name the classes"),
        ("fill_holes=disk", "there is no class 'disk'"),
    ],
)
def test_what_cannot_be_is_said(text: str, said: str) -> None:
    with pytest.raises(ModelError, match=said):
        parse_tidying([text], NAMES)


def test_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    world, folder = make_world(tmp_path / "world"), tmp_path / "run"
    assert run("train", world, "-o", folder, *SMALL) == 0
    pictures, plain, tidy = world / "test" / "images", tmp_path / "plain", tmp_path / "tidy"
    assert run("predict", pictures, "--model", folder, "-o", plain, "--backend", "torch") == 0
    asked = ["--tidy", "minimum_size=40"]
    assert run("predict", pictures, "--model", folder, "-o", tidy, "--backend", "torch", *asked) == 0
    (step,) = parse_tidying(asked[1:], NAMES)
    changed = 0
    for path in sorted(plain.glob("*.png")):
        before, after = np.array(Image.open(path)), np.array(Image.open(tidy / path.name))
        np.testing.assert_array_equal(after, step(before))
        changed += (before != after).sum()
    assert changed, "this network leaves islands"
    assert run("eval", folder, world, *asked) == 0
    assert run("eval", plain, world, *asked) == 2
    assert "--tidy" in capsys.readouterr().err
    with pytest.raises(ModelError, match="row by row"):
        next(load_predictor(folder, tidy=("minimum_size=4",)).bands(ArrayPicture(np.zeros((8, 8, 3), np.uint8))))
