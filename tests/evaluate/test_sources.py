"""Judging and comparing folders of label maps, end to end."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from command_line import run
from PIL import Image
from worlds import CLASSES, make_world, picture

from atrous.errors import AtrousError, DataError
from atrous.evaluate.compare import compare_all
from atrous.evaluate.sources import check_alike, judge
from atrous.labels import LabelSet
from atrous.report.terminal import verdict


def shifted(world: Path, folder: Path, pixels: int, images: int) -> Path:
    """Label maps of the test split: the truth, moved to the right."""
    folder.mkdir()
    for index in range(images):
        mask = np.asarray(Image.open(world / "test" / "masks" / f"test{index}.png"))
        Image.fromarray(np.roll(mask, pixels, axis=1)).save(folder / f"test{index}.png")
    return folder


@pytest.fixture
def world(tmp_path: Path) -> Path:
    return make_world(tmp_path / "world", test=12)


def test_full_judgement_of_label_maps(world: Path, tmp_path: Path) -> None:
    maps = shifted(world, tmp_path / "maps", 3, 12)
    result = judge(maps, world, full=True, as_tool="smp").result.summary()
    errors = result["errors"]
    assert result["miou"] + sum(errors["loss"].values()) == pytest.approx(1, abs=1e-5)
    assert 0 < result["boundary_iou"]["mean_boundary_iou"] < result["miou"]
    assert result["trimap"]["miou"][0] < result["trimap"]["miou"][-1]
    assert result["as"]["tool"] == "smp"
    assert result["as"]["value"] == pytest.approx(result["miou"], abs=1e-6), "no class is absent here"
    assert "calibration" not in result
    assert set(result["per_class_interval"]) == {"ground", "disc", "bar"}
    assert result["warnings"] == []
    low, high = result["interval"]
    assert low < result["miou"] < high


def test_few_groups_are_warned_of(world: Path, tmp_path: Path) -> None:
    maps = shifted(world, tmp_path / "maps", 3, 12)
    clustered = judge(maps, world, cluster=r"test(\d)").result.summary()
    assert "10 clusters" in clustered["interval_method"]
    assert clustered["warnings"] == []
    few = judge(maps, world, cluster=r"test[1]?").result.summary()
    assert few["warnings"] == ["the interval rests on 2 independent groups; under 10 it is too narrow"]
    blocks = judge(maps, world, block=4).result.summary()
    assert "runs of 4 neighbouring images" in blocks["interval_method"]
    assert blocks["warnings"]
    assert judge(maps, world, cluster="t").result.summary()["interval"] is None
    assert judge(maps, world, cluster=r"(test)\d+").result.summary()["interval"] is None, "the group names the cluster"


def test_comparisons(world: Path, tmp_path: Path) -> None:
    near, far = shifted(world, tmp_path / "near", 1, 12), shifted(world, tmp_path / "far", 5, 12)
    result = compare_all([str(near), str(far), f"{near},{far}"], world)
    assert list(result["scores"]) == [str(near), str(far), f"{near},{far}"]
    scores = list(result["scores"].values())
    assert scores[0] > scores[1]
    assert scores[2] == pytest.approx((scores[0] + scores[1]) / 2, abs=2e-6), "several seeds: their mean"
    first = result["pairs"][0]
    assert first["told_apart"]
    assert first["interval"][0] > 0
    assert verdict(first).startswith(f"{near} is better than {far} by 0.")
    assert len(result["pairs"]) == 3
    same = compare_all([str(far), str(far)], world)["pairs"][0]
    assert verdict(same).endswith("not told apart: their scores are equal")
    mirrored = compare_all([str(far), str(near)], world)["pairs"][0]
    assert verdict(mirrored).startswith(f"{near} is better than {far} by 0.")


def test_verdicts_say_what_would_help() -> None:
    pair = {"a": "A", "b": "B", "difference": -0.003, "interval": [-0.010, 0.004], "p": 0.4, "told_apart": False}
    assert verdict({**pair, "more_images": 140}) == (
        "B and A are not told apart (by 0.003 [-0.004, 0.010], p = 0.400); about 140 more images would do"
    )


def test_what_cannot_be_judged_is_said(world: Path, tmp_path: Path) -> None:
    maps = shifted(world, tmp_path / "maps", 1, 12)
    with pytest.raises(AtrousError, match=r"--as mmsegmentation: unknown tool; did you mean 'mmseg'\?"):
        judge(maps, world, as_tool="mmsegmentation")
    with pytest.raises(AtrousError, match="--cluster and --block were both given"):
        judge(maps, world, cluster="t", block=2)
    with pytest.raises(AtrousError, match=r"--cluster \(: not a regular expression"):
        judge(maps, world, cluster="(")
    with pytest.raises(AtrousError, match=r"--cluster x\+: does not match the image name 'test0\.png'"):
        judge(maps, world, cluster="x+")
    with pytest.raises(AtrousError, match="no such run folder"):
        judge(tmp_path / "nowhere", world)
    with pytest.raises(AtrousError, match="nothing to compare"):
        compare_all([str(maps)], world)
    with pytest.raises(AtrousError, match="is not a trained run; say what to judge it on with --data DATA"):
        compare_all([str(maps), str(maps)])
    (maps / "test3.png").unlink()
    with pytest.raises(DataError, match=r"no prediction for test3\.png"):
        compare_all([str(maps), str(maps)], world)


def test_runs_on_other_images_or_classes_are_not_compared(world: Path, tmp_path: Path) -> None:
    one = judge(shifted(world, tmp_path / "maps", 1, 12), world).result
    check_alike([tmp_path / "a", tmp_path / "b"], [one, one])
    others = replace(one, names=one.names[::-1]), replace(one, labels=LabelSet(("x", "y", "z")))
    for other in others:
        with pytest.raises(DataError, match="b: was judged on other images or classes than"):
            check_alike([tmp_path / "a", tmp_path / "b"], [one, other])


def clips(root: Path) -> Path:
    """images/bear/0.png, images/boat/0.png, ... and their masks."""
    for number, clip in enumerate(("bear", "boat", "cat")):
        for frame in range(2):
            arrays = picture(np.random.default_rng((number, frame)), 24, 32)
            for folder, array in zip(("images", "masks"), arrays, strict=True):
                (root / folder / clip).mkdir(parents=True, exist_ok=True)
                Image.fromarray(array).save(root / folder / clip / f"{frame}.png")
    (root / "classes.toml").write_text(CLASSES)
    return root


def test_label_maps_keep_the_folders_of_their_images(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = clips(tmp_path / "data")
    nested, flat = shutil.copytree(data / "masks", tmp_path / "nested"), tmp_path / "flat"
    assert judge(nested, data).result.summary()["miou"] == 1
    shutil.copytree(data / "masks" / "bear", flat)
    refused = r"flat/0\.png: may belong to any of 3 images .*bear/0\.png, .*boat/0\.png, .*cat/0\.png"
    with pytest.raises(DataError, match=refused):
        judge(flat, data)
    with pytest.raises(DataError, match=refused):
        compare_all([str(nested), str(flat)], data)
    shutil.copy(nested / "bear" / "0.png", nested / "bear" / "9.png")
    assert run("eval", nested, data, "--json") == 0
    out, err = capsys.readouterr()
    assert (json.loads(out)["miou"], json.loads(out)["trained_on"]) == (1, None)
    assert f"1 label maps belong to no image of {data} (bear/9.png)" in err
    assert err.strip().splitlines()[-1].removeprefix("warning: ") == json.loads(out)["warnings"][-1]
    (nested / "boat" / "0.png").unlink()
    with pytest.raises(DataError, match=r"no prediction for boat/0\.png \(1 of 6 images\)"):
        judge(nested, data)


def test_label_maps_of_other_splits_are_no_surplus(world: Path, tmp_path: Path) -> None:
    maps = shifted(world, tmp_path / "maps", 0, 12)
    for mask in (world / "train" / "masks").iterdir():
        shutil.copy(mask, maps / mask.name)
    assert judge(maps, world).result.remark == ""
