"""What is read back and is not of the form that is expected: one sentence that names the file, or it is left out.

The kinds of faults that mutated files found (tests/io/test_torture.py), each with its siblings.
"""

import csv
import json
import os
import struct
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from command_line import run
from make_layouts import MAKERS, SIZE, save, scene
from mutants import FORMS, Bench, logs, look_at_best, look_at_runner, onnx_file, via_table, video, with_list
from rasters import geotiff

from atrous.datasets import open_dataset, read_folder
from atrous.doctor import examine_dataset
from atrous.encoders.weights import pretrained_state
from atrous.errors import LONGEST, AtrousError, DataError, RecipeError, WeightsError
from atrous.io import is_zarr, no_such_path, open_picture
from atrous.labels import LabelSet
from atrous.predict.loading import load_predictor
from atrous.predict.video import label_video
from atrous.report.charts import training_charts
from atrous.train.loggers import CsvLines, JsonLines, read_log

HUGE = 10**400
"""A number that JSON can hold and no float can."""
pipes = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes")


def changed(file: Path, way: tuple[Any, ...], value: object) -> None:
    content = json.loads(file.read_text())
    place = content
    for part in way[:-1]:
        place = place[part]
    place[way[-1]] = value
    file.write_text(json.dumps(content))


def said(call: Callable[[], object]) -> str:
    """What an AtrousError says, in one line; '' where the call went well."""
    try:
        call()
    except AtrousError as error:
        text = str(error)
        return text if "\n" not in text and len(text) <= LONGEST else f"no sentence: {text!r}"
    return ""


def opened(root: Path) -> None:
    """Open a folder as training does."""
    for pairs in open_dataset(root).splits.values():
        for number in range(len(pairs)):
            _ = pairs[number]


def refuses(root: Path, words: str) -> None:
    """`check` looks at the folder to its end or refuses it; training refuses it in one sentence."""
    assert "no sentence" not in said(lambda: examine_dataset(root))
    assert words in said(lambda: opened(root))


@pytest.mark.parametrize(
    "maker, file, way",
    [
        ("labelme", "train/a0.json", ("shapes", 0, "points", 0, 0)),
        ("supervisely", "train/ann/s0.png.json", ("objects", 0, "points", "exterior", 0, 0)),
        ("darwin", "releases/train/d0.json", ("annotations", 0, "polygon", "paths", 0, 0, "x")),
        ("via", "train/via_region_data.json", ("v0.jpg99", "regions", "1", "shape_attributes", "x")),
        ("label studio", "project-1.json", (0, "annotations", 1, "result", 1, "value", "points", 0, 0)),
        ("coco", "annotations/instances_train2017.json", ("annotations", 0, "segmentation", 0, 0)),
        ("coco", "annotations/instances_train2017.json", ("annotations", 2, "segmentation", "counts", 0)),
        ("coco", "annotations/instances_train2017.json", ("categories", 0, "id")),
    ],
)
@pytest.mark.parametrize("value", [HUGE, [[1], [2]], "x" * 10_000], ids=["huge", "list", "long"])
def test_entries_of_another_form(tmp_path: Path, maker: str, file: str, way: tuple[Any, ...], value: object) -> None:
    MAKERS[maker][1](tmp_path)
    changed(tmp_path / file, way, value)
    refuses(tmp_path, Path(file).name)


@pytest.mark.parametrize("value", ["x", 3, None, {"points": [[1, 1], [5, 5], [1, 9]]}], ids=str)
def test_shapes_of_another_form(tmp_path: Path, value: object) -> None:
    """`check` draws what training refuses before."""
    MAKERS["labelme"][1](tmp_path)
    changed(tmp_path / "train/a0.json", ("shapes", 0), value)
    assert "a0.json" in {one.file.name for one in examine_dataset(tmp_path).errors}
    refuses(tmp_path, "a0.json: shape 0")


