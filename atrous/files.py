"""Writing files: a crash leaves the old one or the new one, never half; and the text of TOML."""

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import tomli_w


def write_atomically(path: Path, data: bytes) -> None:
    """Write a whole file or nothing: temporary file beside it, fsync, rename, fsync of the folder.

    An OSError, such as of a full disk, has the path of the file.
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
    # Strings hold no raw newline (it is escaped): each one inside a value belongs to an array.
    return text.replace("[\n", "[").replace(",\n]", "]").replace(",\n", ", ")
