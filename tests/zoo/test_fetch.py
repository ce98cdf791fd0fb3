"""Weights by name: complete cards, a whole file or none, one sentence if it cannot be fetched."""

import hashlib
import json
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.error import URLError

import huggingface_hub
import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from platformdirs import user_cache_path
from published import hf_segformer, smp_segformer
from rich.console import Console

import atrous
from atrous.bundle import load_card
from atrous.cli import main
from atrous.errors import WeightsError
from atrous.labels import ADE150, CITYSCAPES19, VOC21
from atrous.models import create_model, list_models
from atrous.zoo import fetch
from atrous.zoo.cards import CARDS, NVIDIA, describe_weights
from atrous.zoo.convert import hf
from atrous.zoo.fetch import bundle_of, verify_file
from atrous.zoo.importer import SOURCES, load_strictly
from atrous.zoo.shipped import shipped

FILES = ("model.safetensors", "pytorch_model.bin")
"""What a repository may hold, in the order in which it is asked for them."""

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
    urls = ((folder / "pytorch_model.bin").as_uri(),)
    monkeypatch.setitem(CARDS, "segformer-b0-ade", replace(CARDS["segformer-b0-ade"], urls=urls))
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
    folder = Path(user_cache_path("atrous")) / "weights"
    place = folder / "segformer-b0-ade" / "pytorch_model.bin"
    place.parent.mkdir(parents=True)
    published.rename(place)
    assert bundle_of("segformer-b0-ade") == folder / "segformer-b0-ade.safetensors"
    assert place.exists()


@dataclass
class Hub:
    """A server that answers as Hugging Face does, for the repository of segformer-b0-ade."""

    folder: Path
    address: str = ""
    asked: list[tuple[str, str]] = field(default_factory=list)
    wrong: bool = False
    short: int = 0
    breaks_at: int = 0
    silent: float = 0.0

    REPOSITORY = "nvidia/segformer-b0-finetuned-ade-512-512"

    def at(self, file: str) -> str:
        return f"/{self.REPOSITORY}/resolve/main/{file}"

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        path = self.folder / request.path.rsplit("/", 1)[1]
        known = request.path == self.at(path.name)  # huggingface_hub asks for other things too
        if known:
            self.asked.append((request.command, path.name))
            time.sleep(self.silent)
        if not known or not path.exists():
            request.send_response(404)
            request.send_header("X-Error-Code", "EntryNotFound")
            request.send_header("Content-Length", "0")
            request.end_headers()
            return
        content = path.read_bytes()
        begin = int((request.headers["Range"] or "bytes=0-").removeprefix("bytes=").rstrip("-"))
        body = content[begin : len(content) - self.short if request.command == "GET" else None]
        if self.wrong:
            body = body[:-1] + bytes([body[-1] ^ 1])
        request.send_response(206 if begin else 200)
        request.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        request.send_header("X-Repo-Commit", "c" * 40)
        request.send_header("Content-Length", str(len(body)))
        if begin:
            request.send_header("Content-Range", f"bytes {begin}-{len(content) - 1}/{len(content)}")
        request.end_headers()
        if request.command == "GET":
            request.wfile.write(body[: self.breaks_at or None])
            request.close_connection = bool(self.breaks_at)
            self.breaks_at = 0


