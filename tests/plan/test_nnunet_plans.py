"""nnU-Net's plans become ours, and ours nnU-Net's, without a loss."""

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from make_layouts import nnunet_volumes
from nnunet_results import CT, RESAMPLED, configuration, plans

from atrous.cli import main
from atrous.errors import DataError
from atrous.models import create_model
from atrous.plan.cases import Case, Intensities
from atrous.plan.medical import plan_volumes
from atrous.plan.nnunet_plans import plans_of, read_plans, recipe_of, write_plans
from atrous.plan.volumes import nnunet_plan
from atrous.train.recipe import Recipe
from atrous.zoo.nnunet_plans import parse_plans

HU, PET = Intensities(40.0, 38.0, 20.0, -100.0, 300.0, -60.0, 180.0), Intensities(3.0, 2.0, 1.0, 0.0, 9.0, 0.5, 8.0)
THICK = [Case((100, 200, 200), (3.0, 0.8, 0.8), (100, 200, 200))] * 20
ACROSS = [Case((300, 40, 280), (0.7, 5.0, 0.7), (300, 90, 300))] * 15
LAST = [Case((300, 280, 40), (0.7, 0.7, 5.0), (300, 280, 40))] * 15
LARGE = [Case((400, 400, 400), (1.0, 1.0, 1.0), (400, 400, 400))] * 50


def written(folder: Path, held: object) -> Path:
    (folder / "nnUNetPlans.json").write_text(json.dumps(held))
    return folder / "nnUNetPlans.json"


@pytest.mark.parametrize("cases, names, found", [
    (THICK, ["CT"], [HU]), (ACROSS, ["CT", "PET"], [HU, PET]), (LARGE, ["CT"], [HU]),
    (LAST, ["PET"], [PET]),
    (THICK, ["rgb_to_0_1", "noNorm", "rescale_to_0_1"], [HU] * 3),
], ids=["thick", "across", "large", "last", "other schemes"])  # fmt: skip
def test_ours_comes_back_from_nnunets_file(
    tmp_path: Path, cases: list[Case], names: list[str], found: list[Intensities]
) -> None:
    fingerprint, recipe, _ = plan_volumes(cases, found, names, 3)
    assert (recipe["coarse"] is not None) == (cases is LARGE)
    path = tmp_path / "Dataset042_Tiny" / "nnUNetPlans.json"
    theirs = plans_of(recipe, fingerprint, "Dataset042_Tiny")
    write_plans(path, theirs)
    assert read_plans(path) == theirs
    assert recipe_of(read_plans(path), names) == recipe


def test_what_nnunet_reads_stands_there(tmp_path: Path) -> None:
    """The facts of nnU-Net's planner: names, order, and what is inherited."""
    fingerprint, recipe, _ = plan_volumes(ACROSS, [HU, PET], ["CT", "PET"], 3)
    held = json.loads(plans_of(recipe, fingerprint, "Dataset042_Tiny", plans_name="ours").to_json())
    assert held["transpose_forward"] == [1, 0, 2]
    assert held["transpose_backward"] == [1, 0, 2]
    assert held["original_median_spacing_after_transp"] == [5.0, 0.7, 0.7]
    assert held["original_median_shape_after_transp"] == [40, 300, 280]
    assert held["image_reader_writer"] == "SimpleITKIO"
    assert held["foreground_intensity_properties_per_channel"]["0"] == {
        "max": 300.0, "mean": 40.0, "median": 38.0, "min": -100.0, "percentile_00_5": -60.0, "percentile_99_5": 180.0,
        "std": 20.0,
    }  # fmt: skip
    full = held["configurations"]["3d_fullres"]
    assert set(full) == set(configuration(3))
    assert full["data_identifier"] == "ours_3d_fullres"
    assert full["spacing"] == [5.0, 0.7, 0.7]
    assert full["median_image_size_in_voxels"] == [40.0, 300.0, 280.0]
    assert full["normalization_schemes"] == ["CTNormalization", "ZScoreNormalization"]
    assert full["use_mask_for_norm"] == [False, True]  # the box keeps 3/4 of 0.55
    assert {key: full[key] for key in RESAMPLED} == RESAMPLED
    assert full["batch_dice"] is False
    own, flat = full["architecture"], held["configurations"]["2d"]
    assert set(own["arch_kwargs"]) == set(configuration(3)["architecture"]["arch_kwargs"])
    assert own["arch_kwargs"]["conv_op"] == "torch.nn.modules.conv.Conv3d"
    assert own["arch_kwargs"]["n_conv_per_stage"] == [2] * len(own["arch_kwargs"]["features_per_stage"])
    assert own["arch_kwargs"]["dropout_op"] is None
    assert flat["median_image_size_in_voxels"] == [300.0, 280.0]
    assert flat["batch_dice"] is True
    assert flat["architecture"]["arch_kwargs"]["norm_op"] == "torch.nn.modules.instancenorm.InstanceNorm2d"


