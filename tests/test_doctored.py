"""Whatever is read back goes through a schema: what was doctored is refused in one sentence, and never used."""

import json
import os
import random
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from atrous.bundle import Card, load_bundle, save_bundle
from atrous.errors import AtrousError
from atrous.labels import LabelSet
from atrous.models import build_model
from atrous.predict.backends.exported import read_about
from atrous.predict.loading import load_network
from atrous.train.recipe import Recipe

OPTIONS = {"encoder": "test_resnet", "in_channels": 1}
CARD = Card("unet", OPTIONS, LabelSet(("sea", "land")), (3.0,), (2.0,), metrics={"val": {"miou": 0.5}})
HELD = json.loads(CARD.to_json())
ABOUT = {"output": "logits", "smallest": 1, "classes": ["sea", "land"], "card": HELD,
         "tail": {"scale": None, "shift": 0, "crop": None, "align_corners": False}}  # fmt: skip
DEEP = "[" * 100_000 + "]" * 100_000


def changed(document: dict[str, Any], key: str, value: object) -> str:
    """The document as JSON with another value at a dotted key."""
    whole = json.loads(json.dumps(document))
    *way, last = key.split(".")
    place = whole
    for part in way:
        place = place[part]
    place[last] = value
    return json.dumps(whole)


CARDS: list[tuple[str, object, str]] = [
    ("mean", ["a"], "mean"), ("mean", [], "mean has 0"), ("mean", [1, 2, 3], "mean has 3"), ("mean", None, "mean"),
    ("mean", [float("nan")], "mean"), ("mean", [float("inf")], "mean"), ("mean", [1e300], "mean"), ("mean", 3, "mean"),
    ("mean", [True], "mean"), ("std", [0], "std"), ("std", [-1], "std"), ("std", [float("nan")], "std"),
    ("std", [1e-300], "std"), ("std", [1.0, 1.0], "std has 2"), ("std", ["1"], "std"), ("dtype", "complex64", "dtype"),
    ("dtype", "int32", "dtype"), ("dtype", None, "dtype"), ("model", 3, "model"), ("model", "unet9", "unet9"),
    ("options", None, "options"), ("options", [], "options"), ("options", {"classes": 3, "in_channels": 1}, "classes"),
    ("options.pretrained", True, "pretrained"), ("options.pretrained", "/etc/passwd", "pretrained"),
    ("options.more", {"pretrained": True}, "pretrained"), ("options.encoder", "hf-hub:a/b", "encoder"),
    ("options.encoder", "/etc/passwd", "encoder"), ("options.in_channels", "1", "in_channels"),
    ("options.in_channels", 10**30, "in_channels"), ("options.other", 1, "other"), ("options.channels", 3, "channels"),
    ("options.channels", [10**6, 10**6, 10**6, 10**6, 10**6], "do not fit"), ("labels", [], "labels"),
    ("labels", {}, "labels"), ("labels.names", "ab", "names"), ("labels.names", [1, 2], "called 1"),
    ("labels.names", ["sea", "sea"], "values 0 and 1"), ("labels.names", ["sea"], "as many"),
    ("labels.colours", [[1, 2], [3, 4]], "color"), ("labels.colours", [[-1, 0, 0], [0, 0, 0]], "color"),
    ("labels.colours", [[999, 0, 0], [0, 0, 0]], "color"), ("labels.colours", [[0.5, 0, 0], [0, 0, 0]], "color"),
    ("labels.colours", ["abc", "def"], "color"), ("labels.values", [0, 0], "share"), ("labels.values", [0, 1.7], "1.7"),
    ("labels.values", ["0", "1"], "whole"), ("labels.values", [0, 10**30], "65535"), ("labels.ignore", [2.5], "2.5"),
    ("labels.ignore", "abc", "list"), ("labels.ignore", None, "list"), ("labels.mode", "evil", "evil"),
    ("layer", "crfrnn", "layer"), ("layer", {"iterations": 3}, "layer"), ("layer", {"name": "x"}, "'x'"),
    ("layer", {"name": "crfrnn", "iterations": [5, 10**9]}, "iterations"),
    ("layer", {"name": "crfrnn", "iterations": []}, "iterations is"),
    ("layer", {"name": "crfrnn", "iterations": [5]}, "iterations is"),
    ("layer", {"name": "crfrnn", "iterations": [5, 5, 5]}, "iterations is"), ("layer", {"name": []}, "layer|card"),
    ("layer", {"name": "crfrnn", "mean": [1]}, "layer"), ("layer", {"name": "convcrf", "window": 10**9}, "window"),
    ("layer", {"name": "crfrnn", "bilateral": [160, 0, 5]}, "bilateral"), ("metrics", [], "metrics"),
    ("recipe", 3, "recipe"), ("decoding", [], "decoding"), ("decoding", {"offsets": {}}, "vector|temperature"),
    ("refinement", {"use": True}, "name"), ("refinement", 1, "refinement"), ("sources", "abc", "sources"),
    ("seen", [1], "seen"), ("data", {}, "data"), ("licence", None, "licence"), ("format", 99, "format"),
    ("format", "1", "format"), ("format", -1, "format"), ("training", [], "training"),
]  # fmt: skip
TEXTS = [DEEP, "[]", "3", "null", "", "{", '{"model": "unet", "model": "fcn"}', f'{{"options": {DEEP}}}']
ABOUTS: list[tuple[str, object, str]] = [
    ("card", None, "card"), ("card.mean", None, "mean"), ("output", "evil", "output"), ("tail", None, "tail"),
    ("smallest", "x", "smallest"), ("smallest", -1, "smallest"), ("tail.scale", 10**9, "scale"),
    ("tail.crop", [1], "crop"), ("tail.crop", [-1, 0], "crop"), ("tail.align_corners", "x", "align_corners"),
    ("classes", 3, "classes"), ("classes", ["sea", "sky"], "classes"), ("card.labels.colours", [[-1, 0, 0]] * 2, "-1"),
]  # fmt: skip
CLASS = '[[class]]\nname = "a"\n'
CLASSES = [
    CLASS + "value = inf", CLASS + "value = 1.7", CLASS + 'value = "1"', CLASS + "value = true", CLASS + "value = -1",
    CLASS + "value = 70000", CLASS + 'color = "abc"', CLASS + "color = [[1], [2], [3]]", CLASS + "color = [inf, 0, 0]",
    CLASS + "color = [-1, 0, 0]", CLASS + "color = [999, 0, 0]", CLASS + "color = [0.5, 0, 0]", CLASS + CLASS,
    "ignore = [[1]]\n" + CLASS, 'ignore = "abc"\n' + CLASS, "ignore = [2.5]\n" + CLASS, "ignore = 3\n" + CLASS,
    'mode = "x"\n' + CLASS, "mode = 1\n" + CLASS, "class = [1]", "class = {}", '[[class]]\nname = ["a"]',
    "[[class]]\nname = 3", "a = " + DEEP, "a." * 20_000 + "b = 1", "'a' . " * 20_000 + "b = 1", "a = " + "9" * 5000,
]  # fmt: skip
RECIPES = [
    "scale = [1e9, 1e9]", "scale = [1e-9, 1.0]", "blur = 1e9", "seed = 1" + "0" * 40, "elastic = 1e9", "lr = inf",
    "lr = nan", "lr = 0.0", "lr = 1e300", "class_weights = [-1.0, 1.0]", "class_weights = [0.0, 0.0]",
    "class_weights = [nan, 1.0]", "power = inf", "power = 1e9", "std = [0.0]", "std = [nan]",
    "std = [1e300]", "mean = [1.0, 2.0]\nstd = [1.0]", "aux_weight = nan", "aux_weight = [nan]", "aux_weight = 1e30",
    "noise = 1e300", "clip = inf", "crop = [1000000000, 1]", "channels = [1000000000]", "steps = 1" + "0" * 20,
    "distil_weight = inf", "weight_decay = 1e300", "in_channels = 1" + "0" * 20, "time = inf", "lr = " + DEEP,
    "a." * 20_000 + "b = 1",
]  # fmt: skip


