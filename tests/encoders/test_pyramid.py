"""A plain transformer under every decoder: ViTDet's levels, patches of 14 or 16, any size."""

from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional

from atrous.encoders import PYRAMID, Encoder, encoder, restrided
from atrous.encoders.pyramid import SimplePyramid
from atrous.errors import ModelError
from atrous.models import create_model
from atrous.models.deeplab import PlusHead

SIZES = [(1, 1), (33, 65), (64, 96)]


def last_map(net: nn.Module, image: torch.Tensor) -> torch.Tensor:
    """What the last block of a timm ViT gives, as a map, by timm's own forward."""
    whole = timm.create_model("test_vit", dynamic_img_size=True).eval()
    kept = {key.removeprefix("model."): tensor for key, tensor in net.state_dict().items()}
    assert not whole.load_state_dict(kept, strict=False).unexpected_keys
    tokens = whole.forward_intermediates(image, indices=1, output_fmt="NLC", intermediates_only=True)[0]
    return tokens.transpose(1, 2).unflatten(2, (image.shape[2] // 16, image.shape[3] // 16))


@torch.no_grad()
def test_levels_are_those_of_the_paper() -> None:
    """ViTDet, section 3: deconvolutions for finer, pooling for coarser levels."""
    torch.manual_seed(0)
    net = encoder("test_vit", strides=PYRAMID).eval()
    pyramid, image = net.net, torch.randn(2, 3, 64, 96)
    for parameter in pyramid.levels.parameters():
        parameter.add_(0.1 * torch.randn_like(parameter))
    x = last_map(pyramid.net, image)  # (2, 64, 4, 6)

    def norm(x: torch.Tensor, layer: nn.Module) -> torch.Tensor:
        y = (x - x.mean(1, keepdim=True)) / (x.var(1, keepdim=True, correction=0) + 1e-6).sqrt()
        return y * layer.weight[:, None, None] + layer.bias[:, None, None]

    def up(x: torch.Tensor, layer: nn.Module) -> torch.Tensor:
        y = torch.einsum("nchw,cdij->ndhiwj", x, layer.weight).flatten(2, 3).flatten(3)
        return y + layer.bias[:, None, None]

    four, eight, sixteen, half = pyramid.levels
    starts = (
        (up(functional.gelu(norm(up(x, four[0]), four[1])), four[3]), four[4:]),
        (up(x, eight[0]), eight[1:]),
        (x, sixteen),
        (x.unflatten(2, (2, 2)).unflatten(4, (3, 2)).amax((3, 5)), half[1:]),
    )
    for feature, (start, (across, first, around, second)) in zip(net(image), starts, strict=True):
        y = norm(functional.conv2d(start, across.weight), first)
        y = norm(functional.conv2d(y, around.weight, padding=1), second)
        torch.testing.assert_close(feature, y, rtol=1e-4, atol=1e-4)
    assert net.channels == (64, 64, 64, 64)  # 256 at most
    assert net.strides == PYRAMID


@pytest.mark.parametrize("stride, strides", [(16, (4, 8, 16)), (8, (4, 8))])
def test_no_level_is_deeper_than_asked_for(stride: int, strides: tuple[int, ...]) -> None:
    assert encoder("test_vit", stride=stride, strides=PYRAMID).strides == strides
    assert encoder("test_vit", stride=stride, strides=(4, stride)).strides == (4, stride)


def test_other_networks_stay_as_they_are() -> None:
    assert encoder("test_resnet", strides=PYRAMID).strides == encoder("test_resnet").strides
    assert encoder("test_vit").strides == (16, 16, 16)
    with pytest.raises(ModelError, match="cannot be built with stride 8"):
        encoder("test_vit", stride=8)
    with pytest.raises(ModelError, match="cannot be built with stride 2"):
        encoder("test_vit", stride=2, strides=PYRAMID)


def test_a_page_without_a_pyramid_says_what_it_lacks() -> None:
    plain, grown = encoder("test_vit"), encoder("test_vit", stride=16, strides=(4, 16))
    with pytest.raises(ModelError, match=r"'test_vit' has features at strides \(16, 16, 16\), the model needs some at"):
        plain.levels()
    with pytest.raises(ModelError, match="needs some at 4"):
        PlusHead(plain, 2, (1,), dropout=0)
    with pytest.raises(ModelError, match=r"the pyramid of encoder 'test_vit' was built for strides \(4, 16\)"):
        restrided(grown, 8)


def patched(patch: int) -> Encoder:
    """test_vit with patches of another size."""
    net = timm.create_model("test_vit", features_only=True, patch_size=patch, dynamic_img_size=True)
    assert net.feature_info.reduction()[-1] == patch
    return Encoder(SimplePyramid(net, PYRAMID), "test_vit", 3).eval()


@pytest.mark.parametrize("patch", [7, 8, 14, 16, 32])
@torch.no_grad()
def test_any_patch_and_size_give_features_as_promised(patch: int) -> None:
    torch.manual_seed(0)
    net = patched(patch)
    for height, width in (*SIZES, (127, 65)):
        features = net(torch.randn(1, 3, height, width))
        sizes = [tuple(feature.shape[2:]) for feature in features]
        assert sizes == [(-(-height // stride), -(-width // stride)) for stride in PYRAMID]


@torch.no_grad()
def test_a_patch_of_14_covers_16_pixels() -> None:
    """If cells of 16 pixels have one value each, so has every patch that the transformer sees."""
    net, seen = patched(14), []
    net.net.net.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    cells = torch.randn(1, 3, 4, 6)
    net(cells.repeat_interleave(16, 2).repeat_interleave(16, 3))
    patches = seen[0].unflatten(2, (4, 14)).unflatten(4, (6, 14))  # (1, 3, 4, 14, 6, 14)
    inside = patches[:, :, :, 1:-1, :, 1:-1]
    torch.testing.assert_close(inside, cells[:, :, :, None, :, None].expand_as(inside))


@pytest.mark.slow
@pytest.mark.parametrize("page", ["deeplabv3plus", "fpn", "upernet"])
@pytest.mark.parametrize("name", ["vit_small_patch14_dinov2", "vit_small_patch14_reg4_dinov2",
                                  "vit_small_patch16_dinov3"])  # fmt: skip
def test_dino_feeds_three_decoders(page: str, name: str) -> None:
    with torch.device("meta"):
        model = create_model(page, classes=4, encoder=name).eval()
        assert model.encoder.channels == (256,) * len(model.encoder.strides)
        for size in SIZES:
            logits, tail = model.logits_at_stride(torch.zeros(1, 3, *size))
            assert logits.shape == (1, 4, *(-(-side // 4) for side in size))
            assert tail.apply(logits).shape == (1, 4, *size)


def test_a_transformer_of_one_size_is_refused() -> None:
    with pytest.raises(ModelError, match="'test_vit_relpos' does not take images of every size"):
        encoder("test_vit_relpos", strides=PYRAMID)


def test_weights_are_loaded_below_the_pyramid(tmp_path: Path) -> None:
    state = timm.create_model("test_vit").state_dict()
    save_file(state, tmp_path / "vit.safetensors")
    own = encoder("test_vit", strides=PYRAMID, pretrained=tmp_path / "vit.safetensors").net.net.state_dict()
    assert len(own) > 20
    assert all(torch.equal(tensor, state[key.removeprefix("model.")]) for key, tensor in own.items())
