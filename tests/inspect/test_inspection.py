"""The verb: the table, one JSON document, the pictures, and one sentence for what cannot be."""

import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest
import torch
from forms import build
from PIL import Image

from atrous.bundle import Card, save_bundle
from atrous.cli import main
from atrous.errors import ModelError
from atrous.inspect import inspect_model
from atrous.inspect.drawing import architecture
from atrous.inspect.picture import box_holding, scene
from atrous.inspect.text import amount, sides_text
from atrous.labels import LabelSet
from atrous.models import create_model

SMALL = ("--encoder", "test_resnet", "--size", "64", "96")


def run(*arguments: object) -> int:
    """Exit code of a command line."""
    with pytest.raises(SystemExit) as stop:
        main([str(argument) for argument in arguments])
    return stop.value.code or 0


def test_the_table_tells_what_the_network_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("inspect", "unet", *SMALL) == 0
    text = capsys.readouterr().out
    for part in (
        "encoder.net.layer4",
        "21 x 64 x 96",
        "295 x 295 pixels at most, 263 x 263 at least, by its phase within the strides",
        "12 of 12 fields agree",
        "output stride    32 at the coarsest map, 2 before the last resize",
        "any from 1 pixel on",
        "holds with a halo of 160 pixels before and 128 after, if tiles start at multiples of 32; the image's",
    ):
        assert part in text


