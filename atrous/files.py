"""Writing files: a crash leaves the old file or the new one, never half of it; and the text of a TOML file."""

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import tomli_w


def write_atomically(path: Path, data: bytes) -> None:
    """Write all of a file or nothing: a temporary file beside it, fsync, rename, fsync of the folder.

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
    """Plain data as TOML, each array on one line, so that `crop = [320, 320]` can be read and changed by hand."""
    text = tomli_w.dumps(document, indent=0)  # it escapes newlines in strings: those that are left belong to arrays
    return text.replace("[\n", "[").replace(",\n]", "]").replace(",\n", ", ")
