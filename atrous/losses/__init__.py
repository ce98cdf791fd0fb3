"""What training minimises: (logits, labels) -> scalar; ignored pixels change neither value nor gradient."""

from atrous.losses.cross_entropy import CrossEntropy
from atrous.losses.pixel_weights import pixel_cross_entropy

LOSSES = {"ce": CrossEntropy}

__all__ = ["LOSSES", "CrossEntropy", "pixel_cross_entropy"]
