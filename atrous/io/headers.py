"""What the headers of volumes say, checked before anything is decoded: sizes, types, where the voxels are.

A few hundred bytes can claim terabytes, and name other files on the disk. So the claim is compared
with the file's own length, and the voxels of a file are in that file, or in one beside it.

Sources: nifti1.h and nifti2.h (NIfTI-1.1, NIfTI-2), the definition of NRRD (teem.sourceforge.net),
the MetaIO documentation (ITK).
"""

import re
import struct
import zlib
from collections.abc import Sequence
from math import isfinite, prod
from pathlib import Path
from typing import NamedTuple

from atrous.errors import DataError
from atrous.io.images import open_file
from atrous.io.png import MOST_PACKED

MAX_VOXELS = 2**31
"""Numbers that a volume may hold, over all channels: 8 GB in float32."""
MAX_SIDE = 2**16
FAR, LONG, LINE = 1e6, 250, 500
"""At most: mm from the origin (SimpleITK does not end on an infinite one); letters of a name, and of a line of NRRD."""
TEXT = 2**16
"""Bytes of a header that is a text, at most."""
PACKED = b"\x1f\x8b"
ANY, CHUNK = zlib.MAX_WBITS | 32, 2**20
"""zlib's setting for a stream of gzip or of zlib; bytes that are unpacked at a time."""
VOLUME_SUFFIXES = (".nii", ".nii.gz", ".mha", ".mhd", ".nrrd", ".nhdr")
NIFTI = {2: 1, 4: 2, 8: 4, 16: 4, 64: 8, 256: 1, 512: 2, 768: 4, 1024: 8, 1280: 8}
"""NIfTI's codes of types of real numbers -> bytes."""
NIFTI_OTHER = {1: "single bits", 32: "complex", 128: "RGB colours", 1536: "of 128 bits", 1792: "complex", 2304: "RGBA"}
META = {"CHAR": 1, "UCHAR": 1, "SHORT": 2, "USHORT": 2, "INT": 4, "UINT": 4, "LONG": 4, "ULONG": 4, "FLOAT": 4,
        "DOUBLE": 8, "LONG_LONG": 8, "ULONG_LONG": 8}  # fmt: skip
NRRD = {
    **dict.fromkeys(("signed char", "int8", "int8_t", "uchar", "unsigned char", "uint8", "uint8_t"), 1),
    **dict.fromkeys(("short", "short int", "signed short", "signed short int", "int16", "int16_t", "ushort"), 2),
    **dict.fromkeys(("unsigned short", "unsigned short int", "uint16", "uint16_t"), 2),
    **dict.fromkeys(
        ("int", "signed int", "int32", "int32_t", "uint", "unsigned int", "uint32", "uint32_t", "float"), 4
    ),
    **dict.fromkeys(("longlong", "long long", "long long int", "signed long long", "signed long long int", "int64"), 8),
    **dict.fromkeys(("int64_t", "ulonglong", "unsigned long long", "unsigned long long int", "uint64", "uint64_t"), 8),
    "double": 8,
}
"""NRRD's names of types -> bytes."""


class Told(NamedTuple):
    """What a header says.

    Attributes:
        sizes: in the file's order, the fastest axis first.
        width: bytes of a number.
        packed: whether the voxels are.
        voxels: the file that holds them.
        start: the byte of that file from which on they, or the packed stream, stand.
        skipped: bytes before the voxels in what the packed stream holds.
    """

    sizes: tuple[int, ...]
    width: int
    packed: bool
    voxels: Path
    start: int = 0
    skipped: int = 0


def is_volume(path: Path) -> bool:
    """Tell by its suffix whether a file is a volume."""
    return path.name.lower().endswith(VOLUME_SUFFIXES)


def ending_of(name: str) -> str:
    """The ending of a volume's name as it is written, `.nii.gz` too; "" if it is that of another file."""
    known = [one for one in VOLUME_SUFFIXES if name.lower().endswith(one)]
    return name[-len(max(known, key=len)) :] if known else ""


