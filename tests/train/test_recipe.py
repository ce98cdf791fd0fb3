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
    options = {"units": [width, 8], "base": "u net", "base_options": {"width": width, "aux": False}}
    changed = {"data": data.encode("utf-8", "ignore").decode(), "lr": lr, "clip": clip, "options": options}
    recipe = Recipe(**{**SMALL, **changed})
    recipe.save(path)
    assert Recipe.load(path) == recipe


@settings(max_examples=60)
@given(
    options=st.dictionaries(
        st.text(alphabet=st.characters(codec="utf-8"), min_size=1).filter(
            lambda key: key not in ("classes", "encoder", "in_channels", "pretrained")
        ),
        st.recursive(
            st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(st.characters(codec="utf-8")),
            lambda inside: (
                st.lists(inside, max_size=3) | st.dictionaries(st.sampled_from("ab c.\n"), inside, max_size=3)
            ),
            max_leaves=8,
        ),
        max_size=4,
    )
)
def test_options_of_any_kind_come_back(tmp_path_factory: pytest.TempPathFactory, options: dict[str, object]) -> None:
    path = tmp_path_factory.mktemp("options") / "recipe.toml"
    recipe = Recipe(**SMALL, options=options)
    recipe.save(path)
    assert Recipe.load(path) == recipe
    assert Recipe.load(path).options == options


def test_a_file_of_before_is_read_as_it_was(tmp_path: Path) -> None:
    """The form in which 0.1 wrote recipes: options line by line, tables in braces."""
    path = tmp_path / "recipe.toml"
    Recipe(**SMALL).save(path)
    path.write_text(
        path.read_text() + 'options."skips" = [16, 8]\noptions."base_options" = {"width" = 3, "aux" = false}\n'
        'init = "r\\u00e9sum\\u00e9 \\u007f.safetensors"\nchannels = [8, 4]\n'
    )
    recipe = Recipe.load(path)
    assert recipe.options == {"joined": [16, 8], "base_options": {"width": 3, "aux": False}}
    assert (recipe.init, recipe.channels) == ("résumé \x7f.safetensors", (8, 4))


def test_lists_stand_on_one_line_and_options_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    Recipe(**SMALL, options={"name": "[\n1,\n]", "skips": [16, [8, 4]]}).save(path)
    lines = path.read_text().splitlines()
    assert lines[0] == "# atrous recipe: written before step 1, only read on resume."
    assert {"crop = [32, 64]", "mean = [0.1, 2.0, 3.0]"} <= set(lines)
    assert lines[-3:] == ["[options]", r'name = "[\n1,\n]"', "skips = [16, [8, 4]]"]


def test_options_that_no_file_can_hold_are_refused() -> None:
    assert Recipe(**SMALL, options={"aux": None, "width": 2}).options == {"width": 2}
    for value in ([None], {"a": None}, object(), 1j):
        with pytest.raises(RecipeError, match=r"wishes: key 'options' does not fit a recipe.*numbers, texts"):
            Recipe.checked("wishes", **SMALL, options={"width": value})


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


@pytest.mark.parametrize("wrong, told", [
    ({"flip": 3}, r"wishes: key 'flip' does not fit a recipe; Input should be less than or equal to 1, got 3$"),
    ({"channels": [8, 0]}, r"wishes: key 'channels\.1' does not fit .* greater than 0, got 0$"),
    ({"aux_weight": [0.4, -1]}, r"wishes: key 'aux_weight(\.1)?' does not fit"),
    ({"compile": "maybe"}, r"wishes: key 'compile' does not fit .*got 'maybe'$"),
    ({"lr": float("nan")}, r"key 'lr' does not fit"),
    ({"elastic": float("inf")}, r"key 'elastic' does not fit .* finite number, got inf$"),
    ({"scale": (2, 1)}, r"key 'scale' does not fit a recipe; the smaller factor comes first, got \[2.0, 1.0\]"),
    ({"fold": (4, 3)}, r"key 'fold' does not fit a recipe; there is no fold 4 of 3; .* from 1 to 3"),
    ({"options": {"encoder": "resnet18"}}, r"key 'options' does not fit a recipe; 'encoder' is not for options"),
    ({"cutmix": 0.6, "mosaic": 0.6}, r"^wishes: cutmix=0.6 and mosaic=0.6 .* at most 1$"),
    ({"accumulate": 3}, r"^wishes: accumulate=3 parts cannot be made of batch=2 images$"),
    ({"freeze_steps": 3}, r"^wishes: freeze_steps without freeze"),
])  # fmt: skip
def test_a_value_out_of_bounds_is_one_sentence(wrong: dict[str, object], told: str) -> None:
    with pytest.raises(RecipeError, match=told) as error:
        Recipe.checked("wishes", **{**SMALL, **wrong})
    assert "Value error" not in str(error.value)


def test_an_empty_list_of_class_weights_is_a_decision(tmp_path: Path) -> None:
    path = tmp_path / "part.toml"
    path.write_text("class_weights = []\nscale = [1, 1]\nseed = 18446744073709551615\n")
    assert Recipe.decided(path) == {"class_weights": (), "scale": (1.0, 1.0), "seed": 2**64 - 1}


def test_a_recipe_of_another_encoding_is_named(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_bytes('model = "unet" # \u72d7'.encode("gbk"))
    with pytest.raises(RecipeError, match=r"recipe\.toml: is not UTF-8; save it as UTF-8$"):
        Recipe.load(path)
