"""For every form of picture the emitted script gives the labels of `atrous predict`, or a sentence and exit code 1."""

import os
import runpy
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from brightness import Brightness, photo, predictor
from PIL import Image

from atrous.errors import AtrousError
from atrous.export import files
from atrous.export.files import export_network
from atrous.predict.backends import onnx

tifffile = pytest.importorskip("tifffile")
pytest.importorskip("onnxruntime", reason="needs the [export] extra")
pytest.importorskip("onnxscript", reason="needs the [export] extra")


def write_tiffs(folder: Path, colours: np.ndarray, grey: np.ndarray, deep: np.ndarray) -> None:
    four = np.dstack([colours, grey])
    for name, pixels, how in (
        ("deep", deep, {}),
        ("deepinverted", deep, {"photometric": "miniswhite"}),
        ("inverted", grey, {"photometric": "miniswhite"}),
        ("deepcolours", colours.astype(np.uint16) * 257, {"photometric": "rgb"}),
        ("float", grey.astype(np.float32), {}),
        ("unit", (grey / 255).astype(np.float32), {}),
        ("double", grey.astype(np.float64), {}),
        ("whole", grey.astype(np.int32), {}),
        ("signed", grey.astype(np.int16), {}),
        ("four", four, {"photometric": "rgb", "extrasamples": ["unspecified"]}),
        ("alpha", four, {"photometric": "rgb", "extrasamples": ["unassalpha"]}),
        ("times", four, {"photometric": "rgb", "extrasamples": ["assocalpha"]}),
        ("planes", np.moveaxis(colours, -1, 0), {"photometric": "rgb", "planarconfig": "separate"}),
        ("pages", np.stack([grey, grey]), {}),
    ):
        tifffile.imwrite(folder / f"{name}.tif", pixels, **how)
    tifffile.imwrite(folder / "bigendian.tif", deep.astype(">u2"), byteorder=">")


