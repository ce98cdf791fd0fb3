"""What is exported is the network: on every page, at sizes never seen, from the file alone and without torch."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from forms import SMALL, VOLUMES
from PIL import Image
from torch import nn

from atrous import cli
from atrous.bundle import Card, save_bundle
from atrous.errors import DataError, ModelError, WeightsError
from atrous.export.files import BUILDERS, check_export, export_network
from atrous.labels import LabelSet
from atrous.models import create_model
from atrous.ops import Tail
from atrous.predict import Predictor
from atrous.predict.backends import open_backend
from atrous.predict.backends.graph import Graph, sample, tail_rule
from atrous.predict.backends.onnx import kept_onnx
from atrous.predict.backends.tails import TailRule
from atrous.predict.loading import open_exported
from atrous.segmenter import load

QUICK = ("deeplabv3plus", "fcn8s")
LABELS = LabelSet(("sky", "road", "tree", "sign"), ((9, 8, 7), (1, 2, 3), (0, 200, 0), (200, 0, 0)), (0, 3, 7, 200))


@pytest.fixture(autouse=True)
def runtimes() -> None:
    pytest.importorskip("onnx", reason="needs the [export] extra")
    pytest.importorskip("onnxscript", reason="needs the [export] extra")
    pytest.importorskip("onnxruntime", reason="needs the [export] extra")


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("exported")


@pytest.fixture(autouse=True)
def shared_cache(cache: Path, monkeypatch: pytest.MonkeyPatch, user_cache: None) -> None:
    """One conversion of a network serves all tests of this file."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))


def trained(name: str, **options: Any) -> tuple[nn.Module, Card]:
    """A small page whose scores and norms are not those of a start."""
    options = {**SMALL[name], **options}
    torch.manual_seed(0)
    model = create_model(name, classes=4, **options).eval()
    for parameter in model.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=0.1)
    for layer in model.modules():
        if isinstance(layer, nn.modules.batchnorm._BatchNorm) and layer.track_running_stats:
            nn.init.normal_(layer.running_mean, std=0.2)  # type: ignore[arg-type]
            nn.init.uniform_(layer.running_var, 0.5, 1.5)  # type: ignore[arg-type]
    card = Card(name, options, LABELS, (120.0, 110.0, 100.0), (60.0, 61.0, 62.0))
    with torch.no_grad():  # every class somewhere: equal labels shall say something
        shape = (24, 48, 40) if name in VOLUMES else (96, 128)
        image = Graph(model, card).normalise(sample(card, shape))
        last = [one for one in model.modules() if isinstance(one, nn.Conv2d | nn.Conv3d) and one.out_channels == 4]
        if last and (bias := last[-1].bias) is not None:
            before = model(image)[0].flatten(1).mean(1)
            bias += 1
            slope = model(image)[0].flatten(1).mean(1) - before  # what a step of the bias does to the logits
            bias -= 1 + before / torch.where(slope.abs() > 1e-6, slope, torch.ones(()))
    return model, card


def picture(height: int, width: int, card: Card) -> np.ndarray:
    image = sample(card, (height, width), seed=height)[0].permute(1, 2, 0)
    return image.to(torch.uint8).contiguous().numpy()


