"""What several pages share: convolution blocks, norms, ASPP, pyramid pooling, VGG16, padding."""

from atrous.layers.aspp import ASPP
from atrous.layers.conv import conv_bn_relu, fcn_head, gaussian, separable_conv
from atrous.layers.depthwise import quick_depthwise
from atrous.layers.norm import InstanceNorm, safe_norms
from atrous.layers.pad import cut, expect_axes, pad_reflect
from atrous.layers.ppm import PyramidPool
from atrous.layers.valid import overlap_tile, run_whole
from atrous.layers.vgg import VGG16

__all__ = [
    "ASPP",
    "VGG16",
    "InstanceNorm",
    "PyramidPool",
    "conv_bn_relu",
    "cut",
    "expect_axes",
    "fcn_head",
    "gaussian",
    "overlap_tile",
    "pad_reflect",
    "quick_depthwise",
    "run_whole",
    "safe_norms",
    "separable_conv",
]
