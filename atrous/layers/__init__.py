"""What several pages share: blocks of convolution, norms that take a single value, ASPP, VGG16, padding."""

from atrous.layers.aspp import ASPP
from atrous.layers.conv import conv_bn_relu, fcn_head, separable_conv
from atrous.layers.depthwise import quick_depthwise
from atrous.layers.norm import safe_norms
from atrous.layers.pad import pad_reflect
from atrous.layers.vgg import VGG16

__all__ = [
    "ASPP",
    "VGG16",
    "conv_bn_relu",
    "fcn_head",
    "pad_reflect",
    "quick_depthwise",
    "safe_norms",
    "separable_conv",
]
