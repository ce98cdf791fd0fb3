"""nnU-Net v2's results, written by hand: plans, dataset.json, and names of tensors as its networks have them."""

import json
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import torch

CT = {"max": 1500.0, "mean": 99.5, "median": 101.0, "min": -900.0, "percentile_00_5": -80.0, "percentile_99_5": 220.5,
      "std": 41.25}  # fmt: skip
RESAMPLED = {
    name: value
    for kind, order, is_seg in (("data", 3, False), ("seg", 1, True), ("probabilities", 1, False))
    for name, value in (
        (f"resampling_fn_{kind}", "resample_data_or_seg_to_shape"),
        (f"resampling_fn_{kind}_kwargs", {"is_seg": is_seg, "order": order, "order_z": 0, "force_separate_z": None}),
    )
}


def architecture(
    axes: int, features: list[int], kernels: Any, strides: Any, *, residual: bool = False
) -> dict[str, Any]:
    """As the planner writes it; two convolutions per stage, or one, two, two ... blocks."""
    stages = len(features)
    down = {"n_blocks_per_stage": [1, 2, 2][:stages]} if residual else {"n_conv_per_stage": [2] * stages}
    return {
        "network_class_name": "dynamic_network_architectures.architectures.unet."
        + ("ResidualEncoderUNet" if residual else "PlainConvUNet"),
        "arch_kwargs": {
            "n_stages": stages, "features_per_stage": features, "conv_op": f"torch.nn.modules.conv.Conv{axes}d",
            "kernel_sizes": kernels, "strides": strides, **down,
            "n_conv_per_stage_decoder": [1 if residual else 2] * (stages - 1), "conv_bias": True,
            "norm_op": f"torch.nn.modules.instancenorm.InstanceNorm{axes}d",
            "norm_op_kwargs": {"eps": 1e-05, "affine": True}, "dropout_op": None, "dropout_op_kwargs": None,
            "nonlin": "torch.nn.LeakyReLU", "nonlin_kwargs": {"inplace": True},
        },
        "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
    }  # fmt: skip


def configuration(axes: int, **changed: Any) -> dict[str, Any]:
    """`2d` or `3d_fullres` of thick slices, tiny."""
    kernels, strides = [[1, 3, 3], [3, 3, 3], [3, 3, 3]], [[1, 1, 1], [1, 2, 2], [2, 2, 2]]
    if axes == 2:
        kernels, strides = [[3, 3]] * 3, [[1, 1], [2, 2], [2, 2]]
    return {
        "data_identifier": f"nnUNetPlans_{'2d' if axes == 2 else '3d_fullres'}",
        "preprocessor_name": "DefaultPreprocessor", "batch_size": 2, "patch_size": [16, 32, 32][-axes:],
        "median_image_size_in_voxels": [40.0, 200.0, 200.0][-axes:], "spacing": [3.0, 0.75, 0.75][-axes:],
        "normalization_schemes": ["CTNormalization", "ZScoreNormalization"], "use_mask_for_norm": [False, True],
        **RESAMPLED, "architecture": architecture(axes, [6, 8, 10], kernels, strides), "batch_dice": axes == 2,
        **changed,
    }  # fmt: skip


def plans(**changed: Any) -> dict[str, Any]:
    """Of two channels, CT and PET, whose slices lie along the reader's last axis."""
    return {
        "dataset_name": "Dataset042_Tiny", "plans_name": "nnUNetPlans",
        "original_median_spacing_after_transp": [3.0, 0.7, 0.75], "original_median_shape_after_transp": [41, 199, 201],
        "image_reader_writer": "SimpleITKIO", "transpose_forward": [2, 0, 1], "transpose_backward": [1, 2, 0],
        "configurations": {"2d": configuration(2), "3d_fullres": configuration(3)},
        "experiment_planner_used": "ExperimentPlanner", "label_manager": "LabelManager",
        "foreground_intensity_properties_per_channel": {"0": CT, "1": CT | {"mean": 3.0, "std": 0.0}},
        **changed,
    }  # fmt: skip


