"""nnU-Net's checkpoints become bundles with its logits, or one sentence says why not."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from nnunet_results import CT, DATASET, architecture, checkpoint, configuration, named_weights, plans, results
from torch import nn
from torch.nn import functional

from atrous.bundle import load_bundle
from atrous.cli import main
from atrous.errors import AtrousError, DataError, ModelError, WeightsError
from atrous.io.geometry import Geometry
from atrous.io.volumes import Volume
from atrous.labels import LabelSet
from atrous.predict.loading import load_predictor
from atrous.volumes import prepare
from atrous.zoo.importer import import_weights
from atrous.zoo.nnunet import import_nnunet

NAMES = {2: "2d", 3: "3d_fullres"}
VOLUME = {
    "spacing": [3.0, 0.75, 0.75], "axes": ["x", "z", "y"],
    "normalisation": [
        {"channel": "CT", "scheme": "ct", "inside_only": False, "clip": [-80.0, 220.5], "mean": 99.5, "std": 41.25},
        {"channel": "PET", "scheme": "z-score", "inside_only": True},
    ],
    "patch": [16, 32, 32], "orientation": "file", "mirror": [0, 1, 2],
}  # fmt: skip


def image(axes: int) -> torch.Tensor:
    return torch.randn(2, 2, *((32, 48) if axes == 2 else (8, 16, 24)))


def plain_logits(state: dict[str, torch.Tensor], x: torch.Tensor, axes: int) -> torch.Tensor:
    """nnU-Net's plain network in a few lines of torch, by its names alone."""
    conv, up = (functional.conv2d, functional.conv3d)[axes - 2], (functional.conv_transpose2d,
                                                                   functional.conv_transpose3d)[axes - 2]  # fmt: skip
    strides = [[1, 1, 1], [1, 2, 2], [2, 2, 2]] if axes == 3 else [[1, 1], [2, 2], [2, 2]]

    def block(name: str, x: torch.Tensor, stride: list[int]) -> torch.Tensor:
        weight = state[f"{name}.conv.weight"]
        padding = [side // 2 for side in weight.shape[2:]]
        x = conv(x, weight, state[f"{name}.conv.bias"], stride, padding)
        x = functional.instance_norm(x, weight=state[f"{name}.norm.weight"], bias=state[f"{name}.norm.bias"])
        return functional.leaky_relu(x, 0.01)

    skips, one = [], [1] * axes
    for stage, stride in enumerate(strides):
        x = block(f"encoder.stages.{stage}.0.convs.0", x, stride)
        x = block(f"encoder.stages.{stage}.0.convs.1", x, one)
        skips.append(x)
    for number, level in enumerate((1, 0)):
        name = f"decoder.transpconvs.{number}"
        x = up(x, state[f"{name}.weight"], state[f"{name}.bias"], strides[level + 1])
        x = block(f"decoder.stages.{number}.convs.0", torch.cat([x, skips[level]], 1), one)
        x = block(f"decoder.stages.{number}.convs.1", x, one)
    return conv(x, state["decoder.seg_layers.1.weight"], state["decoder.seg_layers.1.bias"])


@pytest.mark.parametrize("axes", [2, 3])
@torch.no_grad()
def test_weights_by_their_names_give_nnunets_logits(tmp_path: Path, axes: int) -> None:
    torch.manual_seed(0)
    state = named_weights(axes)
    model = results(tmp_path, checkpoint(state, NAMES[axes], axes))
    card = import_nnunet(model, tmp_path / "own.safetensors")
    network, read = load_bundle(tmp_path / "own.safetensors")
    assert read == card
    x = image(axes)
    assert float((network(x) - plain_logits(state, x, axes)).abs().max()) < 1e-5


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("axes", [2, 3])
@torch.no_grad()
def test_a_checkpoint_of_the_real_networks_gives_their_logits(tmp_path: Path, axes: int, residual: bool) -> None:
    unet = pytest.importorskip("dynamic_network_architectures.architectures.unet")
    torch.manual_seed(0)
    stated = configuration(axes)
    own = stated["architecture"]["arch_kwargs"]
    built = architecture(axes, own["features_per_stage"], own["kernel_sizes"], own["strides"], residual=residual)
    theirs = getattr(unet, built["network_class_name"].rsplit(".", 1)[1])(
        2, num_classes=3, deep_supervision=True, **built["arch_kwargs"] | {
            "conv_op": (nn.Conv2d, nn.Conv3d)[axes - 2], "nonlin": nn.LeakyReLU,
            "norm_op": (nn.InstanceNorm2d, nn.InstanceNorm3d)[axes - 2],
        }
    )  # fmt: skip
    for parameter in theirs.parameters():
        nn.init.normal_(parameter, std=0.2)
    saved = checkpoint(theirs.state_dict(), NAMES[axes], axes)
    saved["init_args"]["plans"]["configurations"][NAMES[axes]]["architecture"] = built
    card = import_nnunet(results(tmp_path, saved), tmp_path / "own.safetensors")
    assert card.options.get("residual", False) == residual
    network, _ = load_bundle(tmp_path / "own.safetensors")
    x = image(axes)
    found, expected = network.outputs(x), theirs.eval()(x)
    assert len(found) == len(expected) == 2
    assert float((found[0] - expected[0]).abs().max()) < 1e-5
    assert not torch.allclose(found[0], torch.zeros(()))


def test_the_card_has_what_a_prediction_needs(tmp_path: Path) -> None:
    model = results(tmp_path, checkpoint(named_weights(3), "3d_fullres", 3))
    card = import_nnunet(model / "fold_0", tmp_path / "own.safetensors", licence="CC0")
    assert card.model == "nnunet3d"
    assert card.volume == VOLUME
    assert card.labels == LabelSet(("background", "organ", "tumour"), ignore=(3,))
    assert card.options == {
        "in_channels": 2, "features": [6, 8, 10], "kernels": [[1, 3, 3], [3, 3, 3], [3, 3, 3]],
        "strides": [[1, 1, 1], [1, 2, 2], [2, 2, 2]], "aux": True,
    }  # fmt: skip
    assert (card.mean, card.std, card.dtype, card.licence) == ((99.5, 0.0), (41.25, 1.0), "float32", "CC0")
    assert card.data == (
        "nnU-Net Dataset042_Tiny, nnUNetTrainer, nnUNetPlans, 3d_fullres, fold 0, file checkpoint_final.pth"
    )


def test_slices_lie_along_the_first_axis(tmp_path: Path) -> None:
    model = results(tmp_path, checkpoint(named_weights(2), "2d", 2, inference_allowed_mirroring_axes=None))
    card = import_nnunet(model, tmp_path / "own.safetensors")
    assert card.model == "nnunet2d"
    flat = {"spacing": [0.75, 0.75], "patch": [32, 32], "mirror": []}
    assert card.volume == VOLUME | flat


def test_the_files_above_the_fold_count(tmp_path: Path) -> None:
    """As in nnU-Net's own prediction; a checkpoint alone has the same inside."""
    saved = checkpoint(named_weights(2), "2d", 2)
    model = results(tmp_path, saved)
    (model / "dataset.json").write_text(json.dumps(DATASET | {"labels": {"background": 0, "a": 1, "b": 2}}))
    card = import_nnunet(model, tmp_path / "own.safetensors")
    assert card.labels.names == ("background", "a", "b")
    torch.save(saved, tmp_path / "alone.pth")
    card = import_nnunet(tmp_path / "alone.pth", tmp_path / "other.safetensors")
    assert card.labels.names == ("background", "organ", "tumour")


def test_the_best_is_taken_where_there_is_no_final_one_and_folds_are_told(tmp_path: Path) -> None:
    saved = checkpoint(named_weights(2), "2d", 2)
    model = results(tmp_path, saved, name="checkpoint_best.pth")
    assert import_nnunet(model, tmp_path / "own.safetensors").data.endswith("checkpoint_best.pth")
    results(tmp_path, saved, fold="1")
    with pytest.raises(WeightsError, match=r"holds 2 folds; give the checkpoint of one, such as .*fold_0"):
        import_nnunet(model, tmp_path / "own.safetensors", overwrite=True)
    with pytest.raises(WeightsError, match=r"no checkpoint_final.pth in it or in its fold_0"):
        import_nnunet(tmp_path, tmp_path / "own.safetensors", overwrite=True)


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, out = results(tmp_path, checkpoint(named_weights(2), "2d", 2)), tmp_path / "own.safetensors"

    def run(*more: object) -> int:
        with pytest.raises(SystemExit) as stop:
            main([str(one) for one in ("import", *more)])
        return int(stop.value.code or 0)

    assert run(model, "--from", "nnunet", "-o", out) == 0
    told = capsys.readouterr().out
    assert "nnunet2d" in told
    assert "3 classes" in told
    assert f"atrous inspect {out}" in told
    assert run(model, "--from", "nnunet", "--classes", 3, "-o", out) == 2
    assert "leave out --classes" in capsys.readouterr().err
    assert run(model, "--from", "smp", "-o", out) == 2
    assert "--model and --classes" in capsys.readouterr().err
    assert run(model, "--from", "nnunt", "-o", out) == 2
    assert "did you mean 'nnunet'" in capsys.readouterr().err
    with pytest.raises(ModelError, match=r"use `zoo\.nnunet\.import_nnunet`"):
        import_weights(model, "nnunet", "nnunet2d", None, 3, out)


class Bomb:
    """What a pickle may do."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.path),)


def refused(saved: object, folder: Path, words: str, error: type[AtrousError] = WeightsError) -> None:
    """The checkpoint is refused in one sentence that names it, and nothing is written."""
    torch.save(saved, folder / "bad.pth")
    out = folder / "none.safetensors"
    with pytest.raises(error, match=words) as caught:
        import_nnunet(folder / "bad.pth", out)
    assert "bad.pth" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not out.exists()


def test_a_pickle_runs_nothing(tmp_path: Path) -> None:
    saved = checkpoint(named_weights(2), "2d", 2)
    refused(saved | {"logging": Bomb(tmp_path / "harm")}, tmp_path, "refused, .* could run code")
    assert not (tmp_path / "harm").exists()
    state = {"weights": torch.zeros(1)}
    refused({"state_dict": state}, tmp_path, "no tensors called network_weights; give a checkpoint of nnU-Net v2")
    refused([state], tmp_path, "no tensors called network_weights")
    refused({"network_weights": state}, tmp_path, "init_args: field required")
    (tmp_path / "cut.pth").write_bytes((tmp_path / "bad.pth").read_bytes()[:200])
    with pytest.raises(WeightsError, match=r"cut.pth: refused"):
        import_nnunet(tmp_path / "cut.pth", tmp_path / "none.safetensors")
    with pytest.raises(WeightsError, match=r"gone.pth: cannot be read"):
        import_nnunet(tmp_path / "gone.pth", tmp_path / "none.safetensors")


def test_tensors_that_do_not_fit_are_counted_and_named(tmp_path: Path) -> None:
    state = dict(named_weights(2))
    state["encoder.extra.weight"] = torch.zeros(1)
    del state["decoder.seg_layers.0.bias"]
    state["encoder.stages.0.0.convs.0.conv.weight"] = torch.zeros(6, 5, 3, 3)
    refused(
        checkpoint(state, "2d", 2), tmp_path, r"not the weights of 2d .* 1 missing \(scores.0.bias\), 1 unexpected "
        r"\(encoder.extra.weight\), 1 of another shape \(encoder.stages.0.0.convs.0.conv.weight \(6, 5, 3, 3\) for "
    )  # fmt: skip


def changed(axes: int, change: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
    saved = checkpoint(named_weights(axes), NAMES[axes], axes)
    saved["init_args"] = json.loads(json.dumps(saved["init_args"] | {"device": "cpu"}))
    change(saved["init_args"])
    return saved


def stated(init: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = init["plans"]["configurations"][init["configuration"]]
    return found


def kwargs(init: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = stated(init)["architecture"]["arch_kwargs"]
    return found


@pytest.mark.parametrize("change, words", [
    (lambda i: i["dataset_json"]["labels"].update(whole=[1, 2]), "regions"),
    (lambda i: i["dataset_json"]["labels"].update(tumour=7), r"values \[0, 1, 7\]"),
    (lambda i: i["dataset_json"].pop("labels"), "no labels"),
    (lambda i: i["dataset_json"].pop("channel_names"), "channel_names is None"),
    (lambda i: i["dataset_json"].update(channel_names={"0": "CT"}), "2 entries for 1 channels"),
    (lambda i: i.update(configuration="3d_lowres"), "no configuration '3d_lowres'; there are 2d, 3d_fullres"),
    (lambda i: stated(i).update(previous_stage="3d_lowres"), "second of a cascade"),
    (lambda i: i["plans"].update(image_reader_writer="NibabelIOWithReorient"), "NibabelIOWithReorient"),
    (lambda i: i["plans"].update(transpose_forward=[0, 1, 1]), "transpose_forward"),
    (lambda i: i["plans"].update(transpose_backward=[2, 0, 1]), r"the inverse .* is \[1, 2, 0\]"),
    (lambda i: stated(i).update(normalization_schemes=["MyNorm"] * 2), "'MyNorm' is not among ours"),
    (lambda i: i["plans"].update(foreground_intensity_properties_per_channel={}), "no entry '0' for CT"),
    (lambda i: stated(i)["architecture"].update(network_class_name="a.Primus"), "'Primus' is not among ours"),
    (lambda i: kwargs(i).update(n_stages=10**9), "n_stages"),
    (lambda i: kwargs(i).update(n_stages=2), "should have 2 entries"),
    (lambda i: kwargs(i).update(features_per_stage=[10**9] * 3), "features_per_stage"),
    (lambda i: kwargs(i).update(features_per_stage=[8192] * 3), "of another shape"),
    (lambda i: kwargs(i).update(conv_bias=False), "conv_bias is False"),
    (lambda i: kwargs(i).update(norm_op="torch.nn.BatchNorm2d"), "norm_op is 'BatchNorm2d'"),
    (lambda i: kwargs(i).update(norm_op_kwargs={"eps": 1e-3, "affine": True}), "norm_op_kwargs"),
    (lambda i: kwargs(i).update(nonlin="torch.nn.ReLU"), "nonlin is 'ReLU'; the plain network has 'LeakyReLU'"),
    (lambda i: kwargs(i).update(nonlin_kwargs={"negative_slope": 0.2}), "nonlin_kwargs is 0.2"),
    (lambda i: kwargs(i).update(dropout_op="torch.nn.Dropout2d"), "dropout_op .* has it off"),
    (lambda i: kwargs(i).update(nonlin_first=True), "nonlin_first is True"),
    (lambda i: kwargs(i).update(conv_op="torch.nn.Conv3d"), "conv_op is 'Conv3d'"),
    (lambda i: kwargs(i).update(kernel_sizes=[[2, 2]] * 3), "should be odd"),
    (lambda i: kwargs(i).update(kernel_sizes=[[3, 3, 3]] * 3), "should have 2 entries"),
    (lambda i: stated(i).update(patch_size=[10**9, 10**9]), "patch_size"),
    (lambda i: stated(i).update(spacing=[0.0, 1.0]), "spacing"),
    (lambda i: stated(i).update(inherits_from="2d"), "inherit in a circle: 2d <- 2d"),
    (lambda i: i.update(plans={}), "dataset_name: field required"),
])  # fmt: skip
def test_what_cannot_be_imported_is_one_sentence(tmp_path: Path, change: Any, words: str) -> None:
    refused(changed(2, change), tmp_path, words)


def test_mirror_axes_are_the_networks(tmp_path: Path) -> None:
    saved = checkpoint(named_weights(2), "2d", 2)
    refused(saved | {"inference_allowed_mirroring_axes": (0, 2)}, tmp_path, "axis 2 is not among the 2")
    refused(saved | {"inference_allowed_mirroring_axes": "all"}, tmp_path, "inference_allowed_mirroring_axes")


def test_damaged_files_beside_it_are_named(tmp_path: Path) -> None:
    model = results(tmp_path, checkpoint(named_weights(2), "2d", 2))
    (model / "plans.json").write_text("{")
    with pytest.raises(DataError, match=r"plans.json: not the plans of nnU-Net v2 \(Expecting"):
        import_nnunet(model, tmp_path / "own.safetensors")
    (model / "plans.json").write_text(json.dumps(plans()))
    (model / "dataset.json").write_text("[]")
    with pytest.raises(DataError, match=r"dataset.json: holds list"):
        import_nnunet(model, tmp_path / "own.safetensors")


def test_pictures_of_8_bits_are_told(tmp_path: Path) -> None:
    saved = changed(2, lambda i: stated(i).update(normalization_schemes=["RGBTo01Normalization"] * 2))
    card = import_nnunet(results(tmp_path, saved), tmp_path / "own.safetensors")
    assert (card.dtype, card.mean, card.std) == ("uint8", (0.0, 0.0), (255.0, 255.0))
    assert CT["mean"] == 99.5


def test_another_resampling_is_told(tmp_path: Path) -> None:
    saved = changed(2, lambda i: stated(i).update(resampling_fn_data="resample_torch_fornnunet"))
    card = import_nnunet(results(tmp_path, saved), tmp_path / "own.safetensors")
    assert card.data.endswith("resampled by resample_torch_fornnunet, which is not ours")


@pytest.mark.parametrize("axes", [2, 3])
def test_a_volume_is_labelled_as_its_plan_says(tmp_path: Path, axes: int) -> None:
    """Each slice, or the whole, is prepared as nnU-Net does it; the labels come back on its grid."""
    torch.manual_seed(0)
    state = named_weights(axes)
    import_nnunet(results(tmp_path, checkpoint(state, NAMES[axes], axes)), tmp_path / "own.safetensors")
    predictor = load_predictor(tmp_path / "own.safetensors", window=None if axes == 3 else (1, 16, 16))
    form = predictor.card.form
    assert form is not None
    steps = form.steps((2.0, 2.0, 2.0))
    spacing = tuple(steps[form.order.index(axis)] for axis in range(3))
    numbers = np.random.default_rng(0).integers(1, 400, (16, 16, 16, 2)).astype(np.int16)
    volume = Volume(numbers, Geometry(spacing))  # type: ignore[arg-type]
    found = predictor(volume)
    assert found.labels.shape == (16, 16, 16)
    seen, _, place = prepare(numbers, volume.grid, form)
    assert place.shape == (16, 16, 16)
    parts = [seen[:, d] for d in range(16)] if axes == 2 else [seen]
    logits = [plain_logits(state, torch.from_numpy(part)[None], axes)[0] for part in parts]
    expected = (torch.stack(logits, 1) if axes == 2 else logits[0]).argmax(0).numpy().astype(np.uint8)
    if axes == 2 or predictor.window == (16, 16, 16):  # type: ignore[attr-defined]
        np.testing.assert_array_equal(found.labels, place.back(expected))