@pytest.mark.parametrize(
    "make, file",
    [
        (MAKERS["class_dict.csv"][1], "class_dict.csv"),
        (MAKERS["roboflow"][1], "train/_classes.csv"),
        (with_list("splits.csv", "image,split\na0,train\na1,val\n"), "splits.csv"),
        (via_table, "via_export_csv.csv"),
    ],
)
def test_a_cell_that_is_too_long(tmp_path: Path, make: Callable[[Path], object], file: str) -> None:
    make(tmp_path)
    with (tmp_path / file).open("a") as table:
        table.write("\n" + "x" * (csv.field_size_limit() + 1) + ",1\n")
    refuses(tmp_path, f"{Path(file).name}: not a table")


def test_brackets_in_a_cell(tmp_path: Path) -> None:
    via_table(tmp_path)
    with (tmp_path / "via_export_csv.csv").open("a") as table:
        table.write(f'a.png,2,{"[" * 9000},"{{}}"\n')
    refuses(tmp_path, "via_export_csv.csv: not the regions")


@pytest.mark.parametrize(
    "maker, file, line",
    [
        ("class_dict.csv", "class_dict.csv", "wall,{},0,0"),
        ("camvid, colours", "label_colors.txt", "{} 0 0 wall"),
        ("cvat", "labelmap.txt", "wall:{},0,0::"),
    ],
)
@pytest.mark.parametrize("red", [-256, 256, 10**30])
def test_colours_beyond_8_bits(tmp_path: Path, maker: str, file: str, line: str, red: int) -> None:
    MAKERS[maker][1](tmp_path)
    with (tmp_path / file).open("a") as table:
        table.write(f"\n{line.format(red)}\n")
    refuses(tmp_path, f"{file}: 'wall' has the colour")


ALIASES = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 9)}]\n" for level in range(1, 10)
)


@pytest.mark.parametrize(
    "text",
    [
        f"{ALIASES}names: *a9\n", f"{ALIASES}names: [cat, dog]\ntrain: *a9\n", "names: &a [*a]\n",
        'names: !!python/object/apply:os.system ["touch owned"]\n', "names: !!python/name:os.system\n",
        "names: " + "[" * 3000 + "]" * 3000,
    ],
    ids=["names", "train", "itself", "tag", "name", "deep"],
)  # fmt: skip
def test_yaml_holds_plain_data_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.chdir(tmp_path)
    MAKERS["yolo"][1](tmp_path / "data")
    (tmp_path / "data/data.yaml").write_text(text)
    refuses(tmp_path / "data", "data.yaml: not a YAML file")
    assert not (tmp_path / "owned").exists()


LAUGHS = '<!ENTITY a0 "lol">' + "".join(f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, 10))


@pytest.mark.parametrize("entity", [LAUGHS, '<!ENTITY a9 SYSTEM "secret">', '<!ENTITY a9 SYSTEM "pipe">'])
def test_xml_has_no_entities(tmp_path: Path, entity: str) -> None:
    MAKERS["cvat, xml"][1](tmp_path)
    (tmp_path / "secret").write_text("cat")
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
    entity = entity.replace('SYSTEM "', f'SYSTEM "{tmp_path.as_uri()}/')
    file = tmp_path / "annotations.xml"
    file.write_text(file.read_text().replace("<annotations>", f"<!DOCTYPE x [{entity}]><annotations>")
                    .replace("<name>cat<", "<name>&a9;<"))  # fmt: skip
    refuses(tmp_path, "annotations.xml: not an XML file")


@pytest.mark.parametrize(
    "name", ["../secret.png", "../../secret.png", "{}/secret.png", "..\\secret.png", "a/../../secret.png"]
)
def test_names_do_not_lead_out(tmp_path: Path, name: str) -> None:
    root, name = tmp_path / "data", name.format(tmp_path)
    save(np.zeros(SIZE, np.uint8), tmp_path / "secret.png")
    for maker, file, way in (
        ("coco", "annotations/instances_train2017.json", ("images", 0, "file_name")),
        ("labelme", "train/a0.json", ("imagePath",)),
        ("label studio", "project-1.json", (0, "data", "image")),
        ("via", "train/via_region_data.json", ("v0.jpg99", "filename")),
        ("darwin", "releases/train/d0.json", ("item", "name")),
    ):
        MAKERS[maker][1](root / maker)
        changed(root / maker / file, way, name)
        for pair in read_folder(root / maker).pairs:
            assert (root / maker).resolve() in pair.image.resolve().parents


