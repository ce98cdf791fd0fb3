"""A page that sees its images enlarged is that page between two resizes; training, bundles and starts know of it."""

from pathlib import Path
from typing import Any

import pytest
import torch
from worlds import make_world

from atrous.bundle import Card, load_bundle, save_bundle
from atrous.datasets import open_dataset
from atrous.errors import ModelError
from atrous.labels import CAMVID11
from atrous.models import create_model
from atrous.models.refined import Refined, page_of
from atrous.models.zoomed import Zoomed
from atrous.ops.resize import resize
from atrous.plan import draft
from atrous.train.loop import train
from atrous.train.optimizer import make_optimizer
from atrous.train.run import build

PLAIN = {"encoder": "test_resnet"}
PAGES: dict[str, dict[str, Any]] = {
    "deeplabv3": {**PLAIN, "aux": True},  # a plain tail
    "fcn8s": {"width": 4},  # a crop after the resize
    "deeplabv1": {"width": 4},  # corners aligned
    "unet2015": {"width": 4},  # no tail
    "hrnet_ocr": {"encoder": "hrnet_w18_small"},  # outputs without a switch
}
SMALL = {"batch": 2, "crop": (32, 32), "steps": 2, "pretrained": False, "precision": "fp32", "channels_last": False,
         "fused": False}  # fmt: skip


@pytest.mark.parametrize("name", PAGES)
@torch.no_grad()
def test_it_is_the_page_between_two_resizes(name: str) -> None:
    torch.manual_seed(0)
    model = create_model(name, 4, zoom=1.5, **PAGES[name]).eval()
    assert isinstance(model, Zoomed)
    page, image = model.model, torch.randn(2, 3, 64, 97)
    large = resize(image, (96, 146))
    low = page.logits_at_stride(large)
    plain = low is not None and low[1].crop is None and not low[1].align_corners
    expected = resize(low[0] if plain else page(large), (64, 97))
    torch.testing.assert_close(model(image), expected, rtol=0, atol=1e-5)
    logits, tail = model.logits_at_stride(image)
    assert torch.equal(tail.apply(logits), model(image))
    outputs, own = model.outputs(image), page.outputs(large) if hasattr(page, "outputs") else (page(large),)
    assert [one.shape for one in outputs] == [(2, 4, 64, 97)] * len(own)
    torch.testing.assert_close(outputs[-1], resize(own[-1], (64, 97)) if len(own) > 1 else model(image))


@pytest.mark.parametrize("zoom", [0.3, 1.5, 2, 2.7])
@pytest.mark.parametrize("size", [(1, 1), (5, 3), (33, 64)])
def test_any_size_and_factor(zoom: float, size: tuple[int, int]) -> None:
    model = create_model("fcn", 4, zoom=zoom, **PLAIN).eval()
    assert model(torch.randn(1, 3, *size)).shape == (1, 4, *size)


def test_no_zoom_is_the_page_itself() -> None:
    assert not isinstance(create_model("fcn", 4, zoom=1, **PLAIN), Zoomed)


@pytest.mark.parametrize("zoom", [0, -1, 9, True, "2", float("nan"), None])
def test_what_is_no_factor(zoom: Any) -> None:
    with pytest.raises(ModelError, match=r"zoom of fcn is .*; give a factor from 0\.25 to 8"):
        create_model("fcn", 4, zoom=zoom, **PLAIN)


@pytest.mark.parametrize("name, options", [("pointrend", PLAIN), ("vnet", {"width": 2})])
def test_pages_that_take_none(name: str, options: dict[str, Any]) -> None:
    with pytest.raises(ModelError, match="takes no zoom, which is for pages that label images densely"):
        create_model(name, 4, zoom=2, **options)


def test_a_bundle_keeps_it(tmp_path: Path) -> None:
    card = Card("fcn", {**PLAIN, "zoom": 1.5}, CAMVID11, (1.0,) * 3, (1.0,) * 3)
    model = card.build().eval()
    save_bundle(tmp_path / "b.safetensors", model, card)
    loaded, same = load_bundle(tmp_path / "b.safetensors")
    assert same == card
    image = torch.randn(1, 3, 20, 30)
    assert torch.equal(loaded(image), model(image))


def test_it_trains_starts_from_a_plain_bundle_and_goes_on(tmp_path: Path) -> None:
    data = open_dataset(make_world(tmp_path / "world"))
    first = train(draft(data, model="fcn", encoder="test_resnet", **SMALL), data, tmp_path / "first")  # a bundle
    said: list[str] = []
    wishes = {**SMALL, "init": str(first), "refine": "convcrf"}
    recipe = draft(data, options={"zoom": 1.5, "dropout": 0.0}, say=said.append, **wishes)
    assert recipe.options["zoom"] == 1.5
    assert any("starting from" in line and "new" not in line for line in said)
    run = build(recipe, data, tmp_path / "second", pretrained=True)
    model, held = run.objective.model, load_bundle(first)[0].state_dict()
    assert isinstance(model, Refined)
    assert isinstance(model.model, Zoomed)
    for name, tensor in page_of(model).state_dict().items():
        assert torch.equal(tensor, held[name]), name
    bundle = train(recipe, data, tmp_path / "second")
    assert draft(data, init=str(bundle), say=said.append, **SMALL).options["zoom"] == 1.5


def test_the_encoder_has_its_own_rate(tmp_path: Path) -> None:
    data = open_dataset(make_world(tmp_path / "world"))
    recipe = draft(data, model="fcn", encoder="test_resnet", options={"zoom": 2}, encoder_lr=0.25, **SMALL)
    run = build(recipe, data, tmp_path / "run", pretrained=False)
    rates = {id(p): group["factor"] for group in make_optimizer(recipe, run.objective.model).param_groups
             for p in group["params"]}  # fmt: skip
    for name, parameter in run.objective.model.named_parameters():
        assert rates[id(parameter)] == (0.25 if name.startswith("model.encoder.") else 1.0), name
