"""Other people's networks at a fraction of their width, for tests that compare with them."""

import torch
from timm.models import vgg
from torch import nn


def small_vgg(width: int = 2, classes: int = 7) -> nn.Module:
    """timm's `vgg16_bn`, `width` channels in the first block, evaluating, with norms that have seen something."""
    torch.manual_seed(0)
    cfg = [factor * width if factor else "M" for factor in (1, 1, 0, 2, 2, 0, 4, 4, 4, 0, 8, 8, 8, 0, 8, 8, 8, 0)]
    net = vgg.VGG(cfg, classes, mlp_ratio=width / 64, norm_layer=nn.BatchNorm2d)
    net.pre_logits.fc2 = nn.Conv2d(64 * width, 64 * width, 1)
    net.head.fc = nn.Linear(64 * width, classes)
    for layer in net.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.normal_(layer.running_mean, std=0.1)
            nn.init.uniform_(layer.running_var, 0.5, 1.5)
            nn.init.uniform_(layer.weight, 0.5, 1.5)
            nn.init.normal_(layer.bias, std=0.1)
    return net.eval()
