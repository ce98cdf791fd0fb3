"""Reads the lists and tables that come with a data set."""

from pathlib import Path

from atrous.errors import DataError


def read_text(path: Path) -> str:
    """Read a text file, with or without a byte order mark; DataError if it is not UTF-8."""
    try:
        return path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); check the path") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not text in UTF-8 (byte {error.start}); save it as UTF-8") from error