def test_many_names_are_compared_fast() -> None:
    begin = time.process_time()
    LabelSet.numbered(f"class {number}" for number in range(30_000))
    assert time.process_time() - begin < 5
    with pytest.raises(DataError, match="two classes are called 'a', values 0 and 2"):
        LabelSet(("a", "b", "a"))


def test_a_sentence_is_never_far_too_long(tmp_path: Path) -> None:
    error = DataError(f"{tmp_path}: the class {'x' * 100_000}; correct it")
    assert len(str(error)) < LONGEST
    assert str(error).startswith(f"{tmp_path}: ")
    assert str(error).endswith("; correct it")
    MAKERS["voc"][1](tmp_path)
    (tmp_path / "ImageSets/Segmentation/train.txt").write_text("x" * 100_000)
    assert max(len(one.detail) for one in examine_dataset(tmp_path).findings) < LONGEST


# Tags of TIFF.


def entry_of(data: bytearray, tag: int, page: int = 0) -> int:
    (place,) = struct.unpack_from("<I", data, 4)
    for _ in range(page + 1):
        (count,) = struct.unpack_from("<H", data, place)
        entries = {struct.unpack_from("<H", data, at)[0]: at for at in range(place + 2, place + 2 + 12 * count, 12)}
        (place,) = struct.unpack_from("<I", data, place + 2 + 12 * count)
    return entries[tag]


def test_a_page_that_is_too_large(tmp_path: Path) -> None:
    MAKERS["stacks"][1](tmp_path)
    data = bytearray((tmp_path / "train-labels.tif").read_bytes())
    for tag in (256, 257):
        struct.pack_into("<HII", data, entry_of(data, tag, 1) + 2, 4, 1, 60_000)
    (tmp_path / "train-labels.tif").write_bytes(data)
    refuses(tmp_path, "train-labels.tif: page 2 has 60000x60000 pixels; expected at most 100 million")


def test_a_page_of_more_rows_than_the_file_holds(tmp_path: Path) -> None:
    MAKERS["stacks"][1](tmp_path)
    data = bytearray((tmp_path / "train-labels.tif").read_bytes())
    struct.pack_into("<HII", data, entry_of(data, 257, 5) + 2, 4, 1, 2_000_000)
    (tmp_path / "train-labels.tif").write_bytes(data)
    refuses(tmp_path, "it has 1 strips or tiles, 100000 are needed")


@pytest.mark.parametrize("tag", [256, 257, 258])
def test_tags_of_a_stack_that_are_texts(tmp_path: Path, tag: int) -> None:
    MAKERS["stacks"][1](tmp_path)
    data = bytearray((tmp_path / "train-labels.tif").read_bytes())
    struct.pack_into("<HI4s", data, entry_of(data, tag) + 2, 2, 4, b"abc\0")
    (tmp_path / "train-labels.tif").write_bytes(data)
    refuses(tmp_path, str(tmp_path))


@pytest.mark.parametrize("tag", [273, 279])
def test_a_tag_that_is_read_late(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tag: int) -> None:
    monkeypatch.setattr("atrous.io.pictures.HELD_PIXELS", 10)
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((20, 28), np.uint16), photometric="minisblack", metadata=None)
    data = bytearray((tmp_path / "a.tif").read_bytes())
    struct.pack_into("<H", data, entry_of(data, tag), 65_000)
    (tmp_path / "a.tif").write_bytes(data)
    assert "a.tif" in said(lambda: open_picture(tmp_path / "a.tif").rows(0, 20))


