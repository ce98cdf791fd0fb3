"""Files: written whole or not at all; texts that users bring; the cache, which may be missing; the text of TOML."""

import codecs
import json
import os
import platform
import re
import secrets
import shutil
import sys
import time
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from typing import Any, BinaryIO

import tomli_w
from platformdirs import user_cache_path

from atrous.errors import DataError, RecipeError

LOCK = ".lock"
NAMED = 40
"""Letters of a file's name that the name of a temporary file beside it begins with: 255 bytes are the limit."""
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
    refuse_stream(path)
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


def refuse_stream(path: Path | str) -> None:
    """Raise DataError for a pipe, a socket or a device, which may never end; a path that is not there passes."""
    path = Path(path)
    try:
        other = path.exists() and not (path.is_file() or path.is_dir())
    except OSError:  # opening it tells what is wrong
        return
    if other:
        raise DataError(f"{path}: is a pipe or a device; expected a file, save it as one")


LONGEST = 2**24
"""Characters of a card or of TOML, and how deep their lists and tables may be nested; ours have a thousandth."""
DEEPEST = 64
DOTTED = re.compile(r"""(?<![\w-])(?:(?:[\w-]++|"[^"\n]*+"|'[^'\n]*+')[ \t]*+\.[ \t]*+){33}""")
"""A key of over 32 parts: `tomllib` takes minutes and gigabytes for one of 20,000."""


def parse_json(text: str) -> Any:
    """Read JSON of bounded size and depth in which no key stands twice.

    Raises:
        ValueError: It is not; the reason is a part of a sentence.

    Example:
        >>> parse_json('{"std": 1, "std": 2}')
        Traceback (most recent call last):
        ValueError: the key 'std' stands there twice
    """
    return _bounded(text, lambda: json.loads(text, object_pairs_hook=unique_keys))


def read_toml(path: Path | str) -> dict[str, Any]:
    """Read a TOML file of bounded size and depth.

    Raises:
        DataError: The file cannot be read as `read_text`, is not TOML, or is too long or nested too deep.
    """
    text = read_text(path)
    if DOTTED.search(text[:LONGEST]):
        raise DataError(f"{path}: cannot be read as TOML (a key has over 32 parts); shorten the key")
    try:
        return dict(_bounded(text, lambda: tomllib.loads(text)))
    except ValueError as error:
        raise DataError(f"{path}: cannot be read as TOML ({error}); correct the file") from error


def unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make the dict of a JSON object; ValueError if a key has two values, of which one would be lost."""
    found = dict(pairs)
    if len(found) < len(pairs):
        for key, value in pairs:
            if found[key] != value:
                raise ValueError(f"the key {key!r} stands there twice")
    return found


def _bounded(text: str, parse: Callable[[], Any]) -> Any:
    if len(text) > LONGEST:
        raise ValueError(f"{len(text)} characters; expected at most {LONGEST}")
    deep = f"lists or tables nested deeper than {DEEPEST}"
    try:
        found = parse()
    except RecursionError:
        raise ValueError(deep) from None
    level = [found]
    for _ in range(DEEPEST):
        level = [inner for outer in level for inner in _inside(outer)]
    if level:
        raise ValueError(deep)
    return found


def _inside(value: Any) -> Iterable[Any]:
    return value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()


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


UNSAFE = re.compile("[\0-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""Signs that a name may hold and that a terminal or a page obeys: control signs, ends of lines, changes of the
direction of writing; and the bytes of a name that are not UTF-8."""


def printable(text: str, keep: str = "") -> str:
    r"""Write the signs of a text that are no letters but orders, and bytes that are not UTF-8, as escapes.

    Names of files and of classes come from others: a terminal shows them, it does not obey them.

    Args:
        text: One line, or more if `keep` has the ends of lines.
        keep: Signs that stay as they are.

    Example:
        >>> printable("dog \udcb9\x1b[2J.png")
        'dog \\udcb9\\x1b[2J.png'
    """
    return UNSAFE.sub(lambda sign: sign[0] if sign[0] in keep else _escape(sign[0]), text)


def _escape(sign: str) -> str:
    return SHORT.get(sign) or (f"\\x{ord(sign):02x}" if ord(sign) < 256 else f"\\u{ord(sign):04x}")


SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def beside(path: Path, suffix: str = ".tmp") -> Path:
    """Name a temporary file beside a file: no other thread, process or host has the same, and the name is short.

    A number of the process would not do: two containers on one volume have the same one.
    """
    return path.with_name(f".{path.name[:NAMED]}.atrous-{secrets.token_hex(6)}{suffix}")


