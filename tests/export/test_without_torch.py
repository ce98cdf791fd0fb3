"""Exported files without torch: the labels of `Predictor`, and what is not for this way goes there."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from brightness import Brightness, photo, predictor
from PIL import Image

from atrous import cli
from atrous.errors import WeightsError
from atrous.export.files import export_network
from atrous.export.without_torch import suits, takes

pytest.importorskip("onnxruntime", reason="needs the [export] extra")
pytest.importorskip("onnxscript", reason="needs the [export] extra")


@pytest.fixture
def exported(tmp_path: Path) -> Path:
    return export_network(Brightness(), predictor().card, tmp_path / "net.onnx")[0][0]


def test_a_few_pictures_without_torch(exported: Path, tmp_path: Path) -> None:
    for index, image in enumerate((photo(), photo(53, 88))):
        Image.fromarray(image).save(tmp_path / f"{index}.png")
    Image.fromarray(photo()[:, :, 0]).save(tmp_path / "grey.png")
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n then nothing")
    names = ["0", "1", "grey", "broken"]
    code = "import sys; sys.modules['torch'] = None; from atrous.cli import main; main()"
    files = [str(tmp_path / f"{name}.png") for name in names]
    ran = subprocess.run(
        [sys.executable, "-c", code, "predict", *files, "--model", exported, "-o", tmp_path / "o"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ran.returncode == 1
    assert "3 of 4 label maps" in ran.stdout
    assert "broken.png" in ran.stderr
    for name in names[:3]:
        expected = predictor()(tmp_path / f"{name}.png").labels
        np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "o" / f"{name}.png")), expected)
        assert (tmp_path / "o" / "overlays" / f"{name}.jpg").exists()


def test_other_units_go_the_whole_way(exported: Path, tmp_path: Path) -> None:
    deep = photo()[:, :, 0].astype(np.uint16) * 257
    Image.fromarray(deep).save(tmp_path / "deep.png")
    assert suits(exported, [tmp_path / "deep.png"])
    assert not takes(exported, [tmp_path / "deep.png"])
    arguments = ["predict", str(tmp_path / "deep.png"), "--model", str(exported), "-o", str(tmp_path / "o")]
    with pytest.warns(UserWarning, match="the image has 16 bits"):
        cli.app(arguments, standalone_mode=False)
    written = np.asarray(Image.open(tmp_path / "o" / "deep.png"))
    np.testing.assert_array_equal(written, predictor()(photo()[:, :, 0]).labels)


def test_what_it_is_for(exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.fromarray(photo()).save(tmp_path / "a.png")
    assert suits(exported, [tmp_path / "a.png"])
    assert not suits(tmp_path / "a.safetensors", [tmp_path / "a.png"])
    monkeypatch.setattr("atrous.export.without_torch.PIXELS", 1000)
    assert not suits(exported, [tmp_path / "a.png"])
    (tmp_path / "none.onnx").write_bytes(b"nothing")
    with pytest.raises(WeightsError, match="ONNX Runtime cannot open it"):
        takes(tmp_path / "none.onnx", [])
