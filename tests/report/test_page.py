import base64
import dataclasses
import re
from hashlib import sha256
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest

from atrous.errors import DataError
from atrous.labels import LabelSet
from atrous.metrics import BoundaryF, BoundaryIoU, Calibration, ErrorKinds, TrimapCurve, scores
from atrous.report import ImageCase, Report, ReportedRun, write_report
from atrous.report.page import MOST_CASES, PICTURE_BYTES, grouped_text, number_text, percent_text
from atrous.report.pictures import CASE_BYTES
from atrous.report.remarks import Remark

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


def extras(seed: int = 0) -> dict[str, dict]:
    """What the further metrics find in one picture of random blocks, predicted with a shift."""
    rng = np.random.default_rng(seed)
    truth = np.kron(rng.integers(0, 2, (6, 8)), np.ones((12, 12), int)).astype(np.uint8)
    prediction = np.roll(truth, 3 + seed, axis=1)
    probabilities = np.stack([prediction == k for k in range(3)]) * 0.7 + 0.1
    calibration = Calibration(3)
    calibration.update(probabilities, truth)
    found = {"calibration": calibration.compute()}
    metrics = {"boundary_iou": BoundaryIoU(3), "boundary_f": BoundaryF(3), "trimap": TrimapCurve(3),
               "errors": ErrorKinds(3)}  # fmt: skip
    for name, metric in metrics.items():
        metric.update(prediction, truth)
        found[name] = metric.compute()
    return found


def full_report() -> Report:
    rng = np.random.default_rng(0)
    truth = rng.choice([0, 1, LABELS.ignore_index], (40, 900)).astype(np.uint8)
    outside = np.full((40, 900), 65534, np.uint16)
    image = rng.integers(0, 256, (40, 900, 3), np.uint8)
    return Report(
        title="Streets <b>",
        labels=LABELS,
        runs=[
            ReportedRun(
                "the run",
                MATRIX,
                interval=(0.4, 0.6),
                class_intervals={"sky": (0.95, 0.999)},
                log=[
                    {"step": 10, "loss": 0.7, "lr": 0.001, "seconds": 1.0},
                    {"step": 20, "val_loss": 0.5, "val_miou": 0.61},
                ],
                facts={"model": "unet", "trained at": "https://example.org"},
                extras=extras(),
            )
        ],
        split="test",
        worst=[ImageCase('"><img src=x>.png', image.astype(np.uint16) * 90, truth, [outside], [float("nan")])],
        random=[ImageCase("a.png", image, truth, [truth], [0.987])],
        baseline=("majority", BASELINE),
        picture=("Everything", rng.integers(0, 256, (300, 2000, 3), np.uint8)),
        remarks=[Remark("warning", "Nothing but <sky>"), Remark("note", "Images: 3")],
        commands=["atrous train 'a & b'"],
        next_commands=["atrous eval x y", "atrous predict <z>"],
        images=1234,
    )


def compared() -> Report:
    """Two runs; the second has the first one's columns exchanged, and no probabilities."""
    one = full_report()
    other = {key: value for key, value in extras(1).items() if key != "calibration"}
    second = ReportedRun("the other", MATRIX[:, [1, 0, 2]], interval=(0.0, 0.1), log=one.runs[0].log, extras=other)
    case = ImageCase("b.png", np.zeros((30, 40, 3), np.uint8), np.zeros((30, 40), np.uint8),
                [np.zeros((30, 40), np.uint8), np.ones((30, 40), np.uint8)], [1.0, 0.0])  # fmt: skip
    return dataclasses.replace(
        one, runs=[*one.runs, second], worst=[case], random=[], baseline=None, verdicts=["the run is <better>."]
    )


def written(tmp_path: Path, report: Report) -> tuple[str, Page]:
    write_report(tmp_path / "deep" / "report.html", report)
    text = (tmp_path / "deep" / "report.html").read_text(encoding="utf-8")
    return text, Page(text)


def policy_of(page: Page) -> str:
    return next(str(meta["content"]) for meta in page.all("meta") if meta.get("http-equiv"))


@pytest.mark.parametrize("report", [full_report, compared])
def test_nothing_is_loaded_from_anywhere(tmp_path: Path, report) -> None:
    text, page = written(tmp_path, report())
    targets = {tag["id"] for _, tag in page.tags if "id" in tag}
    for _, tag in page.tags:
        for key in ("src", "href", "srcset"):
            value = tag.get(key)
            assert value is None or value.startswith("data:image/") or (value[0] == "#" and value[1:] in targets)
    assert len(page.all("a")) == 10, "every section is in the list at the top"
    assert not page.all("link")
    assert "url(" not in text
    assert "@import" not in text
    assert re.findall(r"https?://[^<]*", text) == ["https://example.org"], "only the user's own words"
    assert "default-src 'none'" in policy_of(page)


