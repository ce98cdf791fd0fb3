"""Semantic FPN: the pyramid and its rise by hand, and as many parameters as smp's and mmsegmentation's."""

import pytest
import torch

from atrous.models import create_model
from atrous.models.fpn import Pyramid, Rise


@torch.no_grad()
def test_coarser_maps_are_added_from_above() -> None:
    torch.manual_seed(0)
    pyramid = Pyramid((3, 4, 5), 6, smooth=False)
    features = [torch.randn(1, channels, side, side) for channels, side in ((3, 8), (4, 4), (5, 2))]
    fine, middle, coarse = (lateral(x) for lateral, x in zip(pyramid.laterals, features, strict=True))
    middle = middle + coarse.repeat_interleave(2, 2).repeat_interleave(2, 3)
    fine = fine + middle.repeat_interleave(2, 2).repeat_interleave(2, 3)
    for got, expected in zip(pyramid(features), (fine, middle, coarse), strict=True):
        torch.testing.assert_close(got, expected)


@torch.no_grad()
def test_the_papers_pyramid_is_smoothed_after_the_sums() -> None:
    torch.manual_seed(0)
    smoothed, plain = Pyramid((3, 4), 6, smooth=True), Pyramid((3, 4), 6, smooth=False)
    plain.laterals.load_state_dict(smoothed.laterals.state_dict())
    features = [torch.randn(1, 3, 4, 4), torch.randn(1, 4, 2, 2)]
    for layer, got, before in zip(smoothed.smooth, smoothed(features), plain(features), strict=True):
        torch.testing.assert_close(got, layer(before))
        assert layer.kernel_size == (3, 3)


@pytest.mark.parametrize("steps", [0, 1, 3])
@torch.no_grad()
def test_a_level_rises_through_the_sizes_between(steps: int) -> None:
    rise, seen = Rise(8, 32, steps), []
    for conv in rise.convs:
        conv.register_forward_hook(lambda module, inputs, output: seen.append(tuple(output.shape[1:])))
    sizes = [torch.Size((5, 7)), torch.Size((9, 13)), torch.Size((17, 25))][:steps]
    out = rise(torch.randn(1, 8, 3, 4), sizes)
    assert seen == [(32, *size) for size in [(3, 4), *sizes[:-1]]]
    assert out.shape == (1, 32, *(sizes[-1] if sizes else (3, 4)))


@torch.no_grad()
def test_levels_are_summed_at_stride_4() -> None:
    torch.manual_seed(0)
    model, raised = create_model("fpn", classes=3, encoder="test_resnet").eval(), []
    for rise in model.head.rise:
        rise.register_forward_hook(lambda module, inputs, output: raised.append(output))
    logits, _ = model.logits_at_stride(torch.randn(1, 3, 64, 96))
    assert [len(rise.convs) for rise in model.head.rise] == [1, 1, 2, 3]
    assert [tuple(x.shape) for x in raised] == [(1, 128, 16, 24)] * 4
    torch.testing.assert_close(logits, model.head.score[1](torch.stack(raised).sum(0)))


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_as_many_parameters_as_smps(name: str) -> None:
    smp = pytest.importorskip("segmentation_models_pytorch")
    with torch.device("meta"):
        theirs, ours = smp.FPN(name, encoder_weights=None, classes=21), create_model("fpn", encoder=name)
    assert sum(p.numel() for p in ours.parameters()) == sum(p.numel() for p in theirs.parameters())
