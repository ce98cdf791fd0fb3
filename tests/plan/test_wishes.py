"""Wishes are checked before any file of the data is read."""

from pathlib import Path
from typing import Any

import pytest
from make_pairs import make_pairs

import atrous
from atrous.cli import main
from atrous.errors import AtrousError
from atrous.plan import check_wishes, plan
from atrous.segmenter import wishes_of

WRONG: list[tuple[dict[str, Any], str]] = [
    ({"steps": 5, "time": 60.0}, "steps=5 and time=60.0 were both given"),
    ({"warmup": 10, "steps": 2}, "warmup=10 is longer than steps=2; give a shorter one"),
    ({"options": {"skipz": 1}, "model": "unet"}, "has no option 'skipz'"),
    ({"encoder": "resnt34"}, "did you mean 'resnet34'"),
    ({"model": "unet2015", "encoder": "resnet18"}, "has no option 'encoder'"),
    ({"stride": 7, "model": "deeplabv3plus"}, "stride"),
    ({"loss": "cee"}, "did you mean 'ce'"),
    ({"lr": -1.0}, "'lr' does not fit"),
    ({"refine": "crf"}, "'convcrf' or 'crfrnn'"),
    ({"init": "nothing.safetensors"}, "nothing.safetensors: no bundle"),
    ({"distil": "nothing"}, "nothing: no bundle"),
    ({"pretrained": "no.pth"}, "no.pth: no such file"),
]


@pytest.mark.parametrize(("wishes", "message"), WRONG, ids=lambda value: str(value)[:30])
def test_a_wrong_wish_is_found_before_the_data_are_read(
    wishes: dict[str, Any], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("atrous.segmenter.open_dataset", None)  # opening would fail
    monkeypatch.setattr("atrous.plan.document.read_folder", None)
    with pytest.raises(AtrousError, match=message):
        atrous.Segmenter(**wishes).fit(tmp_path, tmp_path / "run")
    with pytest.raises(AtrousError, match=message):
        plan(tmp_path, **wishes)
    assert not (tmp_path / "run").exists()


def test_fields_that_follow_from_the_data_cannot_be_chosen() -> None:
    with pytest.raises(AtrousError, match="'mean' cannot be chosen"):
        check_wishes({"mean": (0.0,)})


@pytest.mark.parametrize(
    "words",
    [
        ["--steps", "5", "--set", "time=60"],
        ["--time", "1m", "--set", "steps=5"],
        ["--set", "time=9", "--set", "steps=5"],
    ],
)
def test_steps_and_time_are_refused_however_they_are_given(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["train", str(make_pairs(tmp_path / "data")), "-o", str(tmp_path / "run"), *words])
    assert stopped.value.code == 2
    assert "were both given; give one of them" in capsys.readouterr().err
    with pytest.raises(AtrousError, match="both given"):
        atrous.Segmenter(steps=5).fit(tmp_path / "data", tmp_path / "run", time=9.0)


def test_a_part_of_a_recipe_with_both_is_refused_and_a_whole_one_has_its_measured_steps(tmp_path: Path) -> None:
    part, whole = tmp_path / "part.toml", tmp_path / "whole.toml"
    part.write_text("steps = 5\ntime = 60.0\n")
    with pytest.raises(AtrousError, match="both given"):
        check_wishes(wishes_of(part))
    whole.write_text('atrous = "0.1"\nsteps = 5\ntime = 60.0\n')
    assert wishes_of(whole) == {"steps": 5}
    assert wishes_of(whole, length=False) == {}
