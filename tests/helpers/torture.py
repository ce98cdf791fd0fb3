"""Mutated files and bombs through the public readers, in a process of their own; prints what happened as JSON lines.

python tests/helpers/torture.py pictures SEED FIRST END      reads mutants FIRST..END-1 of pictures
python tests/helpers/torture.py files SEED FIRST END         the same of all else that is read back (mutants.py)
python tests/helpers/torture.py bombs [--whole]              reads bombs; --whole: also those that take seconds to make
"""

import argparse
import io
import json
import struct
import sys
import tempfile
import time
import traceback
import warnings
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from atrous.errors import DataError
from atrous.io import read_image, read_mask

KINDS = ("jpeg", "png", "tiff", "webp", "bmp", "gif", "npy")
MUTATIONS = ("bits", "bytes", "cut", "splice")
SLOW = 2.0
"""Seconds of processor time from which on a file counts as a hang."""
Mutant = tuple[int, str, str, Callable[[], str]]
"""Number, kind, mutation, and the call that reads it."""


def smooth(height: int = 48, width: int = 64, seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).integers(0, 256, (5, 6, 3), np.uint8)
    return cv2.resize(noise, (width, height), interpolation=cv2.INTER_LINEAR)


def saved(picture: Image.Image, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, kind, **options)
    return stream.getvalue()


def array(values: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, values)
    return stream.getvalue()


def seeds() -> dict[str, list[bytes]]:
    """Sound files of each kind, in the forms that take other ways through the decoders."""
    rgb = smooth()
    colour, grey = Image.fromarray(rgb), Image.fromarray(rgb[..., 0])
    palette, bits = colour.convert("P", palette=Image.Palette.ADAPTIVE), grey.convert("1")
    alpha = colour.copy()
    alpha.putalpha(grey)
    exif = Image.Exif()
    exif[0x0112] = 6
    deep = rgb.astype(np.uint16) * 257
    return {
        "jpeg": [
            saved(colour, "JPEG", quality=90), saved(colour, "JPEG", progressive=True), saved(grey, "JPEG"),
            saved(colour.convert("CMYK"), "JPEG"), saved(colour, "JPEG", exif=exif),
        ],
        "png": [
            saved(colour, "PNG"), saved(palette, "PNG"), saved(grey, "PNG"), saved(bits, "PNG"), saved(alpha, "PNG"),
            cv2.imencode(".png", deep)[1].tobytes(), saved(colour, "PNG", exif=exif),
        ],
        "tiff": [
            saved(colour, "TIFF"), saved(colour, "TIFF", compression="tiff_lzw"), saved(palette, "TIFF"),
            saved(grey, "TIFF", compression="tiff_adobe_deflate"), saved(bits, "TIFF", compression="group4"),
            saved(colour.convert("CMYK"), "TIFF"), saved(Image.fromarray(deep[..., 0]), "TIFF"),
        ],
        "webp": [saved(colour, "WEBP"), saved(colour, "WEBP", lossless=True), saved(alpha, "WEBP", exif=exif)],
        "bmp": [saved(colour, "BMP"), saved(palette, "BMP"), saved(bits, "BMP")],
        "gif": [saved(palette, "GIF"), saved(grey, "GIF", interlace=1)],
        "npy": [array(rgb), array(rgb[..., 0].astype(np.float32)), array(deep), array(rgb.astype(np.float64))],
    }  # fmt: skip


def mutant(files: dict[str, list[bytes]], seed: int, number: int) -> tuple[str, str, bytes]:
    """Kind, mutation and bytes of a mutant; each other PNG has right checksums, so that its decoder is reached."""
    rng = np.random.default_rng((seed, number))
    kind, mutation = KINDS[number % len(KINDS)], MUTATIONS[number // len(KINDS) % len(MUTATIONS)]
    data = bytearray(damaged(files[kind][rng.integers(len(files[kind]))], mutation, rng))
    if kind == "png" and rng.random() < 0.5:
        mend_checksums(data)
    return kind, mutation, bytes(data)


def damaged(whole: bytes, mutation: str, rng: np.random.Generator) -> bytes:
    """Bytes with one of MUTATIONS."""
    data = bytearray(whole)
    if mutation == "bits":
        for place in rng.integers(0, len(data), rng.integers(1, 17)):
            data[place] ^= 1 << int(rng.integers(8))
    elif mutation == "bytes":
        start, length = int(rng.integers(len(data))), int(rng.integers(1, 65))
        data[start : start + length] = rng.integers(0, 256, min(length, len(data) - start), np.uint8).tobytes()
    elif mutation == "cut":
        del data[int(rng.integers(1, len(data))) :]
    else:
        start, end = sorted(map(int, rng.integers(0, len(data), 2)))
        piece = bytes(data[start:end])
        if rng.random() < 0.5:
            del data[start:end]
        else:
            place = int(rng.integers(len(data)))
            data[place:place] = piece
    return bytes(data)


def mend_checksums(data: bytearray) -> None:
    """Make the checksum of every PNG part right."""
    start = 8
    while start + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, start)
        end = start + 12 + length
        if end > len(data):
            return
        struct.pack_into(">I", data, end - 4, zlib.crc32(data[start + 4 : end - 4]))
        start = end


def attack(data: bytes, path: Path) -> str:
    """Read a file as image and as mask; what came of it."""
    path.write_bytes(data)
    outcome = "answer"
    for read in (read_image, read_mask):
        try:
            read(path)
        except DataError:
            outcome = "refused"
        except Exception:
            return "wrong error: " + traceback.format_exc(limit=3)
    return outcome


def timed(call: Callable[[], str]) -> dict[str, object]:
    """What came of a call, and how long it took."""
    began, wall = time.process_time(), time.perf_counter()
    outcome = call()
    return {"outcome": outcome, "seconds": time.process_time() - began, "wall": time.perf_counter() - wall}


