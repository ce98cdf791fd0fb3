"""V-Net: count, the paper's table of receptive fields, the residual sums, and any size."""

import pytest
import torch
from parity import label, note
from torch import nn

from atrous.errors import ModelError
from atrous.layers import pad_reflect
from atrous.models.vnet import VNet, vnet

FIELDS = {"left": [5, 22, 72, 172, 372], "right": [476, 528, 546, 551]}
"""Table 1 of the paper: input voxels that a stage sees along an axis."""


@pytest.mark.parametrize("options, parameters", [
    ({}, 65_175_314), ({"left": (1, 1, 2, 3, 3), "right": (3, 2, 1, 1)}, 61_974_738),
])  # fmt: skip
def test_parameters(options: dict[str, object], parameters: int) -> None:
    with torch.device("meta"):
        ours = sum(p.numel() for p in vnet(2, in_channels=1, **options).parameters())  # type: ignore[arg-type]
    assert ours == parameters
    note(label("vnet", {"classes": 2, "in_channels": 1, **options}), "published count", counts=(ours, parameters))


def test_stages_see_what_the_paper_says() -> None:
    """Kernels in their order: each adds (k - 1) input strides; a transposed one is a kernel of the finer map."""
    model, field, jump, seen = vnet(1, in_channels=1, width=1), 1, 1.0, {"left": [], "right": []}  # type: ignore[var-annotated]

    def grow(layer: nn.Module, inputs: object, output: object) -> None:
        nonlocal field, jump
        jump /= layer.stride[0] if isinstance(layer, nn.ConvTranspose3d) else 1
        field += round((layer.kernel_size[0] - 1) * jump)
        jump *= layer.stride[0] if isinstance(layer, nn.Conv3d) else 1

    for layer in model.modules():
        if isinstance(layer, nn.Conv3d | nn.ConvTranspose3d):
            layer.register_forward_hook(grow)
    for side in seen:
        for stage in getattr(model, side):
            stage.register_forward_hook(lambda module, inputs, output, side=side: seen[side].append(field))
    model(torch.zeros(1, 1, 16, 16, 16))
    assert seen == FIELDS


def test_gradients_reach_as_far_on_the_way_down() -> None:
    model, features = vnet(1, in_channels=1, width=1), []
    for layer in model.modules():
        if isinstance(layer, nn.Conv3d | nn.ConvTranspose3d):
            nn.init.ones_(layer.weight)
    for stage in model.left:
        stage.register_forward_hook(lambda module, inputs, output: features.append(output))
    image = torch.ones(1, 1, 16, 16, 768, requires_grad=True)
    model(image)
    seen = []
    for feature in features:
        (gradient,) = torch.autograd.grad(feature[0, 0, 0, 0, feature.shape[4] // 2], image, retain_graph=True)
        columns = gradient[0, 0].abs().sum((0, 1)).nonzero().flatten()
        seen.append(int(columns.max() - columns.min()) + 1)
    assert seen == FIELDS["left"]


@torch.no_grad()
def test_stages_add_their_input_and_the_first_one_the_repeated_volume() -> None:
    model, image = vnet(2, in_channels=2, width=4), torch.randn(1, 2, 16, 32, 16)
    inputs: dict[nn.Module, torch.Tensor] = {}
    outputs: dict[nn.Module, torch.Tensor] = {}

    def keep(stage: nn.Module, given: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        inputs[stage], outputs[stage] = given[0], output

    for stage in (*model.left, *model.right):
        nn.init.zeros_(stage.convs[-1].weight)  # what is left of a stage is its shortcut
        stage.register_forward_hook(keep)
    model(image)
    slope = 0.25
    assert torch.equal(outputs[model.left[0]], nn.functional.leaky_relu(image[:, [0, 1, 0, 1]], slope))
    for stage in (*model.left[1:], *model.right):
        assert torch.equal(outputs[stage], nn.functional.leaky_relu(inputs[stage], slope))
    half = inputs[model.right[-1]].shape[1] // 2
    assert torch.equal(inputs[model.right[-1]][:, half:], outputs[model.left[0]])


@torch.no_grad()
def test_any_size_is_mirrored_up_to_sixteens() -> None:
    torch.manual_seed(0)
    model, image = vnet(2, in_channels=1, width=2), torch.randn(1, 1, 3, 17, 16)
    whole = model(pad_reflect(image, 0, 13, 0, 15, 0, 0))
    assert torch.equal(model(image), whole[:, :, :3, :17])


def test_impossible_wishes() -> None:
    with pytest.raises(ModelError, match="takes volumes"):
        vnet(2, in_channels=1, width=1)(torch.zeros(1, 1, 16, 16))
    with pytest.raises(ModelError, match="make no V"):
        vnet(2, in_channels=1, left=(1, 2), right=(1, 1))
    assert isinstance(vnet(2, in_channels=1, width=1, left=(1, 2), right=(1,)), VNet)
