"""Other toolkits' files become bundles with their logits, or one sentence says why not."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from safetensors.torch import save_file
from torch import nn

from atrous.bundle import Card, load_bundle, save_bundle
from atrous.cli import main
from atrous.errors import ModelError, WeightsError
from atrous.labels import VOC21, LabelSet
from atrous.models import create_model
from atrous.segmenter import load
from atrous.zoo.convert import hf
from atrous.zoo.convert import torchvision as tv
from atrous.zoo.importer import import_weights, read_state


def run(*arguments: object) -> int:
    """Exit code of a command line."""
    with pytest.raises(SystemExit) as stop:
        main([str(argument) for argument in arguments])
    return stop.value.code or 0


def lively(model: nn.Module) -> nn.Module:
    """Batch norms that have seen something, evaluating."""
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.normal_(layer.running_mean, std=0.1)
            nn.init.uniform_(layer.running_var, 0.5, 1.5)
    return model.eval()


@pytest.fixture(scope="module")
def lraspp() -> nn.Module:
    torch.manual_seed(0)
    build = torchvision.models.segmentation.lraspp_mobilenet_v3_large
    return lively(build(weights=None, weights_backbone=None, num_classes=21))


@pytest.fixture(scope="module")
def files(lraspp: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same weights as every kind of file."""
    root, state = tmp_path_factory.mktemp("files"), lraspp.state_dict()
    save_file(state, root / "lraspp.safetensors")
    torch.save(state, root / "lraspp.pth")
    torch.save({"state_dict": state, "epoch": 3}, root / "lraspp.pt")
    torch.save({"model": {f"module.{key}": value for key, value in state.items()}}, root / "lraspp.bin")
    return root


@pytest.mark.parametrize("kind", ["safetensors", "pth", "pt", "bin"])
def test_every_kind_of_file_is_read(lraspp: nn.Module, files: Path, kind: str) -> None:
    state, expected = read_state(files / f"lraspp.{kind}"), lraspp.state_dict()
    assert set(state) == set(expected)
    assert all(torch.equal(state[key], expected[key]) for key in expected)


@torch.no_grad()
def test_a_bundle_gives_torchvisions_logits(lraspp: nn.Module, files: Path, tmp_path: Path) -> None:
    out = tmp_path / "own.safetensors"
    card = import_weights(files / "lraspp.bin", "torchvision", "lraspp", "mobilenet_v3_large", 21, out)
    model, read = load_bundle(out)
    assert read == card
    assert read.labels == VOC21
    assert read.mean == pytest.approx([255 * m for m in (0.485, 0.456, 0.406)])
    assert read.std == pytest.approx([255 * s for s in (0.229, 0.224, 0.225)])
    image = torch.randn(1, 3, 65, 97)
    torch.testing.assert_close(model(image), lraspp(image)["out"], rtol=1e-5, atol=1e-4)