def check_header(path: Path) -> Told:
    """Read the header of a volume and refuse what its file cannot hold, or what points elsewhere.

    Raises:
        DataError: The file is missing, damaged, larger than MAX_VOXELS, or holds something else than
            real numbers.
    """
    name = path.name.lower()
    read = _nifti if name.endswith((".nii", ".nii.gz")) else _nrrd if name.endswith((".nrrd", ".nhdr")) else _meta
    try:
        told = read(path)
    except (ValueError, KeyError, struct.error, zlib.error, EOFError) as error:
        raise DataError(f"{path}: not a volume of its kind ({error}); export it again") from error
    if not 2 <= len(told.sizes) <= 5 or min(told.sizes) < 1 or max(told.sizes) > MAX_SIDE:
        raise DataError(f"{path}: says it has {shown(told.sizes)} voxels; expected three sides of 1..{MAX_SIDE}")
    count = prod(told.sizes)
    if count > MAX_VOXELS:
        raise DataError(
            f"{path}: says it has {shown(told.sizes)} voxels, {count / 1e9:.1f} billion; expected "
            f"{MAX_VOXELS / 1e9:.1f} billion at most, cut it into parts"
        )
    there = max(told.voxels.stat().st_size - told.start, 0)
    if count * told.width > there * (MOST_PACKED if told.packed else 1):
        raise DataError(
            f"{path}: says it has {shown(told.sizes)} voxels of {told.width} bytes, but {there:,} bytes follow; it is "
            "cut short or damaged, copy it again"
        )
    return told


def check_packed(path: Path, told: Told) -> None:
    """Unpack a volume's voxels once and throw them away: decoders do not all see that a file is cut or damaged.

    Raises:
        DataError: The stream ends early, or its checksum is wrong.
    """
    left = told.skipped + prod(told.sizes) * told.width
    unpack = zlib.decompressobj(ANY)
    with told.voxels.open("rb") as stream:
        stream.seek(told.start)
        data = stream.read(CHUNK)
        try:
            while left > -CHUNK and data:  # what follows the voxels is of no concern
                left -= len(unpack.decompress(data, CHUNK))
                data = unpack.unconsumed_tail or stream.read(CHUNK)
                if unpack.eof:
                    data = unpack.unused_data + data
                    if not data.startswith(PACKED):
                        break
                    unpack = zlib.decompressobj(ANY)  # gzip files may be laid end to end
        except zlib.error as error:
            raise DataError(f"{path}: damaged volume ({error}); expected a whole file, copy it again") from error
    if left > 0 or (left > -CHUNK and not unpack.eof):
        raise DataError(f"{path}: cut short, {max(left, 1):,} bytes of its voxels are missing; copy it again")


def shown(shape: Sequence[int]) -> str:
    """A shape for people: "4 x 20 x 28"."""
    return " x ".join(map(str, shape))


def _start(path: Path, count: int) -> tuple[bytes, bool]:
    """The first bytes of a file, unpacked if it is gzip, and whether it is."""
    with open_file(path) as stream:
        head = stream.read(2)
        packed = head == PACKED
        if not packed:
            return head + stream.read(count - 2), False
        unpack, found = zlib.decompressobj(zlib.MAX_WBITS | 16), b""
        data = head + stream.read(4 * count)
        while data and len(found) < count:
            found += unpack.decompress(data, count - len(found))
            data = unpack.unconsumed_tail or stream.read(4 * count)
        return found, True


def _nifti(path: Path) -> Told:
    head, packed = _start(path, 544)
    if packed != path.name.lower().endswith(".gz"):
        raise ValueError("the ending .gz says whether it is packed, and that is not so")
    if len(head) < 348:
        raise ValueError("its header is cut short")
    order = next((one for one in "<>" if struct.unpack_from(one + "i", head)[0] in (348, 540)), "")
    if not order:
        raise ValueError("its header does not begin with 348 or 540")
    second = struct.unpack_from(order + "i", head)[0] == 540
    magic, places = (head[4:8], ("h", 12, "8q", 16, "8d", 104, "q", 168)) if second else (
        head[344:348], ("h", 70, "8h", 40, "8f", 76, "f", 108)
    )  # fmt: skip
    if magic != (b"n+2\0" if second else b"n+1\0"):
        raise ValueError("it has no mark of NIfTI in one file")
    kind, dims, spacing, start = (
        struct.unpack_from(order + form, head, place) for form, place in zip(places[::2], places[1::2], strict=True)
    )
    if kind[0] not in NIFTI:
        raise ValueError(f"its voxels are {NIFTI_OTHER.get(kind[0], f'of the unknown type {kind[0]}')}, not numbers")
    if not 2 <= dims[0] <= 7:
        raise ValueError(f"it has {dims[0]} axes")
    steps = spacing[1 : dims[0] + 1]
    if not all(isfinite(step) for step in spacing[: dims[0] + 1]) or min(steps[:3]) < 0 or max(steps[:3]) > 1e6:
        raise ValueError(f"its voxels are {', '.join(f'{step:g}' for step in steps[:3])} mm apart")
    if not (isfinite(start[0]) and 0 <= start[0] < 2**31):
        raise ValueError(f"its voxels begin at byte {start[0]:g}")
    turns = struct.unpack_from(order + ("6d12d" if second else "6f12f"), head, 352 if second else 256)
    if not all(isfinite(value) and abs(value) <= FAR for value in turns):
        raise ValueError("its place in space is no finite number below a million mm")
    sizes = [int(side) for side in dims[1 : dims[0] + 1]]
    while len(sizes) > 3 and sizes[-1] == 1:
        sizes.pop()
    return Told(tuple(sizes), NIFTI[kind[0]], packed, path, *((0, int(start[0])) if packed else (int(start[0]), 0)))