@pytest.mark.parametrize("tag, form, count", [(33550, 12, 1), (33922, 12, 2), (34735, 3, 1), (33550, 2, 3)])
@pytest.mark.parametrize("part", ["images", "masks"])
def test_tags_of_a_place_that_are_damaged(tmp_path: Path, part: str, tag: int, form: int, count: int) -> None:
    mask = scene(1, [0, 1, 2])
    for number in range(3):
        geotiff(tmp_path / f"images/t{number}.tif", mask)
        geotiff(tmp_path / f"masks/t{number}.tif", mask)
    data = bytearray((tmp_path / part / "t0.tif").read_bytes())
    struct.pack_into("<HI", data, entry_of(data, tag) + 2, form, count)
    (tmp_path / part / "t0.tif").write_bytes(data)
    examine_dataset(tmp_path)
    assert "t0.tif" in (said(lambda: opened(tmp_path)) or "t0.tif")


# Networks, videos, logs.


def with_byte(file: Path, after: bytes) -> None:
    """Make the sign behind some bytes one that is not UTF-8."""
    data = bytearray(file.read_bytes())
    data[data.index(after) + len(after)] = 0xFF
    file.write_bytes(data)


def test_metadata_that_is_not_utf8(tmp_path: Path) -> None:
    onnx_file(tmp_path)
    with_byte(tmp_path / "net.onnx", b'"classes": ["')
    with pytest.raises(WeightsError, match=r"net\.onnx: ONNX Runtime cannot open it"):
        load_predictor(tmp_path / "net.onnx")
    with pytest.raises(AtrousError, match=r"net\.onnx: cannot be opened .* make it again with `atrous export`"):
        look_at_runner(tmp_path)


@pytest.mark.parametrize("content", [b"", b"x" * 100])
def test_the_script_says_that_its_network_is_damaged(tmp_path: Path, content: bytes) -> None:
    onnx_file(tmp_path)
    (tmp_path / "net.onnx").write_bytes(content)
    with pytest.raises(AtrousError, match=r"net\.onnx: cannot be opened"):
        look_at_runner(tmp_path)


def test_a_tag_of_a_video_that_is_not_utf8(tmp_path: Path) -> None:
    pytest.importorskip("av", reason="needs the [video] extra")
    video(tmp_path)
    with_byte(tmp_path / "clip.mp4", b"Lav")
    stub: Any = SimpleNamespace(
        card=SimpleNamespace(labels=LabelSet(("sea", "land"))),
        labels=lambda image: (image[..., 0] > 99).astype(np.uint8),
    )
    assert label_video(stub, tmp_path / "clip.mp4", tmp_path / "out").frames == 4


@pytest.mark.parametrize(
    "change", [lambda data: data[:50], lambda data: b"", lambda data: data.replace(b"miou", b"\\uxx")]
)
def test_best_weights_that_are_damaged(tmp_path: Path, change: Callable[[bytes], bytes]) -> None:
    FORMS["best weights"].make(tmp_path)
    file = tmp_path / "best.safetensors"
    look_at_best(tmp_path)
    file.write_bytes(change(file.read_bytes()))
    with pytest.raises(
        RecipeError, match=r"best\.safetensors: the best weights cannot be read .* start again"
    ) as caught:
        look_at_best(tmp_path)
    assert "\n" not in str(caught.value)


def test_encoder_weights_that_are_damaged(tmp_path: Path) -> None:
    torch.save({"conv1.weight": torch.ones(2, 3)}, tmp_path / "a.pth")
    data = (tmp_path / "a.pth").read_bytes()
    for cut in range(0, len(data), 40):
        (tmp_path / "a.pth").write_bytes(data[:cut] + b"\x80" * 9 + data[cut + 9 :])
        assert "a.pth" in (said(lambda: pretrained_state("resnet18", tmp_path / "a.pth")) or "a.pth")


@pytest.mark.parametrize("row", ["x" * 140_000, "²,1,2", "9" * 5000 + ",1", '"', "1\0,2", "\ufeff4,1"])
def test_a_stray_row_of_a_log_is_dropped(tmp_path: Path, row: str) -> None:
    logs(tmp_path)
    lines = (tmp_path / "log.csv").read_text().splitlines()
    (tmp_path / "log.csv").write_text("\n".join([*lines[:4], row, *lines[4:]]) + "\n")
    CsvLines(tmp_path / "log.csv", 5).write(step=6)
    steps = [line.split(",")[0] for line in (tmp_path / "log.csv").read_text().splitlines()]
    assert steps[:4] == ["step", "1", "2", "3"]
    assert steps[-1] == "6"


