"""Everything else that is read back (annotations, lists, TOML, bundles, logs, videos, tags) as mutants.

A form is a small folder, one file in it that is mutated, and the reader that is called on the folder. `FORMS` lists
them. A file beside the folder, `secret.png`, must never be read: mutants name it.
"""

import csv
import gzip
import io
import json
import os
import re
import struct
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, suppress
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tifffile
from make_dicom import PACKS
from make_layouts import MAKERS, save, scene
from PIL import Image
from torture import MUTATIONS, Mutant, damaged

from atrous.datasets import open_dataset, read_folder
from atrous.doctor import examine_dataset
from atrous.errors import AtrousError
from atrous.io import open_picture, read_image, read_mask

SECRET = "secret.png"
DEEP, TWICE = "@deep@", "\0twice"
LONGEST = 4000
"""Characters of a sentence, at most."""


class Form(NamedTuple):
    """make: fills a folder. file: the one that is mutated. kind: how (see `MUTATE`). read: is called on the folder."""

    make: Callable[[Path], object]
    file: str
    kind: str
    read: Callable[[Path], object]


def hostile(rng: np.random.Generator) -> Any:
    """A value that stands where it should not; DEEP becomes brackets."""
    values: list[Any] = [
        None, [], {}, True, False, 0, -1, 1.7, 10**30, 10**400, 2**63, float("nan"), float("inf"), 1e300, -1e300,
        "", " ", "x" * 10_000, "a\nb", "\r", "\x1b[2J\x07", "\u202eabc", "\ud800", "\0", "a\u0301", "=1+1", "1", "nan",
        f"../{SECRET}", f"../../{SECRET}", f"/{SECRET}", "..", "/", "/etc/passwd", f"C:\\{SECRET}", "a" * 300 + ".png",
        [[]], [{}], [None], [[[1]]], {"a": 1}, {"": None}, [1, 2, 3], [1e300, float("nan")], DEEP, list(range(2000)),
    ]  # fmt: skip
    return values[int(rng.integers(len(values)))]


def mutate_tree(tree: Any, rng: np.random.Generator) -> str:
    """JSON text of plain data with one to three faults of structure."""
    tree = json.loads(json.dumps(tree))
    for _ in range(int(rng.integers(1, 4))):
        places = list(_places(tree))
        if not places:
            break
        holder, key = places[int(rng.integers(len(places)))]
        way = rng.random()
        if way < 0.65:
            holder[key] = hostile(rng)
        elif way < 0.8:
            del holder[key]
        elif way < 0.9 and isinstance(holder, dict):
            holder[key + TWICE] = hostile(rng)
        elif isinstance(holder, list):
            holder.insert(int(rng.integers(len(holder) + 1)), holder[key])
        else:
            holder[key] = [holder[key]]
    if rng.random() < 0.03:
        tree = hostile(rng)
    depth = int(rng.choice([70, 3000, 100_000]))
    text = json.dumps(tree, ensure_ascii=bool(rng.random() < 0.5))
    return text.replace(f'"{DEEP}"', "[" * depth + "]" * depth).replace("\\u0000twice", "")