def refuses(call: Callable[[], object], name: str, words: str = ".") -> None:
    """The call raises an AtrousError of one short sentence that names the file."""
    with pytest.raises(AtrousError, match=words) as caught:
        call()
    text = str(caught.value)
    assert name in text
    assert "\n" not in text
    assert len(text) < 1500


@pytest.fixture(scope="module")
def tensors() -> dict[str, torch.Tensor]:
    return build_model("unet", 2, **OPTIONS).state_dict()


def load(folder: Path, tensors: dict[str, torch.Tensor], card: str) -> object:
    path = folder / "model.safetensors"
    save_file(tensors, path, metadata={"atrous": card})
    return load_bundle(path)


@pytest.mark.parametrize("key, value, words", CARDS)
def test_a_doctored_card(tmp_path: Path, tensors: dict[str, torch.Tensor], key: str, value: object, words: str) -> None:
    refuses(lambda: load(tmp_path, tensors, changed(HELD, key, value)), "model.safetensors", words)


@pytest.mark.parametrize("number", range(len(TEXTS)))
def test_a_card_that_is_none(tmp_path: Path, number: int) -> None:
    refuses(lambda: load(tmp_path, {"x": torch.zeros(1)}, TEXTS[number]), "model.safetensors")
    refuses(lambda: read_about(TEXTS[number], tmp_path / "a.onnx"), "a.onnx")


