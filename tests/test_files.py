"""Texts that users bring, whatever system wrote them."""

import tomllib
from pathlib import Path

import pytest

from atrous.errors import DataError
from atrous.files import printable, read_lines, read_text, toml_text


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