@pytest.mark.parametrize("name", [pytest.param(n, marks=[] if n in QUICK else pytest.mark.slow) for n in SMALL])
def test_onnx_equals_eager_at_sizes_never_seen(name: str, tmp_path: Path) -> None:
    model, card = trained(name)
    paths, found = export_network(model, card, tmp_path / "net")
    assert [path.name for path in paths] == ["net.onnx", "net_run.py"]
    assert found.agreement >= 0.999
    backend, read = open_exported(paths[0])
    assert read == Card.from_json(card.to_json())
    graph, classes = Graph(model, card), set[int]()
    for size in ((70, 201), (133, 64)) if name not in VOLUMES else ((18, 36, 41),):
        image = sample(card, size, seed=7)
        logits, tail = backend(np.ascontiguousarray(image[0].movedim(0, -1).numpy()))
        with torch.no_grad():
            whole, other = graph.low(graph.normalise(image))
        assert tail == other
        expected = other.apply(whole).argmax(1)
        classes |= set(expected.unique().tolist())
        assert (tail.apply(logits).argmax(1) == expected).double().mean() >= 0.999
    assert len(classes) > 1


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(SMALL))
def test_openvino_equals_eager(name: str, tmp_path: Path) -> None:
    pytest.importorskip("openvino", reason="needs the [openvino] extra")
    model, card = trained(name)
    paths, found = export_network(model, card, tmp_path / "net.xml", to="openvino")
    assert [path.name for path in paths] == ["net.xml", "net.bin"]
    assert found.agreement >= 0.999
    assert open_exported(paths[0])[1] == Card.from_json(card.to_json())


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted({*SMALL} - {"reseg"}))  # torch.export unrolls a recurrent layer at one length
def test_torch_export_equals_eager(name: str, tmp_path: Path) -> None:
    model, card = trained(name)
    paths, found = export_network(model, card, tmp_path / "net", to="torch-export")
    assert found.agreement >= 0.999
    extra = {"atrous.json": ""}
    torch.export.load(paths[0], extra_files=extra)
    assert json.loads(extra["atrous.json"])["classes"] == list(LABELS.names)


@pytest.mark.slow
def test_torch_export_refuses_a_recurrent_layer(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="reseg cannot be exported for any size"):
        export_network(*trained("reseg"), tmp_path / "net", to="torch-export")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_an_encoder_that_is_padded_to_its_grid_keeps_its_sizes(tmp_path: Path) -> None:
    model, card = trained("fpn", encoder="hrnet_w18_small")
    assert export_network(model, card, tmp_path / "net")[1].agreement >= 0.999


def test_the_file_says_what_it_takes_and_gives(tmp_path: Path) -> None:
    import onnx

    model, card = trained("fcn8s")
    path = export_network(model, card, tmp_path / "net.onnx")[0][0]
    proto = onnx.load(path)
    about = json.loads({entry.key: entry.value for entry in proto.metadata_props}["atrous"])
    assert about["classes"] == ["sky", "road", "tree", "sign"]
    assert about["colours"][3] == [200, 0, 0]
    assert about["values"] == [0, 3, 7, 200]
    assert (about["mean"], about["std"], about["dtype"]) == ([120, 110, 100], [60, 61, 62], "uint8")
    assert about["preprocessing"] == {"inside": True, "formula": "(image - mean) / std"}
    first = about["tail"]["crop"][0]
    assert about["tail"] == {"scale": 8, "shift": 0, "crop": [first, first], "align_corners": False}
    dims = [dim.dim_param or dim.dim_value for dim in proto.graph.input[0].type.tensor_type.shape.dim]
    assert dims == ["batch", 3, "height", "width"]


@pytest.mark.parametrize("name", QUICK)
def test_the_runner_needs_neither_torch_nor_atrous(name: str, tmp_path: Path) -> None:
    model, card = trained(name)
    export_network(model, card, tmp_path / "net")
    for index, size in enumerate(((70, 201), (300, 123))):
        Image.fromarray(picture(*size, card)).save(tmp_path / f"{index}.png")
    blocked = "import sys, runpy; sys.modules.update(torch=None, atrous=None); del sys.argv[0]; "
    blocked += "runpy.run_path(sys.argv[0], run_name='__main__')"
    pictures = [tmp_path / f"{index}.png" for index in range(2)]
    subprocess.run(
        [sys.executable, "-c", blocked, tmp_path / "net_run.py", *pictures, "-o", tmp_path / "o"], check=True
    )
    predictor = Predictor(model, card)
    for index in range(2):
        written = Image.open(tmp_path / "o" / f"{index}.png")
        expected = LABELS.to_values(predictor.labels(tmp_path / f"{index}.png"))
        assert (np.asarray(written) != expected).mean() < 1e-3
        assert len(np.unique(expected)) > 1
        assert written.getpalette()[600:603] == [200, 0, 0]  # type: ignore[index]