def test_a_cascade_inherits(tmp_path: Path) -> None:
    fingerprint, recipe, _ = plan_volumes(LARGE, [HU], ["CT"], 3)
    found = plans_of(recipe, fingerprint, "Dataset042_Tiny")
    assert found.configurations["3d_cascade_fullres"] == {"inherits_from": "3d_fullres", "previous_stage": "3d_lowres"}
    assert found.configurations["3d_lowres"]["next_stage"] == "3d_cascade_fullres"
    assert found.configurations["3d_lowres"]["batch_dice"] is False
    assert found.stage("3d_fullres").batch_dice is True
    last = found.stage("3d_cascade_fullres")
    assert (last.previous_stage, last.patch_size) == ("3d_lowres", recipe["patch"])


def test_nnunets_file_becomes_our_recipe(tmp_path: Path) -> None:
    found = recipe_of(read_plans(written(tmp_path, plans())), ["CT", "PET"])
    options = {"features": [6, 8, 10], "kernels": [[1, 3, 3], [3, 3, 3], [3, 3, 3]],
               "strides": [[1, 1, 1], [1, 2, 2], [2, 2, 2]], "aux": True}  # fmt: skip
    assert found == {
        "model": "nnunet3d", "spacing": [3.0, 0.75, 0.75], "axes": ["x", "z", "y"],
        "normalisation": [
            {"channel": "CT", "scheme": "ct", "inside_only": False, "clip": [-80.0, 220.5], "mean": 99.5, "std": 41.25},
            {"channel": "PET", "scheme": "z-score", "inside_only": True},
        ],
        "resampling": "cubic in the plane, nearest along the first axis; labels linear", "patch": [16, 32, 32],
        "batch": 2, "options": options, "coarse": None,
        "flat": {"model": "nnunet2d", "spacing": [0.75, 0.75], "patch": [32, 32], "batch": 2,
                 "options": options | {"kernels": [[3, 3]] * 3, "strides": [[1, 1], [2, 2], [2, 2]]}},
        "loss": "ce + dice", "batch_dice": False, "foreground": 0.33, "optimizer": "sgd", "lr": 0.01, "steps": 250_000,
    }  # fmt: skip
    assert create_model(found["model"], classes=3, in_channels=2, **found["options"]).axes == 3


def test_older_plans_name_depth_and_widths(tmp_path: Path) -> None:
    today, old = plans(), plans()
    for name, own in old["configurations"].items():
        kwargs = own.pop("architecture")["arch_kwargs"]
        own |= {
            "UNet_class_name": "PlainConvUNet", "UNet_base_num_features": 6, "unet_max_num_features": 10,
            "n_conv_per_stage_encoder": [2, 2, 2], "n_conv_per_stage_decoder": [2, 2],
            "num_pool_per_axis": [1, 2, 2][-len(own["patch_size"]) :], "pool_op_kernel_sizes": kwargs["strides"],
            "conv_kernel_sizes": kwargs["kernel_sizes"],
        }  # fmt: skip
        today["configurations"][name]["architecture"]["arch_kwargs"]["features_per_stage"] = [6, 10, 10]
    old["foreground_intensity_properties_by_modality"] = old.pop("foreground_intensity_properties_per_channel")
    found = read_plans(written(tmp_path, old))
    assert recipe_of(found) == recipe_of(parse_plans(today))
    assert recipe_of(found)["options"]["features"] == [6, 10, 10]
    assert recipe_of(found)["normalisation"][1]["channel"] == "channel_1"
    del old["configurations"]["2d"]["conv_kernel_sizes"]
    with pytest.raises(DataError, match="configuration 2d: conv_kernel_sizes is missing"):
        read_plans(written(tmp_path, old))


