"""What a path or a name is: each kind, what goes first where it could be several, and what opens each."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from runs import SMALL
from worlds import make_world

import atrous
from atrous.bundle import save_bundle
from atrous.errors import WeightsError
from atrous.predict.loading import BUNDLE, RECIPE, Kind, bundle_in, digest, is_network, kind_of, load_predictor
from atrous.zoo.fetch import published_names


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_every_kind(tmp_path: Path) -> None:
    run, unfinished, folds, maps = (tmp_path / name for name in ("run", "unfinished", "folds", "maps"))
    touch(run / BUNDLE, run / RECIPE, unfinished / RECIPE, folds / "fold-1" / RECIPE, folds / "fold-x", maps / "a.png")
    touch(tmp_path / "a.safetensors", tmp_path / "a.onnx", tmp_path / "a.xml", tmp_path / "a.txt")
    expected = {
        run: Kind.RUN,
        unfinished: Kind.UNFINISHED,
        folds: Kind.FOLDS,
        maps: Kind.FOLDER,
        tmp_path / "a.safetensors": Kind.BUNDLE,
        tmp_path / "gone.safetensors": Kind.BUNDLE,
        tmp_path / "a.onnx": Kind.EXPORTED,
        tmp_path / "a.xml": Kind.EXPORTED,
        tmp_path / "a.txt": Kind.FILE,
        tmp_path / "gone.onnx": Kind.NOTHING,
        tmp_path / "gone": Kind.NOTHING,
    }
    assert {path: kind_of(path) for path in expected} == expected
    assert kind_of(published_names()[0]) is Kind.PUBLISHED
    assert [is_network(path) for path in (run, unfinished, folds, maps, tmp_path / "gone")] == [1, 1, 1, 0, 0]


def test_a_path_goes_before_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / published_names()[0]).mkdir()
    assert kind_of(published_names()[0]) is Kind.FOLDER
    with pytest.raises(WeightsError, match=r"holds no model\.safetensors"):
        load_predictor(published_names()[0])


def test_the_bundle_of_a_run_comes_before_its_folds(tmp_path: Path) -> None:
    touch(tmp_path / "fold-1" / RECIPE, tmp_path / BUNDLE)
    assert kind_of(tmp_path) is Kind.RUN
    assert bundle_in(tmp_path) == tmp_path / BUNDLE
    assert bundle_in("some-name") == Path("some-name")


def test_recognising_imports_no_torch(tmp_path: Path) -> None:
    code = (
        "import sys; from atrous.predict.loading import kind_of; "
        f"print(kind_of({str(tmp_path)!r}), kind_of({str(tmp_path / 'a.onnx')!r}), 'torch' in sys.modules)"
    )
    touch(tmp_path / "a.onnx")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["Kind.FOLDER", "Kind.EXPORTED", "False"]


def test_the_same_weights_have_the_same_digest_wherever_they_are(tmp_path: Path) -> None:
    world = make_world(tmp_path / "world")
    segmenter = atrous.Segmenter(**SMALL, steps=1).fit(world, tmp_path / "run")
    shutil.copy(tmp_path / "run" / BUNDLE, tmp_path / "copy.safetensors")
    assert digest(tmp_path / "run") == digest(tmp_path / "copy.safetensors")
    with torch.no_grad():
        next(segmenter.model.parameters()).add_(1)
    save_bundle(tmp_path / "copy.safetensors", segmenter.model, segmenter.card)
    assert digest(tmp_path / "run") != digest(tmp_path / "copy.safetensors")
    with pytest.raises(WeightsError, match="no bundle, no finished run"):
        digest(tmp_path / "world")
