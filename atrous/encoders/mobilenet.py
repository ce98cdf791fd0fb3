"""torchvision's MobileNetV3-Large as its segmentation networks use it.

Howard et al. 2019, arXiv 1905.02244. timm's `mobilenetv3_large_100` has the same tensors by other
names, but is another function. Its batch norms have eps 1e-5, these 1e-3; its dilated stage starts
at rate 1, this one has rate 2 throughout; its features of stride 8 come from the last block of
their stage, these from the first.
"""

from collections.abc import Mapping
from typing import Any

import torch
from timm.models import FeatureInfo, adapt_input_conv
from torch import nn
from torchvision.models import mobilenet_v3_large

from atrous.errors import ModelError, WeightsError

NAME = "mobilenet_v3_large"

TAPS = {0: (16, 2), 2: (24, 4), 4: (40, 8), 16: (960, 16)}
"""Blocks whose output is a feature: channels, stride; undilated, the last has stride 32."""


class MobileNetV3Large(nn.Sequential):
    """Image (N, C, H, W) -> features of strides 2, 4, 8 and 16 or 32.

    Parameters and their names are those of torchvision's `features`.
    """

    def __init__(self, in_channels: int, stride: int) -> None:
        if stride not in (16, 32):
            raise ModelError(
                f"encoder {NAME!r} cannot be built with stride {stride!r}; use 16 or 32, "
                "or timm's 'mobilenetv3_large_100'"
            )
        features = mobilenet_v3_large(weights=None, dilated=stride == 16).features
        if in_channels != 3:
            features[0][0] = nn.Conv2d(in_channels, 16, 3, stride=2, padding=1, bias=False)
            nn.init.kaiming_normal_(features[0][0].weight, mode="fan_out")
        super().__init__(*features)
        self.in_channels = in_channels
        taps = [
            {"num_chs": channels, "reduction": stride if index == 16 else at, "module": str(index)}
            for index, (channels, at) in TAPS.items()
        ]
        self.feature_info = FeatureInfo(taps, tuple(range(len(taps))))
        self.pretrained_cfg = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}

    def forward(self, image: torch.Tensor) -> list[torch.Tensor]:
        x, features = image, []
        for index, layer in enumerate(self):
            x = layer(x)
            if index in TAPS:
                features.append(x)
        return features

    def load_imagenet(self, state: Mapping[str, Any]) -> None:
        """Load the features of torchvision's classifier; WeightsError if they do not fit."""
        fitted = {key.removeprefix("features."): value for key, value in state.items() if key.startswith("features.")}
        if self.in_channels != 3 and "0.0.weight" in fitted:
            fitted["0.0.weight"] = adapt_input_conv(self.in_channels, fitted["0.0.weight"])
        try:
            self.load_state_dict(fitted)
        except RuntimeError as error:
            reason = str(error).splitlines()[1].strip().rstrip(".")
            raise WeightsError(
                f"the weights are not those of encoder {NAME!r} ({reason}); give torchvision's state_dict of {NAME}"
            ) from error