@pytest.mark.parametrize("size, blocks", [("M", [1, 3, 4, 6, 6, 6]), ("own", [1, 2, 2, 2, 2, 2])])
def test_residual_encoders_are_ours_too(tmp_path: Path, size: str, blocks: list[int]) -> None:
    held = plans(plans_name=f"nnUNetResEncUNet{size}Plans")
    own = held["configurations"]["3d_fullres"]["architecture"]
    own["network_class_name"] = "dynamic_network_architectures.architectures.unet.ResidualEncoderUNet"
    own["arch_kwargs"] |= {
        "n_stages": 6, "features_per_stage": [32, 64, 128, 256, 320, 320], "kernel_sizes": [[3, 3, 3]] * 6,
        "strides": [[1, 1, 1], *[[2, 2, 2]] * 5], "n_blocks_per_stage": blocks, "n_conv_per_stage_decoder": [1] * 5,
    }  # fmt: skip
    del own["arch_kwargs"]["n_conv_per_stage"]
    found = recipe_of(read_plans(written(tmp_path, held)))["options"]
    assert found["residual"] is True
    assert found.get("blocks") == (None if size == "M" else blocks)
    assert "up_blocks" not in found


def test_a_number_stands_for_all_stages_and_axes(tmp_path: Path) -> None:
    held = plans()
    own = held["configurations"]["2d"]["architecture"]["arch_kwargs"]
    own |= {"kernel_sizes": 3, "strides": [1, 2, 2], "n_conv_per_stage": 2, "n_conv_per_stage_decoder": 1}
    found = recipe_of(read_plans(written(tmp_path, held)))["flat"]["options"]
    assert found["kernels"] == [[3, 3]] * 3
    assert found["strides"] == [[1, 1], [2, 2], [2, 2]]
    assert found["up_blocks"] == [1, 1]
    assert "blocks" not in found


def test_plans_of_pictures(tmp_path: Path) -> None:
    held = plans(transpose_forward=[0, 1, 2], transpose_backward=[0, 1, 2], image_reader_writer="NaturalImage2DIO")
    del held["configurations"]["3d_fullres"]
    found = recipe_of(read_plans(written(tmp_path, held)))
    assert (found["model"], found["patch"], found["flat"], found["coarse"]) == ("nnunet2d", [32, 32], None, None)


def test_what_is_inherited_and_unknown_is_kept(tmp_path: Path) -> None:
    held = plans()
    held["configurations"]["3d_large"] = {"inherits_from": "3d_fullres", "batch_size": 7, "my_key": {"a": None}}
    held["my_key"] = [1, None]
    found = read_plans(written(tmp_path, held))
    assert (found.stage("3d_large").batch_size, found.stage("3d_large").patch_size) == (7, [16, 32, 32])
    assert json.loads(found.to_json()) == held


@pytest.mark.parametrize("change, words", [
    ({"configurations": {}}, "configurations"), ({"configurations": {"2d": {}}}, "configuration 2d: batch_size"),
    ({"configurations": {"2d": configuration(2, patch_size=[32])}}, "configuration 2d: patch_size"),
    ({"configurations": {"2d": configuration(2, spacing=[1.0, 1.0, 1.0])}}, "should have as many"),
    ({"configurations": {"2d": configuration(2, use_mask_for_norm=[True])}}, "an entry for each channel"),
    ({"configurations": {"2d": configuration(2, batch_size=0)}}, "configuration 2d: batch_size"),
    ({"configurations": {"2d": configuration(2, batch_size="2")}}, "configuration 2d: batch_size"),
    ({"configurations": {"2d": configuration(2, normalization_schemes=[])}}, "normalization_schemes"),
    ({"configurations": {"a": {"inherits_from": "b"}, "b": {"inherits_from": "a"}}}, "circle"),
    ({"configurations": {"a": {"inherits_from": "c"}}}, "no configuration 'c'"),
    ({"dataset_name": None}, "dataset_name"), ({"transpose_forward": [0, 1]}, "transpose_forward"),
    ({"transpose_forward": ["0", 1, 2]}, "transpose_forward"),
    ({"transpose_backward": [2, 0, 1]}, "transpose_backward"),
    ({"original_median_spacing_after_transp": [float("nan")] * 3}, "original_median_spacing"),
    ({"foreground_intensity_properties_per_channel": {"0": CT | {"std": -1.0}}}, "std"),
    ({"foreground_intensity_properties_per_channel": {"0": {"mean": 1.0}}}, "std"),
])  # fmt: skip
def test_damaged_plans_are_one_sentence(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    with pytest.raises(DataError, match=words) as caught:
        read_plans(written(tmp_path, plans() | change))
    text = str(caught.value)
    assert "nnUNetPlans.json: not the plans of nnU-Net v2" in text
    assert "\n" not in text
    assert len(text) < 800


@pytest.mark.parametrize("text", ["", "[]", "3", "{", '{"a": 1, "a": 2}', "[" * 100_000 + "]" * 100_000])
def test_a_file_that_is_none_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "plans.json").write_text(text)
    with pytest.raises(DataError, match=r"plans.json: not the plans"):
        read_plans(tmp_path / "plans.json")
    with pytest.raises(DataError, match=r"gone.json: cannot be read"):
        read_plans(tmp_path / "gone.json")


