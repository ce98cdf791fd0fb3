"""Texts that users bring, whatever system wrote them; files that are whole; folders that one process works in."""

import ast
import os
import subprocess
import sys
import tomllib
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import atrous
from atrous.errors import DataError, RecipeError
from atrous.files import (
    alone,
    beside,
    held,
    printable,
    read_lines,
    read_text,
    scratch,
    sweep,
    toml_text,
    write_atomically,
)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_a_text_is_read_without_its_mark(tmp_path: Path, encoding: str) -> None:
    file = tmp_path / "labels.txt"
    mark = "\ufeff" if encoding.startswith("utf-16-") else ""  # these two write none themselves
    file.write_bytes((mark + "Bär\r\n猫\n").encode(encoding))
    assert read_text(file) == "Bär\r\n猫\n"


@pytest.mark.parametrize("encoding", ["gbk", "utf-16-le", "utf-16-be", "shift_jis"])
def test_another_encoding_is_named_in_one_sentence(tmp_path: Path, encoding: str) -> None:
    file = tmp_path / "labels.txt"
    file.write_bytes("cat\n狗\n".encode(encoding))
    with pytest.raises(DataError, match=r"labels.txt: is not UTF-8; save it as UTF-8$"):
        read_text(file)


def test_a_text_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none.txt: cannot be read \(No such file or directory\); check the path"):
        read_text(tmp_path / "none.txt")


def test_line_ends_blanks_empty_lines_and_marks_inside_are_harmless(tmp_path: Path) -> None:
    file = tmp_path / "labels.txt"
    file.write_bytes("\ufeffcat \r\n\r\n  \n\tblack\u2028dog\rcow\n\ufefffox".encode())
    assert read_lines(file) == ["cat", "black\u2028dog", "cow", "fox"]


def test_a_name_that_is_no_text_is_written_as_toml_that_can_be_read() -> None:
    text = toml_text({"data": "street \udcb9", "names": ["Bär", "\udcb7"]})
    assert tomllib.loads(text) == {"data": printable("street \udcb9"), "names": ["Bär", "\\udcb7"]}
    text.encode()


@pytest.mark.parametrize("name", ["a.bin", "n" * 251 + ".bin", "\u72d7" * 83 + ".bin"])
def test_a_name_of_255_bytes_is_written_too(tmp_path: Path, name: str) -> None:
    write_atomically(tmp_path / name, b"whole")
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"whole"]


def test_threads_and_processes_of_one_number_never_mix_a_file(tmp_path: Path) -> None:
    """Two containers on one volume have the same process numbers, as threads have."""
    target, contents, seen = tmp_path / "file", [bytes([65 + k]) * 50_000 for k in range(8)], set()
    write_atomically(target, contents[0])

    def write(content: bytes) -> None:
        for _ in range(6):
            write_atomically(target, content)
            seen.add(target.read_bytes())

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, contents))
    assert seen <= set(contents)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_one_works_in_a_folder_at_a_time(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    with alone(tmp_path / "run"):
        said = rf"run: process {os.getpid()} on .*, since .*, works in this folder; wait until it ends, or give another"
        with pytest.raises(RecipeError, match=said), alone(tmp_path / "run"):
            pass
    (tmp_path / "run" / ".lock").write_text("process 1 on another, since 1999,")  # a file alone locks nothing
    with alone(tmp_path / "run"), alone(tmp_path / "other"):
        pass
    assert [path.name for path in tmp_path.rglob("*")] == ["run"]  # where nothing was made, nothing stays


@pytest.mark.skipif(os.name != "posix", reason="knows no lock beside others")
def test_processes_of_one_task_share_a_folder(tmp_path: Path) -> None:
    with alone(tmp_path, task="one"):
        with alone(tmp_path, task="one"):
            for other in "two", "":
                with pytest.raises(RecipeError, match="works in this folder"), alone(tmp_path, task=other):
                    pass
        assert (tmp_path / ".lock").exists()
        with pytest.raises(RecipeError, match="works in this folder"), alone(tmp_path, task="two"):
            pass
    assert not list(tmp_path.iterdir())
    with alone(tmp_path), pytest.raises(RecipeError, match="works in this folder"), alone(tmp_path, task="one"):
        pass


@pytest.mark.skipif(os.name != "posix", reason="its lock file stays")
@pytest.mark.parametrize("count", [40, pytest.param(2000, marks=pytest.mark.torture)])
def test_a_lock_that_is_removed_at_its_end_still_lets_in_one_at_a_time(tmp_path: Path, count: int) -> None:
    code = (
        "import os, sys\nfrom pathlib import Path\n"
        "from atrous.errors import RecipeError\nfrom atrous.files import alone\n"
        f"folder, done = Path({str(tmp_path / 'run')!r}), 0\n"
        f"while done < {count}:\n"
        "    try:\n"
        "        with alone(folder):\n"
        "            os.close(os.open(folder / 'inside', os.O_CREAT | os.O_EXCL))\n"
        "            os.unlink(folder / 'inside')\n"
        "            done += 1\n"
        "    except RecipeError:\n"
        "        pass\n"
    )
    (tmp_path / "run").mkdir()
    running = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(4)]
    assert [process.wait() for process in running] == [0] * 4
    assert not list((tmp_path / "run").iterdir())