DATASET = {"channel_names": {"0": "CT", "1": "PET"}, "labels": {"background": 0, "organ": 1, "tumour": 2, "ignore": 3},
           "numTraining": 20, "file_ending": ".nii.gz"}  # fmt: skip


def checkpoint(weights: dict[str, torch.Tensor], configuration: str, axes: int, **changed: Any) -> dict[str, Any]:
    """What nnU-Net's trainer saves: its log and the best score are numbers of numpy."""
    return {
        "network_weights": weights,
        "optimizer_state": {"state": {}, "param_groups": [{"lr": 0.01, "momentum": 0.99, "params": [0, 1]}]},
        "grad_scaler_state": None,
        "logging": {"train_losses": [np.float32(0.5)], "mean_fg_dice": [np.float64(0.75)], "lrs": [0.01],
                    "dice_per_class_or_region": [[np.float32(0.5), np.float64(1.0)]]},
        "_best_ema": np.float64(0.75), "current_epoch": 1000,
        "init_args": {"plans": plans(), "configuration": configuration, "fold": 0, "dataset_json": DATASET,
                      "unpack_dataset": True, "device": torch.device("cuda")},
        "trainer_name": "nnUNetTrainer", "inference_allowed_mirroring_axes": tuple(range(axes)), **changed,
    }  # fmt: skip


def results(root: Path, saved: dict[str, Any], fold: str = "0", name: str = "checkpoint_final.pth") -> Path:
    """The folder of a model, as nnU-Net's training leaves it."""
    model = root / "Dataset042_Tiny" / f"nnUNetTrainer__nnUNetPlans__{saved['init_args']['configuration']}"
    (model / f"fold_{fold}").mkdir(parents=True, exist_ok=True)
    (model / "plans.json").write_text(json.dumps(saved["init_args"]["plans"]))
    (model / "dataset.json").write_text(json.dumps(saved["init_args"]["dataset_json"]))
    torch.save(saved, model / f"fold_{fold}" / name)
    return model


def named_weights(axes: int, inputs: int = 2, classes: int = 3) -> dict[str, torch.Tensor]:
    """The plain network of `configuration(axes)`: three stages, every tensor under all of its names."""
    own: OrderedDict[str, torch.Tensor] = OrderedDict()
    features, kernels = [6, 8, 10], [[1, 3, 3], [3, 3, 3], [3, 3, 3]] if axes == 3 else [[3, 3]] * 3
    strides = [[1, 1, 1], [1, 2, 2], [2, 2, 2]] if axes == 3 else [[1, 1], [2, 2], [2, 2]]

    def block(name: str, before: int, out: int, kernel: list[int]) -> None:
        whole = {"conv.weight": (out, before, *kernel), "conv.bias": (out,), "norm.weight": (out,), "norm.bias": (out,)}
        for key, shape in whole.items():
            own[f"{name}.{key}"] = torch.randn(shape) * 0.3
        for key, place in (("conv", 0), ("norm", 1)):
            for kind in ("weight", "bias"):
                own[f"{name}.all_modules.{place}.{kind}"] = own[f"{name}.{key}.{kind}"]

    for stage, (out, kernel) in enumerate(zip(features, kernels, strict=True)):
        block(f"encoder.stages.{stage}.0.convs.0", [inputs, *features][stage], out, kernel)
        block(f"encoder.stages.{stage}.0.convs.1", out, out, kernel)
    for key in list(own):
        own[f"decoder.{key}"] = own[key]
    for number, level in enumerate((1, 0)):
        out = features[level]
        block(f"decoder.stages.{number}.convs.0", 2 * out, out, kernels[level])
        block(f"decoder.stages.{number}.convs.1", out, out, kernels[level])
        own[f"decoder.transpconvs.{number}.weight"] = torch.randn(features[level + 1], out, *strides[level + 1]) * 0.3
        own[f"decoder.transpconvs.{number}.bias"] = torch.randn(out)
        own[f"decoder.seg_layers.{number}.weight"] = torch.randn(classes, out, *[1] * axes)
        own[f"decoder.seg_layers.{number}.bias"] = torch.randn(classes)
    return own
