from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atrous.errors import RecipeError
from atrous.train.recipe import Recipe

SMALL = {
    "atrous": "0", "data": "d", "fingerprint": "f", "train_images": 3, "model": "unet", "in_channels": 3,
    "mean": (0.1, 2.0, 3.0), "std": (1.0, 1.0, 1e-6), "crop": (32, 64), "lr": 1e-3, "batch": 2, "steps": 5,
}  # fmt: skip


@settings(max_examples=60)
@given(data=st.text(), lr=st.floats(1e-12, 1e6), clip=st.floats(0, 5), width=st.integers())
def test_round_trip(tmp_path_factory: pytest.TempPathFactory, data: str, lr: float, clip: float, width: int) -> None:
    path = tmp_path_factory.mktemp("recipe") / "recipe.toml"
    options = {"skips": [width, 8], "base": "u net", "base_options": {"width": width, "aux": False}}
    changed = {"data": data.encode("utf-8", "ignore").decode(), "lr": lr, "clip": clip, "options": options}
    recipe = Recipe(**{**SMALL, **changed})
    recipe.save(path)
    assert Recipe.load(path) == recipe


def test_unknown_key_offers_the_nearest(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    Recipe(**SMALL).save(path)
    path.write_text(path.read_text().replace("batch =", "bacth ="))
    with pytest.raises(RecipeError, match=r"'bacth'.*did you mean 'batch'"):
        Recipe.load(path)


@pytest.mark.parametrize("text", ["batch = ", "\xff", "batch = -1"])
def test_a_broken_file_is_one_sentence(tmp_path: Path, text: str) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(RecipeError, match=str(path)):
        Recipe.load(path)


def test_options_are_no_second_place_for_a_key() -> None:
    recipe = Recipe(**{**SMALL, "encoder": "resnet18", "options": {"stride": 8}})
    assert recipe.model_options() == {"in_channels": 3, "encoder": "resnet18", "stride": 8}
    with pytest.raises(RecipeError, match="'encoder' is not for options"):
        Recipe.checked("wishes", **{**SMALL, "options": {"encoder": "resnet18"}})
