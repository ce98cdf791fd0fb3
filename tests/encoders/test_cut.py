"""Cutting encoders: their stages in a row are the encoder; a shallow one has its first features."""

import pytest
import torch

from atrous import encoders
from atrous.errors import ModelError

CHAINS = ["test_resnet", "test_efficientnet", "test_convnext", "mobilenetv3_small_050",
          pytest.param("vgg11", marks=pytest.mark.slow)]  # fmt: skip


@pytest.mark.parametrize("name", CHAINS)
def test_stages_give_the_features_and_a_shallow_encoder_the_first_of_them(name: str) -> None:
    torch.manual_seed(0)
    whole, image = encoders.encoder(name).eval(), torch.randn(1, 3, 64, 96)
    x, features = image, []
    with torch.no_grad():
        expected = whole(image)
        for stage in encoders.stages(whole.net, name):
            for module in stage:
                x = module(x)
            features.append(x)
    assert len(features) == len(expected)
    assert all(torch.equal(one, other) for one, other in zip(features, expected, strict=True))

    few = encoders.shallow(whole, 8)
    features = few(image)
    assert few.strides[-1] == 8
    assert few.channels == tuple(feature.shape[1] for feature in features)
    assert all(torch.equal(one, other) for one, other in zip(features, expected, strict=False))
    features[-1].square().mean().backward()
    assert [key for key, p in few.named_parameters() if p.grad is None] == []


def test_what_cannot_be_cut_says_so() -> None:
    with pytest.raises(ModelError, match="'hrnet_w18_small' cannot be cut into stages"):
        encoders.shallow(encoders.encoder("hrnet_w18_small"), 4)
    with pytest.raises(ModelError, match=r"'test_vit' has features at strides \(16, .* needs some at 4"):
        encoders.shallow(encoders.encoder("test_vit"), 4)


def test_hrnets_features_are_its_branches() -> None:
    with torch.device("meta"):
        encoder = encoders.encoder("hrnet_w18_small")
    assert encoder.channels == (64, 16, 32, 64, 128)
