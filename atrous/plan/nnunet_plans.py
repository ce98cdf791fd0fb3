"""nnU-Net v2's plans from ours, and ours from nnU-Net's: `nnUNetPlans.json`.

Ours is the recipe of `plan_volumes`: spacing, order of axes, normalisation, patch, batch, and the options of
`nnunet3d`; `flat` is nnU-Net's configuration 2d, `coarse` its 3d_lowres.

Source: nnU-Net 2.8, default_experiment_planner.py; the schema is `atrous.zoo.nnunet_plans`.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from atrous import __version__
from atrous.errors import DataError
from atrous.files import write_atomically
from atrous.plan.medical import LOSS, PUBLISHED, resampling
from atrous.zoo.nnunet_plans import (
    MODELS,
    RESAMPLING,
    SCHEMES,
    Configuration,
    Plans,
    architecture_kwargs,
    parse_plans,
    read_plans,
    usual_blocks,
)

__all__ = ["Plans", "plans_of", "read_plans", "recipe_of", "write_plans"]

FULL, FLAT, COARSE, CASCADE = "3d_fullres", "2d", "3d_lowres", "3d_cascade_fullres"
"""nnU-Net's names of its configurations."""


def plans_of(
    recipe: Mapping[str, Any],
    fingerprint: Mapping[str, Any],
    dataset_name: str,
    *,
    plans_name: str = "nnUNetPlans",
    image_reader_writer: str = "SimpleITKIO",
) -> Plans:
    """Turn our plan into one that nnU-Net reads.

    Args:
        recipe: of `plan_volumes`.
        fingerprint: of `plan_volumes`.
        dataset_name: nnU-Net's name of the data, such as `Dataset003_Liver`.
        plans_name: the plans' name; nnU-Net looks for a file PLANS_NAME.json.
        image_reader_writer: nnU-Net's class that reads the files.

    Raises:
        DataError: the recipe is not one of `plan_volumes`.
    """
    try:
        forward = ["zyx".index(axis) for axis in recipe["axes"]]
        median, full = np.array(fingerprint["resampled_size"]), np.array(recipe["spacing"])
        shared = _normalisation(recipe["normalisation"]) | _resampling()
        configurations = {
            FLAT: _configuration(recipe["flat"], median[1:], f"{plans_name}_{FLAT}", shared) | {"batch_dice": True}
        }
        if (coarse := recipe["coarse"]) is not None:
            shrunk = np.round(full / np.array(coarse["spacing"]) * median)
            configurations[COARSE] = _configuration(coarse, shrunk, f"{plans_name}_{COARSE}", shared)
            configurations[COARSE] |= {"batch_dice": False, "next_stage": CASCADE}
        configurations[FULL] = _configuration(recipe, median, f"{plans_name}_{FULL}", shared)
        configurations[FULL] |= {"batch_dice": recipe["batch_dice"]}
        if coarse is not None:
            configurations[CASCADE] = {"inherits_from": FULL, "previous_stage": COARSE}
        held = {
            "dataset_name": dataset_name, "plans_name": plans_name,
            "original_median_spacing_after_transp": _turned(fingerprint["median_spacing"], forward),
            "original_median_shape_after_transp": [round(one) for one in _turned(fingerprint["median_size"], forward)],
            "image_reader_writer": image_reader_writer, "transpose_forward": forward,
            "transpose_backward": [forward.index(axis) for axis in range(3)], "configurations": configurations,
            "experiment_planner_used": "ExperimentPlanner", "label_manager": "LabelManager",
            "foreground_intensity_properties_per_channel": {
                str(number): _intensities(one) for number, one in enumerate(fingerprint["foreground"])
            },
            "planned_by": f"atrous {__version__}",
        }  # fmt: skip
        return parse_plans(held)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        reason = f"{error.args[0]!r} is missing" if isinstance(error, KeyError) else str(error)
        raise DataError(f"the recipe is not a plan for volumes ({reason}); make it with `plan_volumes`") from error


