"""Write files so that a crash leaves the old file or the new one; the text of TOML; texts that users bring."""

import codecs
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import tomli_w

from atrous.errors import DataError

WIDE = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
"""How a file of UTF-16 begins."""


def read_text(path: Path | str) -> str:
    r"""Read a list, a table, TOML or JSON that a user brings; every such file is read here.

    Args:
        path: A file in UTF-8, or in UTF-16 with a byte order mark.

    Returns:
        The text without a byte order mark.

    Raises:
        DataError: The file cannot be read, or has another encoding.

    Example:
        >>> from pathlib import Path
        >>> _ = Path("names.txt").write_bytes(b"\xef\xbb\xbfcat\r\n")
        >>> read_text("names.txt")
        'cat\r\n'
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); check the path") from error
    try:
        text = data.decode("utf-16" if data.startswith(WIDE) else "utf-8-sig")
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:  # as in UTF-16 without a mark
        raise DataError(f"{path}: is not UTF-8; save it as UTF-8")
    return text


def read_lines(path: Path | str) -> list[str]:
    r"""Read the lines of a text as `read_text`; blanks around them and empty lines are left out.

    Example:
        >>> from pathlib import Path
        >>> _ = Path("names.txt").write_bytes(b"cat \r\n\r\nblack dog")
        >>> read_lines("names.txt")
        ['cat', 'black dog']
    """
    # str.splitlines would also end a line at signs that a name can hold. Lists that were joined have marks inside.
    lines = re.split(r"\r\n|\r|\n", read_text(path).replace("\ufeff", ""))
    return [line.strip() for line in lines if line.strip()]


def printable(text: str) -> str:
    r"""Write the bytes of a file's name that are not UTF-8 as escapes; any other text stays as it is.

    Example:
        >>> printable("dog \udcb9.png")
        'dog \\udcb9.png'
    """
    return text.encode("utf-8", "backslashreplace").decode()


def write_atomically(path: Path, data: bytes) -> None:
    """Write a whole file or nothing: temporary file beside it, fsync, rename, fsync of the folder.

    Args:
        path: The file; its folder is made.
        data: What it will hold.

    Raises:
        OSError: The disk is full, for example; `filename` is the path of the file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise
    if os.name == "posix":
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def toml_text(document: Mapping[str, Any]) -> str:
    """Plain data as TOML, each array on one line so that it can be read and changed by hand."""
    text = tomli_w.dumps(document, indent=0)
    text = re.sub("[\ud800-\udfff]", lambda sign: "\\" + printable(sign[0]), text)  # TOML has no escape for them
    # Strings hold no raw newline (it is escaped): each one inside a value belongs to an array.
    return text.replace("[\n", "[").replace(",\n]", "]").replace(",\n", ", ")