def test_a_number_of_a_log_that_no_float_holds(tmp_path: Path) -> None:
    for number in (HUGE, -HUGE, 1e308, float("nan"), float("-inf")):
        (tmp_path / "log.jsonl").write_text(json.dumps({"step": 1, "loss": number}) + '\n{"step": 2, "loss": 0.5}\n')
        (chart,) = training_charts({"run": read_log(tmp_path / "log.jsonl")})
        assert len(chart.lines[0].dots) == (2 if number == 1e308 else 1)


# Files that are none.


@pipes
def test_a_pipe_never_makes_us_wait(tmp_path: Path) -> None:
    for name in ("net.onnx", "net.xml", "clip.mp4", "a.pth", "a.safetensors", "log.jsonl", "log.csv", "a.png"):
        os.mkfifo(tmp_path / name)
    (tmp_path / "a.zarr").mkdir()
    os.mkfifo(tmp_path / "a.zarr/zarr.json")
    stub: Any = SimpleNamespace()
    calls: dict[str, Callable[[Path], object]] = {
        "net.onnx": load_predictor, "net.xml": load_predictor, "log.jsonl": JsonLines, "log.csv": CsvLines,
        "clip.mp4": lambda path: label_video(stub, path, tmp_path / "out"),
        "a.pth": lambda path: pretrained_state("resnet18", path),
        "a.safetensors": lambda path: pretrained_state("resnet18", path),
    }  # fmt: skip
    for name, call in calls.items():
        with pytest.raises(AtrousError, match=f"{name}: is a pipe or a device"):
            call(tmp_path / name)
    assert not is_zarr(tmp_path / "a.zarr")
    (other := tmp_path / "other").mkdir()
    onnx_file(other)
    (other / "a.png").unlink()
    os.mkfifo(other / "a.png")
    with pytest.raises(AtrousError, match=r"a\.png: is no file"):
        look_at_runner(other)


@pipes
def test_what_is_no_file_is_named_and_left_out(
    tmp_path: Path, trained: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "data"
    for number in range(4):
        save(scene(number, [0, 100, 200]), root / "images" / f"a{number}.png")
        save(scene(number, [0, 1, 2]), root / "masks" / f"a{number}.png")
    for part in ("images", "masks"):
        (root / part / "self.png").symlink_to("self.png")
        (root / part / "gone.png").symlink_to("nowhere.png")
        (root / part / "zero.png").symlink_to("/dev/zero")
        os.mkfifo(root / part / "pipe.png")
    sentence = "images/gone.png, images/pipe.png, images/self.png, ...: left out"
    assert [note for note in read_folder(root).notes if sentence in note]
    assert [pair.image.name for pair in open_dataset(root).splits["train"].pairs]
    given = ["predict", root / "images", "--model", trained[1], "--backend", "torch"]
    assert run(*given, "-o", tmp_path / "out") == 0
    assert "gone.png, pipe.png, self.png, ...: left out" in capsys.readouterr().err
    assert len(list((tmp_path / "out").glob("*.png"))) == 4
    for name in ("self.png", "gone.png"):
        assert "a link that leads nowhere or to itself" in str(no_such_path(root / "images" / name))


def test_the_bench_finds_what_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong error, a sentence without the file and a file from outside of the folder are faults."""
    form, bench = FORMS["recipe"], Bench(tmp_path)
    _, sound = bench.seed("recipe")
    assert bench.attack("recipe", sound) == "answer"
    assert bench.attack("recipe", b"lr = -1") == "refused"
    for error in (KeyError("lr"), AtrousError("no file"), AtrousError("recipe.toml: " + "x" * 2000 + "\n")):

        def read(_: Path, error: Exception = error) -> None:
            raise error

        monkeypatch.setitem(FORMS, "recipe", form._replace(read=read))
        assert bench.attack("recipe", sound).startswith("wrong error")