def recipe_of(plans: Plans, names: Sequence[str] | None = None) -> dict[str, Any]:
    """Turn nnU-Net's plans into our recipe, as `plan_volumes` makes it.

    Plans without 3d_fullres, which nnU-Net makes for pictures, become a recipe of `nnunet2d` without further stages.

    Args:
        plans: of `read_plans`.
        names: of the channels, in order, as in dataset.json; default channel_0, channel_1, ...

    Raises:
        DataError: a network or a normalisation is not among ours, or a configuration is missing.
    """
    try:
        main = plans.stage(FULL if FULL in plans.configurations else FLAT)
        names = names or [f"channel_{number}" for number in range(len(main.normalization_schemes))]
        coarse = _stage(plans.stage(COARSE)) if COARSE in plans.configurations else None
        flat = None
        if main.axes == 3 and FLAT in plans.configurations:
            flat = {"model": MODELS[2]} | _stage(plans.stage(FLAT))
        own, resampler = _stage(main), main.resampling_fn_data
        return {
            "model": MODELS[main.axes], "spacing": own["spacing"], "axes": plans.turned,
            "normalisation": plans.normalisation(main, names),
            "resampling": resampling(main.spacing) if resampler == RESAMPLING else resampler,
            "patch": own["patch"], "batch": own["batch"], "options": own["options"], "coarse": coarse, "flat": flat,
            "loss": LOSS, "batch_dice": main.batch_dice, **PUBLISHED,
        }  # fmt: skip
    except ValueError as error:
        raise DataError(
            f"{plans.dataset_name}, {plans.plans_name}: {error}; atrous cannot follow such plans"
        ) from error


def write_plans(path: Path | str, plans: Plans) -> None:
    """Write plans where nnU-Net looks for them: NNUNET_PREPROCESSED/DATASET_NAME/PLANS_NAME.json.

    Args:
        path: the file; one that is there is replaced.
        plans: of `plans_of` or `read_plans`.

    Raises:
        OSError: it cannot be written.
    """
    write_atomically(Path(path), plans.to_json().encode())


def _configuration(
    stage: Mapping[str, Any], median: np.ndarray, identifier: str, shared: Mapping[str, Any]
) -> dict[str, Any]:
    own, axes = stage["options"], len(stage["patch"])
    residual, stages = own.get("residual", False), len(own["features"])
    blocks = own.get("blocks", usual_blocks(stages, residual=residual))
    up_blocks = own.get("up_blocks", usual_blocks(stages, residual=residual, up=True))
    network = "ResidualEncoderUNet" if residual else "PlainConvUNet"
    return {
        "data_identifier": identifier, "preprocessor_name": "DefaultPreprocessor", "batch_size": stage["batch"],
        "patch_size": stage["patch"], "median_image_size_in_voxels": [float(side) for side in median],
        "spacing": stage["spacing"], **shared,
        "architecture": {
            "network_class_name": f"dynamic_network_architectures.architectures.unet.{network}",
            "arch_kwargs": architecture_kwargs(
                own["features"], own["kernels"], own["strides"], axes, blocks=blocks, up_blocks=up_blocks,
                residual=residual,
            ),
            "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
        },
    }  # fmt: skip


def _normalisation(schemes: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    theirs = {ours: name for name, ours in SCHEMES.items()}
    return {"normalization_schemes": [theirs[one["scheme"]] for one in schemes],
            "use_mask_for_norm": [one["inside_only"] for one in schemes]}  # fmt: skip


def _resampling() -> dict[str, Any]:
    """Images by cubic splines, labels and probabilities linearly; across thick slices the nearest."""
    found: dict[str, Any] = {}
    for kind, order in (("data", 3), ("seg", 1), ("probabilities", 1)):
        found[f"resampling_fn_{kind}"] = RESAMPLING
        found[f"resampling_fn_{kind}_kwargs"] = {"is_seg": kind == "seg", "order": order, "order_z": 0,
                                                 "force_separate_z": None}  # fmt: skip
    return found


def _intensities(one: Mapping[str, Any]) -> dict[str, float]:
    return {"max": one["most"], "mean": one["mean"], "median": one["median"], "min": one["least"],
            "percentile_00_5": one["low"], "percentile_99_5": one["high"], "std": one["std"]}  # fmt: skip


def _stage(one: Configuration) -> dict[str, Any]:
    return {"spacing": one.spacing, "patch": one.patch_size, "batch": one.batch_size, "options": one.options()}


def _turned(values: Sequence[float], forward: Sequence[int]) -> list[float]:
    return [values[axis] for axis in forward]