@pytest.mark.parametrize("key, value, words", ABOUTS)
def test_doctored_metadata_of_an_exported_network(key: str, value: object, words: str) -> None:
    assert read_about(json.dumps(ABOUT), Path("a.onnx"))[1] == CARD
    refuses(lambda: read_about(changed(ABOUT, key, value), Path("a.onnx")), "a.onnx", words)


@pytest.mark.parametrize("number", range(len(CLASSES)))
def test_a_doctored_classes_file(tmp_path: Path, number: int) -> None:
    (tmp_path / "classes.toml").write_text(CLASSES[number])
    refuses(lambda: LabelSet.from_toml(tmp_path / "classes.toml"), "classes.toml")


@pytest.mark.parametrize("number", range(len(RECIPES)))
def test_a_doctored_recipe(tmp_path: Path, number: int) -> None:
    (tmp_path / "recipe.toml").write_text(RECIPES[number])
    refuses(lambda: Recipe.decided(tmp_path / "recipe.toml"), "recipe.toml")


def test_a_network_is_compared_with_its_file_before_it_takes_memory(
    tmp_path: Path, tensors: dict[str, torch.Tensor]
) -> None:
    """36 terabytes, and weights of another type."""
    wide = json.dumps({**HELD, "model": "fcn32s", "options": {"width": 10**6, "in_channels": 1}})
    refuses(lambda: load(tmp_path, tensors, wide), "model.safetensors", "fcn32s")
    whole = {name: tensor.int() for name, tensor in tensors.items()}
    refuses(lambda: load(tmp_path, whole, CARD.to_json()), "model.safetensors", "int32; unet expects numbers with")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes")
def test_a_pipe_and_a_device_do_not_hang(tmp_path: Path) -> None:
    for name in ("model.safetensors", "classes.toml", "recipe.toml"):
        os.mkfifo(tmp_path / name)
    (tmp_path / "zero.toml").symlink_to("/dev/zero")
    refuses(lambda: load_network(tmp_path), "model.safetensors", "a pipe or a device")
    refuses(lambda: LabelSet.from_toml(tmp_path / "classes.toml"), "classes.toml", "a pipe or a device")
    refuses(lambda: LabelSet.from_toml(tmp_path / "zero.toml"), "zero.toml", "a pipe or a device")
    refuses(lambda: Recipe.load(tmp_path / "recipe.toml"), "recipe.toml", "a pipe or a device")


HOSTILE: list[Any] = [
    None, True, -1, 0, 1.7, 10**30, -(10**19), float("nan"), float("inf"), 1e308, 1e-320, "", "x", "9" * 5000,
    "/etc/passwd", "a\0b", "\u202e", [], [[]], [None], [[1], [2]], {}, {"a": 1}, {"pretrained": True},
]  # fmt: skip


def places(value: Any, way: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [way, *(place for key, one in inner for place in places(one, (*way, key)))]


def put(value: Any, way: tuple[Any, ...], new: object) -> Any:
    if not way:
        return new
    value[way[0]] = put(value[way[0]], way[1:], new)
    return value


@pytest.mark.parametrize("count", [25, pytest.param(5000, marks=pytest.mark.torture)])
def test_random_doctoring_is_read_or_refused(tmp_path: Path, tensors: dict[str, torch.Tensor], count: int) -> None:
    rng = random.Random(7)
    for _ in range(count):
        about = json.loads(json.dumps(ABOUT))
        for _ in range(rng.randint(1, 2)):
            about = put(about, rng.choice(places(about)), rng.choice(HOSTILE))
        text = json.dumps(about)
        card = json.dumps(about["card"]) if isinstance(about, dict) and "card" in about else text
        for answer in (
            refusal(partial(read_about, text, Path("model.safetensors"))),
            refusal(partial(load, tmp_path, tensors, card)),
        ):
            assert answer is None or ("model.safetensors" in answer and "\n" not in answer), text


def refusal(call: Callable[[], object]) -> str | None:
    """What an AtrousError says; None where the call went well."""
    try:
        call()
    except AtrousError as error:
        return str(error)
    return None


def test_what_is_sound_stays(tmp_path: Path, tensors: dict[str, torch.Tensor]) -> None:
    """Keys of newer versions are dropped; those that 0.1 had not written may be missing."""
    old = {key: HELD[key] for key in ("model", "options", "labels", "mean", "std")}
    model, card = load(tmp_path, tensors, json.dumps({**old, "of tomorrow": [1]}))  # type: ignore[misc]
    assert card == Card("unet", OPTIONS, LabelSet(("sea", "land")), (3.0,), (2.0,))
    save_bundle(tmp_path / "again.safetensors", model, card)
    assert all(torch.equal(tensor, tensors[name]) for name, tensor in load_bundle(tmp_path / "again.safetensors")[0]
               .state_dict().items())  # fmt: skip
