"""What is there is never overwritten, unless this program wrote it; and nothing is written outside of OUT."""

from pathlib import Path

import numpy as np
import pytest

from atrous.errors import DataError
from atrous.io import write_image, write_mask
from atrous.io.claims import claim, refuse_inside
from atrous.io.paths import page_path, place_below
from atrous.io.sinks import overlay_of, target_of, uncertain_of
from atrous.labels import LabelSet

LABELS = LabelSet(("sea", "land"))

LABELS = LabelSet(("a", "b"))


@pytest.mark.parametrize("name", ["/etc/a.png", "../a.png", "x/../../a.png", "..", ".", "x/.."])
def test_names_that_lead_out_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match="lies outside of the folder"):
        place_below(tmp_path / "out", name)


def test_links_that_lead_out_are_refused(tmp_path: Path) -> None:
    out, other = tmp_path / "out", tmp_path / "other"
    out.mkdir()
    other.mkdir()
    (out / "overlays").symlink_to(other)
    (out / "a.png").symlink_to(other / "truth.png")
    (out / "self.png").symlink_to(out / "self.png")
    with pytest.raises(DataError, match="lies outside"):
        overlay_of(Path("a.jpg"), out)
    with pytest.raises(DataError, match="lies outside"):
        target_of(Path("a.jpg"), out)
    assert target_of(Path("self.jpg"), out) == out / "self.png"
    assert place_below(out, "b/c.png") == out / "b" / "c.png"


@pytest.mark.parametrize("path", ["/data/a.png", "../../a.png", "./a.b.png", "a.png/.."])
def test_results_lie_below_the_folder_whatever_the_input(tmp_path: Path, path: str) -> None:
    for file in (target_of(Path(path), tmp_path), overlay_of(Path(path), tmp_path), uncertain_of(Path(path), tmp_path)):
        assert file.is_relative_to(tmp_path)
        assert file.name.split(".")[0]


def test_files_that_are_there_are_lost_only_if_they_are_ours(tmp_path: Path) -> None:
    out = tmp_path / "out"
    targets = {tmp_path / "a.jpg": [out / "a.png", out / "overlays" / "a.jpg"]}
    claim(out, targets)
    write_mask(out / "a.png", np.eye(4, dtype=np.uint8), LABELS, mark=True)
    write_image(out / "overlays" / "a.jpg", np.zeros((4, 4, 3), np.uint8), mark=True)
    claim(out, targets)  # again
    more = {tmp_path / "b.jpg": [out / "b.png", out / "overlays" / "b.jpg"]}
    (out / "overlays" / "b.jpg").write_text("not ours")
    with pytest.raises(DataError, match=r"overlays.b\.jpg: is there already, and is not from this program"):
        claim(out, targets | more)
    claim(out, targets | more, overwrite=True)
    (out / "overlays" / "b.jpg").unlink()
    claim(out, targets | more)
    with pytest.raises(DataError, match="would overwrite it"):
        claim(out, {out / "a.png": [out / "a.png"]}, overwrite=True)  # never an input
    (out / "c.png").symlink_to(tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"c\.png: is there already"):
        claim(out, {tmp_path / "c.jpg": [out / "c.png"]})


def test_inputs_and_twins_are_refused(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(DataError, match=r"a\.png and .*b.a\.png would both be written to .*out.a\.png"):
        claim(out, {tmp_path / "a.png": [out / "a.png"], tmp_path / "b" / "a.png": [out / "a.png"]})
    with pytest.raises(DataError, match=r"out.b\.png: the results of .*b\.jpg would overwrite it"):
        claim(out, {out / "b.jpg": [out / "b.png"], out / "b.png": []})
    assert not out.exists()


def test_a_folder_that_is_a_file_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("")
    with pytest.raises(DataError, match=r"out: a file, not a folder"):
        claim(tmp_path / "out", {tmp_path / "a.jpg": [tmp_path / "out" / "a.png"]})
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "overlays").write_text("")
    with pytest.raises(DataError, match=r"overlays: a file, not a folder"):
        claim(tmp_path / "new", {tmp_path / "a.jpg": [tmp_path / "new" / "overlays" / "a.jpg"]})


@pytest.mark.parametrize("name", ["photo.png", "page", "folder.html"])
def test_a_page_needs_the_name_of_one(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder.html").mkdir()
    with pytest.raises(DataError, match=r"ends in \.html"):
        page_path(tmp_path / name)
    assert page_path(tmp_path / "page.HTM") == tmp_path / "page.HTM"


@pytest.mark.parametrize("inside", ["", "labels", "a/b"])
def test_results_never_lie_where_they_would_be_read_as_inputs(tmp_path: Path, inside: str) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    (tmp_path / "way").symlink_to(photos)
    for given in photos, tmp_path / "way":
        with pytest.raises(DataError, match="would be read as further inputs; give another -o, outside of it"):
            refuse_inside(photos / inside, [tmp_path / "other", str(given)])
    refuse_inside(tmp_path / "photos labels", [photos])
    refuse_inside(photos / inside, [photos / "a.png", str(photos / "*.png")])  # a folder was not given