def _lines(head: bytes) -> dict[str, str]:
    """The lines "key: value" or "key = value" of a header; a key that stands twice is an error."""
    found = dict[str, str]()
    for line in head.decode("latin-1").splitlines():
        match = re.match(r"([^:=#]+?)\s*[:=]+\s*(.*)$", line)
        if not match:
            continue
        key = match[1].strip().lower()
        if key in found:
            raise ValueError(f"{match[1]!r} stands there twice")
        found[key] = match[2].strip()
    return found


def _nrrd(path: Path) -> Told:
    head, packed = _start(path, TEXT)
    if packed or not head.startswith(b"NRRD000"):
        raise ValueError("it does not begin with NRRD000")
    ends = re.search(rb"\r?\n\r?\n", head)
    text = head[: ends.start()] if ends else head
    for line in text.splitlines():  # the reader in SimpleITK writes over its memory while it complains of a long one
        free = line.startswith(b"#") or (b":=" in line and b": " not in line.partition(b":=")[0])
        if len(line) > LINE and not free:
            raise ValueError(f"a line of its header has {len(line)} signs, expected at most {LINE}")
    said = _lines(text)
    sizes = tuple(map(int, said["sizes"].split()))
    if len(sizes) != int(said["dimension"]):
        raise ValueError(f"it has {len(sizes)} sizes for {said['dimension']} axes")
    if said["type"] not in NRRD:
        raise ValueError(f"its voxels are of the type {said['type'][:40]!r}, not numbers")
    how = said.get("encoding", "raw")
    if how not in ("raw", "gzip", "gz"):
        raise ValueError(f"its encoding is {how[:40]!r}, expected raw or gzip")
    other = said.get("data file", said.get("datafile"))
    if other is None and not ends:
        raise ValueError("its header has no end")
    if other is None and int(said.get("byte skip", said.get("byteskip", "0"))) > 0:
        raise ValueError("its voxels begin somewhere inside, expected at the end of the header")
    voxels = path if other is None else _neighbour(path, other)
    return Told(sizes, NRRD[said["type"]], how != "raw", voxels, ends.end() if ends and other is None else 0)


def _meta(path: Path) -> Told:
    head, _ = _start(path, TEXT)
    ends = re.search(rb"ElementDataFile\s*=[ \t]*([^\r\n]*)\r?\n?", head)
    if not ends:
        raise ValueError("it names no ElementDataFile")
    said = _lines(head[: ends.end()])
    sizes = tuple(map(int, said["dimsize"].split()))
    if len(sizes) != int(said["ndims"]):
        raise ValueError(f"it has {len(sizes)} sizes for {said['ndims']} axes")
    channels = int(said.get("elementnumberofchannels", "1"))
    kind = said["elementtype"].upper().removeprefix("MET_").removesuffix("_ARRAY")
    if kind not in META:
        raise ValueError(f"its voxels are of the type {said['elementtype'][:40]!r}, not numbers")
    local = ends[1].strip().upper() in (b"LOCAL", b"LOCAL_FILE")
    voxels = path if local else _neighbour(path, ends[1].decode("latin-1").strip())
    packed = said.get("compresseddata", "false").lower() in ("true", "1", "yes")
    return Told((*((channels,) * (channels != 1)), *sizes), META[kind], packed, voxels, ends.end() if local else 0)


def _neighbour(path: Path, name: str) -> Path:
    """The file beside a header that holds its voxels."""
    if name.upper().startswith("LIST") or "%" in name or name != Path(name).name or name in ("", ".", ".."):
        raise ValueError(f"its voxels are in {name[:80]!r}, expected one file beside it")
    if len(name) > LONG:
        raise ValueError(f"its voxels are in {name[:80]!r}, which is no name of a file")
    voxels = path.with_name(name)
    if voxels.is_symlink() or not voxels.is_file():
        raise ValueError(f"its voxels are in {name[:80]!r}, which is not there as a file")
    return voxels
