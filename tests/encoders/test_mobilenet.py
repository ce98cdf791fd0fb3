"""torchvision's MobileNetV3-Large as an encoder."""

from pathlib import Path

import pytest
import torch
from torchvision.models import mobilenet_v3_large

from atrous import encoders
from atrous.encoders.mobilenet import NAME
from atrous.errors import WeightsError


@pytest.mark.parametrize("stride", [16, 32])
def test_features_lie_at_their_strides(stride: int) -> None:
    with torch.device("meta"):
        encoder = encoders.encoder(NAME, stride=stride)
        features = encoder(torch.zeros(1, 3, 65, 97))
    assert encoder.strides == (2, 4, 8, stride)
    assert encoder.channels == (16, 24, 40, 960)
    assert [tuple(f.shape[1:]) for f in features] == [
        (channels, -(-65 // s), -(-97 // s)) for channels, s in zip(encoder.channels, encoder.strides, strict=True)
    ]
    assert sum(p.numel() for p in encoder.parameters()) == 2_971_952


@pytest.mark.parametrize("channels", [1, 3])
@torch.no_grad()
def test_torchvisions_weights_load_from_a_file(tmp_path: Path, channels: int) -> None:
    torch.manual_seed(0)
    theirs = mobilenet_v3_large(weights=None, num_classes=2).eval()
    torch.save(theirs.state_dict(), tmp_path / "theirs.pth")
    encoder = encoders.encoder(NAME, in_channels=channels, pretrained=tmp_path / "theirs.pth").eval()
    image = torch.randn(1, 1, 64, 96)
    torch.testing.assert_close(
        encoder(image.expand(1, channels, 64, 96))[-1], theirs.features(image.expand(1, 3, 64, 96))
    )


def test_other_weights_are_one_sentence(tmp_path: Path) -> None:
    torch.save({"features.0.0.weight": torch.zeros(16, 3, 3, 3)}, tmp_path / "other.pth")
    with pytest.raises(WeightsError, match=r"not those of encoder 'mobilenet_v3_large' .*give torchvision's"):
        encoders.encoder(NAME, pretrained=tmp_path / "other.pth")
    with pytest.raises(WeightsError, match="timm has no pretrained weights for encoder 'mobilenet_v3_large'"):
        encoders.encoder(NAME, pretrained=True)