def make_folder(folder: Path) -> None:
    """Make a folder, and those above it; one that is there is right.

    Raises:
        DataError: A file is in the way.
        OSError: It cannot be made otherwise.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        file = next((place for place in (folder, *folder.parents) if os.path.lexists(place)), folder)
        raise DataError(f"{file}: a file, not a folder; it cannot be written into, give another place") from error


LEFT = re.compile(r"\..{1,40}\.atrous-[0-9a-f]{12}\.\w+", re.DOTALL)
"""The names of `beside`."""


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Show other processes that a temporary file or folder is in use: what a killed process leaves is not."""
    if os.name == "nt":  # a file that is open there cannot be renamed
        yield
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        _take(handle, alone=True)
        yield
    finally:
        os.close(handle)


@contextmanager
def scratch(path: Path) -> Iterator[Path]:
    """Make a temporary folder beside a path, and remove it at the end; also those of processes that were killed."""
    sweep(path.parent)
    folder = beside(path)
    make_folder(folder)
    try:
        with held(folder):
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def sweep(folder: Path) -> None:
    """Remove the temporary files and folders that killed processes left in a folder."""
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if LEFT.fullmatch(entry.name) and not _in_use(entry):
                if entry.is_dir(follow_symlinks=False):
                    shutil.rmtree(entry.path, ignore_errors=True)
                else:
                    Path(entry.path).unlink(missing_ok=True)


def _in_use(entry: os.DirEntry[str]) -> bool:
    if time.time() - entry.stat(follow_symlinks=False).st_mtime < (1 if os.name == "posix" else DAY):
        return True  # it may be between its making and its lock
    if os.name != "posix" or not (entry.is_file(follow_symlinks=False) or entry.is_dir(follow_symlinks=False)):
        return False
    handle = os.open(entry.path, os.O_RDONLY)
    try:
        return not _take(handle, alone=True)
    finally:
        os.close(handle)


DAY = 86400
"""Seconds."""


@contextmanager
def alone(folder: Path, name: str = LOCK, *, task: str = "") -> Iterator[None]:
    """Let no other process change a folder meanwhile. The system ends this with the process, however it ends.

    Args:
        folder: A run's folder, or one of results; it is made.
        name: The file in it that says who works there; it is removed at the end.
        task: Processes of one task, such as the shares of a large prediction, may work there at once.

    Raises:
        RecipeError: Another process works in the folder.
    """
    made = not folder.exists()
    make_folder(folder)
    path, who = folder / name, f"process {os.getpid()} on {platform.node()}, since {datetime.now():%Y-%m-%d %H:%M:%S},"
    with _lock(path, who, task) as file:
        _HELD.add(file)
        try:
            yield
        finally:
            _HELD.discard(file)
            _leave(path, file, folder if made else None)


def _lock(path: Path, who: str, task: str) -> BinaryIO:
    """Open the file of a lock that this process has now; it holds the task, then who works on it."""
    while True:
        with ExitStack() as opened:
            try:
                file = opened.enter_context(path.open("a+b"))
            except OSError as error:
                raise OSError(error.errno, error.strerror, str(path.parent)) from error
            first = _take(file.fileno(), alone=True)
            if first:
                for place in (path.parent, *filter(Path.is_dir, path.parent.iterdir())):
                    sweep(place)
                file.truncate(0)
                file.write(f"{task}\n{who}".encode())
                file.flush()
            if task and os.name != "nt":
                first = _take(file.fileno(), alone=False)
            file.seek(0)
            theirs, _, worker = file.read().decode(errors="replace").partition("\n")
            if not first or theirs != task:
                worker = worker or "another process"
                raise RecipeError(
                    f"{path.parent}: {worker} works in this folder; wait until it ends, or give another folder"
                )
            with suppress(FileNotFoundError):
                if os.path.samestat(path.stat(), os.fstat(file.fileno())):
                    opened.pop_all()
                    return file  # else the one before removed it after it was opened here


def _leave(path: Path, file: BinaryIO, made: Path | None) -> None:
    """Remove the file of a lock, unless others of the task go on; and a folder in which nothing came to be."""
    if os.name == "nt" or not _take(file.fileno(), alone=True):
        return
    with suppress(OSError):
        path.unlink()
        if made:
            made.rmdir()


def _let_go() -> None:
    """In a forked process: its copy of a lock would outlive the process that works."""
    for file in _HELD:
        file.close()
    _HELD.clear()


