"""Weights by name: cards that hold together, a download that is whole or nothing, one sentence when it cannot be."""

import hashlib
import json
import re
from dataclasses import replace
from pathlib import Path
from urllib.error import HTTPError, URLError

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from published import hf_segformer, smp_segformer
from rich.console import Console

import atrous
from atrous.cli import main
from atrous.errors import WeightsError
from atrous.labels import ADE150, CITYSCAPES19, VOC21
from atrous.models import create_model, list_models
from atrous.zoo import fetch
from atrous.zoo.cards import CARDS, NVIDIA, describe_weights
from atrous.zoo.convert import hf
from atrous.zoo.fetch import bundle_of, download, verify
from atrous.zoo.importer import SOURCES, load_strictly
from atrous.zoo.shipped import shipped

SEGFORMERS = [
    pytest.param(size, data, marks=[pytest.mark.slow] if size else [])
    for size in range(6)
    for data in ("ade", "cityscapes")
]


def run(*arguments: object) -> int:
    """Exit code of a command line."""
    with pytest.raises(SystemExit) as stop:
        main([str(argument) for argument in arguments])
    return stop.value.code or 0


def random_state(shapes: dict[str, tuple[int, ...]]) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return {
        key: torch.rand(shape) + 0.5 if key.endswith("running_var") else 0.05 * torch.randn(shape)
        for key, shape in shapes.items()
    }


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """segformer-b0-ade with random weights of the real names and shapes, published in a folder."""
    folder = tmp_path / "hub"
    folder.mkdir()
    state = random_state(hf_segformer(0, 150))
    torch.save(state, folder / "pytorch_model.bin")
    urls = tuple((folder / file).as_uri() for file in ("model.safetensors", "pytorch_model.bin"))
    monkeypatch.setitem(CARDS, "segformer-b0-ade", replace(CARDS["segformer-b0-ade"], urls=urls[1:]))
    return folder / "pytorch_model.bin"


def test_a_name_predicts_and_is_fetched_once(
    published: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = tmp_path / "in" / "a.png"
    picture.parent.mkdir()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)).save(picture)
    arguments = ("predict", picture, "--model", "segformer-b0-ade", "--backend", "torch", "-o")
    assert run(*arguments, tmp_path / "one") == 0
    assert f"segformer-b0-ade: {NVIDIA}" in " ".join(capsys.readouterr().err.split())
    published.unlink()
    assert run(*arguments, tmp_path / "two") == 0
    assert "NVIDIA" not in capsys.readouterr().err
    labels = np.asarray(Image.open(tmp_path / "one" / "a.png"))
    assert labels.shape == (40, 50)
    assert np.array_equal(labels, np.asarray(Image.open(tmp_path / "two" / "a.png")))


@torch.no_grad()
def test_a_name_loads_with_its_card_and_the_published_weights(published: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(published.parent)  # where there is nothing of that name
    segmenter = atrous.load("segformer-b0-ade")
    card = segmenter.card
    assert card.labels == ADE150
    assert card.licence == NVIDIA
    assert card.metrics == {"ADE20K val": {"miou": 37.4, "source": "arXiv 2105.15203"}}
    assert card.data == published.as_uri()
    assert card.mean == pytest.approx((123.675, 116.28, 103.53))
    own = create_model("segformer", classes=150, encoder="mit_b0").eval()
    assert load_strictly(own, torch.load(published, weights_only=True), hf, "segformer-b0") is None
    image = torch.randn(1, 3, 33, 47)
    torch.testing.assert_close(segmenter.model(image), own(image))


def test_a_folder_of_that_name_comes_first(published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "segformer-b0-ade").mkdir()
    with pytest.raises(WeightsError, match=r"segformer-b0-ade: holds no model.safetensors"):
        atrous.load("segformer-b0-ade")


def test_a_file_put_there_by_hand_is_used_and_kept(published: Path) -> None:
    folder = Path(fetch.user_cache_path("atrous")) / "weights"
    place = folder / "segformer-b0-ade" / "pytorch_model.bin"
    place.parent.mkdir(parents=True)
    published.rename(place)
    assert bundle_of("segformer-b0-ade") == folder / "segformer-b0-ade.safetensors"
    assert place.exists()


def test_offline_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "photo.png")

    def unreachable(request: object, timeout: float) -> None:
        raise URLError("Name or service not known")

    monkeypatch.setattr(fetch, "urlopen", unreachable)
    assert run("predict", tmp_path / "photo.png", "--model", "segformer-b0-cityscapes") == 2
    message = capsys.readouterr().err.splitlines()[-1]
    place = Path(fetch.user_cache_path("atrous")) / "weights" / "segformer-b0-cityscapes" / "model.safetensors"
    assert message.endswith(
        "weights 'segformer-b0-cityscapes' are not in the cache and https://huggingface.co/nvidia/"
        "segformer-b0-finetuned-cityscapes-1024-1024/resolve/main/model.safetensors cannot be fetched "
        f"(Name or service not known); go online, or put that file at {place}"
    )
    assert not place.parent.exists()


