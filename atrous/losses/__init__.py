"""What training minimises: (logits, labels) -> scalar; ignored pixels change neither value nor gradient."""

from atrous.losses.cross_entropy import CrossEntropy

LOSSES = {"ce": CrossEntropy}

__all__ = ["LOSSES", "CrossEntropy"]
