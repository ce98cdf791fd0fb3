"""Plans: four generated data sets by hand, memory that is short, and nnU-Net's rules for volumes."""

import json
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from make_layouts import write_json, write_nifti
from PIL import Image

from atrous.cli import main
from atrous.datasets import open_dataset
from atrous.errors import DataError
from atrous.labels import LabelSet
from atrous.models import create_model
from atrous.plan import draft, plan
from atrous.plan.cases import Case, Intensities, case_of, intensities
from atrous.plan.facts import facts_of
from atrous.plan.medical import coarse_stage, feature_maps, network, normalisation, plan_volumes, target_spacing
from atrous.plan.memory import COPIES, ROOM, Needs, fit, total_memory
from atrous.plan.rules import _network_reasons
from atrous.train.recipe import Recipe

CLASSES = 'ignore = [254]\n[[class]]\nname = "ground"\nvalue = 0\n[[class]]\nname = "thing"\nvalue = {}\n'
QUIET = {"pretrained": False, "measure": False, "time": 600.0}


def write(root: Path, name: str, image: np.ndarray, mask: np.ndarray) -> None:
    for folder in ("images", "masks"):
        (root / "train" / folder).mkdir(parents=True, exist_ok=True)
    if image.ndim == 3 and image.shape[2] > 4:
        np.save(root / "train" / "images" / f"{name}.npy", image)
    else:
        Image.fromarray(image).save(root / "train" / "images" / f"{name}.png")
    Image.fromarray(mask).save(root / "train" / "masks" / f"{name}.png")


def photos(root: Path, count: int = 10) -> Path:
    """Bright sky over dark ground in which a red thing stands, 100 x 150; a quarter of the pixels is the thing."""
    for number in range(count):
        image = np.full((100, 150, 3), 60, np.uint8)
        image[:50] = (120, 160, 220)
        mask = np.zeros((100, 150), np.uint8)
        left = 5 * number
        mask[50:100, left : left + 75] = 1
        image[mask == 1] = (200, 40, 40)
        write(root, f"p{number}", image, mask)
    (root / "classes.toml").write_text(CLASSES.format(1))
    return root


