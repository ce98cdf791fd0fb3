"""Eight bits: what they cost is measured on held-out pictures, and too much is refused."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from worlds import make_world

from atrous.bundle import Card
from atrous.datasets import open_dataset
from atrous.errors import ModelError
from atrous.export.int8 import by_nncf, by_onnxruntime, quantised
from atrous.ops import Tail
from atrous.ops.resize import resize
from atrous.predict import Predictor
from atrous.predict.backends.graph import Graph, by_tracing
from atrous.predict.loading import open_exported
from atrous.segmenter import load

pytest.importorskip("onnxruntime", reason="needs the [export] extra")
pytest.importorskip("onnxscript", reason="needs the [export] extra")

COLOURS = torch.tensor([[90.0, 60.0, 30.0], [220.0, 40.0, 40.0], [40.0, 90.0, 220.0]])


class Nearest(nn.Module):
    """Logits of the class whose colour is nearest, at half the image's size: right on `worlds`, made by hand."""

    classes, in_channels = 3, 3

    def __init__(self) -> None:
        super().__init__()
        colours = (COLOURS - 120) / 60
        self.score = nn.Conv2d(3, 3, 2, stride=2, padding=1)
        self.more = nn.Conv2d(3, 3, 1)
        with torch.no_grad():
            self.score.weight.copy_(colours[:, :, None, None].expand(-1, -1, 2, 2) / 2)
            self.score.bias.copy_(-colours.square().sum(1))  # type: ignore[union-attr]
            self.more.weight.copy_(torch.eye(3)[:, :, None, None])
            self.more.bias.zero_()  # type: ignore[union-attr]

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        low, tail = self.logits_at_stride(image)
        return tail.apply(low)

    def logits_at_stride(self, image: torch.Tensor) -> tuple[torch.Tensor, Tail]:
        return self.more(self.score(image)), Tail((image.shape[2], image.shape[3]))


@pytest.fixture
def world(tmp_path: Path) -> tuple[Path, Card]:
    root = make_world(tmp_path / "world")
    return root, Card("unet", {}, open_dataset(root).labels, (120.0,) * 3, (60.0,) * 3)


@pytest.mark.parametrize("to, suffixes", [("onnx", [".onnx", ".py"]), ("openvino", [".xml", ".bin"])])
def test_the_drop_is_measured_and_kept_to(
    to: str, suffixes: list[str], world: tuple[Path, Card], tmp_path: Path
) -> None:
    if to == "openvino":
        pytest.importorskip("nncf", reason="needs the [openvino] extra")
    data, card = world
    paths, drop = quantised(Nearest().eval(), card, tmp_path / "small", data, to=to, max_drop=0.05)
    assert [path.suffix for path in paths] == suffixes
    assert (drop.split, drop.images) == ("test", 2)
    assert drop.before > 0.5
    assert drop.after >= drop.before - 0.05
    backend, read = open_exported(paths[0])
    assert read == card
    found = [Predictor(network, card).labels(data / "test/images/test0.png") for network in (backend, Nearest().eval())]
    assert (found[0] == found[1]).mean() > 0.9


def test_too_large_a_drop_writes_nothing(
    world: tuple[Path, Card], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, card = world

    def broken(onnx_file: bytes, images: list[np.ndarray], folder: Path) -> tuple[bytes, object]:
        assert len(images) == 6
        assert images[0].shape == (1, 3, 48, 64)
        return b"", lambda image: np.ones((1, 3, 25, 33), np.float32)

    monkeypatch.setattr("atrous.export.int8.by_onnxruntime", broken)
    with pytest.raises(ModelError, match=r"more than 0\.01; nothing was written, give --max-drop 0\.\d+ to accept it"):
        quantised(Nearest().eval(), card, tmp_path / "small.onnx", data, max_drop=0.01)
    assert not list(tmp_path.glob("small*"))


def test_what_has_no_eight_bits(world: tuple[Path, Card], tmp_path: Path) -> None:
    for wishes in ({"to": "torch-export"}, {"tail": "inside"}):
        with pytest.raises(ModelError, match="--int8 needs --to onnx or openvino, and --tail beside"):
            quantised(Nearest().eval(), world[1], tmp_path / "x", world[0], max_drop=1, **wishes)  # type: ignore[arg-type]


@pytest.mark.slow
@pytest.mark.parametrize("by", ["onnxruntime", "nncf"])
def test_a_trained_net_of_depthwise_convolutions_survives(by: str, tmp_path: Path) -> None:
    """Its inputs of a ReLU6 go to 100, its padding is reckoned from the size, its blocks are added to their input."""
    if by == "nncf":
        pytest.importorskip("nncf", reason="needs the [openvino] extra")
    segmenter = load("camvid-deeplabv3plus-lite0")
    graph = Graph(segmenter.predictor.model, segmenter.card)
    coarse = torch.from_numpy(np.random.default_rng(0).uniform(0, 255, (6, 1, 3, 6, 9)).astype(np.float32))
    images = [resize(one, (131, 197), mode="bicubic").clamp(0, 255).numpy() for one in coarse]
    quantise = {"onnxruntime": by_onnxruntime, "nncf": by_nncf}[by]
    _, run = quantise(by_tracing(graph, segmenter.card), images, tmp_path)
    for image in (images[0], np.ascontiguousarray(images[1][:, :, :90, :113])):
        with torch.no_grad():
            expected = graph(torch.from_numpy(image)).numpy()
        found = run(image)
        assert found.shape == expected.shape
        assert np.square(found - expected).mean() < 0.15 * expected.var()
