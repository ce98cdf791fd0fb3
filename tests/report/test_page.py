import base64
import dataclasses
import re
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest

from atrous.errors import DataError
from atrous.labels import LabelSet
from atrous.metrics import scores
from atrous.report import Case, Report, write_report
from atrous.report.page import data_uri, grouped, number, percent

LABELS = LabelSet(("sky", "<script>alert(1)</script>", 'a "quoted" & rare'), ((10, 120, 240), (90, 20, 60), (255,) * 3))
MATRIX = np.array([[812345, 2040, 0], [1033, 4711, 0], [0, 0, 0]], np.int64)
BASELINE = np.array([[700000, 114385, 0], [4000, 1744, 0], [0, 0, 0]], np.int64)


class Page(HTMLParser):
    """The tags of a page with their attributes, and the text of its cells, row by row."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.rows: list[list[str]] = []
        self._in_cell = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
            self._in_cell = True

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th"):
            self._in_cell = False

    def handle_data(self, data: str) -> None:
        if self._in_cell:
            self.rows[-1][-1] += data.strip()

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def full_report() -> Report:
    rng = np.random.default_rng(0)
    truth = rng.choice([0, 1, LABELS.ignore_index], (40, 900)).astype(np.uint8)
    outside = np.full((40, 900), 65534, np.uint16)
    image = rng.integers(0, 256, (40, 900, 3), np.uint8)
    return Report(
        title="Streets <b>",
        labels=LABELS,
        matrix=MATRIX,
        split="test",
        interval=(0.4, 0.6),
        log=[{"step": 10, "loss": 0.7, "lr": 0.001, "seconds": 1.0}, {"step": 20, "val_loss": 0.5, "val_miou": 0.61}],
        best=[Case("a.png", image, truth, truth, 0.987)],
        worst=[Case('"><img src=x>.png', image.astype(np.uint16) * 90, truth, outside, float("nan"))],
        facts={"model": "unet", "trained at": "https://example.org"},
        command="atrous train 'a & b'",
        baseline=("majority", BASELINE),
        picture=("Everything", rng.integers(0, 256, (300, 2000, 3), np.uint8)),
        next_commands=["atrous eval x y", "atrous predict <z>"],
        images=1234,
    )


def written(tmp_path: Path, report: Report) -> tuple[str, Page]:
    write_report(tmp_path / "deep" / "report.html", report)
    text = (tmp_path / "deep" / "report.html").read_text(encoding="utf-8")
    return text, Page(text)


def test_nothing_is_loaded_from_anywhere(tmp_path: Path) -> None:
    text, page = written(tmp_path, full_report())
    resources = [value or "" for _, tag in page.tags for key, value in tag.items() if key in ("src", "href", "srcset")]
    assert len(resources) == 9
    assert all(value.startswith("data:image/") for value in resources)
    assert not page.all("script")
    assert not page.all("link")
    assert "url(" not in text
    assert "@import" not in text
    assert re.findall(r"https?://[^<]*", text) == ["https://example.org"], "only the user's own words"
    policy = next(meta["content"] for meta in page.all("meta") if meta.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    assert "default-src 'none'" in policy


def test_what_users_write_is_text_not_markup(tmp_path: Path) -> None:
    text, page = written(tmp_path, full_report())
    assert "<script" not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert "Streets &lt;b&gt;" in text
    assert "atrous predict &lt;z&gt;" in text
    assert {image.get("alt") for image in page.all("img")} >= {'truth of "><img src=x>.png', "Everything"}
    assert len(page.all("img")) == 9


def test_the_numbers_are_those_of_scores(tmp_path: Path) -> None:
    text, page = written(tmp_path, full_report())
    own, other = scores(MATRIX), scores(BASELINE)
    for value in (own["miou"], own["pixel_accuracy"], other["miou"], 0.4, 0.6):
        assert re.search(rf"<dd>(0\.400 to )?{value:.3f}( to 0\.600)?</dd>", text)
    rows = [row for row in page.rows if row and row[0] in LABELS.names]
    for k in range(2):
        expected = [own["iou"][k], other["iou"][k], own["precision"][k], own["recall"][k]]
        assert rows[k][1:5] == [f"{value:.3f}" for value in expected]
        assert int(rows[k][5].replace("\u202f", "")) == own["pixels"][k]
    assert rows[2][1:] == ["–", "–", "–", "–", "0", "0.0\u202f%"], "a class that is absent has dashes"
    assert [float(width) for width in re.findall(r"<b style=\"width: ([\d.]+)%", text)] == pytest.approx(
        list(100 * own["iou"][:2]), abs=0.05
    )
    assert "test" in text
    assert "1\u202f234 images" in text
    assert "(union)" in text


@pytest.mark.parametrize("policy, classes", [("union", 2), ("one", 3)])
def test_the_policy_named_is_the_policy_used(tmp_path: Path, policy: str, classes: int) -> None:
    text, _ = written(tmp_path, dataclasses.replace(full_report(), policy=policy))
    iou = scores(MATRIX)["iou"][:2].sum() + (classes - 2)
    assert f"<dd>{iou / classes:.3f}</dd>" in text
    assert f"({policy})" in text


def test_all_pictures_decode_and_keep_their_shape(tmp_path: Path) -> None:
    _, page = written(tmp_path, full_report())
    shapes = []
    for image in page.all("img"):
        head, data = str(image["src"]).split(",")
        assert head in ("data:image/png;base64", "data:image/jpeg;base64")
        decoded = cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), cv2.IMREAD_COLOR)
        shapes.append(decoded.shape)
    assert shapes == [(240, 1600, 3)] + [(16, 360, 3)] * 8


def test_tables_and_charts_can_be_read_aloud(tmp_path: Path) -> None:
    _, page = written(tmp_path, full_report())
    assert all(cell.get("scope") in ("row", "col") for cell in page.all("th"))
    assert all(image.get("alt") for image in page.all("img"))
    assert [svg["role"] for svg in page.all("svg")] == ["img"] * 3
    assert all(svg["aria-label"] for svg in page.all("svg"))
    assert [tag for tag, _ in page.tags if tag in ("h1", "h2", "h3")][:2] == ["h1", "h2"]


def test_a_page_without_the_optional_parts(tmp_path: Path) -> None:
    text, page = written(tmp_path, Report("Bare", LABELS, np.zeros((3, 3), np.int64), "val"))
    assert not page.all("img")
    assert not page.all("svg")
    assert "<dd>–</dd>" in text
    for absent in ("baseline", "interval is", "Facts", "Repeat it", "Cases", "images"):
        assert absent not in text.split("</style>")[1]


def test_pictures_keep_the_page_small(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (900, 700, 3), np.uint8)
    truth = rng.integers(0, 3, (900, 700)).astype(np.uint8)
    cases = [Case(f"{k}.png", noise, truth, truth[::-1], 0.3) for k in range(20)]
    write_report(tmp_path / "r.html", dataclasses.replace(full_report(), best=cases, worst=cases))
    assert (tmp_path / "r.html").stat().st_size < 6e6


def test_class_maps_get_no_new_colours_and_photos_are_averaged() -> None:
    stripes = np.zeros((400, 400, 3), np.uint8)
    stripes[:, ::2] = 255

    def colours(uri: str) -> int:
        data = base64.b64decode(uri.split(",")[1])
        return len(np.unique(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)))

    assert colours(data_uri(stripes, 300, exact=True, png=10**6)) == 2
    assert colours(data_uri(stripes, 300, exact=False, png=10**6)) > 2
    assert data_uri(stripes, 300, exact=True, png=10).startswith("data:image/jpeg")


@pytest.mark.parametrize("shape", [(2, 2), (3, 5), (4, 4)])
def test_a_matrix_of_other_classes_is_refused(tmp_path: Path, shape: tuple[int, int]) -> None:
    wrong = np.ones(shape, np.int64)
    with pytest.raises(DataError, match=r"r\.html: the matrix .* expected \(3, 3\) for 3 classes"):
        write_report(tmp_path / "r.html", Report("x", LABELS, wrong, "val"))
    with pytest.raises(DataError, match=r"r\.html: majority of the report"):
        write_report(tmp_path / "r.html", Report("x", LABELS, MATRIX, "val", baseline=("majority", wrong)))
    assert not (tmp_path / "r.html").exists()


def test_numbers_as_people_read_them() -> None:
    assert (number(0.61251), number(float("nan"))) == ("0.613", "–")
    assert (percent(0.1234), percent(float("nan"))) == ("12.3\u202f%", "–")
    assert (grouped(1234567), grouped(12)) == ("1\u202f234\u202f567", "12")
