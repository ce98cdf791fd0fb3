"""The user's cache where there is none, and numba's."""

import errno
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from atrous import files
from atrous.files import in_cache, keep, keep_kernels, takes_files
from atrous.ops.timing import remembered

NOWHERE = Path("/proc/nowhere")
"""A folder that nobody can make, not even root."""


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    """What a process says and decides once."""
    for one in (files.writable, files._tell):
        one.cache_clear()
    yield
    for one in (files.writable, files._tell):
        one.cache_clear()


def full(*_: Any, **__: Any) -> Any:
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("home", ["missing", "cannot be made", "full disk"])
def test_without_a_cache_all_works_and_one_line_says_so(
    home: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if home == "missing":
        monkeypatch.setattr(files, "user_cache_path", lambda name: Path("~/.cache") / name)  # as without a user
    elif home == "cannot be made":
        monkeypatch.setenv("XDG_CACHE_HOME", str(NOWHERE))
    else:
        monkeypatch.setattr(files, "TemporaryFile", full)
    monkeypatch.chdir(tmp_path)
    measured: list[int] = []

    def measure() -> dict[str, int]:
        measured.append(1)
        return {"best": len(measured)}

    assert [remembered(kind, ["net"], measure)["best"] for kind in ("choices", "choices", "backends")] == [1, 1, 2]
    path = in_cache("weights", "name.safetensors")
    keep(path, b"1")
    assert path.read_bytes() == b"1"
    assert path.is_relative_to(tempfile.gettempdir())
    assert not (tmp_path / "~").exists()
    assert capsys.readouterr().err.count("\n") == 1


def test_a_disk_that_is_full_by_now_is_said_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    place = in_cache("choices", "a.json")
    monkeypatch.setattr(files, "write_atomically", full)
    assert [remembered("choices", ["net"], lambda: {"best": 1})["best"] for _ in "ab"] == [1, 1]
    said = capsys.readouterr().err
    assert said.startswith(f"note: {place.parent}: No space left on device; what is measured")
    assert said.count("\n") == 1


def test_what_is_in_a_cache_that_cannot_be_written_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    keep(in_cache("weights", "a"), b"1")
    kept = in_cache("weights", "a")
    files.writable.cache_clear()
    monkeypatch.setattr(files, "TemporaryFile", full)
    assert in_cache("weights", "a") == kept
    assert in_cache("weights", "b").parent != kept.parent


def test_kernels_are_kept_where_that_is_possible(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUMBA_CACHE_DIR", "before")
    keep_kernels(tmp_path / "package")
    assert os.environ["NUMBA_CACHE_DIR"] == "before"
    keep_kernels(NOWHERE)
    assert os.environ["NUMBA_CACHE_DIR"] == str(in_cache("numba"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(NOWHERE))
    keep_kernels(NOWHERE)
    assert takes_files(Path(os.environ["NUMBA_CACHE_DIR"]))


def test_processes_that_compile_at_once_never_run_one_kernel_for_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two find the same free number; the second has told the index of its kernel, but not written it yet."""
    from numba.core.caching import IndexDataCacheFile

    import atrous.labels  # noqa: F401  # names are set apart where kernels are

    def cache(process: int) -> IndexDataCacheFile:
        monkeypatch.setattr(os, "getpid", lambda: process)
        return IndexDataCacheFile(str(tmp_path), "kernel", "stamp of the source")

    first = cache(1)
    first.save("for bytes", "code for bytes")
    second = cache(2)
    monkeypatch.setattr(second, "_load_index", dict)  # as it was before the first one's was written
    monkeypatch.setattr(second, "_save_data", lambda name, data: None)
    second.save("for words", "code for words")
    third = cache(3)
    assert third.load("for words") is None
    assert third.load("for bytes") in (None, "code for bytes")


def test_all_kernels_are_named_apart() -> None:
    package = Path(files.__file__).parent
    plain = {
        path.relative_to(package).as_posix()
        for path in package.rglob("*.py")
        if re.search(r"^ *(from numba import .*njit|import numba$.*numba\.njit)", path.read_text("utf-8"), re.MULTILINE)
    }
    assert plain == {"labels.py", "ops/compiling.py"}
