"""What several pages share: convolution blocks, norms that take a single value, ASPP, VGG16, reflection padding."""

from atrous.layers.aspp import ASPP
from atrous.layers.conv import conv_bn_relu, fcn_head, separable_conv
from atrous.layers.norm import safe_norms
from atrous.layers.pad import pad_reflect
from atrous.layers.vgg import VGG16

__all__ = ["ASPP", "VGG16", "conv_bn_relu", "fcn_head", "pad_reflect", "safe_norms", "separable_conv"]