_HELD: set[BinaryIO] = set()
"""The files of the locks that this process has."""
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go)


def _take(handle: int, *, alone: bool) -> bool:
    """Whether the lock of an open file is this process's now, alone or beside others."""
    try:
        if os.name == "nt":  # knows no lock beside others
            import msvcrt

            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
        else:
            import fcntl

            fcntl.flock(handle, (fcntl.LOCK_EX if alone else fcntl.LOCK_SH) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a volume without locks
        return os.name != "nt"
    return True


def write_atomically(path: Path, data: bytes) -> None:
    """Write a whole file or nothing: temporary file beside it, fsync, rename, fsync of the folder.

    Args:
        path: The file; its folder is made.
        data: What it will hold.

    Raises:
        OSError: The disk is full, for example; `filename` is the path of the file.
    """
    make_folder(path.parent)
    temporary = beside(path)
    try:
        with temporary.open("xb") as file, held(temporary):
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException as error:  # Ctrl-C too: nothing half stays, and the error goes on
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
    text = re.sub("[\ud800-\udfff]", lambda sign: "\\" + _escape(sign[0]), text)  # TOML has no escape for them
    # Strings hold no raw newline (it is escaped): each one inside a value belongs to an array.
    return text.replace("[\n", "[").replace(",\n]", "]").replace(",\n", ", ")


def in_cache(*parts: str) -> Path:
    """Where a file of the user's cache is, or may be written.

    Where the cache cannot be written (HOME is missing, read-only, a full disk), new files go into a
    folder that lasts as long as this process, and one line on stderr says so.

    Example:
        >>> in_cache("choices", "0123.json").parts[-2:]
        ('choices', '0123.json')
    """
    root = Path(user_cache_path("atrous"))
    with suppress(OSError):
        if root.joinpath(*parts).exists():
            return root.joinpath(*parts)
    return writable(root).joinpath(*parts)


def keep(path: Path, data: bytes) -> None:
    """Write a file of the user's cache; where that fails, say so once and go on without it."""
    try:
        write_atomically(path, data)
    except OSError as error:
        _tell(str(path.parent), error.strerror)
    except DataError as error:
        _tell(str(path.parent), str(error))


def takes_files(folder: Path) -> bool:
    """Whether files of some size can be written into a folder, which is made."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder, buffering=0) as file:
            return file.write(bytes(PROBE)) == PROBE
    except OSError:
        return False


PROBE = 2**16
"""Bytes that are written to see whether a folder takes files."""


@cache
def writable(root: Path) -> Path:
    """A folder for a cache, or one of this process in its place, which one line on stderr says."""
    if root.is_absolute() and takes_files(root):  # without a home the path begins with a plain "~"
        return root
    with suppress(OSError):
        _folders.append(TemporaryDirectory(prefix="atrous-"))
        _tell(str(root), "it cannot be written")
        return Path(_folders[-1].name)
    return root


_folders: list[TemporaryDirectory[str]] = []
"""In the place of a cache; removed when the process ends."""


@cache
def _tell(folder: str, reason: str | None) -> None:
    line = f"note: {folder}: {reason}; what is measured or fetched is not kept for the next time"
    print(printable(f"{line} (XDG_CACHE_HOME can name another folder)"), file=sys.stderr)


def keep_kernels(own: Path) -> None:
    """Have numba keep compiled kernels in the user's cache, where it cannot keep them in the package's folder `own`.

    Otherwise it raises RuntimeError ("no locator available") in a package that is read-only, for a
    user without a home.
    """
    if not takes_files(own):
        os.environ["NUMBA_CACHE_DIR"] = str(writable(Path(user_cache_path("atrous"))) / "numba")


def name_kernels_apart() -> None:
    """Let each process give the kernels that it compiles names of their own in numba's cache.

    Numba takes the next free number. Two processes that compile at once, or two versions of a
    module, take the same one, and a third process then runs the kernel for one kind of array on
    another kind, which reads memory that is not the array's.
    """
    from numba.core.caching import IndexDataCacheFile as Cache

    if not hasattr(Cache._data_name, "apart"):
        numbered = Cache._data_name

        def name(cache: Any, number: int) -> str:
            stem, _, suffix = numbered(cache, number).rpartition(".")
            return f"{stem}-{RUN}-{os.getpid():x}.{suffix}"  # a forked process has its parent's RUN

        name.apart = True  # type: ignore[attr-defined]
        Cache._data_name = name  # type: ignore[method-assign]


RUN = secrets.token_hex(4)
"""Of this process, and of those that it forks."""