def _places(tree: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(tree, dict | list):
        for key in tree if isinstance(tree, dict) else range(len(tree)):
            yield tree, key
            yield from _places(tree[key])


def mutate_json(data: bytes, rng: np.random.Generator) -> bytes:
    return mutate_tree(json.loads(data), rng).encode("utf-8", "surrogatepass")


def mutate_lines(data: bytes, rng: np.random.Generator) -> bytes:
    """JSON lines: one of them mutated."""
    lines = data.splitlines(keepends=True)
    place = int(rng.integers(len(lines)))
    lines[place] = mutate_json(lines[place], rng) + b"\n"
    return b"".join(lines)


WORD = re.compile(r"[^\s,;:=\"'<>\[\]{}#]+")
LITERALS = ("inf", "nan", "-1", "1e300", "1" + "0" * 30, "1" + "0" * 5000, "0x10", "true", "null", "~", "", "[]", "{}",
            "[[1], [2]]", "{a = 1}", "{a: 1}", '"text"', '""', '"\\u202e\\u001b"', "1979-05-27", "'", '"', "&a [*a]",
            "!!python/object/apply:os.getcwd []", "*x", "&amp;#0;", "&x;", "<a>", "]]>", "..", "x: y",
            "- 1", f"../{SECRET}", f"/{SECRET}", "/etc/passwd", "\u202e", "\ud800", "\x1b[2J", "\0", "a\r\nb",
            "x" * 140_000, "[" * 3000 + "]" * 3000, "." * 200, "a." * 200 + "b", ",,,,", "1,2,3", "\t", "%", "%00",
            "1_0", "١")  # fmt: skip


def mutate_text(data: bytes, rng: np.random.Generator) -> bytes:
    """A text of any syntax: words replaced, lines doubled, lost, swapped or joined; another encoding."""
    text = data.decode()
    for _ in range(int(rng.integers(1, 4))):
        words, way = list(WORD.finditer(text)), rng.random()
        if words and way < 0.7:
            start, end = words[int(rng.integers(len(words)))].span()
            given = LITERALS[int(rng.integers(len(LITERALS)))]
            text = text[:start] + given + text[end:]
            continue
        mark = "<" if text.startswith("<") else "\n"
        parts = text.split(mark)
        one, other = (int(rng.integers(len(parts))) for _ in range(2))
        if way < 0.8:
            del parts[one]
        elif way < 0.9:
            parts.insert(other, parts[one])
        else:
            parts[one], parts[other] = parts[other], parts[one]
        text = mark.join(parts)
    way = rng.random()
    if way < 0.08:
        return text.encode(("utf-16", "utf-16-le", "utf-8-sig", "cp037")[int(way * 50)], "replace")
    return text.replace("\n", "\r\n" if way < 0.15 else "\n").encode("utf-8", "surrogatepass")


def mutate_safetensors(data: bytes, rng: np.random.Generator) -> bytes:
    """The header of a safetensors file, or the JSON that it holds as text."""
    (length,) = struct.unpack_from("<Q", data)
    header = json.loads(data[8 : 8 + length])
    meta = header.get("__metadata__", {})
    inner = [key for key, value in meta.items() if value.startswith("{")]
    if inner and rng.random() < 0.7:
        meta[inner[0]] = mutate_tree(json.loads(meta[inner[0]]), rng)
        text = json.dumps(header)
    else:
        text = mutate_tree(header, rng)
    packed = text.encode("utf-8", "surrogatepass")
    stated = len(packed) if rng.random() < 0.95 else int(rng.choice([0, 1, 2**31, 2**63 - 1]))
    return struct.pack("<Q", stated) + packed + data[8 + length :]


def mutate_onnx(data: bytes, rng: np.random.Generator) -> bytes:
    """The metadata of an ONNX file."""
    import onnx

    model = onnx.load_from_string(data)
    entry = model.metadata_props[0]
    entry.value = mutate_tree(json.loads(entry.value), rng).encode("utf-8", "replace").decode()
    return model.SerializeToString()


def mutate_tiff(data: bytes, rng: np.random.Generator) -> bytes:
    """Tags of any directory of a small-endian TIFF: type, count or value replaced, two of them swapped, one lost."""
    found = bytearray(data)
    directories, (place,) = [], struct.unpack_from("<I", found, 4)
    while place and place not in directories:
        directories.append(place)
        (count,) = struct.unpack_from("<H", found, place)
        (place,) = struct.unpack_from("<I", found, place + 2 + 12 * count)
    for _ in range(int(rng.integers(1, 4))):
        place = directories[int(rng.integers(len(directories)))]
        (count,) = struct.unpack_from("<H", found, place)
        entry = place + 2 + 12 * int(rng.integers(count))
        way, odd = rng.random(), int(rng.choice([0, 1, 2, 3, 7, 8, 255, 65535, 2**31, 2**32 - 1, len(data), entry]))
        if way < 0.2:
            struct.pack_into("<H", found, entry + 2, odd % 14)
        elif way < 0.4:
            struct.pack_into("<I", found, entry + 4, odd)
        elif way < 0.85:
            struct.pack_into("<I", found, entry + 8, odd)
        elif way < 0.95:
            struct.pack_into("<H", found, entry, int(rng.choice([256, 258, 259, 262, 274, 277, 284, 317, 338, 42113])))
        else:
            struct.pack_into("<I", found, place + 2 + 12 * count, odd)
    return bytes(found)


BOXES = (b"moov", b"trak", b"mdia", b"minf", b"stbl")


def mutate_mp4(data: bytes, rng: np.random.Generator) -> bytes:
    """The size of a box, or a number in it, replaced."""
    boxes, ways = [], [(0, len(data))]
    for start, end in ways:
        while start + 8 <= end:
            size, name = struct.unpack_from(">I4s", data, start)
            if not 8 <= size <= end - start:
                break
            boxes.append((start, size, name))
            if name in BOXES:
                ways.append((start + 8, start + size))
            start += size
    inner = [box for box in boxes if box[2] not in (b"mdat", *BOXES)]
    found = bytearray(data)
    for _ in range(int(rng.integers(1, 4))):
        start, size, _ = (inner if rng.random() < 0.8 else boxes)[int(rng.integers(len(inner)))]
        at = start + 4 * int(rng.integers(max(1, min(size, 200) // 4)))
        odd = int(rng.choice([0, 1, 2, 255, 65535, 2**16, 2**31 - 1, 2**31, 2**32 - 1]))
        struct.pack_into(">I", found, min(at, len(data) - 4), odd)
    return bytes(found)


NIFTI_FIELDS = [*range(40, 56, 2), 70, 72, *range(76, 108, 4), 108, 112, 116, *range(252, 328, 4), 344]
"""Where sizes, types, steps, the start of the voxels and the places stand in a header of NIfTI-1."""


def mutate_nifti(data: bytes, rng: np.random.Generator) -> bytes:
    """Fields of the header replaced; of a packed file too."""
    packed = data[:2] == b"\x1f\x8b"
    found = bytearray(gzip.decompress(data) if packed else data)
    for _ in range(int(rng.integers(1, 4))):
        place = NIFTI_FIELDS[int(rng.integers(len(NIFTI_FIELDS)))]
        if place < 76 or rng.random() < 0.2:
            struct.pack_into(
                "<h", found, place, int(rng.choice([0, 1, 2, 3, 4, 5, 7, 8, 64, 128, 512, 32767, -1, -32768]))
            )
        else:
            odd = rng.choice([0, -1, 1e-30, 1e30, np.nan, np.inf, -np.inf, 0.5, 352.5, 1e9, 3])
            struct.pack_into("<f", found, place, float(odd))
    return gzip.compress(bytes(found), mtime=0) if packed else bytes(found)


def mutate_headed(data: bytes, rng: np.random.Generator) -> bytes:
    """The header of NRRD or MetaImage, a text before the voxels."""
    ends = re.search(rb"\n\n|ElementDataFile[^\n]*\n", data)
    at = ends.end() if ends else len(data)
    return mutate_text(data[:at], rng) + data[at:]


DICOM_TEXTS = (
    b"", b"0", b"-1", b"1e30", b"1e-300", b"nan", b"inf", b"1\\2", b"\\" * 20, b"x" * 300, b"\0", b"CT", b"MONOCHROME1",
    b"PALETTE COLOR", b"1.2.840.10008.1.2.5", b"1.2.840.10008.1.2.4.90", b"1.2.840.10008.1.2", b"1.2.840.10008.1.2.2",
    b"1.2.840.10008.1.2.4.70", b"1.2.840.10008.1.2.4.80", b"\x1b[2J", b"9" * 400, b"0\\0\\0\\0\\0\\0",
    b"0.5\\0", b"BINARY", b"FRACTIONAL", b"LABELMAP", b"POINT", "\u202e".encode(),
)  # fmt: skip


def mutate_dicom(data: bytes, rng: np.random.Generator) -> bytes:
    """Elements, those of sequences too: value, length, type or tag replaced, one lost or twice."""
    found = data
    for _ in range(int(rng.integers(1, 4))):
        elements = list(_elements(found, 132, len(found)))
        if not elements:
            break
        start, at, end = elements[int(rng.integers(len(elements)))]
        way, long = rng.random(), at - start == 12
        width = 4 if long else 2
        odd = int(rng.choice([0, 1, 2, 3, 4, 255, 256, 65535, 2**31, 2**32 - 1, len(data)]))
        if way < 0.5:
            numbers = struct.pack("<H", odd & 65535), struct.pack("<I", odd)
            texts = (*numbers, *DICOM_TEXTS)
            value = texts[int(rng.integers(len(texts)))]
            value += b" " * (len(value) % 2)
            found = found[: at - width] + len(value).to_bytes(width, "little") + value + found[end:]
        elif way < 0.65:
            found = found[: at - width] + (odd % 256**width).to_bytes(width, "little") + found[at:]
        elif way < 0.75:
            kinds = (
                b"UI",
                b"US",
                b"SQ",
                b"OB",
                b"OW",
                b"DS",
                b"IS",
                b"LO",
                b"FD",
                b"UN",
                b"AT",
                b"XX",
                b"UC",
                b"PN",
                b"CS",
            )
            found = found[: start + 4] + kinds[int(rng.integers(len(kinds)))] + found[start + 6 :]
        elif way < 0.9:
            found = found[:start] + found[end:]
        elif way < 0.95:
            found = found[:end] + found[start:end] + found[end:]
        else:
            found = found[:start] + struct.pack("<HH", odd & 65535, int(rng.integers(65536))) + found[start + 4 :]
    return found


def _elements(data: bytes, place: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Of each element: where it begins, where its value does, where that ends."""
    while place + 8 <= end:
        kind = data[place + 4 : place + 6]
        if data[place : place + 4] == b"\xfe\xff\x00\xe0":  # an item of a sequence
            place += 8
            continue
        long = kind in (b"OB", b"OW", b"SQ", b"UN", b"UC", b"UT", b"UR", b"OF", b"OD", b"OL", b"OV")
        start = place + (12 if long else 8)
        length = int.from_bytes(data[start - (4 if long else 2) : start], "little")
        if start > end or not kind.isalpha():
            return
        stop = end if length == 2**32 - 1 else start + length
        if stop > end:
            return
        yield place, start, stop
        if kind == b"SQ":
            yield from _elements(data, start, stop)
        place = stop


MUTATE: dict[str, Callable[[bytes, np.random.Generator], bytes]] = {
    "json": mutate_json, "lines": mutate_lines, "text": mutate_text, "safetensors": mutate_safetensors,
    "onnx": mutate_onnx, "tiff": mutate_tiff, "mp4": mutate_mp4, "nifti": mutate_nifti, "headed": mutate_headed,
    "dicom": mutate_dicom,
}  # fmt: skip


# The readers.


def look_at_dataset(root: Path) -> None:
    """What `check` and `train` read of a data folder; every file of a pair lies in it."""
    folder = read_folder(root)
    whole = os.path.realpath(root)
    for pair in folder.pairs:
        for file in (pair.image, pair.mask):
            assert os.path.realpath(file).startswith(whole + os.sep), f"{file} lies outside of {root}"
    for finding in examine_dataset(root).findings:
        assert len(finding.detail) <= LONGEST, finding.detail[:200]
    data = open_dataset(root)
    for pairs in data.splits.values():
        for number in range(len(pairs)):
            _ = pairs[number]


def look_at_picture(root: Path) -> None:
    """As an image and as a mask, which a sound file of several channels is not."""
    picture = open_picture(root / "a.tif")
    picture.rows(0, picture.shape[0])
    read_image(root / "a.tif")
    with suppress(AtrousError):
        read_mask(root / "a.tif")


def look_at_zarr(root: Path) -> None:
    picture = open_picture(root / "scan.zarr")
    picture.rows(0, picture.shape[0])


def label(model: Path, predictor: Any) -> None:
    """Label an array, which has no name: `predict` puts that of the picture before the sentence."""
    try:
        predictor.labels(np.zeros((32, 32, 3), np.uint8))
    except AtrousError as error:
        raise AtrousError(f"{model}: {error}") from error


def look_at_bundle(root: Path) -> None:
    from atrous.predict.loading import load_network
    from atrous.predict.predictor import Predictor

    network, card = load_network(root / "model.safetensors")
    label(root / "model.safetensors", Predictor(network, card, device="cpu", backend="torch"))


def look_at_onnx(root: Path) -> None:
    from atrous.predict.loading import load_predictor

    label(root / "net.onnx", load_predictor(root / "net.onnx"))


def look_at_runner(root: Path) -> None:
    """The script that `export` writes beside a network."""
    import shutil
    import sys
    from runpy import run_path

    from atrous.export import runner

    shutil.copy(runner.__file__, root / "net_run.py")
    before, out, told = sys.argv, root / "out", io.StringIO()
    sys.argv = ["net_run.py", str(root / "a.png"), "-o", str(out)]
    try:
        with redirect_stderr(told):
            run_path(str(root / "net_run.py"), run_name="__main__")
    except SystemExit as stop:
        if stop.code:
            raise AtrousError(told.getvalue().strip() or f"{stop.code}") from None
    finally:
        sys.argv = before
        shutil.rmtree(out, ignore_errors=True)


def look_at_checkpoint(root: Path) -> None:
    from atrous.train.checkpoint import load_checkpoint

    if load_checkpoint(root) is None:
        raise AtrousError(f"{root}: no checkpoint")


def look_at_fitting_checkpoint(root: Path) -> None:
    """The manifest, with a sha256 that fits whatever else it says."""
    from atrous.train.checkpoint import _digest

    manifest = root / "step-00000004.json"
    try:
        held = json.loads(manifest.read_bytes())
        held.pop("sha256")
        digest = _digest(manifest.with_suffix(".safetensors").read_bytes(), held)
        manifest.write_text(json.dumps({**held, "sha256": digest}))
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError):
        pass
    look_at_checkpoint(root)


def look_at_best(root: Path) -> None:
    from types import SimpleNamespace

    from atrous.bundle import load_bundle
    from atrous.train.run import load_weights

    network, card = load_bundle(root / "model.safetensors")
    run: Any = SimpleNamespace(card=card, evaluated=network)
    load_weights(root / "best.safetensors", run)


def look_at_log(root: Path) -> None:
    from atrous.report.charts import training_charts
    from atrous.train.loggers import CsvLines, JsonLines, read_log

    training_charts({"run": read_log(root / "log.jsonl")})
    for logger in (JsonLines(root / "log.jsonl", 3), CsvLines(root / "log.csv", 3)):
        logger.resume(3)
        logger.write(step=4, loss=0.5)


def look_at_choice(root: Path) -> None:
    from atrous.ops import timing

    kept, timing.in_cache = timing.in_cache, lambda *_: root / "choice.json"
    try:
        timing.remembered(
            "backends", ["a"], lambda: {"backend": "torch"}, lambda kept: bool({"torch": 1}[kept["backend"]])
        )
    finally:
        timing.in_cache = kept


def look_at_video(root: Path) -> None:
    from types import SimpleNamespace

    from atrous.labels import LabelSet
    from atrous.predict.video import label_video

    card = SimpleNamespace(labels=LabelSet(("sea", "land")))
    predictor: Any = SimpleNamespace(card=card, labels=lambda image: (image[..., 0] > 99).astype(np.uint8))
    label_video(predictor, root / "clip.mp4", root / "out")


def look_at_volume(root: Path, ending: str) -> None:
    from atrous.io.volumes import read_labels, read_volume, volume_geometry, volume_size

    volume = read_volume(root / f"a{ending}")
    assert volume_size(root / f"a{ending}")[:3] == volume.shape
    assert np.isfinite(volume_geometry(root / f"a{ending}").affine).all()
    with suppress(AtrousError):
        read_labels(root / f"a{ending}")


def look_at_series(root: Path) -> None:
    """As a folder of slices, and the file by itself, which is a series of one slice or of its frames."""
    from atrous.io.dicom import is_dicom, list_series, read_series

    is_dicom(root / "ct" / "a")
    for series in list_series(root / "ct"):
        str(series)
    scan = read_series(root / "ct")
    assert np.isfinite(scan.grid.affine).all()
    assert np.isfinite(scan.array).all()
    read_series(root / "ct" / "a")


def look_at_seg(root: Path) -> None:
    from atrous.io.dicom_seg import read_seg

    volume, names = read_seg(root / "a.dcm")
    assert set(np.unique(volume.array).tolist()) <= {0, *names}


def look_at_outlines(root: Path) -> None:
    from atrous.io.dicom import read_series
    from atrous.io.rtstruct import read_rtstruct

    read_rtstruct(root / "rt", read_series(root / "ct"))


def look_at_weights(root: Path) -> None:
    from atrous.encoders.weights import pretrained_state

    pretrained_state("resnet18", root / "a.pth")


def look_at_classes(root: Path) -> None:
    from atrous.labels import LabelSet

    labels = LabelSet.from_toml(root / "classes.toml")
    labels.to_colours(np.zeros((2, 2), np.uint8))
    labels.to_values(np.zeros((2, 2), np.uint8))


def look_at_recipe(root: Path) -> None:
    from atrous.train.recipe import Recipe

    Recipe.load(root / "recipe.toml")


def look_at_decided(root: Path) -> None:
    from atrous.train.recipe import Recipe

    Recipe.decided(root / "recipe.toml")


# The seeds.


def with_list(name: str, text: str) -> Callable[[Path], object]:
    def make(root: Path) -> None:
        for number in range(4):
            save(scene(number, [0, 1, 2]), root / "images" / f"a{number}.png")
            save(scene(number, [0, 1, 2]), root / "masks" / f"a{number}.png")
        for file, content in ((name, text), ("val.txt", "a3.png\n")) if name == "train.txt" else ((name, text),):
            (root / file).parent.mkdir(parents=True, exist_ok=True)
            (root / file).write_text(content)

    return make


def via_table(root: Path) -> None:
    save(Image.fromarray(scene(1, [0, 200])).convert("RGB"), root / "a.png")
    shape = json.dumps({"name": "rect", "x": 2, "y": 3, "width": 9, "height": 5})
    ring = json.dumps({"name": "circle", "cx": 9, "cy": 9, "r": 4})
    with (root / "via_export_csv.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["#filename", "region_id", "region_shape_attributes", "region_attributes"])
        table.writerows([["a.png", 0, shape, '{"kind": "cat"}'], ["a.png", 1, ring, '{"kind": "dog"}']])


def labelme_mask(root: Path) -> None:
    MAKERS["labelme"][1](root)
    packed = io.BytesIO()
    Image.fromarray(scene(1, [0, 255], (8, 8))).save(packed, "PNG")
    from base64 import b64encode

    file = root / "train" / "a0.json"
    content = json.loads(file.read_text())
    drawn = (("circle", [[9, 9], [12, 9]]), ("linestrip", [[1, 1], [5, 9], [20, 3]]), ("point", [[3, 3]]))
    content["shapes"] += [{"label": "dog", "points": points, "shape_type": kind} for kind, points in drawn]
    mask = b64encode(packed.getvalue()).decode()
    content["shapes"].append({"label": "cat", "points": [[2, 2], [9, 9]], "shape_type": "mask", "mask": mask})
    file.write_text(json.dumps(content))


def boxed(root: Path) -> None:
    MAKERS["cvat, xml"][1](root)
    file = root / "annotations.xml"
    ellipse = '<ellipse label="cat" cx="9" cy="9" rx="3" ry="2" rotation="30" z_order="1"/>'
    file.write_text(file.read_text().replace("</image>", ellipse + "</image>", 1))


def rastered(root: Path) -> None:
    from rasters import geotiff

    for number in range(2):
        mask = scene(number, [0, 1, 2])
        geotiff(root / "images" / f"t{number}.tif", np.stack([mask * 99] * 3, -1), nodata="255")
        geotiff(root / "masks" / f"t{number}.tif", mask, nodata="255")


def tiffs(root: Path, **how: Any) -> None:
    shape = how.pop("shape")
    pixels = np.random.default_rng(0).integers(0, 300, shape).astype(how.pop("dtype", np.uint16))
    tifffile.imwrite(root / "a.tif", pixels, **({"photometric": "minisblack", "metadata": None} | how))


def zarr_array(root: Path, version: int) -> None:
    import zarr

    array = zarr.create_array(
        str(root / "scan.zarr"),
        shape=(20, 28, 3),
        chunks=(10, 28, 3),
        dtype="uint8",
        zarr_format=version,  # type: ignore[arg-type]
    )
    array[:] = np.random.default_rng(0).integers(0, 255, (20, 28, 3), np.uint8)


@cache
def bundle_bytes() -> bytes:
    from tempfile import TemporaryDirectory

    from atrous.bundle import Card, save_bundle
    from atrous.labels import LabelSet

    options = {"encoder": "test_resnet", "in_channels": 3, "channels": [8, 8, 8, 8]}
    decoding = {
        "temperature": 1.2, "vector": {"scale": [1.0, 1.0], "shift": [0.0, 0.1]},
        "offsets": {"iou": [0.0, 0.1]}, "thresholds": {"0.9": [0.3, 0.4]},
    }  # fmt: skip
    refinement = {"use": True, "name": "crf", "options": {"iterations": 2}}
    card = Card(
        "unet", options, LabelSet(("sea", "land")), (1.0, 2.0, 3.0), (2.0, 2.0, 2.0), metrics={"val": {"miou": 0.5}},
        recipe={"lr": 0.1}, decoding=decoding, refinement=refinement, sources=("a",), seen=("b",),
        layer={"name": "crfrnn", "iterations": [2, 2]},
    )  # fmt: skip
    with TemporaryDirectory() as folder:
        save_bundle(Path(folder) / "a", card.build(), card)
        return (Path(folder) / "a").read_bytes()


def bundle(root: Path) -> None:
    (root / "model.safetensors").write_bytes(bundle_bytes())


def best(root: Path) -> None:
    from safetensors.torch import load
    from safetensors.torch import save as packed

    bundle(root)
    metrics = json.dumps({"val": {"miou": 0.5}})
    (root / "best.safetensors").write_bytes(packed(load(bundle_bytes()), metadata={"metrics": metrics}))


def checkpoint(root: Path) -> None:
    import torch

    from atrous.train.checkpoint import save_checkpoint

    state = {
        "step": 4,
        "validated": 4,
        "best": 0.5,
        "seconds": 3.5,
        "averaged": 2,
        "stale": 0,
        "skipped": 0,
        "bad": ["a"],
    }
    save_checkpoint(root, {"model.a": torch.zeros(3), "optimizer.0.step": torch.ones(1)}, state)


def onnx_file(root: Path) -> None:
    """A network of one convolution, with what `export` writes into a file."""
    from onnx import TensorProto, helper

    from atrous.bundle import Card
    from atrous.labels import LabelSet

    card = Card("unet", {"encoder": "test_resnet", "in_channels": 3}, LabelSet(("sea", "land")), (0.0,) * 3, (1.0,) * 3)
    sides: Any = ["n", 3, "h", "w"]
    weight = helper.make_tensor("w", TensorProto.FLOAT, [2, 3, 1, 1], [1.0, 0, 0, 0, 1, 0])
    graph = helper.make_graph(
        [helper.make_node("Conv", ["image", "w"], ["logits"])], "net",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, sides)],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", 2, "h", "w"])], [weight],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    about = {
        "output": "logits", "smallest": 1, "classes": ["sea", "land"], "card": json.loads(card.to_json()),
        "tail": {"scale": None, "shift": 0, "crop": None, "align_corners": False}, "values": [0, 1], "dtype": "uint8",
        "colours": [[0, 0, 0], [9, 9, 9]], "mean": [0.0] * 3, "std": [1.0] * 3,
    }  # fmt: skip
    helper.set_model_props(model, {"atrous": json.dumps(about)})
    (root / "net.onnx").write_bytes(model.SerializeToString())
    save(Image.fromarray(scene(1, [0, 200])).convert("RGB"), root / "a.png")


def logs(root: Path) -> None:
    from atrous.train.loggers import CsvLines, JsonLines

    for logger in (JsonLines(root / "log.jsonl"), CsvLines(root / "log.csv")):
        for step in range(1, 6):
            logger.write(step=step, seconds=0.5 * step, loss=1 / step, lr=0.1, images_per_second=9.0)
        logger.write(step=5, seconds=3.0, val_loss=0.5, val_miou=0.25, skipped=1, bad_picture="a.png")


def video(root: Path) -> None:
    import av

    with av.open(str(root / "clip.mp4"), "w") as file:
        stream: Any = file.add_stream("libx264", rate=25)
        stream.height, stream.width, stream.pix_fmt = 32, 48, "yuv420p"
        for number in range(4):
            picture = np.repeat(scene(number, [0, 200], (32, 48))[..., None], 3, 2)
            file.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        file.mux(stream.encode())


def weights(root: Path) -> None:
    import torch

    torch.save({"state_dict": {"conv1.weight": torch.ones(2, 3), "fc.bias": torch.ones(3)}}, root / "a.pth")


def volume(root: Path, ending: str, packed: bool = False) -> None:
    """By SimpleITK alone, which our writer calls too; .mhd and .nhdr have their voxels in another file."""
    import SimpleITK

    array = np.random.default_rng(0).integers(0, 99, (3, 6, 7)).astype(np.uint16)
    picture = SimpleITK.GetImageFromArray(array)
    picture.SetSpacing((0.7, 0.8, 2.5))
    picture.SetOrigin((1.0, 2.0, 3.0))
    SimpleITK.WriteImage(picture, str(root / f"a{ending}"), useCompression=packed)


def dicom_slices(root: Path, pack: Callable[[Any], None] | None = None) -> None:
    import make_dicom

    array = np.random.default_rng(0).integers(0, 3000, (3, 12, 14)).astype(np.int16)
    for at, made in enumerate(make_dicom.slices(array)):
        made.add_new("PixelPaddingValue", "SS", 7)
        if pack:
            pack(made)
        make_dicom.save(made, root / "ct" / ("a" if at == 1 else f"b{at}"))


def dicom_frames(root: Path) -> None:
    import make_dicom

    array = np.random.default_rng(0).integers(0, 3000, (3, 6, 7)).astype(np.int16)
    make_dicom.save(make_dicom.enhanced(array), root / "ct" / "a")


def dicom_seg(root: Path) -> None:
    from atrous.io.dicom import read_series
    from atrous.io.dicom_seg import write_seg

    dicom_slices(root)
    scan = read_series(root / "ct")
    labels = np.random.default_rng(0).integers(0, 3, scan.shape).astype(np.uint8)
    write_seg(root / "a.dcm", labels, scan, ["background", "liver", "spleen"])


def dicom_outlines(root: Path) -> None:
    import make_dicom

    dicom_slices(root)
    star = [(2.0, 1.5), (5.5, 12.5), (9.5, 3.0), (1.0, 6.0)]
    regions = {"liver": [(0, star), (1, star)], "spleen": [(2, star)]}
    make_dicom.save(make_dicom.outlines(regions, make_dicom.UPRIGHT), root / "rt")


def recipe(root: Path) -> None:
    from runs import recipe as made

    made(class_weights=(1.0, 2.0), options={"a": {"b": [1, 2]}}, aux_weight=0.4).save(root / "recipe.toml")


CLASSES = """ignore = [255]
[[class]]
name = "ground"
value = 0
color = [90, 60, 30]
[[class]]
name = "disc"
value = 1
[[class]]
name = "bar"
value = 2
"""


def classes(root: Path) -> None:
    (root / "classes.toml").write_text(CLASSES)


def with_classes(root: Path) -> None:
    with_list("classes.toml", CLASSES)(root)


def choice(root: Path) -> None:
    (root / "choice.json").write_text('{"backend": "torch", "seconds": {"torch": 0.5}, "refused": {}, "what": ["a"]}')


def tree(name: str, file: str, kind: str, make: Callable[[Path], object] | None = None) -> Form:
    return Form(make or MAKERS[name][1], file, kind, look_at_dataset)


SPLITS, TABLE = '{"train": ["a0", "a1"], "val": ["a2"]}', "image,split\na0,train\na1,train\na2,val"
FORMS: dict[str, Form] = {
    "list of a split": tree("", "train.txt", "text", with_list("train.txt", "a0.png\na1.png masks/a1.png\n")),
    "lists of splits": tree("", "splits.json", "json", with_list("splits.json", SPLITS)),
    "table of splits": tree("", "splits.csv", "text", with_list("splits.csv", TABLE)),
    "list of VOC": tree("voc", "ImageSets/Segmentation/train.txt", "text"),
    "colours of CVAT": tree("cvat", "labelmap.txt", "text"),
    "colours of CamVid": tree("camvid, colours", "label_colors.txt", "text"),
    "class_dict.csv": tree("class_dict.csv", "class_dict.csv", "text"),
    "classes of Roboflow": tree("roboflow", "train/_classes.csv", "text"),
    "COCO": tree("coco", "annotations/instances_train2017.json", "json"),
    "Label Studio": tree("label studio", "project-1.json", "json"),
    "Label Studio, brushes": tree("label studio, brushes", "tasks.json", "json"),
    "brush of Label Studio": tree(
        "label studio, brushes", "masks/task-3-annotation-7-by-me@my-firm.org-tag-tree-0.png", "bytes"
    ),
    "labelme": tree("", "train/a0.json", "json", labelme_mask),
    "nnU-Net": tree("nnunet", "dataset.json", "json"),
    "YOLO": tree("yolo", "labels/train/y0.txt", "text"),
    "data.yaml": tree("yolo", "data.yaml", "text"),
    "CVAT": tree("", "annotations.xml", "text", boxed),
    "VIA": tree("via", "train/via_region_data.json", "json"),
    "VIA, table": tree("", "via_export_csv.csv", "text", via_table),
    "Supervisely": tree("supervisely", "train/ann/s0.png.json", "json"),
    "Supervisely, classes": tree("supervisely", "meta.json", "json"),
    "Darwin": tree("darwin", "releases/train/d0.json", "json"),
    "GeoTIFF": tree("", "images/t0.tif", "tiff", rastered),
    "GeoTIFF, mask": tree("", "masks/t0.tif", "tiff", rastered),
    "stack": tree("stacks", "train-volume.tif", "tiff"),
    "stack, labels": tree("stacks", "train-labels.tif", "tiff"),
    "TIFF, 16 bits": Form(partial(tiffs, shape=(20, 28), rowsperstrip=5), "a.tif", "tiff", look_at_picture),
    "TIFF, white is 0": Form(partial(tiffs, shape=(20, 28), photometric=0), "a.tif", "tiff", look_at_picture),
    "TIFF, 5 channels": Form(partial(tiffs, shape=(20, 28, 5), planarconfig="contig", compression="zlib",
                                     predictor=True), "a.tif", "tiff", look_at_picture),
    "TIFF, planes": Form(partial(tiffs, shape=(4, 20, 28), planarconfig="separate", dtype=np.float32), "a.tif", "tiff",
                         look_at_picture),
    "TIFF, tiles": Form(partial(tiffs, shape=(40, 40, 2), planarconfig="contig", tile=(16, 32)), "a.tif", "tiff",
                        look_at_picture),
    "Zarr, 2": Form(partial(zarr_array, version=2), "scan.zarr/.zarray", "json", look_at_zarr),
    "Zarr, 3": Form(partial(zarr_array, version=3), "scan.zarr/zarr.json", "json", look_at_zarr),
    "classes.toml": Form(classes, "classes.toml", "text", look_at_classes),
    "classes.toml of data": tree("", "classes.toml", "text", with_classes),
    "recipe": Form(recipe, "recipe.toml", "text", look_at_recipe),
    "recipe, in part": Form(recipe, "recipe.toml", "text", look_at_decided),
    "bundle": Form(bundle, "model.safetensors", "safetensors", look_at_bundle),
    "ONNX": Form(onnx_file, "net.onnx", "onnx", look_at_onnx),
    "ONNX, script": Form(onnx_file, "net.onnx", "onnx", look_at_runner),
    "checkpoint": Form(checkpoint, "step-00000004.safetensors", "safetensors", look_at_checkpoint),
    "manifest": Form(checkpoint, "step-00000004.json", "json", look_at_fitting_checkpoint),
    "best weights": Form(best, "best.safetensors", "safetensors", look_at_best),
    "encoder weights": Form(weights, "a.pth", "bytes", look_at_weights),
    "log.jsonl": Form(logs, "log.jsonl", "lines", look_at_log),
    "log.csv": Form(logs, "log.csv", "text", look_at_log),
    "choice": Form(choice, "choice.json", "json", look_at_choice),
    "MP4": Form(video, "clip.mp4", "mp4", look_at_video),
    **{f"volume, {ending}": Form(partial(volume, ending=ending), f"a{ending}", kind,
                                 partial(look_at_volume, ending=ending))
       for ending, kind in ((".nii", "nifti"), (".nii.gz", "nifti"), (".mha", "headed"), (".mhd", "headed"),
                            (".nrrd", "headed"), (".nhdr", "headed"))},
    **{f"volume, {ending}, packed": Form(partial(volume, ending=ending, packed=True), f"a{ending}", "headed",
                                         partial(look_at_volume, ending=ending)) for ending in (".mha", ".nrrd")},
    "DICOM": Form(dicom_slices, "ct/a", "dicom", look_at_series),
    **{f"DICOM, {way}": Form(partial(dicom_slices, pack=pack), "ct/a", "dicom", look_at_series)
       for way, pack in PACKS.items()},
    "DICOM, frames": Form(dicom_frames, "ct/a", "dicom", look_at_series),
    "SEG": Form(dicom_seg, "a.dcm", "dicom", look_at_seg),
    "RTSTRUCT": Form(dicom_outlines, "rt", "dicom", look_at_outlines),
}  # fmt: skip
"""Name -> what is mutated and how it is read."""
WAYS = ("bits", "bytes", "cut", "splice", *["structure"] * 6)


class Bench:
    """The folders of the forms in use: `place` holds a folder for each, and the file that no mutant may reach."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.seeds: dict[str, bytes] = {}

    def seed(self, name: str) -> tuple[Path, bytes]:
        """The folder of a form, made once, and the sound bytes of the file that is mutated."""
        form, root = FORMS[name], self.place / re.sub(r"\W", "_", name) / "data"
        if name not in self.seeds:
            root.mkdir(parents=True)
            save(np.full((20, 28), 7, np.uint8), root.parent / SECRET)
            form.make(root)
            self.seeds[name] = (root / form.file).read_bytes()
            form.read(root)  # the sound file is read; else the mutants would all be refused at once
            (root / form.file).write_bytes(self.seeds[name])
        return root, self.seeds[name]

    def attack(self, name: str, data: bytes) -> str:
        """What came of a mutant: `answer`, `refused`, or `wrong error: ...`."""
        import traceback

        form, (root, sound) = FORMS[name], self.seed(name)
        file = root / form.file
        file.write_bytes(data)
        try:
            form.read(root)
            return "answer"
        except AtrousError as error:
            text = str(error)
            if "\n" in text.replace("a\nb", "") or len(text) > LONGEST or not (str(root) in text or file.name in text):
                return f"wrong error: no sentence: {text[:3000]!r}"
            return "refused"
        except Exception:
            return "wrong error: " + traceback.format_exc(limit=-4)
        finally:
            file.write_bytes(sound)


def file_mutants(seed: int, numbers: range, place: Path) -> Iterator[Mutant]:
    bench, names = Bench(place), list(FORMS)
    for number in numbers:
        rng = np.random.default_rng((seed, number))
        name, way = names[number % len(names)], WAYS[number // len(names) % len(WAYS)]
        _, sound = bench.seed(name)
        change = MUTATE.get(FORMS[name].kind) if way == "structure" else None
        data = change(sound, rng) if change else damaged(sound, way if way in MUTATIONS else "bytes", rng)
        yield number, name, way, partial(bench.attack, name, data)