def test_where_one_file_is_not_the_next_address_is_tried(published: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, real = [], fetch.urlopen

    def hub(request: object, timeout: float) -> object:
        asked.append(request.full_url)  # type: ignore[attr-defined]
        if len(asked) == 1:
            raise HTTPError(asked[0], 404, "Not Found", None, None)  # type: ignore[arg-type]
        return real(request, timeout=timeout)

    monkeypatch.setattr(fetch, "urlopen", hub)
    urls = ("https://hub.invalid/model.safetensors", published.as_uri())
    monkeypatch.setitem(CARDS, "segformer-b0-ade", replace(CARDS["segformer-b0-ade"], urls=urls))
    assert bundle_of("segformer-b0-ade").exists()
    assert asked == list(urls)


class Answer:
    """What a server says, and where it says it from."""

    def __init__(self, content: bytes, length: int, url: str) -> None:
        self.content, self.headers, self.url = content, {"Content-Length": str(length)}, url

    def __enter__(self) -> "Answer":
        return self

    def __exit__(self, *_: object) -> None: ...

    def geturl(self) -> str:
        return self.url

    def read(self, count: int) -> bytes:
        part, self.content = self.content[:count], self.content[count:]
        return part


@pytest.mark.parametrize("length, url, message", [
    (7, "https://a.invalid/x.pth", "ended after 5 of 7 bytes"),
    (5, "http://b.invalid/x.pth", "leads to http://b.invalid/x.pth, which is not encrypted"),
])  # fmt: skip
def test_half_a_file_or_an_open_line_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, length: int, url: str, message: str
) -> None:
    monkeypatch.setattr(fetch, "urlopen", lambda request, timeout: Answer(b"12345", length, url))
    with pytest.raises(OSError, match=message):
        download("https://a.invalid/x.pth", tmp_path / "new" / "x.pth", "fetch", Console(quiet=True))
    assert not list(tmp_path.iterdir())


def test_progress_is_shown(tmp_path: Path) -> None:
    source, console = tmp_path / "x.bin", Console(record=True, width=80, force_terminal=True)
    source.write_bytes(bytes(3 << 20))
    download(source.as_uri(), tmp_path / "new" / "y.bin", "fetch x, MB", console)
    assert (tmp_path / "new" / "y.bin").read_bytes() == source.read_bytes()
    assert re.search(r"fetch x, MB .*3/3", console.export_text())