@torch.no_grad()
def test_an_auxiliary_head_is_kept(tmp_path: Path) -> None:
    build = torchvision.models.segmentation.deeplabv3_mobilenet_v3_large
    theirs = lively(build(weights=None, weights_backbone=None, num_classes=5, aux_loss=True))
    torch.save(theirs.state_dict(), tmp_path / "theirs.pth")
    name = "deeplabv3_mobilenet_v3_large"
    card = import_weights(tmp_path / "theirs.pth", "torchvision", name, None, 5, tmp_path / "own.safetensors")
    assert card.options == {"encoder": "mobilenet_v3_large", "stride": 16, "rates": (12, 24, 36), "aux": True}
    assert card.labels.names == ("class_0", "class_1", "class_2", "class_3", "class_4")
    image = torch.randn(1, 3, 33, 40)
    logits, aux = load_bundle(tmp_path / "own.safetensors")[0].outputs(image)
    expected = theirs(image)
    torch.testing.assert_close(logits, expected["out"], rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(aux, expected["aux"], rtol=1e-5, atol=1e-4)


@torch.no_grad()
def test_hugging_faces_segformer_becomes_a_bundle(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    theirs = lively(transformers.SegformerForSemanticSegmentation(transformers.SegformerConfig(num_labels=7)))
    save_file(theirs.state_dict(), tmp_path / "model.safetensors")
    import_weights(tmp_path / "model.safetensors", "hf", "segformer", "mit-b0", 7, tmp_path / "own.safetensors")
    image = torch.randn(1, 3, 64, 96)
    logits, _ = load_bundle(tmp_path / "own.safetensors")[0].logits_at_stride(image)
    torch.testing.assert_close(logits, theirs(image).logits, rtol=1e-5, atol=1e-4)


@torch.no_grad()
def test_an_imported_bundle_predicts_like_the_source(
    lraspp: nn.Module, files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, picture = tmp_path / "own.safetensors", tmp_path / "in" / "a.png"
    where = ("--from", "torchvision", "--encoder", "mobilenet_v3_large", "--classes", 21, "-o", out)
    assert run("import", files / "lraspp.pth", "--model", "lraspp", *where) == 0
    assert f"atrous predict PICTURES --model {out}" in capsys.readouterr().out
    pixels = np.random.default_rng(0).integers(0, 256, (70, 90, 3), dtype=np.uint8)
    picture.parent.mkdir()
    Image.fromarray(pixels).save(picture)
    assert run("predict", picture, "--model", out, "-o", tmp_path / "maps", "--backend", "torch") == 0
    unit = torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255
    mean, std = (torch.tensor(x).view(3, 1, 1) for x in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    expected = lraspp((unit - mean) / std)["out"].argmax(1)[0].numpy()
    labels = np.asarray(Image.open(tmp_path / "maps" / "a.png"))
    assert labels.shape == (70, 90)
    assert np.mean(labels == expected) > 0.999
    assert load(out).labels.names[15] == "person"


def test_what_does_not_fit_is_counted_and_named(
    lraspp: nn.Module, files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = dict(lraspp.state_dict())
    del state["classifier.cbr.0.weight"], state["classifier.cbr.1.bias"], state["backbone.0.1.num_batches_tracked"]
    state["decoder.weight"] = torch.zeros(1)
    save_file(state, tmp_path / "odd.safetensors")
    out = tmp_path / "own.safetensors"
    where = ("--from", "torchvision", "--model", "lraspp_mobilenet_v3_large", "-o", out, "--classes")
    assert run("import", tmp_path / "odd.safetensors", *where, 21) == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    assert "2 missing (head.features.0.weight, head.features.1.bias), 1 unexpected (decoder.weight)" in message
    del state["decoder.weight"]
    save_file(state, tmp_path / "few.safetensors")
    assert run("import", tmp_path / "few.safetensors", *where, 21) == 2
    assert "classes: 2 missing (head.features.0.weight, head.features.1.bias); check" in capsys.readouterr().err
    assert run("import", files / "lraspp.pth", *where, 5) == 2
    message = capsys.readouterr().err
    assert "4 of another shape (classifier.low_classifier.weight (21, 40, 1, 1) for (5, 40, 1, 1), " in message
    assert ", ...); check" in message
    assert not out.exists()


class Bomb:
    """What a pickle may do."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.path),)


def test_a_pickle_runs_nothing(tmp_path: Path) -> None:
    torch.save({"weight": Bomb(tmp_path / "harm")}, tmp_path / "bomb.pth")
    with pytest.raises(WeightsError, match=r"bomb.pth: refused, .* save model.state_dict\(\) alone"):
        read_state(tmp_path / "bomb.pth")
    assert not (tmp_path / "harm").exists()


@pytest.mark.parametrize("name, content, message", [
    ("a.pth", b"", "refused"),
    ("a.pt", b"not a pickle at all", "refused"),
    ("a.bin", b"PK\x03\x04broken", "refused"),
    ("a.safetensors", b"short", "not a readable .safetensors file"),
    ("a.h5", b"", "unknown kind of file"),
    ("a.pth", None, "cannot be read"),
    ("a.safetensors", None, "cannot be read"),
])  # fmt: skip
def test_a_file_that_is_none_is_named(tmp_path: Path, name: str, content: bytes | None, message: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(WeightsError, match=f"{name}: {message}"):
        read_state(tmp_path / name)


def test_tensors_without_names_are_refused(tmp_path: Path) -> None:
    torch.save([torch.zeros(1)], tmp_path / "list.pth")
    with pytest.raises(WeightsError, match="holds list, expected named tensors"):
        read_state(tmp_path / "list.pth")


@pytest.mark.parametrize("source, message", [
    ("torchvison", "did you mean 'torchvision'"),
    ("keras", "known: hf, mmseg, nnunet, smp, torchvision"),
])  # fmt: skip
def test_another_toolkit_is_named(tmp_path: Path, source: str, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        import_weights("a.pth", source, "fcn", "resnet50", 21, tmp_path / "own.safetensors")


def test_a_bundle_has_its_ending(files: Path, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"own.pth: a bundle is a .safetensors file"):
        import_weights(files / "lraspp.pth", "torchvision", "lraspp", "mobilenet_v3_large", 21, tmp_path / "own.pth")


@pytest.mark.parametrize("model, encoder, name", [
    ("deeplabv3", "resnet101", "deeplabv3_resnet101"),
    ("deeplabv3_resnet101", "resnet101", "deeplabv3_resnet101"),
    ("deeplabv3_resnet101", None, "deeplabv3_resnet101"),
    ("lraspp", "mobilenet_v3_large", "lraspp_mobilenet_v3_large"),
])  # fmt: skip
def test_torchvisions_names(model: str, encoder: str | None, name: str) -> None:
    assert tv.name_of(model, encoder) == name


@pytest.mark.parametrize("model, encoder", [("fcn", None), ("fcn", "resnet18"), ("fcn_resnet50", "resnet101")])
def test_what_torchvision_has_not(model: str, encoder: str | None) -> None:
    with pytest.raises(ModelError, match=r"unknown torchvision network 'fcn.*fcn_resnet(50|101)"):
        tv.name_of(model, encoder)


@pytest.mark.parametrize("model, encoder, name", [
    ("segformer", "mit-b3", "segformer-b3"),
    ("segformer", "nvidia/mit-b0", "segformer-b0"),
    ("SegformerForSemanticSegmentation", "mit_b5", "segformer-b5"),
    ("segformer-b1", None, "segformer-b1"),
    ("nvidia/segformer-b0-finetuned-ade-512-512", None, "segformer-b0"),
    ("segformer-b2", "mit-b2", "segformer-b2"),
])  # fmt: skip
def test_hugging_faces_names(model: str, encoder: str | None, name: str) -> None:
    assert hf.name_of(model, encoder) == name


@pytest.mark.parametrize("model, encoder", [
    ("segformer", None), ("segformer", "mit-b9"), ("segformer-b1", "mit-b2"), ("segformer", "resnet50"),
    ("upernet", "mit-b0"), ("segformer-b1", "resnet50"),
])  # fmt: skip
def test_what_hugging_face_has_not(model: str, encoder: str | None) -> None:
    with pytest.raises(ModelError, match="unknown Hugging Face network"):
        hf.name_of(model, encoder)


@torch.no_grad()
def test_corners_that_are_aligned_are_so_in_the_labels(tmp_path: Path) -> None:
    """The fused tail of a prediction follows the exception that an imported network carries."""
    torch.manual_seed(0)
    network, labels = create_model("smp_fpn", classes=5, encoder="test_resnet").eval(), LabelSet(tuple("abcde"))
    pixels = np.random.default_rng(0).integers(0, 256, (70, 90, 3), dtype=np.uint8)
    image = torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255
    network.head.bias -= network(image).mean((0, 2, 3))  # every class somewhere
    card = Card("smp_fpn", {"encoder": "test_resnet"}, labels, (0.0, 0.0, 0.0), (255.0, 255.0, 255.0))
    save_bundle(tmp_path / "own.safetensors", network, card)
    logits, tail = network.logits_at_stride(image)
    got = load(tmp_path / "own.safetensors").predict(pixels).labels
    other = replace(tail, align_corners=False).apply(logits).argmax(1)[0].numpy()
    assert np.mean(got == tail.apply(logits).argmax(1)[0].numpy()) > 0.999 > np.mean(got == other)
