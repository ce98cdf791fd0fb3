"""What users were told they can type, as literal lists: a name that goes missing here breaks somebody's code.

Only that it is there, and with which defaults; what it does is tested where it lives.
"""

import inspect
from pathlib import Path

import numpy as np
import pytest
import torch
import typer
from brightness import photo, predictor

import atrous
from atrous.cli import app
from atrous.doctor.findings import KINDS

MODELS = [
    "attention_unet", "bisenetv2", "ccnet", "danet", "deconvnet", "deeplabv1", "deeplabv2", "deeplabv3",
    "deeplabv3plus", "dpn", "encnet", "enet", "fastscnn", "fcn", "fcn16s", "fcn32s", "fcn8s", "fpn", "hrnet_ocr",
    "icnet", "lraspp", "nnunet2d", "nnunet3d", "parsenet", "pointrend", "pspnet", "refinenet", "reseg", "segformer",
    "segnet", "segnet_basic", "unet", "unet2015", "unet3d", "unetpp", "upernet", "vnet",
]  # fmt: skip

VERBS = {
    "bench": ["model", "--json"],
    "check": ["data", "--classes", "--ignore", "--json"],
    "compare": ["sources", "--json"],
    "demo": ["-o"],
    "eval": ["source", "data", "--split", "--classes", "--ignore", "--json"],
    "export": ["model", "-o"],
    "import": ["path", "--from", "--model", "--encoder", "--classes", "-o"],
    "inspect": ["model", "--json"],
    "models": ["--json"],
    "plan": ["data", "-o", "--classes", "--ignore", "--json"],
    "predict": ["inputs", "--model", "-o"],
    "refine": ["source", "images", "-o"],
    "report": ["sources", "-o"],
    "train": [
        "data", "-o", "--model", "--encoder", "--steps", "--time", "--batch", "--crop", "--lr", "--seed", "--workers",
        "--classes", "--ignore", "--no-pretrained", "--refine", "--init", "--extend",
    ],
    "tune-crf": ["run", "data"],
}  # fmt: skip
"""Verb -> its arguments and options."""

FINDINGS = [
    "absent_class", "binary_0_255", "colour_mask", "empty_mask", "leak", "missing_image", "missing_mask",
    "near_duplicate", "off_by_one", "rare_class", "size_mismatch", "suspicious", "unreadable", "value_out_of_range",
]  # fmt: skip


def defaults(thing: object) -> dict[str, object]:
    """What a caller may leave out, and what it is then."""
    return {name: p.default for name, p in inspect.signature(thing).parameters.items() if p.default is not p.empty}  # type: ignore[arg-type]


def test_every_model_is_listed() -> None:
    assert set(MODELS) - set(atrous.list_models()) == set()
    assert atrous.list_models() == sorted(atrous.list_models())


def commands() -> dict[str, typer.core.TyperCommand]:
    return dict(typer.main.get_command(app).commands)  # type: ignore[attr-defined]


def test_every_verb_is_there_with_its_options() -> None:
    found = commands()
    assert set(VERBS) - set(found) == set()
    for verb, names in VERBS.items():
        told = {name for p in found[verb].params for name in [*p.opts, *p.secondary_opts]}
        assert set(names) - told == set(), verb


@pytest.mark.parametrize("verb, option, value", [
    ("train", "time", None),  # an hour, where no steps are given: see the next test
    ("predict", "out", "predictions"),
    ("demo", "out", "runs/demo"),
])  # fmt: skip
def test_defaults_of_options(verb: str, option: str, value: object) -> None:
    found = next(p for p in commands()[verb].params if p.name == option)
    assert (None if found.default is None else str(found.default)) == value


def test_without_steps_training_takes_an_hour(tmp_path: Path) -> None:
    from worlds import make_world

    from atrous.datasets import open_dataset
    from atrous.plan import draft

    data = open_dataset(make_world(tmp_path))
    assert draft(data, model="unet2015", say=lambda _: None, pretrained=False).time == 3600
    assert draft(data, model="unet2015", say=lambda _: None, pretrained=False, steps=5).time is None