@pytest.fixture
def hub(published: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """What HF_ENDPOINT names: a server with the published file alone, with a cache of its own."""
    hub = Hub(published.parent)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            hub.answer(self)

        do_HEAD = do_GET

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    hub.address = f"http://127.0.0.1:{server.server_port}"
    point_at(hub.address, published.parent / "cache", monkeypatch)
    yield hub
    server.shutdown()
    server.server_close()


def point_at(address: str, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Do what HF_ENDPOINT and HF_HUB_CACHE do; they are read once, when the package is imported."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    constants = huggingface_hub.constants
    monkeypatch.setattr(constants, "ENDPOINT", address)
    template = address + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    urls = tuple(f"https://huggingface.co/{Hub.REPOSITORY}/resolve/main/{file}" for file in FILES)
    monkeypatch.setitem(CARDS, "segformer-b0-ade", replace(CARDS["segformer-b0-ade"], urls=urls))


def kept() -> list[str]:
    """What the user's cache of weights holds."""
    return sorted(path.name for path in (Path(user_cache_path("atrous")) / "weights").iterdir())


def test_the_next_file_is_asked_for_where_one_is_not_and_the_shared_cache_keeps_it(hub: Hub, published: Path) -> None:
    bundle = bundle_of("segformer-b0-ade")
    assert [file for _, file in hub.asked] == ["model.safetensors", *["pytorch_model.bin"] * (len(hub.asked) - 1)]
    assert hub.asked[-1] == ("GET", "pytorch_model.bin")
    assert load_card(bundle).data == f"https://huggingface.co{hub.at('pytorch_model.bin')}"
    assert kept() == ["segformer-b0-ade.safetensors"]
    cached = huggingface_hub.try_to_load_from_cache(hub.REPOSITORY, "pytorch_model.bin")
    assert Path(str(cached)).read_bytes() == published.read_bytes()

    hub.asked.clear()
    bundle.unlink()
    assert bundle_of("segformer-b0-ade") == bundle
    assert bundle.exists()
    assert hub.asked == []


def test_a_file_by_hand_comes_before_the_network(hub: Hub, published: Path) -> None:
    place = Path(user_cache_path("atrous")) / "weights" / "segformer-b0-ade" / "pytorch_model.bin"
    place.parent.mkdir(parents=True)
    published.rename(place)
    assert bundle_of("segformer-b0-ade").exists()
    assert place.exists()
    assert hub.asked == []


def test_a_line_that_breaks_goes_on_where_it_broke(hub: Hub) -> None:
    hub.breaks_at = 1_000_000
    assert bundle_of("segformer-b0-ade").exists()
    assert [method for method, file in hub.asked if file == "pytorch_model.bin"][-2:] == ["GET", "GET"]


@pytest.mark.parametrize("fault, message", [
    ({"wrong": True}, "another sha256 than Hugging Face announced"),
    ({"short": 1}, "file should be of size"),
])  # fmt: skip
def test_a_file_that_came_wrong_is_not_kept(hub: Hub, fault: dict[str, object], message: str) -> None:
    for key, value in fault.items():
        setattr(hub, key, value)
    with pytest.raises(WeightsError, match=rf"{hub.address}/nvidia/.* cannot be fetched \(.*{message}.*; go online"):
        bundle_of("segformer-b0-ade")
    assert kept() == []
    assert huggingface_hub.try_to_load_from_cache(hub.REPOSITORY, "pytorch_model.bin") is None
    hub.wrong, hub.short = False, 0
    assert bundle_of("segformer-b0-ade").exists()


def test_a_hub_that_keeps_silent_is_asked_once(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_ETAG_TIMEOUT", 0.2)
    hub.silent = 1.0
    with pytest.raises(WeightsError, match=r"model.safetensors cannot be fetched \(.*timed out\)"):
        bundle_of("segformer-b0-ade")
    assert hub.asked == [("HEAD", "model.safetensors")]


def test_without_a_network_it_is_one_sentence_at_once(published: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    point_at("http://127.0.0.1:9", published.parent / "cache", monkeypatch)
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    with pytest.raises(WeightsError) as caught:
        bundle_of("segformer-b0-ade")
    assert re.fullmatch(
        r"weights 'segformer-b0-ade' are not in the cache and http://127.0.0.1:9/\S*/model.safetensors cannot be "
        r"fetched \(.*refused.*\); go online, or put that file at \S*/weights/segformer-b0-ade/model.safetensors",
        str(caught.value),
    )
    assert slept == []
    assert kept() == []


def test_offline_mode_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "photo.png")
    assert huggingface_hub.constants.HF_HUB_OFFLINE
    assert run("predict", tmp_path / "photo.png", "--model", "segformer-b0-cityscapes") == 2
    message = capsys.readouterr().err.splitlines()[-1]
    place = Path(user_cache_path("atrous")) / "weights" / "segformer-b0-cityscapes" / "model.safetensors"
    assert message.endswith(
        "weights 'segformer-b0-cityscapes' are not in the cache and https://huggingface.co/nvidia/"
        "segformer-b0-finetuned-cityscapes-1024-1024/resolve/main/model.safetensors cannot be fetched "
        f"(HF_HUB_OFFLINE is set); go online, or put that file at {place}"
    )
    assert kept() == []


class Answer:
    """A response of a server, and the address it comes from."""

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


def unreachable() -> Answer:
    raise URLError("Name or service not known")


@pytest.mark.parametrize("answer, message", [
    (unreachable, "Name or service not known"),
    (lambda: Answer(b"12345", 7, "https://a.invalid/x"), "it ended after 5 of 7 bytes"),
    (lambda: Answer(b"12345", 5, "http://b.invalid/x"), "it leads to http://b.invalid/x, which is not encrypted"),
])  # fmt: skip
def test_half_a_file_or_an_open_line_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch, answer: Callable[[], Answer], message: str
) -> None:
    monkeypatch.setattr(fetch, "urlopen", lambda request, timeout: answer())
    with pytest.raises(WeightsError) as caught:
        bundle_of("lraspp-mobilenetv3-voc")
    file = "lraspp_mobilenet_v3_large-d234d4ea.pth"
    place = Path(user_cache_path("atrous")) / "weights" / "lraspp-mobilenetv3-voc" / file
    assert str(caught.value) == (
        f"weights 'lraspp-mobilenetv3-voc' are not in the cache and https://download.pytorch.org/models/{file} "
        f"cannot be fetched ({message}); go online, or put that file at {place}"
    )
    assert kept() == []


def test_progress_is_shown(published: Path) -> None:
    console = Console(record=True, width=80, force_terminal=True)
    assert bundle_of("segformer-b0-ade", console=console).exists()
    size = -(-published.stat().st_size // 2**20)
    assert re.search(rf"fetch segformer-b0-ade, MB .*{size}/{size}", console.export_text())


def test_another_file_is_refused_and_taken_away(published: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    digits, size = hashlib.sha256(published.read_bytes()).hexdigest(), published.stat().st_size / 2**20
    card = CARDS["segformer-b0-ade"]
    verify_file(published, replace(card, sha256=digits[:8], megabytes=round(size, 3)))
    with pytest.raises(
        WeightsError, match=rf"sha256 begins with {digits[:8]}, the published file's 0badf00d; get it again"
    ):
        verify_file(published, replace(card, sha256="0badf00d"))
    monkeypatch.setitem(CARDS, "segformer-b0-ade", replace(card, megabytes=size + 0.01))
    with pytest.raises(WeightsError, match=rf"has {size:.3f} MB, the published file "):
        bundle_of("segformer-b0-ade")
    assert kept() == []
    monkeypatch.setitem(CARDS, "segformer-b0-ade", replace(card, labels=CITYSCAPES19))
    with pytest.raises(WeightsError, match=r"not the weights of hf's segformer-b0 with 19 classes: 2 of another shape"):
        bundle_of("segformer-b0-ade")
    assert kept() == []


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
    # building all of them takes a quarter of a minute
    monkeypatch.setattr("atrous.models.describe_models", lambda: [row])
    assert run("models") == 0
    assert line in capsys.readouterr().out
    assert run("models", "--json") == 0
    (told,) = json.loads(capsys.readouterr().out)
    assert told["weights"] == [f"smp-upernet-convnext-{x}-ade" for x in ("tiny", "small", "base", "large", "xlarge")]