@pytest.fixture(scope="module")
def forms(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """One picture in all forms that come to mind."""
    folder = tmp_path_factory.mktemp("forms")
    colours = photo(40, 56)
    grey, picture = colours[..., 0], Image.fromarray(colours)
    deep = grey.astype(np.uint16) * 257
    write_tiffs(folder, colours, grey, deep)
    for name, pixels in (("grey", grey), ("deepgrey", deep), ("rgba", np.dstack([colours, grey]))):
        Image.fromarray(pixels).save(folder / f"{name}.png")
    for name in ("colours.png", "photo.jpg", "photo.webp", "photo.bmp", "zipped.tif"):
        picture.save(folder / name, **({"compression": "tiff_lzw"} if name == "zipped.tif" else {}))
    for name, pixels in (("deeprgb", colours), ("deeprgba", np.dstack([colours, grey]))):
        cv2.imwrite(str(folder / f"{name}.png"), pixels.astype(np.uint16) * 257)
    for name in ("palette.png", "palette.gif", "palette.bmp", "palette.tif"):
        picture.quantize(16).save(folder / name)
    Image.merge("LA", [Image.fromarray(grey)] * 2).save(folder / "la.png")
    for name in ("cmyk.tif", "cmyk.jpg"):
        picture.convert("CMYK").save(folder / name)
    for name in ("bits.png", "bits.tif"):
        Image.fromarray(grey > 99).save(folder / name)
    turned = Image.Exif()
    turned[0x0112] = 6
    for suffix in ("jpg", "png", "webp", "tif"):
        Image.fromarray(np.kron(colours, np.ones((2, 1, 1), np.uint8))).save(folder / f"turned.{suffix}", exif=turned)
    for name in ("anim.gif", "anim.png"):
        picture.save(folder / name, save_all=True, append_images=[Image.fromarray(255 - colours)])
    for name, array in (
        ("a", colours), ("deep", deep), ("double", colours.astype(np.float64)), ("unit", colours / 255),
        ("bits", grey > 99), ("nan", np.full((40, 56, 3), np.nan)), ("four", np.dstack([colours, grey])),
        ("two", colours[..., :2]), ("bigendian", deep.astype(">u2")),
    ):  # fmt: skip
        np.save(folder / f"{name}.npy", array)
    for whole in ("colours.png", "photo.jpg"):
        (folder / f"cut{whole}").write_bytes((folder / whole).read_bytes()[:900])
    (folder / "none.png").write_bytes(b"")
    for path in list(folder.iterdir()):  # labels are called by the stem
        path.rename(folder / f"{path.stem}_{path.suffix[1:]}{path.suffix}")
    return sorted(folder.iterdir())


def runner(script: Path, monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", [str(script), *map(str, arguments)])
    with pytest.raises(SystemExit) as stop:
        runpy.run_path(str(script), run_name="__main__")
    return int(stop.value.code or 0)


NETWORKS = [(3, "uint8"), (1, "uint8"), (1, "uint16"), (3, "float32"), (4, "uint8")]


@pytest.mark.parametrize("without", ["", "PIL", "cv2"])
@pytest.mark.parametrize(("channels", "dtype"), NETWORKS)
def test_equal_or_refused(
    forms: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    channels: int, dtype: str, without: str,
) -> None:  # fmt: skip
    ours = predictor(channels, dtype)
    export_network(Brightness(), ours.card, tmp_path / "net.onnx")
    with monkeypatch.context() as patch:
        if without:
            patch.setitem(sys.modules, without, None)
        assert runner(tmp_path / "net_run.py", patch, *forms, "-o", tmp_path / "o") == 1
    said, equal = capsys.readouterr().err.splitlines(), set()
    for path in forms:
        written = tmp_path / "o" / f"{path.stem}.png"
        assert written.exists() != any(line.startswith(f"failed: {path}: ") for line in said), path.name
        if not written.exists():
            continue
        try:
            with warnings.catch_warnings(category=UserWarning, action="ignore"):  # 16 bits for 8
                expected = ours(path).labels
        except AtrousError as error:
            pytest.fail(f"{path.name}: predict refuses it ({error})")
        found = cv2.imread(str(written), cv2.IMREAD_UNCHANGED) if without == "PIL" else np.asarray(Image.open(written))
        np.testing.assert_array_equal(found, expected, err_msg=path.name)
        equal.add(path.stem)
    if channels < 4:
        assert {"grey_png", "colours_png", "deepgrey_png", "photo_jpg", "a_npy", "deep_npy"} <= equal
    if channels < 4 and without != "PIL":
        assert {"deep_tif", "float_tif", "palette_png", "rgba_png", "la_png", "cmyk_jpg", "bits_png"} <= equal
        assert {"turned_jpg", "turned_png", "inverted_tif", "zipped_tif"} <= equal
    assert not equal & {"pages_tif", "anim_gif", "nan_npy", "two_npy", "cutcolours_png", "cutphoto_jpg", "none_png"}
    assert ("four_npy" in equal) == (channels in (3, 4))


def test_nothing_is_written_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:  # type: ignore[no-untyped-def]
    export_network(Brightness(), predictor().card, tmp_path / "net.onnx")
    for name in ("a.png", "a.bmp"):
        Image.fromarray(photo()).save(tmp_path / name)
    before = (tmp_path / "a.png").read_bytes()
    assert runner(tmp_path / "net_run.py", monkeypatch, tmp_path / "a.png", "-o", tmp_path) == 1
    assert "would overwrite a picture; give another -o" in capsys.readouterr().err
    pictures = (tmp_path / "a.bmp", tmp_path / "a.png")
    assert runner(tmp_path / "net_run.py", monkeypatch, *pictures, "-o", tmp_path / "o") == 1
    assert f"would overwrite those of {pictures[0]}" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "o").iterdir()] == ["a.png"]
    mine = tmp_path / "o" / "a.png"
    mine.write_text("corrected by hand")
    assert runner(tmp_path / "net_run.py", monkeypatch, pictures[0], "-o", tmp_path / "o") == 1
    assert f"{mine} is there already; give another -o, or --overwrite" in capsys.readouterr().err
    assert mine.read_text() == "corrected by hand"
    assert runner(tmp_path / "net_run.py", monkeypatch, pictures[0], "-o", tmp_path / "o", "--overwrite") == 0
    assert (tmp_path / "a.png").read_bytes() == before
    for place in (mine, mine / "deeper"):
        monkeypatch.setattr(sys, "argv", ["net_run.py", str(pictures[0]), "-o", str(place)])
        with pytest.raises(SystemExit, match=f"failed: {place}: cannot be made a folder"):
            runpy.run_path(str(tmp_path / "net_run.py"), run_name="__main__")


def test_a_network_that_answers_nan_is_refused_and_a_forbidden_class_never_wins() -> None:
    script = runpy.run_path(str(Path(files.__file__).with_name("runner.py")))
    network = script["Network"].__new__(script["Network"])
    network.about = {"output": "scores", "tail": {"scale": 2, "shift": 0, "crop": None, "align_corners": False}}
    for first, wanted in ((-np.inf, 1), (np.inf, 0)):
        scores = np.stack([np.full((4, 4), first), np.zeros((4, 4))]).astype(np.float32)
        network.session = SimpleNamespace(run=lambda *_, scores=scores: [scores[None]])
        assert (network(np.zeros((8, 8, 3), np.float32)) == wanted).all()
    scores[1, 2, 2] = np.nan
    with pytest.raises(script["Refused"], match="answers nan"):
        network(np.zeros((8, 8, 3), np.float32))


def test_onnx_runtime_keeps_and_sends_no_events() -> None:
    """It reads this word when it is imported, so every import of it is preceded by the word."""
    package = Path(files.__file__).parents[1]
    for path in package.rglob("*.py"):
        before, found, _ = path.read_text().partition("import onnxruntime\n")
        assert not found or before.rstrip().endswith("# before the import: it would keep and send events"), path
    onnx.load_runtime()
    assert os.environ["ORT_DISABLE_TELEMETRY"] == "1"