def picture_mutants(seed: int, numbers: range, folder: Path) -> Iterator[Mutant]:
    files = seeds()
    for number in numbers:
        kind, mutation, data = mutant(files, seed, number)
        yield number, kind, mutation, partial(attack, data, folder / "picture")


def read_mutants(made: Callable[[int, range, Path], Iterator[Mutant]], seed: int, numbers: range) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for number, kind, mutation, call in made(seed, numbers, Path(folder)):
            print(json.dumps({"begin": number, "kind": kind, "mutation": mutation}), flush=True)
            print(json.dumps({"end": number, **timed(call), "peak_mb": peak_mb()}), flush=True)


def peak_mb() -> float:
    """The most memory that this program held, in MB. A process inherits ru_maxrss from the one that began it."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def png_head(height: int, width: int, bits: int = 8, colour: int = 2) -> bytes:
    def part(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    head = part(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + part(b"IDAT", zlib.compress(bytes(1000))) + part(b"IEND", b"")


def gif_frames(count: int) -> bytes:
    frame = b"\x2c" + struct.pack("<HHHHB", 0, 0, 4, 4, 0) + b"\x02\x05\x84\x8f\xa9\xcb\x0e\x00"
    return b"GIF89a" + struct.pack("<HHBBB", 4, 4, 0x80, 0, 0) + bytes(6) + frame * count + b"\x3b"


def tiff(height: int, width: int, strips: int, entries: int | None = None) -> bytes:
    """An LZW TIFF of so many strips, all of which are the same few bytes; entries: what the directory claims."""
    body, table = bytes(64), 8 + 64
    offsets = struct.pack(f"<{strips}I", *[8] * strips)
    counts = struct.pack(f"<{strips}I", *[64] * strips)
    count = strips if entries is None else entries
    tags = [(256, 3, 1, width), (257, 3, 1, height), (258, 3, 1, 8), (259, 3, 1, 5), (262, 3, 1, 1),
            (273, 4, count, table), (277, 3, 1, 1), (278, 3, 1, 1), (279, 4, count, table + 4 * strips)]  # fmt: skip
    place = table + 8 * strips
    directory = struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", *tag) for tag in tags) + bytes(4)
    return b"II*\0" + struct.pack("<I", place) + body + offsets + counts + directory


def whole_png(height: int, width: int) -> bytes:
    """A black PNG that really holds its pixels."""
    pack = zlib.compressobj(1)
    rows = b"".join([*(pack.compress(bytes((width + 1) * 100)) for _ in range(height // 100)), pack.flush()])

    def part(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + part(b"IHDR", head) + part(b"IDAT", rows) + part(b"IEND", b"")


def npy_head(shape: str, dtype: str = "|u1") -> bytes:
    text = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode() + bytes(100)


def bombs(whole: bool) -> dict[str, bytes]:
    jpeg = bytearray(saved(Image.fromarray(smooth()), "JPEG"))
    frame = jpeg.index(b"\xff\xc0")
    struct.pack_into(">HH", jpeg, frame + 5, 65000, 65000)
    bmp = bytearray(saved(Image.fromarray(smooth()), "BMP"))
    struct.pack_into("<ii", bmp, 18, 30000, 30000)
    lossless = bytearray(saved(Image.fromarray(smooth()), "WEBP", lossless=True))
    lossless[21:25] = struct.pack("<I", 16382 | 16382 << 14)
    found = {
        "png 30,000 x 30,000": png_head(30000, 30000),
        "png 12,000 x 12,000 of 16 bits": png_head(12000, 12000, 16),
        "jpeg 65,000 x 65,000": bytes(jpeg),
        "bmp 30,000 x 30,000": bytes(bmp),
        "webp 16,383 x 16,383": bytes(lossless),
        "gif of 10,000 frames": gif_frames(10_000),
        "tiff 30,000 x 30,000 in strips": tiff(30000, 30000, 30000),
        "tiff of 2,000,000,000 strips": tiff(1000, 1000, 1000, 2_000_000_000),
        "tiff of strips beyond the file": tiff(9000, 9000, 10, 9000),
        "npy of 10^12 values": npy_head("(1000000, 1000000)"),
        "npy of float64, cut off": npy_head("(9000, 9000)", "<f8"),
        "npy of 10^6 channels": npy_head("(100, 100, 1000000)"),
    }
    if whole:
        found["png 30,000 x 30,000, whole"] = whole_png(30000, 30000)
        found["png 12,000 x 12,000, whole"] = whole_png(12000, 12000)
    return found


def read_bombs(whole: bool) -> None:
    """Growth of the resident memory at its peak; a picture of each kind is read before, so that the decoders are
    there."""
    made = bombs(whole)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "picture"
        for files in seeds().values():
            attack(files[0], path)
        for name, data in made.items():
            before = peak_mb()
            result = timed(partial(attack, data, path))
            grown = 1024 * (peak_mb() - before)
            print(json.dumps({"bomb": name, "bytes": len(data), **result, "growth_mb": grown / 1024}), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    for verb in ("pictures", "files"):
        one = verbs.add_parser(verb)
        for name in ("seed", "first", "end"):
            one.add_argument(name, type=int)
    verbs.add_parser("bombs").add_argument("--whole", action="store_true")
    options = parser.parse_args()
    warnings.simplefilter("ignore")  # Pillow warns of odd tags
    if options.verb == "bombs":
        read_bombs(options.whole)
        return
    made = picture_mutants
    if options.verb == "files":
        from mutants import file_mutants as made
    read_mutants(made, options.seed, range(options.first, options.end))


if __name__ == "__main__":
    sys.exit(main())
