"""Encoders: any timm network that gives features, as image -> tuple of features, shallow first."""

from atrous.encoders.build import PYRAMID, encoder, restrided, shallow
from atrous.encoders.cut import stages
from atrous.encoders.features import Encoder, last_of_each_stride
from atrous.encoders.weights import has_packaged_weights, pretrained_state

__all__ = [
    "PYRAMID",
    "Encoder",
    "encoder",
    "has_packaged_weights",
    "last_of_each_stride",
    "pretrained_state",
    "restrided",
    "shallow",
    "stages",
]