def test_another_file_is_refused_and_taken_away(published: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    digits, size = hashlib.sha256(published.read_bytes()).hexdigest(), published.stat().st_size / 2**20
    card = CARDS["segformer-b0-ade"]
    verify(published, replace(card, sha256=digits[:8], megabytes=round(size, 3)))
    with pytest.raises(WeightsError, match=rf"sha256 begins with {digits[:8]}, the published file's 0badf00d; get it"):
        verify(published, replace(card, sha256="0badf00d"))
    monkeypatch.setitem(CARDS, "segformer-b0-ade", replace(card, megabytes=size + 0.01))
    with pytest.raises(WeightsError, match=rf"has {size:.3f} MB, the published file "):
        bundle_of("segformer-b0-ade")
    assert not list((Path(fetch.user_cache_path("atrous")) / "weights").iterdir())
    monkeypatch.setitem(CARDS, "segformer-b0-ade", replace(card, labels=CITYSCAPES19))
    with pytest.raises(WeightsError, match=r"not the weights of hf's segformer-b0 with 19 classes: 2 of another shape"):
        bundle_of("segformer-b0-ade")
    assert not list((Path(fetch.user_cache_path("atrous")) / "weights").iterdir())


def test_unknown_names_are_named() -> None:
    with pytest.raises(WeightsError, match="no weights called 'segformer-b0-ad'; did you mean 'segformer-b0-ade'"):
        bundle_of("segformer-b0-ad")


@pytest.mark.parametrize("size, data", SEGFORMERS)
def test_the_published_tensors_of_segformer_have_their_places(size: int, data: str) -> None:
    labels = ADE150 if data == "ade" else CITYSCAPES19
    for prefix, shapes in (("", hf_segformer), ("smp-", smp_segformer)):
        card = CARDS[f"{prefix}segformer-b{size}-{data}"]
        assert card.labels == labels
        toolkit = SOURCES[card.source]
        name = toolkit.name_of(card.model, card.encoder)
        page, options = toolkit.OURS[name]
        with torch.device("meta"):
            state = {key: torch.empty(shape) for key, shape in shapes(size, len(labels)).items()}
            extra = toolkit.options_of(state, name) if prefix else {}
            network = create_model(page, classes=len(labels), **options, **extra)
            assert load_strictly(network, state, toolkit, name) is None


def test_torchvisions_cards_are_torchvisions_metadata() -> None:
    seen = 0
    for card in CARDS.values():
        if card.source == "torchvision":
            builder = f"{card.model}_{card.encoder}"
            (weights,) = torchvision.models.get_model_weights(builder)
            assert card.urls == (weights.url,)
            assert weights.url.endswith(f"-{card.sha256}.pth")
            assert len(card.sha256) == 8
            assert card.megabytes == weights.meta["_file_size"]
            ((scores),) = card.metrics.values()
            theirs = weights.meta["_metrics"]["COCO-val2017-VOC-labels"]
            assert (scores["miou"], scores["pixel_accuracy"]) == (theirs["miou"], theirs["pixel_acc"])
            expected = [name.lower().replace("__background__", "background") for name in weights.meta["categories"]]
            assert [name.replace(" ", "") for name in VOC21.names] == expected
            assert card.labels == VOC21
            seen += 1
    assert seen == 6


def test_every_card_can_be_used() -> None:
    for name, card in CARDS.items():
        toolkit = SOURCES[card.source]
        assert toolkit.name_of(card.model, card.encoder) in toolkit.OURS
        assert card.family in list_models()
        assert card.urls
        assert all(url.startswith("https://") and url.endswith((".pth", ".safetensors", ".bin")) for url in card.urls)
        assert card.licence
        assert ("segformer" in name) == ("non-commercial" in card.licence)


def test_models_lists_them(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    lines = describe_weights()
    assert len(lines) == len(CARDS) + len(shipped())
    (line,) = [line for line in lines if line.startswith("segformer-b0-ade ")]
    assert "150 classes  mIoU 37.4 on ADE20K val; NVIDIA" in line
    row = {"name": "upernet", "parameters": 1, "encoder": None, "summary": "a network"}
    monkeypatch.setattr("atrous.models.describe_models", lambda: [row])  # building all takes a quarter of a minute
    assert run("models") == 0
    assert line in capsys.readouterr().out
    assert run("models", "--json") == 0
    (told,) = json.loads(capsys.readouterr().out)
    assert told["weights"] == [f"smp-upernet-convnext-{x}-ade" for x in ("tiny", "small", "base", "large", "xlarge")]
