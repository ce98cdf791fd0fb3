"""What an editor and mypy see of atrous: a user's script is clean, a user's mistakes are marked."""

import subprocess
import sys
import typing
from dataclasses import fields
from inspect import signature
from pathlib import Path

from atrous.models import MODELS, ModelName
from atrous.predict import Cutting, Predictor
from atrous.predict.predictor import PredictorOptions
from atrous.predict.windows import CuttingOptions
from atrous.train.options import RecipeOptions
from atrous.train.recipe import FROM_DATA, Recipe

ROOT = Path(__file__).parents[1]

SCRIPT = """
from pathlib import Path

import numpy as np
import torch

import atrous
from atrous import LabelSet, Prediction, Segmenter


def biggest(prediction: Prediction) -> str:
    areas: dict[str, float] = prediction.areas()
    return max(areas, key=lambda name: areas[name])


def main(photos: list[Path]) -> None:
    segmenter: Segmenter = atrous.Segmenter("unet", encoder="resnet34", steps=100, lr=1e-3, crop=(256, 256))
    segmenter.fit("data/", "runs/mine", time=None, steps=100, workers=2)
    numbers = segmenter.score("data/", "val")
    print(numbers["miou"])
    loaded = atrous.load("runs/mine", device="cpu", window=512, flip=True)
    one: Prediction = loaded.predict(photos[0])
    many: list[Prediction] = loaded.predict(photos)
    labels: np.ndarray = one.labels
    print(biggest(one), labels.shape, len(many), one.overlay().size)
    one.save("out.png")
    names: tuple[str, ...] = loaded.labels.names
    classes = LabelSet(names)
    print(len(classes), atrous.list_models(), atrous.__version__)
    model = atrous.create_model("unet", classes=3, encoder="resnet18")
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    logits: torch.Tensor = model.eval()(torch.zeros(1, model.in_channels, 64, 64))
    print(logits.shape, model.classes, optimizer.defaults["lr"], atrous.describe_model("unet").options)
    up: torch.Tensor = atrous.ops.upsample_argmax(torch.zeros(1, 3, 4, 4), (8, 8))
    print(up.shape)


main([Path("road.jpg")])
"""

MISTAKES = {
    'atrous.Segmenter("unet", stpes=100)': "stpes",
    'atrous.Segmenter("unet", steps="100")': "steps",
    'atrous.load("runs/x", windw=3)': "windw",
    'atrous.load("runs/x").fit("data", times=3)': "times",
    "atrous.lod": "lod",
    'atrous.create_model("unett")': "unett",
    'atrous.create_model("unet", 3, 3)': "positional",
}


STRICT = """
[[tool.mypy.overrides]]
module = "script"
check_untyped_defs = true
disallow_any_generics = true
disallow_incomplete_defs = true
disallow_subclassing_any = true
disallow_untyped_calls = true
disallow_untyped_decorators = true
extra_checks = true
implicit_reexport = false
strict_equality = true
warn_return_any = true
"""
"""What `--strict` adds to the project's own settings, for the user's file alone: so mypy keeps what it read of the
package while linting, where this test would else read all of it again (40 s)."""


def mypy(tmp_path: Path, text: str) -> str:
    script, config = tmp_path / "script.py", tmp_path / "pyproject.toml"
    script.write_text(text)
    config.write_text((ROOT / "pyproject.toml").read_text() + STRICT)
    command = [sys.executable, "-m", "mypy", "--no-error-summary", "--config-file", str(config), str(script)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True).stdout


def test_a_users_script_is_clean_and_mistakes_are_marked(tmp_path: Path) -> None:
    assert mypy(tmp_path, SCRIPT) == ""
    wrong = mypy(tmp_path, "import atrous\n\n" + "\n".join(MISTAKES) + "\n")
    for line, word in enumerate(MISTAKES.values(), 3):
        assert any(f"script.py:{line}: error" in one and word in one for one in wrong.splitlines()), (line, wrong)


def test_options_in_signatures_are_those_that_exist() -> None:
    assert set(CuttingOptions.__annotations__) == {field.name for field in fields(Cutting)}
    own = set(signature(Predictor.__init__).parameters) - {"self", "model", "card", "device", "cutting"}
    assert set(PredictorOptions.__annotations__) == own | set(CuttingOptions.__annotations__)
    assert set(RecipeOptions.__annotations__) == set(Recipe.model_fields) - FROM_DATA - {"model", "encoder"}


def test_names_in_signatures_are_those_of_the_networks() -> None:
    assert set(typing.get_args(ModelName)) == set(MODELS)


def test_types_in_signatures_are_those_of_the_recipe() -> None:
    held, wished = typing.get_type_hints(Recipe), typing.get_type_hints(RecipeOptions)
    assert {name: held[name] for name in wished} == wished
