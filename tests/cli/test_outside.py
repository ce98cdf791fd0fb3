"""No verb writes outside of its output, whatever its inputs are called and however they are given."""

import json
import os
import shutil
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
import torchvision
from command_line import SMALL, run
from PIL import Image
from safetensors.torch import save_file
from worlds import make_world

from atrous.demo import demo, landcover
from atrous.segmenter import load

NAMES = ["a b", "-a", "a..", "%2e%2e%2fa", "a\\..\\a", "a\u0308", "~", "a.png"]
"""Stems of images."""


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("network")
    assert run("train", make_world(root / "world"), "-o", root / "run", *SMALL) == 0
    return root / "run"


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """Data with odd names, COCO whose names lead out, probabilities, and a folder that must stay as it is."""
    rng = np.random.default_rng(0)
    for name in NAMES:
        mask = rng.integers(0, 3, (6, 8)).astype(np.uint8).repeat(8, 0).repeat(8, 1)
        photo = (mask[..., None] * 70 + rng.integers(0, 60, (48, 64, 3))).astype(np.uint8)
        for part, array in (("images", photo), ("masks", mask)):
            (tmp_path / "data" / part).mkdir(parents=True, exist_ok=True)
            Image.fromarray(array).save(tmp_path / "data" / part / f"{name}.png")
        (tmp_path / "probs").mkdir(exist_ok=True)
        np.save(tmp_path / "probs" / f"{name}.npy", np.stack([mask == k for k in range(3)]) * 0.8 + 0.1)
    (tmp_path / "elsewhere").mkdir()
    Image.fromarray(photo).save(tmp_path / "elsewhere" / "x.png")
    (tmp_path / "coco" / "images").mkdir(parents=True)
    Image.fromarray(photo).save(tmp_path / "coco" / "images" / "a.png")
    listed = [(1, "a.png"), (2, "../../elsewhere/x.png"), (3, str(tmp_path / "elsewhere" / "x.png"))]
    content = {
        "images": [{"id": id, "file_name": name, "height": 48, "width": 64} for id, name in listed],
        "annotations": [
            {"id": id, "image_id": id, "category_id": 1, "segmentation": [[1, 1, 30, 1, 30, 30]]} for id, _ in listed
        ],
        "categories": [{"id": 1, "name": "cell"}],
    }
    (tmp_path / "coco" / "annotations.json").write_text(json.dumps(content))
    (tmp_path / "link").symlink_to(tmp_path / "data")
    (tmp_path / "work").mkdir()
    return tmp_path


def everything(base: Path) -> dict[str, str]:
    """Path -> hash of every file below the base but in work/out*; of a folder or link ''."""
    found = {}
    for folder, folders, files in os.walk(base):
        folders[:] = [name for name in folders if not (folder == str(base / "work") and name.startswith("out"))]
        for name in (*folders, *files):
            path = Path(folder, name)
            if not (folder == str(base / "work") and name.startswith("out")):
                found[str(path)] = sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
    return found


Words = Callable[[Path, str], list[object]]

VERBS: dict[str, Words] = {
    "check --write": lambda network, data: ["check", data, "--write", "out"],
    "check --to": lambda network, data: ["check", data, "--to", "pairs", "-o", "out"],
    "check --html": lambda network, data: ["check", data, "--html", "out.html"],
    "plan": lambda network, data: ["plan", data, "--no-measure", "--no-pretrained", "-o", "out.toml"],
    "train": lambda network, data: ["train", data, "-o", "out", *SMALL],
    "predict": lambda network, data: [
        "predict",
        f"{data}/images",
        "--model",
        network,
        "-o",
        "out",
        "--backend",
        "torch",
    ],
    "refine": lambda network, data: ["refine", "../probs", f"{data}/images", "-o", "out"],
    "report": lambda network, data: ["report", network, "--data", data, "-o", "out.html"],
}


HEAVY = ("plan", "predict", "report", "train")
"""They build a network; two of the three forms are marked slow."""


