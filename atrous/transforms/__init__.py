"""Augmentation: image and mask change together. Nothing here imports torch.

`atrous.transforms.volume` (volumes) and `atrous.transforms.ondevice` (batches on a device) do, and
are imported by their own names.
"""

from atrous.ops.border import border_weights, separate_touching
from atrous.transforms.augment import Augment, generator
from atrous.transforms.elastic import deform, displacements
from atrous.transforms.mix import Box, boxes

__all__ = ["Augment", "Box", "border_weights", "boxes", "deform", "displacements", "generator", "separate_touching"]
