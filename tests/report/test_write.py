"""`atrous report` end to end, on folders of label maps; test_cli.py has it on a trained run."""

import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from worlds import make_world

from atrous.bundle import Card, save_bundle
from atrous.errors import AtrousError, DataError
from atrous.evaluate.sources import judge
from atrous.labels import LabelSet
from atrous.models import create_model
from atrous.report.write import report_all, short_names


def shifted(world: Path, folder: Path, pixels: int) -> Path:
    """Label maps of the test split: the truth, moved to the right."""
    folder.mkdir()
    for path in (world / "test" / "masks").iterdir():
        Image.fromarray(np.roll(np.asarray(Image.open(path)), pixels, axis=1)).save(folder / path.name)
    return folder


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_world(tmp_path_factory.mktemp("account") / "world", test=12)


@pytest.fixture(scope="module")
def maps(world: Path) -> Path:
    return shifted(world, world.parent / "maps", 3)


def test_label_maps_have_a_full_page(world: Path, maps: Path) -> None:
    page = report_all([maps], world)
    assert page == maps / "report.html"
    text = page.read_text()
    expected = judge(maps, world, full=True).result.summary()
    assert f"<dd>{expected['miou']:.3f}</dd>" in text
    assert f"<td>{expected['errors']['oracle']['boundary']:.3f}</td>" in text
    assert f"<td>{expected['boundary_iou']['mean_boundary_iou']:.3f}</td>" in text
    assert "label maps of maps on world" in text
    assert 'id="calibration"' not in text, "label maps have no probabilities"
    assert text.count('<figure class="case">') == 12
    assert "Images: 6 in train, 2 in val, 12 in test" in text


def test_the_command_on_the_page_writes_it_again(world: Path, maps: Path, tmp_path: Path) -> None:
    page = report_all([maps], world, "test", tmp_path / "p.html", cluster=r"(\d)\.png", ignore=[7])
    command = f"{shlex.join(['atrous', 'report', str(maps), '--data', str(world)])} --split test --ignore=7"
    text = page.read_text().replace("&#39;", "'")
    assert f"<code>{command} --cluster '(\\d)\\.png' -o {tmp_path / 'p.html'}</code>" in text
    assert "10 clusters" in text


def test_several_are_compared(world: Path, maps: Path, tmp_path: Path) -> None:
    far = shifted(world, tmp_path / "far", 6)
    text = report_all([maps, far, maps], world, out=tmp_path / "c.html").read_text()
    assert "maps is better than far by 0." in text
    assert "maps and maps (2) are not told apart: their scores are equal." in text
    assert "<h1>3 runs on world</h1>" in text
    assert text.count("prediction of far: ") == 12


def test_default_places(maps: Path, world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert report_all([maps, maps], world) == Path("comparison.html")
    assert (tmp_path / "comparison.html").exists()


def bundle(path: Path, names: tuple[str, ...]) -> Path:
    """A network that has learnt nothing."""
    options = {"encoder": "test_resnet", "pretrained": False}
    card = Card("unet", options, LabelSet(names), (127.5,) * 3, (127.5,) * 3)
    save_bundle(path, create_model("unet", classes=len(names), **options), card)
    return path


def test_a_bundle_has_calibration_and_a_page_beside_it(world: Path, tmp_path: Path) -> None:
    page = report_all([bundle(tmp_path / "net.safetensors", ("ground", "disc", "bar"))], world)
    assert page == tmp_path / "net-report.html"
    text = page.read_text()
    assert "unet on world" in text
    assert 'id="calibration"' in text
    assert "atrous train" not in text, "nobody knows how it was trained"


def test_what_knows_other_classes_is_not_compared(world: Path, maps: Path, tmp_path: Path) -> None:
    other = bundle(tmp_path / "net.safetensors", ("one", "two", "three"))
    with pytest.raises(DataError, match=r"net\.safetensors: was judged on other images or classes than"):
        report_all([maps, other], world, out=tmp_path / "c.html")
    assert not (tmp_path / "c.html").exists()


def test_names_are_as_short_as_they_can_be() -> None:
    assert short_names([Path("runs/a"), Path("runs/b")]) == ["a", "b"]
    assert short_names([Path("x/a"), Path("y/a")]) == ["x/a", "y/a"]
    assert short_names([Path("x/a"), Path("x/a"), Path("x/b")]) == ["a", "a (2)", "b"]
    assert short_names([Path("x/../x/a"), Path("x/a")]) == ["a", "a (2)"]


def test_what_cannot_be_reported_is_said_before_anything_is_judged(world: Path, maps: Path, tmp_path: Path) -> None:
    for out in (tmp_path, tmp_path / "page.pdf", tmp_path / "model.safetensors"):
        with pytest.raises(AtrousError, match=r"the page is one HTML file; give a name that ends in \.html"):
            report_all([maps], world, out=out)
    with pytest.raises(AtrousError, match="is not a trained run; say what to judge it on with --data DATA"):
        report_all([maps])
    with pytest.raises(AtrousError, match=r"nowhere: no such run folder"):
        report_all([tmp_path / "nowhere"])
    with pytest.raises(AtrousError, match="nothing to report on"):
        report_all([])
    with pytest.raises(AtrousError, match="holds no label maps"):
        report_all([world], world)
