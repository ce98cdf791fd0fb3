"""Image and mask change together. Nothing here imports torch."""

from atrous.transforms.augment import Augment, generator

__all__ = ["Augment", "generator"]