def test_one_json_document(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("inspect", "deeplabv3", *SMALL, "--classes", "5", "--no-measure", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["model"] == "deeplabv3"
    assert found["options"] == {"encoder": "test_resnet", "classes": 5}
    assert found["size"] == [64, 96]
    assert found["classes"] == 5
    assert found["halo"]["exists"] is False
    assert found["halo"]["layer"] == "head.aspp.branches.4"
    assert found["stages"][0]["reach"]["largest"] == [11, 11]
    assert found["stages"][0]["checked"] is None
    assert found["refused"] == {}
    assert found["parameters"] == sum(
        p.numel() for p in create_model("deeplabv3", 5, encoder="test_resnet").parameters()
    )


def test_a_bundle_holds_its_own_network(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    labels = LabelSet(("a", "b"), ((0, 0, 0), (9, 9, 9)), (0, 1))
    card = Card("fcn", {"encoder": "test_resnet", "in_channels": 4}, labels, (0.0,) * 4, (1.0,) * 4)
    save_bundle(tmp_path / "model.safetensors", card.build(), card)
    for source in (tmp_path, tmp_path / "model.safetensors"):
        assert run("inspect", source, "--size", "64", "64", "--no-measure", "--json") == 0
        found = json.loads(capsys.readouterr().out)
        assert (found["classes"], found["channels"]) == (2, 4)
        assert found["reach"]["largest"] == [191, 191]
    assert run("inspect", tmp_path, "--classes", "3") == 2
    assert "is a trained network; leave out --classes" in capsys.readouterr().err


@pytest.mark.parametrize("arguments, words", [
    (["unett"], "unknown model 'unett'; did you mean 'unet'?"),
    (["unet", "--encoder", "resnet5o"], "unknown encoder"),
    (["unet2015", "--size", "64", "0"], "size 64 x 0 is not a size of an image"),
    (["unet2015", "--depth", "3"], "unet2015 takes images"),
    (["nowhere.safetensors"], "no such bundle or run folder"),
])  # fmt: skip
def test_mistakes_are_one_sentence(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("inspect", *arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert words in error


def test_strides_are_right_where_fields_fill_the_image() -> None:
    found = inspect_model(build("unet", {"encoder": "test_resnet"}), (64, 96), measure=False)
    assert [row.stride for row in found.stages] == [(s, s) for s in (2, 4, 4, 8, 16, 32, 16, 8, 4, 2, 2)]
    whole = inspect_model(build("pspnet", {}), (64, 96), measure=False)  # reads the whole image at any size
    rows = [row for row in whole.stages if len(row.shape) == 4 and row.shape[2] >= 8]
    assert len(rows) > 3
    assert [row.stride for row in rows] == [(64 / row.shape[2], 96 / row.shape[3]) for row in rows]


def test_volumes_have_three_sides(capsys: pytest.CaptureFixture[str]) -> None:
    model = build("vnet", {"left": (1, 1, 1), "right": (1, 1)})
    found = inspect_model(model, (8, 16, 24), measure=False)
    assert found.size == (8, 16, 24)
    assert len(found.reach.largest or ()) == 3
    with pytest.raises(ModelError, match="give its depth, height and width"):
        inspect_model(model, (16, 16))


def test_a_network_without_values_cannot_be_measured() -> None:
    with torch.device("meta"):
        model = create_model("unet2015", width=2)
    assert inspect_model(model, (64, 64), measure=False).reach.largest == (204, 204)
    with pytest.raises(ModelError, match="cannot be measured"):
        inspect_model(model, (64, 64))


def test_a_size_that_is_refused_is_told() -> None:
    class Picky(torch.nn.Module):
        in_channels = 1

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            if image.shape[2] < 7:
                raise ModelError("seven or more")
            return image

    found = inspect_model(Picky(), (8, 8), measure=False)
    assert found.refused == {1: "seven or more", 2: "seven or more"}
    with pytest.raises(ModelError, match="seven or more"):
        inspect_model(Picky(), (2, 2))


def test_plots(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("inspect", "unet", *SMALL, "--no-measure", "--plot", tmp_path / "new") == 0
    picture = np.asarray(Image.open(tmp_path / "new" / "receptive_field.png"))
    assert picture.shape[2] == 3
    assert picture.shape[1] == 96 * 7
    assert picture.shape[0] > 64 * 7
    root = ElementTree.parse(tmp_path / "new" / "architecture.svg").getroot()
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    text = capsys.readouterr().out
    assert str(tmp_path / "new" / "architecture.svg") in text


def test_every_skip_is_an_arrow() -> None:
    found = inspect_model(build("unet", {}), (64, 64), measure=False)
    names = {-1: "image", len(found.stages): "logits"} | {k: row.name for k, row in enumerate(found.stages)}
    edges = {(names[a], names[b]) for a, b in found.edges}
    skips = {
        (f"encoder.net.{a}", f"head.decoder.{b}")
        for a, b in (("layer3", 0), ("layer2", 1), ("layer1", 2), ("conv1", 3))
    }
    assert skips <= edges
    assert {("image", "encoder.net.conv1"), ("head.score", "logits")} <= edges
    assert len(edges) == len(found.stages) + 1 + len(skips)  # the chain and the skips, nothing else
    svg = architecture(found, "<unet>")
    assert svg.count("<path") == len(edges) + 1  # and the arrow's tip
    assert "&lt;unet&gt;" in svg
    assert "<unet>" not in svg


def test_the_scene_has_any_size_and_is_always_the_same() -> None:
    assert scene(7, 300).shape == (7, 300, 3)
    assert np.array_equal(scene(64, 96), scene(64, 96))
    assert scene(64, 96).std() > 20


def test_where_half_of_the_heat_is() -> None:
    heat = torch.zeros(21, 31)
    heat[10, 15], heat[8, 15], heat[10, 25] = 2.0, 2.0, 3.0
    assert box_holding(heat, (10, 15), 0.5) == ((8, 12), (13, 17))
    assert box_holding(heat, (10, 15), 1.0) == ((0, 20), (5, 25))


def test_amounts_and_sides() -> None:
    assert [amount(n) for n in (0, 999, 1000, 134_362_751, 999_600)] == ["0", "999", "1 k", "134 M", "1 M"]
    assert amount(1_640_000_000, "B") == "1.64 GB"
    assert sides_text((7, 7), True) == "7"
    assert sides_text((1, 3, 3), True) == "1x3x3"
    assert sides_text((64, 128)) == "64 x 128"