@pytest.mark.parametrize("name", ["file", "file/a", "file/a/b"])
def test_a_file_where_a_folder_would_be_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    said = r"file: a file, not a folder; it cannot be written into, give another place"
    with pytest.raises(DataError, match=said):
        write_atomically(tmp_path / name / "x", b"")
    with pytest.raises(DataError, match=said), alone(tmp_path / name):
        pass
    with pytest.raises(DataError, match=said), scratch(tmp_path / name / "x"):
        pass


def test_one_place_makes_folders() -> None:
    """`make_folder` names a file in the way; the runner is copied beside exported files and imports nothing of ours."""
    package = Path(atrous.__file__).parent
    found = Counter(
        path.relative_to(package).as_posix()
        for path in package.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Attribute) and node.attr in ("mkdir", "makedirs")
    )
    assert found == {"files.py": 2, "export/runner.py": 1}


@pytest.mark.skipif(os.name != "posix", reason="kill -9")
def test_a_process_that_was_killed_leaves_the_folder_free(tmp_path: Path) -> None:
    code = (
        f"import time; from atrous.files import alone; from pathlib import Path\nwith alone(Path({str(tmp_path)!r})):\n"
    )
    code += "    print('locked', flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"locked\n"
        with pytest.raises(RecipeError, match=f"process {process.pid} on"), alone(tmp_path):
            pass
        process.kill()
    with alone(tmp_path):
        pass


KILLED = {
    "a file": "with beside(path).open('xb') as file, held(Path(file.name)):",
    "a folder": "with scratch(path):",
    "a label map": "with LabelWriter(path, ArrayPicture(np.zeros((4, 5, 3), np.uint8)), LabelSet(('a', 'b'))):",
}
"""What a process is at when it is killed."""


@pytest.mark.skipif(os.name != "posix", reason="kill -9")
@pytest.mark.parametrize("what", KILLED)
def test_what_a_killed_process_leaves_is_swept_and_what_is_written_now_is_not(tmp_path: Path, what: str) -> None:
    code = (
        "import time, numpy as np\nfrom pathlib import Path\nfrom atrous.files import beside, held, scratch\n"
        "from atrous.io import ArrayPicture, LabelWriter\nfrom atrous.labels import LabelSet\n"
        f"path = Path({str(tmp_path / 'maps' / 'a.png')!r})\npath.parent.mkdir()\n{KILLED[what]}\n"
        "    print('begun', flush=True); time.sleep(60)"
    )
    (tmp_path / ".mine.0123456789ab.tmp").touch()  # of another program
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"begun\n"
        (left,) = (tmp_path / "maps").iterdir()
        os.utime(left, (0, 0))
        with alone(tmp_path):
            assert left.exists()
        process.kill()
    with alone(tmp_path):  # the folders in it too: overlays/, checkpoints/
        assert not left.exists()
    assert (tmp_path / ".mine.0123456789ab.tmp").exists()


def test_a_temporary_file_that_was_just_made_is_not_swept(tmp_path: Path) -> None:
    beside(tmp_path / "a").touch()
    sweep(tmp_path)
    assert len(list(tmp_path.iterdir())) == 1
    sweep(tmp_path / "none")
    with scratch(tmp_path / "b") as folder, held(folder):
        (folder / "x").touch()
    assert not folder.exists()