def test_every_kind_of_finding_is_known() -> None:
    assert set(FINDINGS) - set(KINDS) == set()


def test_names_at_the_top() -> None:
    for name in ("Segmenter", "create_model", "list_models", "load", "metrics", "ops", "refine", "__version__"):
        assert hasattr(atrous, name), name
    assert defaults(atrous.create_model) | {"classes": 21, "in_channels": 3, "pretrained": False} == defaults(
        atrous.create_model
    )
    assert {"model", "encoder"} <= set(inspect.signature(atrous.Segmenter).parameters)
    for name in ("fit", "predict", "score", "save", "model", "labels", "card"):
        assert hasattr(atrous.Segmenter, name) or name in atrous.Segmenter.__annotations__, name


def test_a_model_takes_encoder_stride_and_channels() -> None:
    with torch.device("meta"):
        model = atrous.create_model(
            "deeplabv3plus", classes=5, encoder="test_resnet", in_channels=4, stride=16, pretrained=False
        )
    assert model(torch.zeros(1, 4, 32, 48, device="meta")).shape == (1, 5, 32, 48)
    assert (len(model.encoder.channels), model.encoder.strides[-1]) == (len(model.encoder.strides), 16)


def test_a_prediction_has_labels_probabilities_and_ways_out(tmp_path: Path) -> None:
    prediction = predictor()(photo(20, 30))
    assert (prediction.labels.shape, prediction.labels.dtype) == ((20, 30), np.uint8)
    assert prediction.probabilities.shape == (2, 20, 30)
    prediction.save(tmp_path / "out.png")
    assert (tmp_path / "out.png").stat().st_size
    assert prediction.overlay() is not None
    assert prediction.to_hf()


def test_the_fused_tail() -> None:
    assert defaults(atrous.ops.upsample_argmax) == {"align_corners": False, "crop": None}
    labels = atrous.ops.upsample_argmax(torch.randn(2, 3, 4, 5), (16, 20))
    assert (labels.shape, labels.dtype) == ((2, 16, 20), torch.uint8)
    many = atrous.ops.upsample_argmax(torch.randn(1, 300, 2, 2), (4, 4))
    assert many.dtype == torch.uint16


def test_refiners() -> None:
    for name in ("dense_crf", "graph_cut", "icm"):
        assert callable(getattr(atrous.refine, name))
    for name in ("CRFRNN", "ConvCRF"):
        assert issubclass(getattr(atrous.refine, name), torch.nn.Module)
    taken = inspect.signature(atrous.refine.dense_crf).parameters
    assert list(taken)[:2] == ["probabilities", "image"]
    named = ("preset", "gaussian", "bilateral", "iterations", "normalisation", "self_term")
    assert all(taken[name].kind is inspect.Parameter.KEYWORD_ONLY for name in named)
    assert taken["self_term"].default is True
    p = np.random.default_rng(0).dirichlet(np.ones(3), (6, 8)).transpose(2, 0, 1).astype(np.float32)
    image = photo(6, 8)
    wishes = {"gaussian": (3.0, 3.0), "bilateral": (80.0, 13.0, 10.0)}
    plain = atrous.refine.dense_crf(p, image, **wishes)
    assert (plain.shape, plain.dtype) == ((3, 6, 8), np.float32)
    spelt = {"iterations": 10, "normalisation": "symmetric", "self_term": True}
    np.testing.assert_array_equal(plain, atrous.refine.dense_crf(p, image, **wishes, **spelt))


def test_the_confusion_matrix() -> None:
    assert defaults(atrous.metrics.ConfusionMatrix) == {"ignore": 255}
    matrix = atrous.metrics.ConfusionMatrix(3)
    matrix.update(np.array([[0, 2, 1]]), np.array([[0, 1, 255]]))  # predicted, true
    assert matrix.matrix.tolist() == [[1, 0, 0], [0, 0, 1], [0, 0, 0]]
    assert str(matrix.matrix.dtype).endswith("int64")
    matrix.merge(matrix)
    assert matrix.matrix.sum() == 4
    assert matrix.compute()