@pytest.mark.parametrize(("verb", "given"), [
    pytest.param(verb, given, marks=pytest.mark.slow if verb in HEAVY and given != "relative" else ())
    for verb in VERBS
    for given in ("absolute", "relative", "link")
])  # fmt: skip
def test_a_verb_writes_into_its_output_alone(
    verb: str, given: str, network: Path, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(base / "work")
    data = {"absolute": str(base / "data"), "relative": "../data", "link": "../link"}[given]
    before = everything(base)
    run(*VERBS[verb](network, data))
    assert everything(base) == before
    made = list((base / "work").iterdir())
    assert [path.name.partition(".")[0] for path in made] == ["out"]
    if verb in ("check --to", "predict", "refine"):
        assert len([path for path in made[0].rglob("*.png") if "images" not in path.parts]) == len(NAMES)


@pytest.mark.parametrize("verb", ["check --write", "check --to", "train"])
def test_names_that_lead_out_are_not_followed(
    verb: str, network: Path, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(base / "work")
    before = everything(base)
    run(*VERBS[verb](network, "../coco"))
    assert everything(base) == before
    assert not list((base / "work").rglob("x.*"))


@pytest.mark.parametrize("inside", ["overlays", "uncertain"])
def test_a_link_in_the_output_does_not_lead_out(
    inside: str, network: Path, base: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(base / "work")
    Path("out").mkdir()
    Path("out", inside).symlink_to(base / "elsewhere")
    before = everything(base)
    recall = ["--recall", "0.9"] if inside == "uncertain" else []
    assert run("predict", "../data/images", "--model", network, "-o", "out", *recall) == 2
    assert everything(base) == before
    assert capsys.readouterr().err.startswith("error: ")


@pytest.mark.parametrize("given", ["absolute", "relative"])
def test_import_writes_its_bundle_alone(given: str, base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(base / "work")
    net = torchvision.models.segmentation.lraspp_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=3)
    weights = base / "elsewhere" / "a\\..\\w b.safetensors"
    save_file(net.state_dict(), weights)
    before = everything(base)
    file = {"absolute": weights, "relative": Path("..", "elsewhere", weights.name)}[given]
    words = ["--from", "torchvision", "--model", "lraspp", "--encoder", "mobilenet_v3_large", "--classes", 3]
    assert run("import", file, *words, "-o", "out.safetensors") == 0
    assert everything(base) == before
    assert [path.name for path in (base / "work").iterdir()] == ["out.safetensors"]


class Trained:
    """Stands for the segmenter of the demo: a network that is trained already."""

    def __init__(self, network: Path) -> None:
        self.network, self.segmenter = network, load(network, device="cpu")

    def fit(self, data: object, folder: Path, **how: object) -> None:
        """Lay the run where the demo asks for it."""
        shutil.copytree(self.network, folder)

    def __getattr__(self, name: str) -> object:
        return getattr(self.segmenter, name)


def test_demo_writes_into_its_run_alone(
    network: Path, base: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(base / "work")
    world = make_world(base / "world")
    counts = np.eye(len(load(network, device="cpu").card.labels), dtype=np.int64)
    monkeypatch.setattr(demo, "Segmenter", lambda *how, **options: Trained(network))
    monkeypatch.setattr(demo, "water", lambda tile: 0.0)
    monkeypatch.setattr(landcover, "prepare", lambda: world)
    monkeypatch.setattr(landcover, "blocks", lambda split: [])
    monkeypatch.setattr(landcover, "look_up_table", lambda blocks, pairs: counts)
    monkeypatch.setattr(landcover, "world_image", lambda: world / "test" / "images" / "test0.png")
    before = everything(base)
    assert run("demo", "-o", "out", "--time", "1s") == 0
    assert everything(base) == before
    assert [path.name for path in (base / "work").iterdir()] == ["out"]
    assert {"world.png", "world-overlay.jpg", "overlays", "metrics.json", "report.html"} <= set(os.listdir("out"))
    monkeypatch.setattr(Trained, "fit", lambda *given, **how: None)
    assert run("demo", "-o", "out", "--time", "1s") == 0  # its own are replaced
    drawn = Path("out", "overlays", "test0.jpg")
    drawn.write_bytes(b"drawn over")
    assert run("demo", "-o", "out", "--time", "1s") == 2
    assert f"{drawn}: is there already, and is not from this program" in capsys.readouterr().err


@pytest.mark.parametrize("inside", ["", "images", "masks/run"])
def test_a_run_never_lies_among_the_data(inside: str, base: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = everything(base)
    assert run("train", base / "data", "-o", base / "data" / inside, *SMALL) == 2
    assert "lie in this folder; give another one" in capsys.readouterr().err
    assert everything(base) == before


def test_a_run_never_lies_around_the_data_of_a_split(base: Path, capsys: pytest.CaptureFixture[str]) -> None:
    world = make_world(base / "world")
    (base / "way").symlink_to(world / "val")
    before = everything(base)
    for out in world / "train", base / "way":
        assert run("train", world, "-o", out, *SMALL) == 2
        assert "lie in this folder; give another one" in capsys.readouterr().err
    assert everything(base) == before