def grey(root: Path, count: int = 12, *, upright: bool = False) -> Path:
    """White discs on noise, 0 / 255 in the mask, 64 x 64; in pairs of mirror images, or all in the upper half."""
    for number in range(count):
        rng = np.random.default_rng(number // 2)
        mask = np.zeros((64, 64), np.uint8)
        cv2.circle(mask, (int(rng.integers(12, 52)), 16), 10, 255, -1)
        image = np.clip(80 + 0.4 * mask + rng.normal(0, 5, mask.shape), 0, 255).astype(np.uint8)
        turn = slice(None, None, -1 if number % 2 and not upright else 1)
        write(root, f"g{number:02}", np.ascontiguousarray(image[turn]), np.ascontiguousarray(mask[turn]))
    (root / "classes.toml").write_text(CLASSES.format(255))
    return root


def satellite(root: Path, count: int = 16) -> Path:
    """Twelve bands of 16 bits, 48 x 80, in pairs of mirror images; 4 of 1000 pixels are the thing."""
    for number in range(count):
        rng = np.random.default_rng(number // 2)
        image = rng.integers(200, 3000, (48, 80, 12)).astype(np.uint16)
        mask = np.zeros((48, 80), np.uint8)
        mask[3:6, 10:15] = 1
        turn = slice(None, None, -1 if number % 2 else 1)
        write(root, f"s{number:02}", image[turn], mask[turn])
    (root / "classes.toml").write_text(CLASSES.format(1))
    return root


def test_photos_keep_what_was_measured_for_them(tmp_path: Path) -> None:
    found = plan(photos(tmp_path), **QUIET, say=lambda text: None)
    expected = {
        "model": "deeplabv3plus", "encoder": "tf_efficientnet_lite0", "stride": 16, "crop": [128, 160], "batch": 4,
        "accumulate": 1, "scale": [2 / 3, 3 / 2], "flip": 0.5, "vflip": 0.0, "brightness": 0.2, "contrast": 0.2,
        "saturation": 0.2, "hue": 5.0, "loss": "ce", "lr": 0.001, "encoder_lr": 0.5, "ema": 0.998, "time": 600.0,
    }  # fmt: skip
    assert {key: found.recipe[key] for key in expected} == expected
    # 7500 of 30000 pixels each: the median of 0.75 and 0.25 is 0.5
    assert found.recipe["class_weights"] == [round((0.5 / 0.75) ** 0.25, 4), round((0.5 / 0.25) ** 0.25, 4)]
    assert found.fingerprint["classes"] == {"ground": 0.75, "thing": 0.25}
    assert (found.fingerprint["kind"], found.fingerprint["median_size"]) == ("photos", [100.0, 150.0])
    assert set(found.recipe) == set(found.reasons)
    assert all(0 < len(reason) < 160 for reason in found.reasons.values())


def test_training_takes_the_same_plan(tmp_path: Path) -> None:
    root = grey(tmp_path)
    drafted = draft(open_dataset(root), pretrained=False, time=600.0).model_dump(mode="json")
    found = plan(root, **QUIET)
    assert {**found.recipe, "stride": None} == {key: drafted[key] for key in found.recipe}


def test_grey_pictures_without_an_up(tmp_path: Path) -> None:
    found = plan(grey(tmp_path), **QUIET)
    assert found.fingerprint["kind"] == "grey"
    # of 10 kept pictures most have their mirror image among the others: the products cancel
    assert found.fingerprint["up"] < 0.3
    expected = {"crop": [64, 64], "vflip": 0.5, "flip": 0.5, "saturation": 0.0, "hue": 0.0, "brightness": 0.2}
    assert {key: found.recipe[key] for key in expected} == expected
    mean = open_dataset(tmp_path).splits["train"]
    pixels = np.concatenate([sample.image.ravel() for sample in mean])
    assert found.recipe["mean"] == pytest.approx([pixels.mean()], abs=1e-3)
    assert found.recipe["std"] == pytest.approx([pixels.std()], abs=1e-3)


def test_grey_pictures_with_an_up(tmp_path: Path) -> None:
    found = plan(grey(tmp_path, upright=True), **QUIET)
    assert found.fingerprint["up"] > 0.6
    assert found.recipe["vflip"] == 0.0
    assert "from 0.3 on they have an up" in found.reasons["vflip"]


def test_too_few_pictures_tell_of_no_up(tmp_path: Path) -> None:
    found = plan(grey(tmp_path, count=6), **QUIET)
    assert (found.fingerprint["up"], found.recipe["vflip"]) == (None, 0.0)
    assert "too few to tell" in found.reasons["vflip"]


def test_twelve_bands_of_sixteen_bits(tmp_path: Path) -> None:
    found = plan(satellite(tmp_path), **QUIET)
    expected = {
        "in_channels": 12, "dtype": "uint16", "crop": [64, 96], "scale": [1.0, 1.0], "vflip": 0.5, "brightness": 0.0,
        "contrast": 0.0, "saturation": 0.0, "hue": 0.0, "loss": "ce + dice",
    }  # fmt: skip
    assert {key: found.recipe[key] for key in expected} == expected
    assert found.fingerprint["classes"]["thing"] == pytest.approx(15 / (48 * 80), abs=1e-6)  # 0.39 %
    assert len(found.recipe["mean"]) == 12
    assert all(
        1500 < mean < 1700 and 700 < std < 900
        for mean, std in zip(found.recipe["mean"], found.recipe["std"], strict=True)
    )
    assert "0.39 %" in found.reasons["loss"]


def test_what_somebody_asks_for_stays(tmp_path: Path) -> None:
    found = plan(satellite(tmp_path), **QUIET, crop=(32, 32), vflip=0.0, loss="ce")
    assert [found.recipe[key] for key in ("crop", "vflip", "loss")] == [[32, 32], 0.0, "ce"]
    assert found.reasons["vflip"] == "as asked"


def test_reasons_name_where_weights_and_normalisation_come_from(tmp_path: Path) -> None:
    data = open_dataset(photos(tmp_path))
    recipe, facts = draft(data, pretrained=False, steps=5), facts_of(data)
    for known, told in (
        ({}, "since the weights are random"),
        ({"weights": "pretrained"}, "belong to the encoder's weights"),
        ({"init": "other.safetensors"}, "belong to the bundle of `init`"),
    ):
        assert told in _network_reasons(recipe.model_copy(update=known), facts)["mean"]
    assert "costs" not in _network_reasons(recipe.model_copy(update={"init": "x"}), facts)["weights"]
    assert "cost accuracy" in _network_reasons(recipe, facts)["weights"]


def test_a_run_that_goes_on_keeps_what_was_measured_or_planned_and_takes_what_is_asked(tmp_path: Path) -> None:
    data = open_dataset(photos(tmp_path))
    other: dict[str, Any] = {
        "crop": (64, 64), "accumulate": 2, "batch": 8, "precision": "bf16", "fused": False, "class_weights": (1.0, 1.5),
        "time": 1800.0, "steps": 77, "options": {"zoom": 1.0, "low": 24},
    }  # fmt: skip
    held = draft(data, pretrained=False, steps=5).model_copy(update=other)
    assert draft(data, held=held) == held
    assert draft(data, held=held, model="deeplabv3plus", pretrained=False, options={"zoom": 1.0}, time=1800.0) == held
    asked = draft(data, held=held, batch=4, options={"zoom": 2.0}, pretrained=True)
    assert asked == held.model_copy(update={"batch": 4, "options": {"zoom": 2.0, "low": 24}, "weights": "pretrained"})


def test_the_recipe_does_not_depend_on_the_memory_that_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for free in (1, 10**9):
        text = f"MemTotal: 16000000 kB\nMemFree: {free} kB\nMemAvailable: {free} kB\n"
        monkeypatch.setattr(Path, "read_text", lambda self, text=text: text if self.name == "meminfo" else "max")
        monkeypatch.setattr("torch.cuda.is_available", lambda: False)
        found.append(total_memory())
        monkeypatch.setattr("torch.cuda.is_available", lambda: True)
        monkeypatch.setattr("torch.cuda.mem_get_info", lambda free=free: (free, 8 * 2**30))
        found.append(total_memory())
    assert found == [16000000 * 1024, 8 * 2**30] * 2


def test_short_memory_cuts_the_batch_and_then_the_crop() -> None:
    needs = Needs("unet", 3, {"in_channels": 3, "encoder": "test_resnet"})
    whole, half, one = (needs.of(pictures, (256, 256)) for pictures in (4, 2, 1))
    assert whole - half == pytest.approx(2 * (half - one))
    assert one == pytest.approx(half - one + COPIES * needs.weights)
    assert fit(needs, 4, (256, 256), None).accumulate == 1
    assert fit(needs, 4, (256, 256), 1.01 * whole / 0.8).accumulate == 1
    assert fit(needs, 4, (256, 256), 0.99 * whole / 0.8).accumulate == 2
    assert fit(needs, 4, (256, 256), 0.99 * half / 0.8).accumulate == 4
    small = fit(needs, 4, (256, 256), 0.99 * one / 0.8)
    assert (small.accumulate, small.crop) == (4, (128, 128))
    assert fit(needs, 4, (256, 256), 1.0).crop == (64, 64)  # nothing fits: the least that makes sense


def test_the_memory_at_hand_reaches_the_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = open_dataset(photos(tmp_path))
    needs = Needs("deeplabv3plus", 2, {"in_channels": 3, "encoder": "tf_efficientnet_lite0"})
    monkeypatch.setattr("atrous.plan.rules.total_memory", lambda: 0.99 * needs.of(4, (128, 160)) / 0.8)
    recipe = draft(data, pretrained=False, steps=5)
    assert (recipe.batch, recipe.accumulate, recipe.crop) == (4, 2, (128, 160))


def test_activations_are_those_of_inspect() -> None:
    needs = Needs("unet", 3, {"in_channels": 3, "encoder": "test_resnet"})
    from atrous.inspect import inspect_model

    kept = inspect_model(create_model("unet", classes=3, encoder="test_resnet"), (64, 64), measure=False).kept
    picture = needs.of(1, (64, 64)) - COPIES * needs.weights - ROOM * 3 * 4 * 3 * 64 * 64
    assert picture == pytest.approx(ROOM * kept, rel=0.05)


def test_the_command_prints_one_document_and_a_recipe_that_trains(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root, file = photos(tmp_path / "data", count=6), tmp_path / "recipe.toml"
    small = ["--set", "steps=4", "--model", "unet", "--encoder", "test_resnet", "--no-pretrained", "--set", "ema=0.9"]
    small += ["--set", "crop=[32,32]", "--set", "batch=2"]
    _run(["plan", str(root), "--json", "-o", str(file), *small])
    document = json.loads(capsys.readouterr().out)
    assert list(document) == ["fingerprint", "recipe", "reasons"]
    assert document["recipe"]["steps"] == 4
    assert document["recipe"]["precision"] in ("fp32", "bf16")
    held = Recipe.load(file)
    _run(["train", str(root), "-o", str(tmp_path / "run"), "--recipe", str(file)])
    run = Recipe.load(tmp_path / "run" / "recipe.toml")
    assert run == held


def _run(arguments: list[str]) -> None:
    try:
        main(arguments)
    except SystemExit as end:
        assert not end.code, end.code  # noqa: PT017


def test_the_table_says_each_line_and_why(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _run(["plan", str(grey(tmp_path)), "--no-pretrained", "--no-measure", "--time", "30m"])
    said = capsys.readouterr().out
    assert "kind            grey" in said
    assert "vflip           0.5" in said
    assert "time            1800" in said


def test_a_damaged_picture_is_refused_as_training_would(tmp_path: Path) -> None:
    (photos(tmp_path) / "train" / "images" / "p3.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"p3\.png"):
        plan(tmp_path, **QUIET)


# volumes


def test_thick_slices_take_the_tenth_percentile() -> None:
    shapes = np.full((11, 3), 200)
    shapes[:, 0] = 20
    spacings = np.ones((11, 3))
    spacings[:, 0] = np.linspace(4, 14, 11)  # median 9, 10th percentile 5
    np.testing.assert_allclose(target_spacing(spacings, shapes), [5, 1, 1])
    shapes[:, 0] = 80  # 80 * 3 is not below 200: the coarse axis is long enough
    np.testing.assert_allclose(target_spacing(spacings, shapes), [9, 1, 1])
    shapes[:, 0], spacings[:, 0] = 20, [0.5] * 5 + [9] * 6  # never finer than the others
    np.testing.assert_allclose(target_spacing(spacings, shapes), [1 + 1e-5, 1, 1])


def test_normalisation_goes_by_the_channels_names() -> None:
    found = normalisation(["CT", "T1", "rgb_to_0_1"], kept=0.7)
    assert [one["scheme"] for one in found] == ["ct", "z-score", "by 255"]
    assert [one["inside_only"] for one in found] == [False, True, False]
    assert not normalisation(["T1"], kept=0.75)[0]["inside_only"]


def test_feature_maps_are_those_of_the_network() -> None:
    features, strides = (32, 64, 128), ((1, 1, 1), (1, 2, 2), (2, 2, 2))
    # stages of 8*16*16, 8*8*8 and 4*4*4 voxels: two convolutions down; two and a transposed one up; two classes
    down = 2 * (32 * 2048 + 64 * 512 + 128 * 64)
    up = 3 * (64 * 512 + 32 * 2048) + 2 * 2048
    assert feature_maps((8, 16, 16), strides, features, 2) == down + up


def test_cubes_of_a_millimetre_take_the_published_patch() -> None:
    """Six stages, patches of 128 a side, two at once: nnU-Net's plan for isotropic voxels and 8 GB."""
    found = network((1, 1, 1), (400, 400, 400), 100 * 400**3, classes=3)
    assert (found.patch, found.batch) == ((128, 128, 128), 2)
    assert found.features == (32, 64, 128, 256, 320, 320)
    assert found.strides == ((1, 1, 1), *[(2, 2, 2)] * 5)
    assert found.estimate <= 560e6


def test_half_a_voxel_of_the_median_shape_is_padded_too() -> None:
    """Of an even number of cases; beside nnU-Net 2.8.1, whose patch it is."""
    assert network((1, 1), (224.5, 224), 1e9, classes=2).patch == (256, 224)


def test_the_published_network_of_thick_slices() -> None:
    """specs of nnU-Net: 30,713,158 parameters where the first kernel is 1 x 3 x 3."""
    found = network((3, 0.76, 0.76), (148, 512, 512), 30 * 148 * 512**2, classes=14)
    assert found.patch == (48, 192, 192)
    assert found.kernels[0] == (1, 3, 3)
    assert found.batch == 2
    options = {"features": found.features, "kernels": found.kernels, "strides": found.strides, "aux": True}
    net = create_model("nnunet3d", classes=14, in_channels=1, **options)
    assert sum(one.numel() for one in net.parameters()) == 30_713_158


def test_a_batch_covers_a_twentieth_of_the_voxels_at_most() -> None:
    small = network((1, 1, 1), (32, 32, 32), 40 * 32**3, classes=2)
    assert small.patch == (32, 32, 32)
    assert small.batch == 2  # 0.05 * 40
    assert network((1, 1, 1), (32, 32, 32), 200 * 32**3, classes=2).batch == 10


def test_the_coarse_stage_sees_a_quarter() -> None:
    full = network((1, 1, 1), (400, 400, 400), 50 * 400**3, classes=3)  # 128^3 is 3.3 % of a case
    coarse = coarse_stage(full, 50, 3)
    assert coarse is not None
    assert np.prod(coarse.patch) / np.prod(np.array([400.0] * 3) / coarse.spacing) >= 0.25
    assert coarse.spacing == pytest.approx([1.03 ** round(np.log(coarse.spacing[0]) / np.log(1.03))] * 3)
    assert coarse_stage(network((1, 1, 1), (160, 160, 160), 50 * 160**3, 3), 50, 3) is None  # sees half


def test_the_box_and_the_foreground() -> None:
    image = np.zeros((6, 8, 10, 1), np.int16)
    image[1:4, 2:7, 3] = 50
    case = case_of(image, (3, 2, 1))
    assert (case.shape, case.kept) == ((3, 5, 1), 15 / 480)
    found = intensities(np.arange(1001))
    assert (found.low, found.median, found.high, found.mean) == (5, 500, 995, 500)


def test_the_plan_of_volumes_is_plain_data_with_reasons() -> None:
    cases = [Case((100, 200, 200), (3.0, 0.8, 0.8), (100, 200, 200))] * 20
    fingerprint, recipe, reasons = plan_volumes(cases, [Intensities(40, 38, 20, -100, 300, -60, 180)], ["CT"], 2)
    json.dumps([fingerprint, recipe, reasons])
    assert set(reasons) == set(recipe)
    assert recipe["normalisation"] == [
        {"channel": "CT", "scheme": "ct", "inside_only": False, "clip": [-60, 180], "mean": 40, "std": 20}
    ]
    assert recipe["axes"] == ["z", "y", "x"]


@pytest.mark.skipif(find_spec("SimpleITK") is None, reason="SimpleITK ([medical]) is not installed")
def test_a_folder_of_nifti(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = {"channel_names": {"0": "CT"}, "labels": {"background": 0, "organ": 1}, "numTraining": 3,
               "file_ending": ".nii.gz"}  # fmt: skip
    write_json(content, tmp_path / "dataset.json")
    for number in range(3):
        labels = np.zeros((20, 40, 48), np.uint8)
        labels[5:15, 10:30, 10:30] = 1
        volume = np.where(labels, 60 + number, -1000).astype(np.int16)
        write_nifti(tmp_path / "imagesTr" / f"case_{number}_0000.nii.gz", volume)
        write_nifti(tmp_path / "labelsTr" / f"case_{number}.nii.gz", labels)
    _run(["plan", str(tmp_path), "--json", "--no-measure"])
    document = json.loads(capsys.readouterr().out)
    assert document["fingerprint"]["median_spacing"] == [3, 2, 1]
    assert document["fingerprint"]["median_size"] == [20, 40, 48]
    mean = document["fingerprint"]["foreground"][0]["mean"]
    assert mean == pytest.approx(60.5, abs=0.1)  # of the two that are trained on
    # no axis is three times as coarse: the spacing is the median; 20 x 40 x 48 voxels, halved while 8 are left
    assert document["recipe"]["volume"]["spacing"] == [3, 2, 1]
    assert document["recipe"]["volume"]["normalisation"][0]["scheme"] == "ct"
    assert document["recipe"]["crop"] == [20, 40, 48]
    assert document["recipe"]["batch"] == 2
    assert document["recipe"]["model"] == "nnunet3d"


def test_without_simpleitk_volumes_say_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "SimpleITK", None)
    write_json({"channel_names": {"0": "CT"}, "labels": {"background": 0, "organ": 1}, "file_ending": ".nii.gz"},
               tmp_path / "dataset.json")  # fmt: skip
    write_nifti(tmp_path / "imagesTr" / "a_0000.nii.gz", np.zeros((4, 4, 4), np.int16))
    write_nifti(tmp_path / "labelsTr" / "a.nii.gz", np.zeros((4, 4, 4), np.uint8))
    with pytest.raises(Exception, match=r"pip install 'atrous\[medical\]'"):
        plan(tmp_path)


def test_facts_of_three_equal_channels_are_grey(tmp_path: Path) -> None:
    for number in range(3):
        plane = np.random.default_rng(number).integers(0, 255, (20, 20), np.uint8)
        write(tmp_path, f"e{number}", np.dstack([plane] * 3), np.tile(np.uint8([0, 1]), (20, 10)))
    assert facts_of(open_dataset(tmp_path)).kind == "grey"


def test_one_class_alone_is_no_task(tmp_path: Path) -> None:
    data = open_dataset(photos(tmp_path), labels=LabelSet(("all",), values=(0,), ignore=tuple(range(1, 256))))
    with pytest.raises(DataError, match="1 class; expected at least 2"):
        draft(data, pretrained=False, steps=5)