def test_labels_inside(tmp_path: Path) -> None:
    model, card = trained("deeplabv3plus")
    paths, found = export_network(model, card, tmp_path / "net", tail="inside")
    assert found.difference is None
    image = picture(90, 131, card)
    labels = Predictor(*open_exported(paths[0]))(image).labels
    assert (labels == Predictor(model, card)(image).labels).mean() > 0.999


def test_from_the_command_line_by_the_metadata_alone(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    model, card = trained("deeplabv3plus")
    save_bundle(tmp_path / "net.safetensors", model, card)
    image = picture(90, 131, card)
    Image.fromarray(image).save(tmp_path / "a.png")
    cli.app(["export", str(tmp_path / "net.safetensors"), "-o", str(tmp_path / "net.onnx")], standalone_mode=False)
    (tmp_path / "net.safetensors").unlink()
    arguments = ["predict", str(tmp_path / "a.png"), "--model", str(tmp_path / "net.onnx"), "-o", str(tmp_path / "o")]
    cli.app(arguments, standalone_mode=False)
    expected = LABELS.to_values(Predictor(model, card)(image).labels)
    assert (np.asarray(Image.open(tmp_path / "o" / "a.png")) == expected).mean() > 0.999
    assert "% of the labels at 5 sizes, sides from 1 on" in capfd.readouterr().out
    with pytest.raises(ModelError, match=r"runs on onnx only; leave out --backend torch"):
        load(tmp_path / "net.onnx", backend="torch")
    with pytest.raises(ModelError, match="has no torch module"):
        _ = load(tmp_path / "net.onnx").model


def test_a_network_that_differs_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, card = trained("fcn8s")
    graph = Graph(model, card)
    rule = tail_rule(graph, card)
    with torch.no_grad():
        assert check_export(lambda x: graph(torch.from_numpy(x)).numpy(), graph, card, rule).agreement == 1
        with pytest.raises(ModelError, match=r"expected 99\.9%; nothing was written"):
            check_export(lambda x: graph(torch.from_numpy(x)).numpy()[:, ::-1], graph, card, rule)

    def other(graph: Graph, card: Card, folder: Path) -> Any:
        return lambda text: {".onnx": b""}, lambda x: np.zeros((len(x), 4, 9, 9), np.float32)

    monkeypatch.setitem(BUILDERS, "onnx", other)
    with pytest.raises(ModelError, match=r"gives \(1, 4, 9, 9\) logits"):
        export_network(model, card, tmp_path / "net.onnx")
    assert list(tmp_path.iterdir()) == []


class Picky(nn.Module):
    """A network that looks at what size it is given."""

    classes, in_channels = 4, 3

    def __init__(self) -> None:
        super().__init__()
        self.score = nn.Conv2d(3, 4, 1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.score(image) * (2.0 if image.shape[2] == image.shape[3] else 1.0) + int(image.mean() > 0)

    def logits_at_stride(self, image: torch.Tensor) -> None:
        """None."""


@pytest.mark.parametrize("to", ["onnx", "torch-export"])
def test_what_cannot_be_exported_is_one_sentence(to: str, tmp_path: Path) -> None:
    card = trained("fcn8s")[1]
    with pytest.raises(ModelError, match=r"cannot be exported for any size \("):
        export_network(Picky().eval(), card, tmp_path / "net", to=to)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("wishes, words", [
    ({"to": "onxx"}, "unknown target 'onxx'; did you mean 'onnx'"),
    ({"tail": "outside"}, "unknown tail 'outside'"),
    ({"to": "torch-export", "triton": True}, "a Triton repository takes onnx or openvino"),
])  # fmt: skip
def test_impossible_wishes(wishes: dict[str, Any], words: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=words):
        export_network(*trained("fcn8s"), tmp_path / "net", **wishes)


def test_files_that_are_none_of_ours(tmp_path: Path) -> None:
    import onnx

    (tmp_path / "broken.onnx").write_bytes(b"no network")
    with pytest.raises(WeightsError, match=r"broken\.onnx: ONNX Runtime cannot open it"):
        open_exported(tmp_path / "broken.onnx")
    model, card = trained("fcn8s")
    path = export_network(model, card, tmp_path / "net.onnx")[0][0]
    proto = onnx.load(path)
    del proto.metadata_props[:]
    onnx.save(proto, tmp_path / "bare.onnx")
    with pytest.raises(WeightsError, match=r"bare\.onnx: carries no atrous metadata; make the file with `atrous expo"):
        open_exported(tmp_path / "bare.onnx")


def test_triton(tmp_path: Path) -> None:
    model, card = trained("fcn8s")
    paths = export_network(model, card, tmp_path / "repository", triton=True)[0]
    names = sorted(str(path.relative_to(tmp_path)) for path in paths)
    assert names == [f"repository/fcn8s/{name}" for name in ("1/model.onnx", "atrous.json", "config.pbtxt")]
    config = (tmp_path / "repository/fcn8s/config.pbtxt").read_text()
    assert 'input [ { name: "image" data_type: TYPE_FP32 dims: [ 3, -1, -1 ] } ]' in config
    assert 'output [ { name: "logits" data_type: TYPE_FP32 dims: [ 4, -1, -1 ] } ]' in config


def test_rules_of_tails() -> None:
    def seen(*tails: Tail) -> list[Any]:
        return [((h, h + 9), (h // 8, h // 8 + 2), tail) for h, tail in zip((64, 97, 40), tails, strict=True)]

    image = [Tail((h, h + 9)) for h in (64, 97, 40)]
    assert TailRule.of(seen(*image)) == TailRule()
    grid = [Tail((8 * (h // 8) - 7, 8 * (h // 8 + 2) - 7), (2, 2, h, h + 9), True) for h in (64, 97, 40)]
    assert TailRule.of(seen(*grid)) == TailRule(8, -7, (2, 2), True)
    assert TailRule.from_dict(json.loads(json.dumps(TailRule(8, -7, (2, 2), True).to_dict()))) == TailRule(
        8, -7, (2, 2), True
    )
    with pytest.raises(ModelError, match="--tail inside"):
        TailRule.of(seen(grid[0], image[1], grid[2]))


def test_backends_give_one_answer() -> None:
    model, card = trained("deeplabv3plus")
    image = picture(81, 130, card)
    torch_labels = Predictor(model, card)(image).labels
    assert open_backend("onnx", model, card).name == "onnx"
    found = Predictor(model, card, backend="onnx")(image)
    assert (found.labels == torch_labels).mean() > 0.999
    np.testing.assert_array_equal(found.probabilities.argmax(0), found.labels)
    assert (Predictor(model, card, backend="onnx", window=64)(image).labels != torch_labels).mean() < 0.5


def test_a_script_that_is_not_from_export_is_never_overwritten(tmp_path: Path) -> None:
    model, card = trained(QUICK[0])
    (tmp_path / "train_run.py").write_text("my own work")
    with pytest.raises(DataError, match=r"train_run\.py: is there already, and is not from this program"):
        export_network(model, card, tmp_path / "train.onnx")
    assert [path.name for path in tmp_path.iterdir()] == ["train_run.py"]
    for _ in range(2):
        export_network(model, card, tmp_path / "other.onnx")


@pytest.mark.parametrize(
    "damage", [lambda data: data[:-9], lambda data: b"", lambda data: data[:99] + b"!" + data[100:]]
)
def test_a_damaged_export_in_the_cache_is_made_anew(
    damage: Callable[[bytes], bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    model, card = trained("unet")
    whole = kept_onnx(Graph(model, card), card)
    (file,) = tmp_path.rglob("*.kept")
    file.write_bytes(damage(file.read_bytes()))
    assert kept_onnx(Graph(model, card), card) == whole
    assert file.read_bytes().endswith(whole)