def test_networks_that_are_not_ours_are_refused_when_they_are_asked_for(tmp_path: Path) -> None:
    held = plans()
    held["configurations"]["3d_fullres"]["architecture"] = {"network_class_name": "nets.MedNeXt", "arch_kwargs": {}}
    found = read_plans(written(tmp_path, held))
    assert found.stage("2d").options()["features"] == [6, 8, 10]
    with pytest.raises(DataError, match=r"Dataset042_Tiny, nnUNetPlans: architecture 'MedNeXt' is not among ours"):
        recipe_of(found)


def test_a_recipe_of_pictures_is_no_plan_for_volumes() -> None:
    with pytest.raises(DataError, match=r"not a plan for volumes \('axes' is missing\)"):
        plans_of({"model": "unet"}, {}, "Dataset001_A")


def test_the_real_nnunet_reads_ours_and_builds_the_same_networks(tmp_path: Path) -> None:
    handler = pytest.importorskip("nnunetv2.utilities.plans_handling.plans_handler", exc_type=ImportError)
    builder = pytest.importorskip("nnunetv2.utilities.get_network_from_plans", exc_type=ImportError)
    fingerprint, recipe, _ = plan_volumes(LARGE, [HU], ["CT"], 3)
    write_plans(tmp_path / "nnUNetPlans.json", plans_of(recipe, fingerprint, "Dataset042_Tiny"))
    manager = handler.PlansManager(str(tmp_path / "nnUNetPlans.json"))
    assert manager.available_configurations == ["2d", "3d_lowres", "3d_fullres", "3d_cascade_fullres"]
    for name, stage in (("2d", recipe["flat"]), ("3d_lowres", recipe["coarse"]), ("3d_fullres", recipe)):
        own = manager.get_configuration(name)
        assert (own.patch_size, own.batch_size, own.spacing) == (stage["patch"], stage["batch"], stage["spacing"])
        assert own.resampling_fn_data.func.__name__ == "resample_data_or_seg_to_shape"
        with torch.device("meta"):
            theirs = builder.get_network_from_plans(
                own.network_arch_class_name, own.network_arch_init_kwargs, own.network_arch_init_kwargs_req_import,
                1, 3, allow_init=False, deep_supervision=True,
            )  # fmt: skip
            ours = create_model(f"nnunet{len(stage['patch'])}d", classes=3, in_channels=1, **stage["options"])
        assert sum(one.numel() for one in ours.parameters()) == sum(one.numel() for one in theirs.parameters())


@pytest.mark.skipif(find_spec("SimpleITK") is None, reason="SimpleITK ([medical]) is not installed")
def test_the_command_writes_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    nnunet_volumes(tmp_path / "Dataset007_Liver")
    out = tmp_path / "mine.json"

    def run(*more: object) -> int:
        with pytest.raises(SystemExit) as stop:
            main([str(one) for one in ("plan", tmp_path / "Dataset007_Liver", "--no-measure", *more)])
        return int(stop.value.code or 0)

    assert run("-o", out) == 0
    capsys.readouterr()
    recipe, _ = nnunet_plan(tmp_path / "Dataset007_Liver")
    found = read_plans(out)
    assert (found.dataset_name, found.plans_name) == ("Dataset007_Liver", "mine")
    assert recipe_of(found, [one["channel"] for one in recipe["normalisation"]]) == recipe
    assert run("-o", out) == 0  # what it wrote itself it may replace
    out.write_text("{}")
    assert run("-o", out) == 2
    assert "is there already" in capsys.readouterr().err
    assert run("-o", tmp_path / "recipe.toml", "--no-measure") == 0
    assert Recipe.load(tmp_path / "recipe.toml").volume is not None
