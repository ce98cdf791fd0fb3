"""Theory and measurement give the same field of every stage of every page.

They share no code except for the stages.
"""

import pytest
import torch
from forms import build
from torch import nn

from atrous.inspect.inspection import widest
from atrous.inspect.measured import OUTPUT, Measured
from atrous.inspect.seams import barred, image_axes, settled_walk, span
from atrous.inspect.walk import walk
from atrous.models import MODELS, create_model

LENGTH = {
    "attention_unet": 416, "deconvnet": 832, "deeplabv1": 512, "deeplabv2": 640, "enet": 1280, "fcn16s": 512,
    "fcn32s": 512, "fcn8s": 512, "refinenet": 2176, "segnet": 448, "unet": 320, "unet3d": 128, "unetpp": 320,
    "vnet": 576,
}  # fmt: skip
"""Pixels in which the field of the logits has room, if it has a size."""

SLOW = {
    "attention_unet", "deconvnet", "enet", "fcn16s", "fcn8s", "nnunet3d", "refinenet", "segformer", "unet3d", "unetpp",
    "vnet",
}  # fmt: skip
"""A second or more each."""

NARROW = {"fcn16s", "fcn32s", "fcn8s", "deeplabv1"}


def small(name: str) -> nn.Module:
    """The page as the contract test builds it, but narrower where its padding of 100 costs much."""
    model = build(name, {"width": 2} if name in NARROW else {})
    return model.eval()


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW)) for name in sorted(MODELS)]
)
def test_theory_and_measurement_agree(name: str) -> None:
    model, length = small(name), LENGTH.get(name, 256)
    axes = image_axes(model)
    first = min(length, 128) if axes == 3 and name not in LENGTH else length
    shape = (1, 3, first, *(32 if axes == 2 else 16,) * (axes - 1))
    walked, measured = walk(model, shape), Measured(model, shape)
    assert [stage.name for stage in walked.stages] == [stage.name for stage in measured.stages]
    fields = {stage.number: stage.extra["field"] for stage in walked.stages} | {OUTPUT: walked.output}
    compared = 0
    for number, field in fields.items():
        if any(note.kind in ("unknown", "data") for note in field.trail):
            continue
        places = [widest(field, 0)]
        if number == OUTPUT:
            places += [tuple(shape[2 + axis] // 8 + 1 for axis in range(axes)), tuple(side - 2 for side in shape[2:])]
        for place in places:
            theory = tuple(field.interval(place, axis) for axis in range(axes))
            assert measured.place(number, field.places(), place) == theory, (walked.stages[number].name, place)
            compared += 1
    assert compared >= 3
    if name in LENGTH:  # nothing was cut: this is the field itself
        (first, last), *_ = measured.place(OUTPUT, walked.output.places(), widest(walked.output, 0))
        assert 0 < first <= last < length - 1
        settled = settled_walk(model)
        assert not barred(settled.output, settled)
        assert last - first + 1 == span(settled.output, 0)[1]


def fields(name: str, **options: object) -> dict[str, tuple[int, int]]:
    """Smallest and largest window of every stage, and of the logits."""
    with torch.device("meta"):
        model = create_model(name, **options)
    settled = settled_walk(model)
    return {stage.name: span(stage.extra["field"], 0) for stage in settled.stages} | {"": span(settled.output, 0)}


def test_fcn_on_vgg16_sees_404_pixels() -> None:
    found = fields("fcn32s")
    assert found["encoder.pool (5)"] == (212, 212)
    assert found["encoder.convs.fc6"] == (404, 404)


def test_the_unet_of_2015_sees_188_or_204_by_phase_and_140_at_the_bottom() -> None:
    found = fields("unet2015")
    assert found["down.4"] == (140, 140)
    assert found[""] == (188, 204)


def test_vnet_sees_what_its_paper_tells_on_the_way_down() -> None:
    found = fields("vnet")
    assert [found[f"left.{level}"][1] for level in range(5)] == [5, 22, 72, 172, 372]
    # the paper has 476, 528, 546, 551: it counts a 2x2x2 deconvolution as one step more, but a voxel
    # reads a single cell of it
    assert [found[f"right.{level}"][1] for level in range(4)] == [468, 516, 532, 548]


def test_unet3d_sees_92_or_100_voxels() -> None:
    assert fields("unet3d")[""] == (92, 100)


@pytest.mark.parametrize("fc6, pixels", [("largefov", 419), ("7x7", 419), ("4x4", 323)])
def test_deeplab_v1_sees_419_pixels_at_fc6_and_16_more_by_its_average_pool(fc6: str, pixels: int) -> None:
    assert fields("deeplabv1", fc6=fc6)["head.field"] == (pixels + 16, pixels + 16)