def test_the_one_script_is_the_one_the_policy_names(tmp_path: Path) -> None:
    text, page = written(tmp_path, full_report())
    scripts = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    assert len(scripts) == 1
    digest = base64.b64encode(sha256(scripts[0].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}';" in policy_of(page)
    assert not [key for _, tag in page.tags for key in tag if key.startswith("on")], "no handlers in tags"


def test_what_users_write_is_text_not_markup(tmp_path: Path) -> None:
    text, page = written(tmp_path, full_report())
    assert text.count("<script") == 1
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    for words in ("Streets &lt;b&gt;", "atrous predict &lt;z&gt;", "Nothing but &lt;sky&gt;"):
        assert words in text
    assert {image.get("alt") for image in page.all("img")} >= {'truth: "><img src=x>.png', "Everything"}
    assert len(page.all("img")) == 9
    assert "the run is &lt;better&gt;." in written(tmp_path, compared())[0]


def test_the_numbers_are_those_of_scores(tmp_path: Path) -> None:
    text, page = written(tmp_path, full_report())
    own, other = scores(MATRIX), scores(BASELINE)
    for value in (own["miou"], own["pixel_accuracy"], other["miou"], 0.4, 0.6):
        assert re.search(rf"<dd>(0\.400 to )?{value:.3f}( to 0\.600)?</dd>", text)
    rows = [row for row in page.rows if row and row[0] in LABELS.names and len(row) == 8]
    for k in range(2):
        expected = [own["iou"][k], other["iou"][k], own["precision"][k], own["recall"][k]]
        assert [rows[k][1], *rows[k][3:6]] == [f"{value:.3f}" for value in expected]
        assert int(rows[k][6].replace("\u202f", "")) == own["pixels"][k]
    assert [row[2] for row in rows] == ["0.950 to 0.999", "–", "–"]
    assert rows[2][1:] == ["–", "–", "–", "–", "–", "0", "0.0\u202f%"], "a class that is absent has dashes"
    bars = [float(width) for width in re.findall(r"<i aria-hidden=\"true\"><b style=\"width: ([\d.]+)%", text)]
    assert bars == pytest.approx(list(100 * own["iou"][:2]), abs=0.05)
    assert re.findall(r"<s style=\"left: ([\d.]+)%; width: ([\d.]+)%", text) == [("95.00", "4.90")], "the whisker"
    assert "1\u202f234 images" in text
    assert "(union)" in text


def test_kinds_of_errors_boundaries_and_calibration_are_printed_as_measured(tmp_path: Path) -> None:
    text, page = written(tmp_path, full_report())
    found = extras()
    errors, calibration = found["errors"], found["calibration"]
    kinds = ("boundary", "missed", "invented", "confusion")
    sky = next(row for row in page.rows if row and row[0] == "sky" and len(row) == 7)
    assert sky[2:] == [f"{errors['iou'][0]:.3f}", *(f"{errors['share'][kind][0]:.3f}" for kind in kinds)]
    mended = next(row for row in page.rows if row and row[0] == "mIoU with this kind corrected")
    assert mended[2:] == [f"{errors['oracle'][kind]:.3f}" for kind in kinds]
    stack = re.search(r'<div class="stack".*?</div>', text)
    assert stack is not None
    assert sum(map(float, re.findall(r"width: ([\d.]+)%", stack[0]))) == pytest.approx(100, abs=0.03)
    assert ["mean", f"{found['boundary_iou']['mean_boundary_iou']:.3f}",
            f"{found['boundary_f']['mean_boundary_f']:.3f}", "", ""] in page.rows  # fmt: skip
    assert ["expected calibration error (ECE)", f"{calibration['ece']:.4f}"] in page.rows
    assert ["mean confidence", "80.0\u202f%"] in page.rows


def test_few_groups_are_warned_of_beside_the_interval(tmp_path: Path) -> None:
    few = dataclasses.replace(full_report(), warnings=["the interval rests on 4 independent groups"])
    text, _ = written(tmp_path, few)
    place = text.index("<strong>Warning:</strong> the interval rests on 4 independent groups.")
    assert text.index("0.400 to 0.600") < place < text.index("<nav")


def test_runs_stand_side_by_side(tmp_path: Path) -> None:
    text, page = written(tmp_path, compared())
    first, second = scores(MATRIX), scores(MATRIX[:, [1, 0, 2]])
    for name, own, spread in (("the run", first, "0.400 to 0.600"), ("the other", second, "0.000 to 0.100")):
        row = next(row for row in page.rows if row and row[0] == name)
        assert row[1:4] == [f"{own['miou']:.3f}", spread, f"{own['pixel_accuracy']:.3f}"]
    sky = next(row for row in page.rows if row and row[0] == "sky")
    assert sky[1].startswith(f"{first['iou'][0]:.3f}")
    assert sky[2].startswith(f"{second['iou'][0]:.3f}")
    assert [image["alt"] for image in page.all("img")][1:] == [
        "image: b.png", "truth: b.png", "prediction of the run: b.png", "kinds of errors of the run: b.png",
        "prediction of the other: b.png", "kinds of errors of the other: b.png",
    ]  # fmt: skip
    assert "mIoU 1.000, 0.000" in text
    assert ["model", "unet", "–"] in page.rows, "what is not known of a run is a dash"


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
    assert shapes == [(240, 1600, 3)] + [(21, 480, 3)] * 8


@pytest.mark.parametrize("report", [full_report, compared])
def test_the_page_can_be_read_aloud_and_used_by_keyboard(tmp_path: Path, report) -> None:
    _, page = written(tmp_path, report())
    assert all(cell.get("scope") in ("row", "col") for cell in page.all("th"))
    assert all(image.get("alt") for image in page.all("img"))
    drawn = [svg for svg in page.all("svg") if svg.get("aria-hidden") != "true"]
    assert len(drawn) == 5
    assert all(svg["role"] == "img" and svg["aria-label"] for svg in drawn)
    sliders = page.all("input")
    assert len(sliders) == len([tag for tag in page.all("figure") if tag.get("class") == "case"]) > 0
    assert all(slider["type"] == "range" and slider["aria-label"] for slider in sliders)
    hidden = [tag for tag in page.all("label") if "hidden" in tag]
    assert len(hidden) == len(sliders), "without the script there is no slider that does nothing"
    regions = [tag for _, tag in page.tags if tag.get("role") == "region"]
    assert all(tag.get("tabindex") == "0" and (tag.get("aria-label") or tag.get("aria-labelledby")) for tag in regions)
    assert [tag for tag, _ in page.tags if tag in ("h1", "h2", "h3")][:2] == ["h1", "h2"]


def test_a_page_without_the_optional_parts(tmp_path: Path) -> None:
    text, page = written(tmp_path, Report("Bare", LABELS, [ReportedRun("r", np.zeros((3, 3), np.int64))], "val"))
    assert not page.all("img")
    assert not page.all("svg")
    assert not page.all("input")
    assert "<dd>–</dd>" in text
    for absent in (
        "baseline",
        "Intervals",
        "Whiskers",
        "Size and speed",
        "Repeat it",
        "Cases",
        "images",
        "Calibration",
    ):
        assert absent not in text.split("</style>")[1].split("<script>")[0]


def test_as_many_cases_are_shown_as_the_page_has_room_for(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (60, 50, 3), np.uint8)
    truth = noise[..., 0] // 100
    cases = [ImageCase(f"{k}.png", noise, truth, [truth[::-1]], [0.3]) for k in range(20)]
    path = tmp_path / "r.html"
    write_report(path, dataclasses.replace(full_report(), random=cases, worst=cases))
    assert path.read_text().count('<figure class="case">') == 2 * MOST_CASES == 24
    assert path.stat().st_size < 8e6
    assert (2 * MOST_CASES * CASE_BYTES + PICTURE_BYTES) * 4 / 3 < 7.5e6, "whatever the pictures hold"


@pytest.mark.parametrize("shape", [(2, 2), (3, 5), (4, 4)])
def test_a_matrix_of_other_classes_is_refused(tmp_path: Path, shape: tuple[int, int]) -> None:
    wrong = np.ones(shape, np.int64)
    with pytest.raises(DataError, match=r"r\.html: the matrix .* expected \(3, 3\) for 3 classes"):
        write_report(
            tmp_path / "r.html", Report("x", LABELS, [ReportedRun("r", MATRIX), ReportedRun("s", wrong)], "val")
        )
    with pytest.raises(DataError, match=r"r\.html: majority of the report"):
        write_report(
            tmp_path / "r.html", Report("x", LABELS, [ReportedRun("r", MATRIX)], "val", baseline=("majority", wrong))
        )
    assert not (tmp_path / "r.html").exists()


def test_numbers_as_people_read_them() -> None:
    assert (number_text(0.61251), number_text(float("nan"))) == ("0.613", "–")
    assert (percent_text(0.1234), percent_text(float("nan"))) == ("12.3\u202f%", "–")
    assert (grouped_text(1234567), grouped_text(12)) == ("1\u202f234\u202f567", "12")
