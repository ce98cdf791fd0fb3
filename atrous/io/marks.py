r"""The mark of this program in the files that it writes for a person: it writes over these alone.

The mark is a comment of the file's own format. Where the whole file is at hand it holds a checksum of
the rest, so that a file that was changed since (a label map that was corrected by hand) counts as its
owner's.
"""

import hashlib
import os
import re
import struct
import zlib
from pathlib import Path
from typing import Any

SOFTWARE = "made by atrous"
"""The mark of formats that are written in parts: a tag of TIFF, an attribute of Zarr, the comment of a video."""
DIGITS = 16
_PAGE, _SCRIPT = b"<!-- atrous %s -->\n", b"# atrous %s\n"
COMMENTS = {
    ".png": b"\0\0\0 tEXtSoftware\0atrous %s",
    ".jpg": b"\xff\xfe\0\x19atrous %s",
    **dict.fromkeys((".html", ".htm", ".svg"), _PAGE),
    **dict.fromkeys((".toml", ".py", ".pbtxt"), _SCRIPT),
}
SIGNS = {
    **dict.fromkeys((".tif", ".mkv", ".mp4", ".nii", ".nrrd", ".mha"), SOFTWARE.encode()),
    ".onnx": b"\n\x06atrous",
    ".dcm": b"LO\x06\x00atrous",
    ".safetensors": b'"atrous"',
    **dict.fromkeys((".pt2", ".xml", ".json"), b"atrous"),
}
"""What the metadata of files without such a comment hold."""
HEADER = 352
"""Bytes of the header of NIfTI, whose description has the mark."""
HEAD = 2**22
"""Bytes at both ends of a file in which its metadata lie."""


def marked(data: bytes, suffix: str) -> bytes:
    r"""Add the mark to a whole file.

    Args:
        data: The file without a mark.
        suffix: Its kind, a key of `COMMENTS`.

    Returns:
        The file with the mark.

    Example:
        >>> marked(b"lr = 0.1\n", ".toml")
        b'lr = 0.1\n# atrous 4e3bb3a3c6b7b0ba\n'
    """
    place = len(data)
    if suffix == ".png":
        place -= 12  # before the last part, which ends the picture
    elif suffix == ".jpg":
        place = 4 + int.from_bytes(data[4:6], "big")  # behind the first part, which says that it is a JFIF
    return data[:place] + comment(suffix, hashlib.sha256(data)) + data[place:]


def comment(suffix: str, rest: Any) -> bytes:
    """Make the mark of a file. rest: the `hashlib.sha256` of all other bytes."""
    text = COMMENTS[suffix] % rest.hexdigest()[:DIGITS].encode()
    return text + struct.pack(">I", zlib.crc32(text[4:])) if suffix == ".png" else text


def is_marked(path: Path) -> bool:
    """Tell whether this program wrote a file, or a Zarr folder, and nobody changed it since.

    Args:
        path: A file; other files than regular ones are nobody's.

    Returns:
        False too if it cannot be read.
    """
    if path.is_dir():
        return any(SOFTWARE in _text(path / name) for name in ("zarr.json", ".zattrs"))
    suffix = path.suffix.lower()
    if suffix == ".bin":  # of OpenVINO; it holds numbers alone
        return is_marked(path.with_suffix(".xml"))
    try:
        if not path.is_file():
            return False
        with path.open("rb") as file:
            if path.name.lower().endswith(".nii.gz"):
                return SOFTWARE.encode() in zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(
                    file.read(HEADER), HEADER
                )
            if suffix not in COMMENTS:
                head = file.read(HEAD)
                file.seek(-min(HEAD, os.fstat(file.fileno()).st_size), os.SEEK_END)
                return suffix in SIGNS and SIGNS[suffix] in head + file.read()
            data = file.read()
    except (OSError, zlib.error):
        return False
    pattern = re.escape(COMMENTS[suffix]).replace(rb"%s", b"(%b)" % (b"[0-9a-f]" * DIGITS))
    end = 4 if suffix == ".png" else 0
    return any(
        hashlib.sha256(data[: found.start()] + data[found.end() + end :]).hexdigest()[:DIGITS].encode() == found[1]
        for found in re.finditer(pattern, data)
    )


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
