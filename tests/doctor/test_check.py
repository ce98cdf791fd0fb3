"""The verb, its document, exit codes and page; and sets in which nobody planted a fault."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from faults import images, masks, no_mask, painted, shifted, sound_set, truncated_jpeg
from make_layouts import Masks, cityscapes, voc

from atrous.cli import main
from atrous.doctor import KINDS, examine_dataset, write_page

SHARED = Path(__file__).parents[3] / "shared" / "data"


def run(*arguments: object) -> int:
    """The exit code of the command line in this process."""
    try:
        main([str(argument) for argument in arguments])
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def test_exit_codes_and_the_document(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = sound_set(tmp_path / "data")
    assert run("check", root, "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["layout"], document["pairs"], document["findings"]) == ("pairs", 26, [])
    assert [entry["name"] for entry in document["classes"]] == ["class 0", "class 1", "class 2", "class 3"]
    assert sum(document["classes"][0]["masks"].values()) == 26
    (path,) = truncated_jpeg(root)
    assert run("check", root, "--json") == 1
    (finding,) = json.loads(capsys.readouterr().out)["findings"]
    assert {"kind", "file", "detail", "remedy", "severity", "value", "count"} <= set(finding)
    assert (finding["kind"], finding["severity"], finding["file"]) == ("unreadable", "error", str(path))
    assert run("check", tmp_path / "nothing") == 2
    assert "no such file" in capsys.readouterr().err
    assert run("check", root, "--to", "pairs") == 2
    assert "--to pairs -o OUT" in capsys.readouterr().err


def test_lines_name_file_and_remedy_and_count(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = sound_set(tmp_path / "data")
    painted(root)
    no_mask(root)
    assert run("check", root) == 1
    printed = capsys.readouterr().out
    assert "layout   pairs: train/ holds images/ and masks/" in printed
    assert re.search(r"x colour_mask  train/masks/\S+ and 24 more: a mask of 4 colours: 0-0-0 is class 0", printed)
    assert f"x missing_mask  train/images/{images(root)[7].name}" in printed
    assert "2 errors, 0 warnings, 0 notes" in printed


def test_write_and_convert(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = sound_set(tmp_path / "data")
    painted(root)
    assert run("check", root, "--write", tmp_path / "mended", "--json") == 0
    assert json.loads(capsys.readouterr().out)["written"] == {
        "out": str(tmp_path / "mended"), "pairs": 26, "mended": 26, "left_out": [],
    }  # fmt: skip
    assert run("check", tmp_path / "mended", "--to", "pairs", "-o", tmp_path / "pairs") == 0
    assert len(masks(tmp_path / "pairs")) == 20
    no_mask(root)
    assert run("check", root, "--write", tmp_path / "again") == 1
    assert "left out: " in capsys.readouterr().out


def test_the_page_stands_alone_and_shows_every_finding(tmp_path: Path) -> None:
    root = sound_set(tmp_path / "<data>")
    shifted(root)
    (lone,) = no_mask(root)
    write_page(tmp_path / "page.html", found := examine_dataset(root))
    page = (tmp_path / "page.html").read_text()
    assert {finding.kind for finding in found.findings} == {"suspicious", "missing_mask"}
    assert lone.name in page
    assert "moved by 9 px left" in page
    assert page.count('src="data:image/') > 20
    assert not re.search(r'(?:src|href)="(?!data:|#)', page)
    assert "&lt;data&gt;" in page
    assert "<data>" not in page


def test_check_needs_no_torch(tmp_path: Path) -> None:
    root = sound_set(tmp_path / "data", 2, 1)
    code = (
        "import sys, atrous.doctor as d\n"
        f"d.write_page({str(tmp_path / 'page.html')!r}, d.examine_dataset({str(root)!r}))\n"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_every_kind_is_on_the_page_of_the_manual() -> None:
    manual = (Path(__file__).parents[2] / "docs" / "check.md").read_text()
    assert all(f"`{kind}`" in manual for kind in KINDS)


@pytest.mark.parametrize("make", [voc, cityscapes])
def test_published_layouts_have_no_error_and_lack_classes_alone(tmp_path: Path, make: Callable[[Path], Masks]) -> None:
    make(tmp_path / "data")
    found = examine_dataset(tmp_path / "data")
    assert found.folder.layout == make.__name__
    assert [(finding.severity, finding.kind) for finding in found.findings] == [("warning", "absent_class")]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "allowed"),
    [
        ("camvid", {("leak", "0001TP_006690"), ("leak", "0016E5_00390"), ("suspicious", "Seq05VD_f02610"),
                    ("near_duplicate", "0001TP_008040"), ("near_duplicate", "0001TP_009180"),
                    ("near_duplicate", "0016E5_07959")}),
        ("isbi-em", {("leak", "slice00")}),
        ("landcover-2", set()),
    ],
)  # fmt: skip
def test_sound_sets_have_no_error_and_only_what_is_listed(name: str, allowed: set[tuple[str, str]]) -> None:
    cache = Path(os.environ.get("ATROUS_LANDCOVER", Path.home() / ".cache" / "atrous" / name))
    root = cache if name.startswith("landcover") else SHARED / name
    if not root.is_dir():
        pytest.skip(f"{root} is not there: research data that the project does not carry, or the demo was not run")
    found = examine_dataset(root)
    assert found.errors == []
    assert {(finding.kind, finding.file.stem) for finding in found.findings} == allowed
